//! Figures of many positions: means with intervals, quantiles, by text and by position.
//! Knows samples and the store's header; must not know models.

use super::Sample;
use crate::reference::Header;
use crate::statistics::{Mean, quantile};
use serde::{Deserialize, Serialize};

/// Parts into which the scored positions of a window are divided.
const PARTS: usize = 4;

/// How a candidate differs from the reference. Divergences in nats per token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Positions compared.
    pub n_tokens: u64,
    /// Windows they lie in: the interval's groups.
    pub n_windows: u64,
    /// Mean divergence.
    pub kld: Mean,
    /// Median divergence.
    pub kld_median: f64,
    /// 99 % of positions diverge by less.
    pub kld_p99: f64,
    /// 99.9 % of positions diverge by less.
    pub kld_p999: f64,
    /// The greatest divergence.
    pub kld_max: f64,
    /// Share of positions with the same likeliest token.
    pub same_top: Mean,
    /// The candidate's perplexity.
    pub ppl: Mean,
    /// The reference's perplexity.
    pub ppl_reference: Mean,
    /// Their ratio, candidate over reference, from paired differences.
    pub ppl_ratio: Mean,
}

/// Figures of one text at one length of context.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DomainFigures {
    /// Name of the text.
    pub text: String,
    /// Tokens of a window.
    pub n_ctx: usize,
    /// Its figures.
    pub figures: Figures,
}

/// Figures of a stretch of positions at one length of context, over all texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PositionFigures {
    /// Tokens of a window.
    pub n_ctx: usize,
    /// First position of the stretch.
    pub from: usize,
    /// First position behind it.
    pub to: usize,
    /// Its figures.
    pub figures: Figures,
}

/// The figures of `samples`, which are in order of pass and window; `None` of none.
pub fn figures<'a>(samples: impl Iterator<Item = &'a Sample>) -> Option<Figures> {
    let samples: Vec<&Sample> = samples.collect();
    if samples.is_empty() {
        return None;
    }
    let windows: Vec<&[&Sample]> =
        samples.chunk_by(|a, b| (a.pass, a.window) == (b.pass, b.window)).collect();
    let mean = |of: &dyn Fn(&Sample) -> f64| {
        Mean::of_groups(windows.iter().map(|w| (w.iter().map(|s| of(s)).sum(), w.len())))
    };
    let mut klds: Vec<f32> = samples.iter().map(|sample| sample.kld).collect();
    klds.sort_unstable_by(f32::total_cmp);
    let exp = |mean: Mean| mean.map(f64::exp);
    Some(Figures {
        n_tokens: samples.len() as u64,
        n_windows: windows.len() as u64,
        kld: mean(&|sample| sample.kld.into()),
        kld_median: quantile(&klds, 0.5),
        kld_p99: quantile(&klds, 0.99),
        kld_p999: quantile(&klds, 0.999),
        kld_max: quantile(&klds, 1.0),
        same_top: mean(&|sample| f64::from(u8::from(sample.same_top))),
        ppl: exp(mean(&|sample| sample.nll.into())),
        ppl_reference: exp(mean(&|sample| sample.nll_reference.into())),
        ppl_ratio: exp(mean(&|sample| f64::from(sample.nll) - f64::from(sample.nll_reference))),
    })
}

/// Figures of each pass, in order.
pub(crate) fn by_pass(header: &Header, samples: &[Sample]) -> Vec<DomainFigures> {
    let of = |(number, pass): (usize, &crate::reference::PassHeader)| {
        let figures = figures(samples.iter().filter(|sample| sample.pass as usize == number))?;
        Some(DomainFigures { text: pass.text.clone(), n_ctx: pass.n_ctx, figures })
    };
    header.passes.iter().enumerate().filter_map(of).collect()
}

/// Figures of the stretches of positions of each length of context, shortest context first.
pub(crate) fn by_position(header: &Header, samples: &[Sample]) -> Vec<PositionFigures> {
    let mut lengths: Vec<usize> = header.passes.iter().map(|pass| pass.n_ctx).collect();
    lengths.sort_unstable();
    lengths.dedup();
    let mut rows = Vec::new();
    for n_ctx in lengths {
        let (first, last) = (n_ctx / 2, n_ctx - 1);
        let edge = |part: usize| first + (last - first) * part / PARTS;
        for part in 0..PARTS {
            let (from, to) = (edge(part), edge(part + 1));
            let inside = |sample: &&Sample| {
                header.passes[sample.pass as usize].n_ctx == n_ctx
                    && (from..to).contains(&(sample.position as usize))
            };
            let found = figures(samples.iter().filter(inside));
            rows.extend(found.map(|figures| PositionFigures { n_ctx, from, to, figures }));
        }
    }
    rows
}
