//! How far a candidate's distributions are from a reference's, token by token.
//!
//! Owns the pass over a store with a candidate and the figures made of it. Must not know how the store is laid out or
//! where quality is written down.
//!
//! For each position the divergence is Σ p·ln(p/q) over the vocabulary, p the reference's and q the candidate's
//! probabilities. It is summed as Σ (p·ln(p/q) − p + q), which is the same, as both sum to one, and has no negative term: over the
//! store's likeliest tokens exactly, over the others as their mass times the mean of r − 1 − ln r, r = q/p, of the
//! sample, which is unbiased because the sample is drawn by p.

mod figures;
mod read;

pub use figures::{DomainFigures, Figures, PositionFigures, figures};
pub(crate) use figures::{by_pass, by_position};
pub use read::Computing;

use crate::progress::{Meter, Watch};
use crate::reference::{Reader, Record, Summary};
use crate::routing::chosen::{Chosen, routers};
use crate::routing::{RoutingFigures, Tally};
use crate::text::Pass;
use crate::{Error, Result};
use engine::{CancelToken, Model};
use std::io::Read;
use std::sync::Arc;

/// What was measured at one position.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Number of the pass.
    pub pass: u32,
    /// Number of the window in it.
    pub window: u32,
    /// Token of the window after which the distributions were compared.
    pub position: u32,
    /// Divergence of the candidate from the reference, in nats.
    pub kld: f32,
    /// −ln of the candidate's probability of the token that follows.
    pub nll: f32,
    /// The same of the reference.
    pub nll_reference: f32,
    /// Whether the likeliest token is the same.
    pub same_top: bool,
}

/// What a comparison found.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// In order of pass, window and position.
    pub samples: Vec<Sample>,
    /// The choice of experts by pass, where the store has it and the candidate has the same routers.
    pub routing: Vec<RoutingFigures>,
}

/// Reads the store's windows with the candidate `model` and compares.
///
/// # Errors
/// A vocabulary that is not the reference's, a damaged store, what the engine reports, [`Error::Cancelled`].
pub fn compare<R: Read>(
    model: &Arc<dyn Model>,
    reference: &mut Reader<R>,
    computing: &Computing,
    label: &str,
    cancel: &CancelToken,
    watch: &mut Watch<'_>,
) -> Result<Comparison> {
    let header = reference.header().clone();
    if model.n_vocab() != header.n_vocab {
        let expected = format!("the reference's vocabulary of {} tokens", header.n_vocab);
        return Err(Error::request("candidate", expected, model.n_vocab()));
    }
    let is_routed = !header.routers.is_empty() && routers(model, computing)? == header.routers;
    let mut routing = is_routed.then(|| (Chosen::default(), Tally::new(&header)));
    let mut samples = Vec::new();
    let mut meter = Meter::new(watch, label, header.n_read());
    let mut open: Option<(usize, read::WindowReader)> = None;
    while let Some(window) = reference.window()? {
        let reader = match &mut open {
            Some((pass, reader)) if *pass == window.pass => reader,
            _ => {
                // The context before is gone before the next is opened.
                open = None;
                let chosen = routing.as_ref().map(|(chosen, _)| chosen);
                let reader = computing.open(model, header.passes[window.pass].n_ctx, chosen)?;
                &mut open.insert((window.pass, reader)).1
            }
        };
        let first = Pass::first_scored(window.tokens.len());
        reader.read(&window.tokens, cancel, &mut |position, row| {
            let record = &window.records[position - first];
            let target = window.tokens[position + 1] as usize;
            let summary = Summary::of(row).map_err(|problem| Error::Logits {
                window: window.number,
                position,
                problem,
            })?;
            samples.push(Sample {
                pass: window.pass as u32,
                window: window.number as u32,
                position: position as u32,
                kld: divergence(record, row, &summary) as f32,
                nll: -summary.log_probability(row, target) as f32,
                nll_reference: -record.target,
                same_top: record.top.first().is_some_and(|(id, _)| *id as usize == summary.top),
            });
            Ok(())
        })?;
        if let Some((chosen, tally)) = &mut routing {
            tally.add(window.pass, &window.experts, &chosen.take());
        }
        meter.add(window.tokens.len() as u64)?;
    }
    let routing = routing.map(|(_, tally)| tally.figures(&header)).unwrap_or_default();
    Ok(Comparison { samples, routing })
}

/// Divergence of the distribution in `row` from the reference's.
fn divergence(record: &Record, row: &[f32], summary: &Summary) -> f64 {
    let of = |id: u32| summary.log_probability(row, id as usize);
    // p·ln(p/q) − p + q, in terms of the log-ratio so that nothing cancels.
    let term = |(id, log_p): &(u32, f32)| {
        let (log_p, log_q) = (f64::from(*log_p), of(*id));
        log_p.exp() * excess(log_q - log_p)
    };
    let top: f64 = record.top.iter().map(term).sum();
    let n_tail = record.tail.len().max(1) as f64;
    let tail: f64 = record.tail.iter().map(|(id, log_p)| excess(of(*id) - f64::from(*log_p))).sum();
    top + f64::from(record.tail_mass) * tail / n_tail
}

/// r − 1 − ln r of the logarithm of r.
fn excess(log_ratio: f64) -> f64 {
    log_ratio.exp_m1() - log_ratio
}

#[cfg(test)]
mod tests;
