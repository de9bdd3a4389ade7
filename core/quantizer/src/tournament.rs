//! A contest of plans of one size: what is allocated by figures is disturbed, every plan becomes a file, and the divergence
//! that the engine finds decides.
//! Knows plans, files and the judge; must not know how types are chosen (`type_plan`) nor rows rounded (`execute`).
//!
//! Plans come from kappas that are moved: those of embedding and output, attention, feed-forwards or a half of the depth, twice
//! and half of what the best plan so far goes by; then several of them by chance, in turn with single tensors, which exchanges
//! types between neighbours at the margin. A candidate leaves as soon as windows say that it is worse by more than twice the
//! standard error of the difference; it wins where it is better by one over the whole text. So the winner is never worse on
//! it than the plan that was not disturbed.

mod rounded;

use crate::judge::{Candidate, Judge, Judging, mean};
use crate::progress::Meter;
use crate::recipe::{Category, Overrides, order};
use crate::sensitivity::{Outline, Sensitivity};
use crate::source::TensorSource;
use crate::{Error, Importance, Known, Moments, Result, Target, TypePlan, Watch, plan_for_target};
use evaluator::seed::Seeded;
use rounded::RoundedTensors;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Draws that may end in a plan that is known already before the contest is over.
const MOST_REPEATS: usize = 25;
/// Factor on kappas of a group.
const STEP: f64 = 2.0;
/// Standard deviation of logarithms of factors that are drawn.
const SPREAD: f64 = 0.5;
/// Tensors that are moved alone at a time.
const EXCHANGED: usize = 6;

/// What is contested.
#[derive(Debug, Clone, Copy)]
pub struct Contest<'a> {
    /// What was measured of the model's tensors.
    pub sensitivity: &'a Sensitivity,
    /// The size.
    pub target: Target,
    /// Wishes for single tensors.
    pub wishes: &'a Overrides,
    /// Importance of the weights, as the file will be made with.
    pub importance: Option<&'a Arc<Importance>>,
    /// What flows into them, as the file will be made with.
    pub moments: Option<&'a Arc<Moments>>,
    /// Disturbed plans.
    pub n_plans: usize,
    /// Seed of what is drawn.
    pub seed: u64,
}

/// How a plan was found in a contest.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContestRecord {
    /// Seed of what was drawn.
    pub seed: u64,
    /// Positions that were judged.
    pub n_scored: u64,
    /// Mean KLD in nats of the plan that was not disturbed.
    pub kld_undisturbed: f64,
    /// Of the winner.
    pub kld: f64,
    /// Standard error of the difference, over windows.
    pub standard_error: f64,
    /// Every disturbed plan, in order.
    pub entries: Vec<ContestEntry>,
}

/// One plan of a contest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContestEntry {
    /// How it differs from the best before it.
    pub disturbed: String,
    /// Tensors of another type than in the best before it.
    pub n_changed: usize,
    /// Windows that were read.
    pub n_windows: usize,
    /// Mean KLD in nats over them.
    pub kld: f64,
    /// The same of the best before it.
    pub kld_of_best: f64,
    /// Whether it is the best since.
    pub won: bool,
}

/// Holds the contest and tells the winner, with its record.
///
/// # Errors
/// A target that cannot be met, a model that cannot be loaded, a full disk, or [`Error::Cancelled`].
pub fn hold_contest(
    source: &dyn TensorSource,
    contest: &Contest<'_>,
    judging: &Judging<'_>,
    watch: &mut Watch<'_>,
) -> Result<TypePlan> {
    if contest.n_plans == 0 {
        let expected = "at least one disturbed plan".into();
        return Err(Error::Request { wish: "tournament".into(), expected, got: "0".into() });
    }
    let judge = Judge::new(judging, watch)?;
    let mut rounded = RoundedTensors::new(source, contest, judging);
    let n_steps = (contest.n_plans + 1) * judge.n_parts();
    let mut meter = Meter::new(watch, "tournament", n_steps as u64);
    let mut drawing = Drawing::new(source, contest);
    let mut best = drawing.plan(&BTreeMap::new())?;
    let mut factors = BTreeMap::new();
    let mut of_best = {
        let file = rounded.write(&best, &mut || meter.add(0))?;
        judge.open(&file)?.all()?
    };
    meter.add(judge.n_parts() as u64)?;
    let undisturbed = of_best.clone();
    let mut known = vec![types(&best)];
    let mut record = ContestRecord {
        seed: contest.seed,
        n_scored: judge.n_scored() as u64,
        kld_undisturbed: mean(&undisturbed).0,
        ..ContestRecord::default()
    };
    for _ in 0..contest.n_plans {
        let Some((disturbed, moved, plan)) = drawing.another(&factors, &known)? else { break };
        let file = rounded.write(&plan, &mut || meter.add(0))?;
        let mut parts_read = 0;
        let windows = race(&judge.open(&file)?, &of_best, judge.n_parts(), &mut || {
            parts_read += 1;
            meter.add(1)
        })?;
        meter.add((judge.n_parts() - parts_read) as u64)?;
        let (difference, error) = compared(&windows, &of_best);
        let won = windows.len() == of_best.len() && difference < -error;
        record.entries.push(ContestEntry {
            disturbed,
            n_changed: known.first().map_or(0, |_| differing(&best, &plan)),
            n_windows: windows.len(),
            kld: mean(&windows).0,
            kld_of_best: mean(&of_best[..windows.len()]).0,
            won,
        });
        known.push(types(&plan));
        if won {
            (best, of_best, factors) = (plan, windows, moved);
        }
    }
    record.kld = mean(&of_best).0;
    record.standard_error = compared(&of_best, &undisturbed).1;
    best.contest = Some(record);
    Ok(best)
}

/// Windows of a candidate, up to the part by which it is clearly worse.
fn race(
    candidate: &Candidate<'_>,
    of_best: &[f64],
    n_parts: usize,
    read: &mut dyn FnMut() -> Result<()>,
) -> Result<Vec<f64>> {
    let mut windows = Vec::with_capacity(of_best.len());
    for part in 0..n_parts {
        windows.extend(candidate.part(part)?);
        read()?;
        let (difference, error) = compared(&windows, of_best);
        if windows.len() > 2 && difference > 2.0 * error {
            break;
        }
    }
    Ok(windows)
}

/// Mean difference of windows from others', and its standard error.
fn compared(windows: &[f64], others: &[f64]) -> (f64, f64) {
    let differences: Vec<f64> = windows.iter().zip(others).map(|(one, other)| one - other).collect();
    mean(&differences)
}

fn types(plan: &TypePlan) -> Vec<String> {
    plan.tensors.iter().map(|tensor| tensor.ty.clone()).collect()
}

fn differing(one: &TypePlan, other: &TypePlan) -> usize {
    one.tensors.iter().zip(&other.tensors).filter(|(one, other)| one.ty != other.ty).count()
}

/// What is moved together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    Vocabulary,
    Attention,
    FeedForward,
    FirstHalf,
}

const GROUPS: [(Group, &str); 4] = [
    (Group::Vocabulary, "embedding and output"),
    (Group::Attention, "attention"),
    (Group::FeedForward, "feed-forwards"),
    (Group::FirstHalf, "first half of the layers"),
];

impl Group {
    fn has(self, name: &str, n_layers: usize) -> bool {
        let is_vocabulary = matches!(Category::of(name), Category::TokenEmbedding | Category::Output);
        let is_feed_forward = name.contains(".ffn_");
        let layer = order(name).0;
        match self {
            Self::Vocabulary => is_vocabulary,
            Self::Attention => !is_vocabulary && !is_feed_forward,
            Self::FeedForward => is_feed_forward,
            Self::FirstHalf => usize::try_from(2 * layer).is_ok_and(|twice| twice < n_layers),
        }
    }
}

/// Logarithms of factors on kappas, by tensor.
type Factors = BTreeMap<String, f64>;

struct Drawing<'a> {
    source: &'a dyn TensorSource,
    contest: &'a Contest<'a>,
    outline: Outline,
    names: Vec<String>,
    seeded: Seeded,
    n_drawn: usize,
}

impl<'a> Drawing<'a> {
    fn new(source: &'a dyn TensorSource, contest: &'a Contest<'a>) -> Self {
        let outline = Outline::of(source.tensors().iter().map(|tensor| &tensor.name));
        let names = contest.sensitivity.tensors.keys().cloned().collect();
        Self { source, contest, outline, names, seeded: Seeded::of(&[contest.seed]), n_drawn: 0 }
    }

    fn plan(&self, factors: &Factors) -> Result<TypePlan> {
        let Contest { sensitivity, target, wishes, importance, moments, .. } = *self.contest;
        let mut moved = sensitivity.clone();
        for (name, log) in factors {
            let kappa = sensitivity.kappa(name, self.outline) * log.exp();
            moved.tensors.entry(name.clone()).and_modify(|tensor| tensor.kappa = Some(kappa));
        }
        let known = Known::of(importance, moments.is_some());
        let mut plan = plan_for_target(self.source, &moved, target, wishes, known)?;
        // What the plan expects is what the figures say, wherever it comes from.
        for tensor in plan.tensors.iter_mut().filter(|tensor| tensor.kld.is_some()) {
            let kappa = sensitivity.kappa(&tensor.name, self.outline);
            tensor.kld = tensor.error.map(|error| kappa * error);
        }
        plan.predicted_kld = Some(plan.tensors.iter().filter_map(|tensor| tensor.kld).sum());
        Ok(plan)
    }

    /// The next plan that is not known: how it was disturbed, by which factors, and itself.
    fn another(
        &mut self,
        from: &Factors,
        known: &[Vec<String>],
    ) -> Result<Option<(String, Factors, TypePlan)>> {
        for _ in 0..MOST_REPEATS {
            let (told, steps) = self.disturb();
            let mut factors = from.clone();
            steps.into_iter().for_each(|(name, log)| *factors.entry(name).or_default() += log);
            let plan = self.plan(&factors)?;
            if !known.contains(&types(&plan)) {
                return Ok(Some((told, factors, plan)));
            }
        }
        Ok(None)
    }

    fn disturb(&mut self) -> (String, Factors) {
        let at = self.n_drawn;
        self.n_drawn += 1;
        let n_layers = self.outline.n_layers;
        if let Some((group, name)) = GROUPS.get(at / 2) {
            let (log, told) = if at.is_multiple_of(2) { (-STEP.ln(), "half") } else { (STEP.ln(), "twice") };
            let of_group = self.names.iter().filter(|name| group.has(name, n_layers));
            return (format!("{name} {told}"), of_group.map(|name| (name.clone(), log)).collect());
        }
        if at.is_multiple_of(2) {
            let logs = GROUPS.map(|(group, _)| (group, SPREAD * normal(&mut self.seeded)));
            let of = |name: &String| -> f64 {
                logs.iter().filter(|(group, _)| group.has(name, n_layers)).map(|(_, log)| log).sum()
            };
            let factors = self.names.iter().map(|name| (name.clone(), of(name))).collect();
            return ("all groups by chance".into(), factors);
        }
        let mut names = self.names.clone();
        self.seeded.shuffle(&mut names);
        let exchanged = names.into_iter().take(EXCHANGED).enumerate();
        let factors = exchanged.map(|(at, name)| (name, if at % 2 == 0 { STEP.ln() } else { -STEP.ln() }));
        ("single tensors exchanged".into(), factors.collect())
    }
}

/// A normal number (Box and Muller).
fn normal(seeded: &mut Seeded) -> f64 {
    let (radius, turn) = (1.0 - seeded.unit(), seeded.unit());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * turn).cos()
}

#[cfg(test)]
mod tests;
