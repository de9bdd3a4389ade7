//! Which experts tokens are sent to, and how far a candidate's choice is from a reference's.
//!
//! Owns the watch that sees the choice (`chosen`) and the figures of two choices for the same tokens. Must not know how the
//! reference's choice is stored.

pub(crate) mod chosen;

use crate::reference::Header;
use crate::statistics::Mean;
use serde::{Deserialize, Serialize};

/// A layer that sends each token to some of its experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Router {
    /// Number of the layer.
    pub layer: u32,
    /// Experts there are.
    pub n_experts: usize,
    /// Experts that a token is sent to.
    pub n_used: usize,
}

/// The experts chosen in one window: for each router those of every scored position, one position's after the other's.
pub type Choices = Vec<Vec<u16>>;

/// How a candidate's routers differ from the reference's over one text at one length of context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoutingFigures {
    /// Name of the text.
    pub text: String,
    /// Tokens of a window.
    pub n_ctx: usize,
    /// Positions compared.
    pub n_tokens: u64,
    /// Share of the experts chosen by the reference that the candidate chooses too, over all layers and positions.
    pub agreement: Mean,
    /// Share of choices (one of each layer for each position) that are the same experts, whatever their order.
    pub same_set: f64,
    /// Pearson's correlation of how often each expert is chosen.
    pub usage_correlation: f64,
    /// By layer.
    pub layers: Vec<LayerRouting>,
}

/// The same of one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerRouting {
    /// Number of the layer.
    pub layer: u32,
    /// Share of the reference's experts that the candidate chooses too.
    pub agreement: f64,
    /// Share of positions with the same experts.
    pub same_set: f64,
    /// How often the reference chose each expert.
    pub reference: Vec<u64>,
    /// How often the candidate did.
    pub candidate: Vec<u64>,
}

/// Adds up windows.
pub(crate) struct Tally {
    routers: Vec<Router>,
    passes: Vec<PassTally>,
}

#[derive(Clone)]
struct PassTally {
    /// Experts chosen by both and experts chosen, by window.
    windows: Vec<(f64, usize)>,
    layers: Vec<LayerTally>,
}

#[derive(Clone)]
struct LayerTally {
    n_positions: u64,
    shared: u64,
    same: u64,
    reference: Vec<u64>,
    candidate: Vec<u64>,
}

impl Tally {
    pub(crate) fn new(header: &Header) -> Self {
        let layer = |router: &Router| LayerTally {
            n_positions: 0,
            shared: 0,
            same: 0,
            reference: vec![0; router.n_experts],
            candidate: vec![0; router.n_experts],
        };
        let pass = PassTally { windows: Vec::new(), layers: header.routers.iter().map(layer).collect() };
        Self { routers: header.routers.clone(), passes: vec![pass; header.passes.len()] }
    }

    /// Adds a window of a pass. Experts are below the router's number of them; choices of different lengths are compared as far
    /// as the shorter one goes.
    pub(crate) fn add(&mut self, pass: usize, reference: &Choices, candidate: &Choices) {
        let Some(tally) = self.passes.get_mut(pass) else { return };
        let (mut shared, mut chosen) = (0, 0);
        let choices = reference.iter().zip(candidate);
        for ((router, layer), (reference, candidate)) in
            self.routers.iter().zip(&mut tally.layers).zip(choices)
        {
            let positions = reference.chunks_exact(router.n_used).zip(candidate.chunks_exact(router.n_used));
            for (ours, theirs) in positions {
                let both = ours.iter().filter(|expert| theirs.contains(expert)).count();
                layer.n_positions += 1;
                layer.shared += both as u64;
                layer.same += u64::from(both == router.n_used);
                ours.iter().for_each(|expert| layer.reference[usize::from(*expert)] += 1);
                theirs.iter().for_each(|expert| layer.candidate[usize::from(*expert)] += 1);
                shared += both;
                chosen += router.n_used;
            }
        }
        tally.windows.push((shared as f64, chosen));
    }

    /// The figures of each pass that has any.
    pub(crate) fn figures(&self, header: &Header) -> Vec<RoutingFigures> {
        let passes = header.passes.iter().zip(&self.passes).filter(|(_, tally)| !tally.windows.is_empty());
        let figures = |(pass, tally): (&crate::reference::PassHeader, &PassTally)| RoutingFigures {
            text: pass.text.clone(),
            n_ctx: pass.n_ctx,
            n_tokens: tally.layers.iter().map(|layer| layer.n_positions).max().unwrap_or(0),
            agreement: Mean::of_groups(tally.windows.iter().copied()),
            same_set: {
                let same: u64 = tally.layers.iter().map(|layer| layer.same).sum();
                share(same, tally.layers.iter().map(|layer| layer.n_positions).sum())
            },
            usage_correlation: {
                let both = |layer: &LayerTally| {
                    let pairs = layer.reference.iter().zip(&layer.candidate);
                    pairs.map(|(ours, theirs)| (*ours as f64, *theirs as f64)).collect::<Vec<_>>()
                };
                correlation(&tally.layers.iter().flat_map(both).collect::<Vec<_>>())
            },
            layers: self.routers.iter().zip(&tally.layers).map(LayerTally::figures).collect(),
        };
        passes.map(figures).collect()
    }
}

impl LayerTally {
    fn figures((router, tally): (&Router, &Self)) -> LayerRouting {
        LayerRouting {
            layer: router.layer,
            agreement: share(tally.shared, tally.n_positions * router.n_used as u64),
            same_set: share(tally.same, tally.n_positions),
            reference: tally.reference.clone(),
            candidate: tally.candidate.clone(),
        }
    }
}

fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

/// Pearson's; 1 of equal numbers and 0 of others where one side does not vary.
fn correlation(pairs: &[(f64, f64)]) -> f64 {
    let n = pairs.len().max(1) as f64;
    let (a, b) = pairs.iter().fold((0.0, 0.0), |sum, pair| (sum.0 + pair.0 / n, sum.1 + pair.1 / n));
    let of = |f: fn(f64, f64) -> f64| pairs.iter().map(|(x, y)| f(x - a, y - b)).sum::<f64>();
    let (xy, xx, yy) = (of(|x, y| x * y), of(|x, _| x * x), of(|_, y| y * y));
    match xx > 0.0 && yy > 0.0 {
        true => xy / (xx * yy).sqrt(),
        false => f64::from(u8::from(pairs.iter().all(|(x, y)| x == y))),
    }
}

#[cfg(test)]
mod tests;
