//! Finding one sentence in a long text: how surely a model takes up what stands at a certain depth of its context.
//!
//! Owns the text, the hidden sentence, the question and the scores. Must not know which model is held against which.
//!
//! A sentence states a word of a thing; the text ends with the same sentence without that word. The right word is chosen among
//! others by how much likelier each is there than after the question alone, so that words that are likely anyway have no
//! advantage, and so that small models, which answer no questions, are measured too.

mod haystack;

pub use haystack::Haystack;

use crate::divergence::Computing;
use crate::progress::{Meter, Watch};
use crate::reference::Summary;
use crate::seed::Seeded;
use crate::statistics::wilson;
use crate::{Error, Result, Vocabulary};
use engine::{CancelToken, Context, Form, Logits, Model, Token};
use haystack::Trial;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What is searched for where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Lengths of the whole text in tokens; shorter by less than a sentence.
    pub contexts: Vec<usize>,
    /// Where the sentence stands: 0 is the beginning of the text, 1 its end. Default 0, 0.25, 0.5, 0.75, 1.
    pub depths: Vec<f64>,
    /// Sentences searched for at each depth of each length. Default 10.
    pub n_trials: usize,
    /// Words that the right one is chosen among, itself included. Default 8.
    pub n_choices: usize,
    /// Seed of texts, sentences and words. Default 0.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let depths = vec![0.0, 0.25, 0.5, 0.75, 1.0];
        Self { contexts: vec![2048], depths, n_trials: 10, n_choices: 8, seed: 0 }
    }
}

/// How often a model found the word.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// Share of trials.
    pub found: f64,
    /// Its 95 % confidence interval.
    pub interval: [f64; 2],
    /// Mean probability of the right word among the choices.
    pub probability: f64,
}

/// What one model found at one depth of one length.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// Tokens of the text.
    pub n_ctx: usize,
    /// Where the sentence stood.
    pub depth: f64,
    /// Trials.
    pub n: usize,
    /// How often it was found.
    pub score: Score,
}

/// The same of a reference and a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NeedleFigures {
    /// Tokens of the text.
    pub n_ctx: usize,
    /// Where the sentence stood: 0 is the beginning, 1 the end.
    pub depth: f64,
    /// Trials.
    pub n: usize,
    /// What guessing finds.
    pub chance: f64,
    /// What the reference found.
    pub reference: Score,
    /// What the candidate found.
    pub candidate: Score,
}

/// Pairs what two models found with the same settings.
pub fn pair(settings: &Settings, reference: &[Found], candidate: &[Found]) -> Vec<NeedleFigures> {
    let chance = 1.0 / settings.n_choices.max(1) as f64;
    let figures = |(ours, theirs): (&Found, &Found)| {
        let Found { n_ctx, depth, n, score } = *ours;
        NeedleFigures { n_ctx, depth, n, chance, reference: score, candidate: theirs.score }
    };
    reference.iter().zip(candidate).map(figures).collect()
}

/// Has `model` search at every depth of every length.
///
/// # Errors
/// Lengths that do not hold sentence and question, settings out of range, what the engine reports, [`Error::Cancelled`].
#[expect(clippy::too_many_arguments, reason = "each is handed in by another hand")]
pub fn search(
    model: &Arc<dyn Model>,
    vocabulary: &dyn Vocabulary,
    haystack: &Haystack,
    settings: &Settings,
    computing: &Computing,
    label: &str,
    cancel: &CancelToken,
    watch: &mut Watch<'_>,
) -> Result<Vec<Found>> {
    settings.check()?;
    if model.form() != Form::Decoder {
        return Err(Error::request("model", "a decoder", format!("{:?}", model.form())));
    }
    let n_all = settings.contexts.iter().sum::<usize>() * settings.depths.len() * settings.n_trials;
    let mut meter = Meter::new(watch, label, n_all as u64);
    let mut found = Vec::new();
    for n_ctx in &settings.contexts {
        let mut searcher = Searcher::open(model, *n_ctx, computing, cancel)?;
        for depth in &settings.depths {
            let (mut hits, mut probability) = (0, 0.0);
            for trial in 0..settings.n_trials {
                // The same text and sentence at every depth.
                let mut seeded = Seeded::of(&[settings.seed, *n_ctx as u64, trial as u64]);
                let trial = haystack.trial(vocabulary, *n_ctx, *depth, settings.n_choices, &mut seeded)?;
                let of_right = searcher.probability(&trial)?;
                hits += usize::from(of_right.1);
                probability += of_right.0;
                meter.add(*n_ctx as u64)?;
            }
            let n = settings.n_trials;
            let interval = wilson(hits, n);
            let score =
                Score { found: hits as f64 / n as f64, interval, probability: probability / n as f64 };
            found.push(Found { n_ctx: *n_ctx, depth: *depth, n, score });
        }
    }
    Ok(found)
}

impl Settings {
    fn check(&self) -> Result<()> {
        if self.contexts.is_empty() || self.depths.is_empty() || self.n_trials == 0 {
            return Err(Error::request("needle", "at least one length, depth and trial", "none"));
        }
        if let Some(depth) = self.depths.iter().find(|depth| !(0.0..=1.0).contains(*depth)) {
            return Err(Error::request("needle: depth", "0 to 1", depth));
        }
        let most = haystack::most_choices();
        match (2..=most).contains(&self.n_choices) {
            true => Ok(()),
            false => Err(Error::request("needle: choices", format!("2 to {most}"), self.n_choices)),
        }
    }
}

/// A context that reads texts and tells how likely words are behind them.
struct Searcher<'a> {
    context: Box<dyn Context>,
    rows: usize,
    /// Whether the context can forget its last tokens; one that cannot is set back by its state.
    goes_back: bool,
    cancel: &'a CancelToken,
}

impl<'a> Searcher<'a> {
    fn open(
        model: &Arc<dyn Model>,
        n_ctx: usize,
        computing: &Computing,
        cancel: &'a CancelToken,
    ) -> Result<Self> {
        let (settings, rows) = computing.settings(model.n_vocab(), n_ctx)?;
        let mut context = Arc::clone(model).new_context(&settings)?;
        context.decode(&[0, 0], Logits::None, cancel)?;
        let goes_back = context.truncate(1).is_ok();
        Ok(Self { context, rows, goes_back, cancel })
    }

    /// The right word's probability among the choices, and whether it is the greatest.
    fn probability(&mut self, trial: &Trial) -> Result<(f64, bool)> {
        let alone = self.likelihoods(&trial.question, &trial.choices)?;
        let behind = self.likelihoods(&[&trial.text[..], &trial.question].concat(), &trial.choices)?;
        let gains: Vec<f64> = behind.iter().zip(alone).map(|(behind, alone)| behind - alone).collect();
        let greatest = gains.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = gains.iter().map(|gain| (gain - greatest).exp()).sum();
        let right = gains[trial.right];
        let is_best = gains.iter().enumerate().all(|(n, gain)| n == trial.right || *gain < right);
        Ok(((right - greatest).exp() / sum, is_best))
    }

    /// Log-probabilities of the choices' tokens behind `given`.
    fn likelihoods(&mut self, given: &[Token], choices: &[Vec<Token>]) -> Result<Vec<f64>> {
        let (last, before) = given.split_last().ok_or_else(|| Error::request("question", "text", "none"))?;
        self.context.truncate(0)?;
        if !before.is_empty() {
            self.context.decode(before, Logits::None, self.cancel)?;
        }
        let state = if self.goes_back { None } else { Some(self.context.state()?) };
        let mut likelihoods = Vec::with_capacity(choices.len());
        for choice in choices {
            match &state {
                None => self.context.truncate(before.len())?,
                Some(state) => self.context.restore(state)?,
            }
            let tokens: Vec<Token> = std::iter::once(*last).chain(choice.iter().copied()).collect();
            let mut sum = 0.0;
            let inputs = &tokens[..tokens.len() - 1];
            for (number, part) in inputs.chunks(self.rows).enumerate() {
                self.context.decode(part, Logits::All, self.cancel)?;
                for row in 0..part.len() {
                    let logits = self.context.logits(row)?;
                    let position = number * self.rows + row;
                    let summary = Summary::of(logits).map_err(|problem| Error::Logits {
                        window: 0,
                        position,
                        problem,
                    })?;
                    sum += summary.log_probability(logits, tokens[position + 1] as usize);
                }
            }
            likelihoods.push(sum);
        }
        Ok(likelihoods)
    }
}
