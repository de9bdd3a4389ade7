//! Choosing tokens from logits: the steps that the settings list, then a draw.
//! One sampler serves every engine; the same seed and logits give the same tokens on every machine of one float width.

mod candidates;
mod dry;
mod filters;
mod mirostat;

use crate::sampling::{Sampling, Step};
use crate::{Error, Result, Tokenizer};
use candidates::Candidates;
use dry::Breakers;
use engine::Token;
use mirostat::Steering;
use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, Hasher};

/// Chooses token after token.
#[derive(Debug)]
pub struct Sampler {
    settings: Sampling,
    breakers: Breakers,
    steering: Option<Steering>,
    recent: VecDeque<Token>,
    state: u64,
    candidates: Candidates,
}

impl Sampler {
    /// A sampler at the start of an answer. The tokenizer tells which tokens DRY's breakers are in.
    ///
    /// # Errors
    /// Settings out of range.
    pub fn new(settings: Sampling, tokenizer: &Tokenizer) -> Result<Self> {
        let breakers = match settings.dry.is_on() {
            true => Breakers::new(&settings.dry.breakers, tokenizer),
            false => Breakers::default(),
        };
        Self::with_breakers(settings, breakers)
    }

    fn with_breakers(settings: Sampling, breakers: Breakers) -> Result<Self> {
        settings.check()?;
        // The standard library seeds its hashers from the system: the one source of chance that needs no I/O of ours.
        let fresh = || std::collections::hash_map::RandomState::new().build_hasher().finish();
        let state = settings.seed.unwrap_or_else(fresh);
        let steering = settings.mirostat.map(Steering::new);
        let candidates = Candidates::new();
        Ok(Self { settings, breakers, steering, recent: VecDeque::new(), state, candidates })
    }

    /// Counts tokens as recent without choosing them.
    pub fn remember(&mut self, tokens: &[Token]) {
        let newest = tokens.len().saturating_sub(self.window());
        self.recent.extend(&tokens[newest..]);
        let surplus = self.recent.len().saturating_sub(self.window());
        self.recent.drain(..surplus);
    }

    /// Chooses from `logits`, one per token of the vocabulary.
    ///
    /// # Errors
    /// [`Error::Logits`] for logits that are no numbers or exclude every token: the model's computation went wrong.
    pub fn choose(&mut self, logits: &[f32]) -> Result<Token> {
        check(logits)?;
        let token = match self.is_plainly_greedy() {
            true => likeliest(logits),
            false => self.choose_by_steps(logits)?,
        };
        self.remember(&[token]);
        Ok(token)
    }

    /// Tokens that some step looks back to.
    fn window(&self) -> usize {
        let dry = if self.settings.dry.is_on() { self.settings.dry.window } else { 0 };
        self.settings.penalty_window.max(dry)
    }

    fn penalises(&self) -> bool {
        let s = &self.settings;
        s.penalty_window > 0
            && (s.repeat_penalty != 1.0 || s.frequency_penalty != 0.0 || s.presence_penalty != 0.0)
    }

    /// Whether no step can change which token is the likeliest, and that one is wanted.
    fn is_plainly_greedy(&self) -> bool {
        let s = &self.settings;
        let cools =
            s.temperature <= 0.0 && s.temperature_range == 0.0 && s.order.contains(&Step::Temperature);
        let leaves_out = s.xtc_probability > 0.0 || s.typical_p < 1.0;
        let lifts = !s.logit_bias.is_empty() || self.penalises() || s.dry.is_on();
        cools && !leaves_out && !lifts
    }

    fn choose_by_steps(&mut self, logits: &[f32]) -> Result<Token> {
        self.candidates.fill(logits);
        for &(token, bias) in &self.settings.logit_bias {
            self.candidates.change(token, |logit| logit + bias);
        }
        if self.candidates.top() == f32::NEG_INFINITY {
            return Err(Error::Logits("the biases exclude every token".into()));
        }
        for index in 0..self.settings.order.len() {
            let step = self.settings.order[index];
            if self.steering.is_none() || !step.filters() {
                self.take(step);
            }
        }
        if let Some(steering) = &self.steering {
            steering.limit(&mut self.candidates, logits.len());
        }
        let shares = self.candidates.probabilities();
        let drawn = draw(&shares, next_unit(&mut self.state));
        if let Some(steering) = &mut self.steering {
            steering.learn(shares[drawn]);
        }
        Ok(self.candidates.at(drawn).token)
    }

    fn take(&mut self, step: Step) {
        let s = &self.settings;
        let (candidates, min_keep) = (&mut self.candidates, s.min_keep as usize);
        match step {
            Step::Penalties => self.penalise(),
            Step::Dry if s.dry.is_on() => {
                let recent = self.recent.make_contiguous();
                for (token, penalty) in dry::penalties(recent, &s.dry, &self.breakers) {
                    candidates.change(token, |logit| logit - penalty);
                }
            }
            Step::Dry => {}
            Step::TopNSigma => filters::top_n_sigma(candidates, s.top_n_sigma),
            Step::TopK => filters::top_k(candidates, s.top_k as usize),
            Step::TypicalP => filters::typical_p(candidates, s.typical_p, min_keep),
            Step::TopP => filters::top_p(candidates, s.top_p, min_keep),
            Step::MinP => filters::min_p(candidates, s.min_p, min_keep),
            Step::Xtc if s.xtc_probability > 0.0 => {
                if next_unit(&mut self.state) <= f64::from(s.xtc_probability) {
                    filters::leave_out_top_choices(candidates, s.xtc_threshold, min_keep);
                }
            }
            Step::Xtc => {}
            Step::Temperature => self.cool(),
        }
    }

    /// Keskar et al. 2019 (arXiv:1909.05858), with negative logits multiplied; counts as OpenAI's interface defines them.
    fn penalise(&mut self) {
        if !self.penalises() {
            return;
        }
        let s = &self.settings;
        let mut counts: BTreeMap<Token, u32> = BTreeMap::new();
        for token in self.recent.iter().rev().take(s.penalty_window) {
            *counts.entry(*token).or_default() += 1;
        }
        for (token, count) in counts {
            self.candidates.change(token, |logit| {
                let scaled = if logit > 0.0 { logit / s.repeat_penalty } else { logit * s.repeat_penalty };
                scaled - (count as f32 * s.frequency_penalty + s.presence_penalty)
            });
        }
    }

    /// Divides by the temperature; at 0 only the likeliest token stays.
    fn cool(&mut self) {
        let s = &self.settings;
        let mut temperature = f64::from(s.temperature);
        if s.temperature_range > 0.0 && self.candidates.len() > 1 {
            let range = f64::from(s.temperature_range);
            let least = (temperature - range).max(0.0);
            let possible = (self.candidates.len() as f64).ln();
            let unsure = filters::entropy(&self.candidates.probabilities()) / possible;
            temperature =
                least + (temperature + range - least) * unsure.powf(f64::from(s.temperature_exponent));
        }
        if temperature > 0.0 {
            // A logit is taken relative to the top: no temperature makes it overflow.
            let top = self.candidates.top();
            self.candidates.scale(|logit| (f64::from(logit - top) / temperature) as f32);
        } else {
            let likeliest = self.candidates.likeliest();
            self.candidates.retain(|candidate| candidate.token == likeliest);
        }
    }
}

/// Refuses what no token can be chosen from.
fn check(logits: &[f32]) -> Result<()> {
    if let Some(token) = logits.iter().position(|logit| logit.is_nan()) {
        return Err(Error::Logits(format!("expected a number for token {token}, got NaN")));
    }
    match logits.iter().any(|logit| *logit > f32::NEG_INFINITY) {
        true => Ok(()),
        false => {
            Err(Error::Logits(format!("expected a possible one among {} tokens, got none", logits.len())))
        }
    }
}

/// The first of the largest.
fn likeliest(logits: &[f32]) -> Token {
    let best = logits.iter().enumerate().reduce(|best, other| if other.1 > best.1 { other } else { best });
    best.map_or(0, |(token, _)| token as Token)
}

/// The index at which the shares pass `unit`, a number from 0 to 1.
fn draw(shares: &[f64], unit: f64) -> usize {
    let mut sum = 0.0;
    let passed = shares.iter().position(|share| {
        sum += share;
        sum > unit
    });
    // Rounding may leave the sum a little below 1.
    passed.or_else(|| shares.iter().rposition(|share| *share > 0.0)).unwrap_or(0)
}

/// SplitMix64 (Steele, Lea, Flood 2014), its upper 53 bits as a number from 0 to 1.
fn next_unit(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests;
