//! A suite put to a model, and what it scored.
//! Owns the choice of questions and the scores; must not know how tokens are computed.

use super::ask::Asked;
use super::code::{self, RunProgram, program};
use super::manner::{Manner, Per, manner_of};
use super::{Question, Task, final_number};
use crate::divergence::Computing;
use crate::progress::{Meter, Watch};
use crate::seed::Seeded;
use crate::statistics::wilson;
use crate::{Error, Result, Vocabulary};
use engine::{CancelToken, Model};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How a suite is put.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Questions of each task; `None`: all. Fewer are among those of more.
    pub n_questions: Option<usize>,
    /// Seed of the choice of questions.
    pub seed: u64,
    /// Context in tokens.
    pub n_ctx: usize,
}

/// What one task scored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskResult {
    /// What it counts for.
    pub category: String,
    /// Share of right answers.
    pub score: f64,
    /// Its 95 % confidence interval.
    pub interval: [f64; 2],
    /// Questions asked.
    pub n: usize,
    /// Share that guessing gets, where answers are chosen.
    pub chance: f64,
    /// Which questions were answered rightly, in the order they were asked.
    pub right: Vec<bool>,
}

/// What a model scored in a suite. Equal from run to run with the same settings and one thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The variant.
    pub variant: String,
    /// How it was asked.
    pub settings: Settings,
    /// By task.
    pub tasks: BTreeMap<String, TaskResult>,
    /// Mean score of the tasks of each category.
    pub categories: BTreeMap<String, f64>,
}

/// Puts `tasks` to a model. Programs that it writes are handed to `run`.
///
/// # Errors
/// A task of programs without anything to run them, what `run` and the engine reports, answers that do not fit the context, [`crate::Error::Cancelled`].
#[expect(clippy::too_many_arguments, reason = "each is handed in by another hand")]
pub fn evaluate(
    model: &Arc<dyn Model>,
    vocabulary: &dyn Vocabulary,
    variant: &str,
    tasks: &[Task],
    settings: &Settings,
    computing: &Computing,
    mut run: Option<&mut RunProgram<'_>>,
    cancel: &CancelToken,
    watch: &mut Watch<'_>,
) -> Result<Evaluation> {
    let is_program = |question: &Question| matches!(question, Question::Program { .. });
    let programs = tasks.iter().find(|task| task.questions.iter().any(is_program));
    if let (Some(task), None) = (programs, &run) {
        return Err(Error::text(&task.name, "expected leave to run generated code, got none"));
    }
    let mut asked = Asked::open(model, vocabulary, settings.n_ctx, computing, cancel)?;
    let n = |task: &Task| settings.n_questions.unwrap_or(usize::MAX).min(task.questions.len());
    let mut meter = Meter::new(watch, variant, tasks.iter().map(|task| n(task) as u64).sum());
    let mut results = BTreeMap::new();
    for task in tasks {
        let manner = manner_of(&task.name);
        let (chosen, shots) = choose(task, settings, manner.shots);
        let shots: String = shots.iter().map(|question| solved(question, &manner)).collect();
        let (mut right, mut chance) = (Vec::new(), 0.0);
        for question in chosen {
            right.push(is_right(&mut asked, question, &manner, &shots, &mut run)?);
            chance += guess(question);
            meter.add(1)?;
        }
        let hits = right.iter().filter(|right| **right).count();
        let n = right.len();
        results.insert(
            task.name.clone(),
            TaskResult {
                category: manner.category,
                score: hits as f64 / n.max(1) as f64,
                interval: wilson(hits, n),
                n,
                chance: chance / n.max(1) as f64,
                right,
            },
        );
    }
    Ok(Evaluation {
        variant: variant.into(),
        settings: settings.clone(),
        categories: categories(&results),
        tasks: results,
    })
}

/// The questions to ask, and those to show solved before them, which are not asked where there are others.
fn choose<'a>(task: &'a Task, settings: &Settings, shots: usize) -> (Vec<&'a Question>, Vec<&'a Question>) {
    let mut questions: Vec<&Question> = task.questions.iter().collect();
    let name = task.name.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    Seeded::of(&[settings.seed, name]).shuffle(&mut questions);
    let shots = questions.split_off(questions.len() - shots.min(questions.len().saturating_sub(1)));
    questions.truncate(settings.n_questions.unwrap_or(usize::MAX));
    (questions, shots)
}

fn put(question: &str, manner: &Manner) -> String {
    manner.question.replace("{question}", question)
}

fn solved(question: &Question, manner: &Manner) -> String {
    let (question, answer) = match question {
        Question::Choice { question, choices, gold } => (question, &choices[*gold]),
        Question::Beginning { beginnings, continuation, gold } => (&beginnings[*gold], continuation),
        Question::Continuation { context, continuation } => (context, continuation),
        Question::Number { question, answer } => (question, answer),
        // Programs are put without others before them.
        Question::Program { .. } => return String::new(),
    };
    format!("{}{}{answer}\n\n", put(question, manner), manner.between)
}

fn is_right(
    asked: &mut Asked<'_>,
    question: &Question,
    manner: &Manner,
    shots: &str,
    run: &mut Option<&mut RunProgram<'_>>,
) -> Result<bool> {
    let per = |log_probability: f64, answer: &str| match manner.per {
        Per::Nothing => log_probability,
        Per::Byte => log_probability / answer.len().max(1) as f64,
    };
    match question {
        Question::Choice { question, choices, gold } => {
            let context = format!("{shots}{}", put(question, manner));
            let mut scores = Vec::with_capacity(choices.len());
            for choice in choices {
                let likelihood = asked.likelihood(&context, &format!("{}{choice}", manner.between))?;
                scores.push(per(likelihood.log_probability, choice));
            }
            Ok(best(&scores) == Some(*gold))
        }
        Question::Beginning { beginnings, continuation, gold } => {
            let mut scores = Vec::with_capacity(beginnings.len());
            for beginning in beginnings {
                let context = format!("{shots}{}", put(beginning, manner));
                let likelihood = asked.likelihood(&context, &format!("{}{continuation}", manner.between))?;
                scores.push(per(likelihood.log_probability, continuation));
            }
            Ok(best(&scores) == Some(*gold))
        }
        Question::Continuation { context, continuation } => {
            let context = format!("{shots}{}", put(context, manner));
            Ok(asked.likelihood(&context, &format!("{}{continuation}", manner.between))?.is_top)
        }
        Question::Number { question, answer } => {
            let prompt = format!("{shots}{}{}", put(question, manner), manner.between.trim_end());
            let stop = |text: &str| text.find(&manner.stop).filter(|_| !manner.stop.is_empty());
            let written = asked.write(&prompt, &stop, manner.max_tokens)?;
            let got = final_number(&written);
            Ok(got.is_some() && got == final_number(answer))
        }
        Question::Program { prompt, test, entry_point, .. } => {
            let Some(run) = run else { return Ok(false) };
            let written = asked.write(&put(prompt, manner), &code::end, manner.max_tokens)?;
            run(&program(prompt, &written, test, entry_point))
        }
    }
}

/// The greatest, the first of equals.
fn best(scores: &[f64]) -> Option<usize> {
    (0..scores.len()).reduce(|best, next| if scores[next] > scores[best] { next } else { best })
}

fn guess(question: &Question) -> f64 {
    match question {
        Question::Choice { choices, .. } => 1.0 / choices.len().max(1) as f64,
        Question::Beginning { beginnings, .. } => 1.0 / beginnings.len().max(1) as f64,
        Question::Continuation { .. } | Question::Number { .. } | Question::Program { .. } => 0.0,
    }
}

fn categories(tasks: &BTreeMap<String, TaskResult>) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, (f64, usize)> = BTreeMap::new();
    for task in tasks.values() {
        let sum = sums.entry(task.category.clone()).or_default();
        *sum = (sum.0 + task.score, sum.1 + 1);
    }
    sums.into_iter().map(|(name, (sum, n))| (name, sum / n as f64)).collect()
}

#[cfg(test)]
pub(super) fn chosen(task: &Task, n_questions: usize, shots: usize) -> (Vec<Question>, Vec<Question>) {
    let settings = Settings { n_questions: Some(n_questions), seed: 3, n_ctx: 256 };
    let (asked, shown) = choose(task, &settings, shots);
    (asked.into_iter().cloned().collect(), shown.into_iter().cloned().collect())
}
