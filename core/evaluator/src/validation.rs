//! The whole of a validation: a candidate's figures by text and by position, beside the floor, with a word for them.
//! Owns what a report holds; must not know how it is shown or kept.

use crate::divergence::{DomainFigures, Figures, PositionFigures, Sample, by_pass, by_position, figures};
use crate::drift::DriftFigures;
use crate::grade::Grade;
use crate::needle::NeedleFigures;
use crate::reference::Header;
use crate::routing::RoutingFigures;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// What a validation found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Validation {
    /// The reference, as its store states it.
    pub reference: String,
    /// The candidate.
    pub candidate: String,
    /// Tokens of a window of the first pass, which `overall` is about.
    pub n_ctx: usize,
    /// All texts at the first pass's length of context.
    pub overall: Figures,
    /// The word for `overall`.
    pub grade: Grade,
    /// Each text at each length of context.
    pub domains: Vec<DomainFigures>,
    /// Stretches of positions at each length of context.
    pub positions: Vec<PositionFigures>,
    /// The reference against itself: what the method shows where there is nothing to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floor: Option<Figures>,
    /// The choice of experts by text and length of context; empty where there are none, or where they cannot be compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routing: Vec<RoutingFigures>,
    /// What both found in long texts; empty where nothing was searched for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needles: Vec<NeedleFigures>,
    /// The states of recurrent layers; empty where there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub drift: Vec<DriftFigures>,
}

impl Validation {
    /// Of the samples that [`crate::divergence::compare`] took over the store of this header.
    ///
    /// # Errors
    /// No samples.
    pub fn of(header: &Header, candidate: &str, samples: &[Sample]) -> Result<Self> {
        let overall = overall(header, samples)
            .ok_or_else(|| Error::request("validation", "at least one position compared", "none"))?;
        Ok(Self {
            reference: header.reference.clone(),
            candidate: candidate.into(),
            n_ctx: header.passes.first().map_or(0, |pass| pass.n_ctx),
            grade: Grade::of(&overall, None),
            overall,
            domains: by_pass(header, samples),
            positions: by_position(header, samples),
            floor: None,
            routing: Vec::new(),
            needles: Vec::new(),
            drift: Vec::new(),
        })
    }
}

/// The figures of all passes of the first one's length of context.
pub fn overall(header: &Header, samples: &[Sample]) -> Option<Figures> {
    let n_ctx = header.passes.first()?.n_ctx;
    let is_first = |sample: &&Sample| header.passes[sample.pass as usize].n_ctx == n_ctx;
    figures(samples.iter().filter(is_first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reference::{Keep, PassHeader};

    #[test]
    fn texts_and_positions_are_told_apart() {
        let pass = |text: &str, n_ctx| PassHeader { text: text.into(), n_ctx, n_windows: 2 };
        let header = Header {
            format: 1,
            reference: "F16".into(),
            identity: String::new(),
            n_vocab: 8,
            keep: Keep::default(),
            passes: vec![pass("english", 10), pass("code", 10), pass("english", 18)],
            routers: Vec::new(),
        };
        let mut samples = Vec::new();
        for (number, pass) in header.passes.iter().enumerate() {
            for window in 0..2 {
                for position in pass.n_ctx / 2..pass.n_ctx - 1 {
                    let kld = 0.01 * (number + 1) as f32;
                    let (pass, position) = (number as u32, position as u32);
                    samples.push(Sample {
                        pass,
                        window,
                        position,
                        kld,
                        nll: 1.0,
                        nll_reference: 1.0,
                        same_top: true,
                    });
                }
            }
        }
        let validation = Validation::of(&header, "Q4_K_M", &samples).expect("samples");
        assert_eq!((validation.n_ctx, validation.overall.n_tokens), (10, 16));
        assert!((validation.overall.kld.mean - 0.015).abs() < 1e-6);
        assert_eq!(validation.grade.word, "production");
        let means: Vec<f64> = validation.domains.iter().map(|domain| domain.figures.kld.mean).collect();
        assert!(means.iter().zip([0.01, 0.02, 0.03]).all(|(mean, expected)| (mean - expected).abs() < 1e-6));
        let stretches: Vec<_> =
            validation.positions.iter().map(|row| (row.n_ctx, row.from, row.to)).collect();
        assert_eq!(stretches[0], (10, 5, 6));
        assert_eq!(stretches[4..], [(18, 9, 11), (18, 11, 13), (18, 13, 15), (18, 15, 17)]);
        let all: u64 = validation.positions.iter().map(|row| row.figures.n_tokens).sum();
        assert_eq!(all, samples.len() as u64);
        assert!(Validation::of(&header, "Q4_K_M", &[]).is_err());
    }
}
