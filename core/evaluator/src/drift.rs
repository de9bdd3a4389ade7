//! How far the states of a candidate's recurrent layers are from a reference's, at several places of a text.
//!
//! Owns the reading and the distances. Must not know how states are laid out in an engine. A state sums up all of the text before,
//! so what rounding does to it may grow with the text, or fade as fast as the state forgets.

use crate::divergence::Computing;
use crate::progress::{Meter, Watch};
use crate::text::Pass;
use crate::{Error, Result};
use engine::{CancelToken, Logits, Model, RecurrentLayer};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Windows of each text that are read: all their states are kept until the candidates have been compared.
const WINDOWS: usize = 2;
/// Places of a window after which states are taken, at equal distances; the last is the window's end.
const PLACES: usize = 4;

/// States of one model, by pass, window and place.
#[derive(Debug, Clone, PartialEq)]
pub struct States(Vec<Vec<Vec<Vec<RecurrentLayer>>>>);

/// The distance at one place of the windows of one text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftFigures {
    /// Name of the text.
    pub text: String,
    /// Tokens of a window.
    pub n_ctx: usize,
    /// Tokens read before the state was taken.
    pub n_read: usize,
    /// Mean over layers and windows of ‖candidate − reference‖ / ‖reference‖, of the states.
    pub state: f64,
    /// The same of what short convolutions hold.
    pub convolution: f64,
    /// That of the states by recurrent layer, first to last.
    pub layers: Vec<f64>,
}

/// Takes the states of `model`; `None` where it has no recurrent layers, or its engine does not show them.
///
/// # Errors
/// What the engine reports, [`Error::Cancelled`].
pub fn states(
    model: &Arc<dyn Model>,
    passes: &[Pass],
    computing: &Computing,
    label: &str,
    cancel: &CancelToken,
    watch: &mut Watch<'_>,
) -> Result<Option<States>> {
    let read = |pass: &Pass| pass.windows.len().min(WINDOWS) * pass.n_ctx;
    let mut meter = Meter::new(watch, label, passes.iter().map(|pass| read(pass) as u64).sum());
    let mut all = Vec::new();
    for pass in passes {
        let (settings, _) = computing.settings(model.n_vocab(), pass.n_ctx)?;
        let mut context = Arc::clone(model).new_context(&settings)?;
        let mut of_pass = Vec::new();
        for window in pass.windows.iter().take(WINDOWS) {
            context.truncate(0)?;
            let mut of_window = Vec::new();
            for place in 0..PLACES {
                let part = &window[place_at(pass.n_ctx, place)..place_at(pass.n_ctx, place + 1)];
                context.decode(part, Logits::None, cancel)?;
                match context.recurrent_state() {
                    Ok(Some(layers)) => of_window.push(layers),
                    Ok(None) | Err(engine::Error::State { .. }) => return Ok(None),
                    Err(error) => return Err(error.into()),
                }
            }
            of_pass.push(of_window);
            meter.add(pass.n_ctx as u64)?;
        }
        all.push(of_pass);
    }
    Ok(Some(States(all)))
}

/// Tokens before the place of this number.
fn place_at(n_ctx: usize, place: usize) -> usize {
    n_ctx * place / PLACES
}

/// The distances of a candidate's states from the reference's over the same passes.
///
/// # Errors
/// Layers of other shapes.
pub fn distances(passes: &[Pass], reference: &States, candidate: &States) -> Result<Vec<DriftFigures>> {
    let mut figures = Vec::new();
    for ((pass, ours), theirs) in passes.iter().zip(&reference.0).zip(&candidate.0) {
        for place in 0..PLACES {
            let windows: Vec<_> = ours.iter().zip(theirs).map(|(a, b)| (&a[place], &b[place])).collect();
            let n_layers = windows.first().map_or(0, |(layers, _)| layers.len());
            if windows.iter().any(|(a, b)| a.len() != n_layers || b.len() != n_layers) || n_layers == 0 {
                return Err(Error::request(
                    "candidate",
                    "as many recurrent layers as the reference",
                    "another number",
                ));
            }
            let n = windows.len() as f64;
            let (mut layers, mut convolution) = (vec![0.0; n_layers], 0.0);
            for (a, b) in &windows {
                for (number, (a, b)) in a.iter().zip(*b).enumerate() {
                    layers[number] += distance(&a.state, &b.state)? / n;
                    convolution += distance(&a.convolution, &b.convolution)? / n / n_layers as f64;
                }
            }
            figures.push(DriftFigures {
                text: pass.text.clone(),
                n_ctx: pass.n_ctx,
                n_read: place_at(pass.n_ctx, place + 1),
                state: layers.iter().sum::<f64>() / n_layers as f64,
                convolution,
                layers,
            });
        }
    }
    Ok(figures)
}

/// ‖b − a‖ / ‖a‖; of nothing 0.
fn distance(a: &[f32], b: &[f32]) -> Result<f64> {
    if a.len() != b.len() {
        return Err(Error::request("candidate", format!("states of {} numbers", a.len()), b.len()));
    }
    let pairs = a.iter().zip(b).map(|(a, b)| (f64::from(*a), f64::from(*b)));
    let (apart, norm) = pairs.fold((0.0, 0.0), |sum, (a, b)| (sum.0 + (b - a).powi(2), sum.1 + a * a));
    Ok(if apart > 0.0 { (apart / norm.max(f64::MIN_POSITIVE)).sqrt() } else { 0.0 })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn distances_are_relative_and_by_place_and_layer() {
        let pass = Pass { text: "t".into(), n_ctx: 8, windows: vec![vec![0; 8]; 2] };
        let layer =
            |scale: f32| RecurrentLayer { convolution: vec![scale], state: vec![3.0 * scale, 4.0 * scale] };
        let states = |scale: f32| {
            let place = |place: usize| vec![layer(1.0), layer(1.0 + scale * place as f32)];
            States(vec![vec![(0..PLACES).map(place).collect(); 2]])
        };
        let found = distances(std::slice::from_ref(&pass), &states(0.0), &states(0.5)).unwrap();
        assert_eq!(found.iter().map(|row| row.n_read).collect::<Vec<_>>(), [2, 4, 6, 8]);
        assert_eq!(found.iter().map(|row| row.state).collect::<Vec<_>>(), [0.0, 0.25, 0.5, 0.75]);
        assert_eq!((found[3].convolution, &found[3].layers[..]), (0.75, &[0.0, 1.5][..]));
        let fewer = States(vec![vec![vec![vec![layer(1.0)]; PLACES]; 2]]);
        assert!(distances(&[pass], &states(0.0), &fewer).is_err());
        assert!(distance(&[1.0], &[1.0, 2.0]).is_err());
        assert_eq!(distance(&[0.0], &[0.0]).unwrap(), 0.0);
    }
}
