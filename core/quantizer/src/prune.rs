//! Which experts matter: how much each gives on calibration text, and models without those that give least.
//! Knows sources, moments and importance matrices; must not know bundles or texts.
//!
//! An expert gives as much as tokens come to it times the root mean square of what its down projection makes of them, which
//! moments tell (`tr(W H Wᵀ)`), and importance matrices nearly (their diagonal). How much of that the router lets through is not
//! among either. The same number goes from every layer: files hold one number of experts.

use crate::judge::{Judge, Judging, mean};
use crate::moments::Part;
use crate::rounding::error;
use crate::source::pruned::{Kept, PrunedSource, n_experts};
use crate::source::{SourceTensor, TensorSource, describe};
use crate::{Error, Importance, Moments, Result, Watch, convert};
use families::{OutputType, Role, role_of};
use formats::gguf::layer_of;
use serde::Serialize;
use std::fs::File;
use std::io::BufWriter;
use std::sync::Arc;

/// What was taken out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pruning {
    /// Experts that each routed layer had.
    pub n_experts: usize,
    /// Experts that each has now.
    pub n_kept: usize,
    /// Experts that a token uses now.
    pub n_active: usize,
    /// Every routed layer.
    pub layers: Vec<PrunedLayer>,
}

/// One layer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PrunedLayer {
    /// Its number.
    pub layer: u64,
    /// The experts that were taken out, by their old numbers.
    pub removed: Vec<usize>,
    /// Their share of what all experts of the layer gave.
    pub removed_share: f64,
}

/// What pruning alone costs, before types change.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PruningLoss {
    /// Mean KLD in nats from the whole model.
    pub kld: f64,
    /// Its standard error over windows.
    pub standard_error: f64,
    /// Positions that were judged.
    pub n_scored: usize,
}

/// Takes the `n` experts that give least out of every layer of `source`. Of moments and an importance matrix, moments count.
///
/// # Errors
/// Neither of them, or one that does not know the experts; a model without experts, or with too few.
pub fn prune_experts(
    source: Box<dyn TensorSource>,
    n: usize,
    importance: Option<&Importance>,
    moments: Option<&Moments>,
) -> Result<(PrunedSource, Pruning)> {
    let request =
        |expected: String, got: String| Error::Request { wish: "prune experts".into(), expected, got };
    let n_experts = n_experts(source.as_ref())?;
    if n == 0 || n >= n_experts {
        let expected = format!("1 to {} of {n_experts} experts of each layer", n_experts.saturating_sub(1));
        return Err(request(expected, n.to_string()));
    }
    if importance.is_none() && moments.is_none() {
        let expected = "moments or an importance matrix, which say what experts give".to_string();
        return Err(request(expected, "neither".into()));
    }
    let mut kept = Kept::new();
    let mut layers = Vec::new();
    for (index, tensor) in source.tensors().iter().enumerate() {
        let Some(layer) = layer_of(&tensor.name).filter(|_| is_stack_of_down(tensor)) else { continue };
        let gifts = gifts(source.as_ref(), index, importance, moments)?;
        let mut order: Vec<usize> = (0..gifts.len()).collect();
        // Of equals the earlier ones stay.
        order.sort_by(|a, b| gifts[*b].total_cmp(&gifts[*a]).then(a.cmp(b)));
        let mut removed = order.split_off(n_experts - n);
        order.sort_unstable();
        removed.sort_unstable();
        let of_removed: f64 = removed.iter().map(|expert| gifts[*expert]).sum();
        let removed_share = of_removed / gifts.iter().sum::<f64>().max(f64::MIN_POSITIVE);
        layers.push(PrunedLayer { layer, removed, removed_share });
        kept.insert(layer, Arc::from(order));
    }
    let pruned = PrunedSource::new(source, &kept)?;
    let n_active = describe(&pruned)?.moe.map_or(0, |moe| moe.n_active as usize);
    Ok((pruned, Pruning { n_experts, n_kept: n_experts - n, n_active, layers }))
}

fn is_stack_of_down(tensor: &SourceTensor) -> bool {
    role_of(&tensor.name) == Role::RoutedDown && tensor.dims.len() == 3
}

/// What each expert of a stack of down projections gives.
fn gifts(
    source: &dyn TensorSource,
    index: usize,
    importance: Option<&Importance>,
    moments: Option<&Moments>,
) -> Result<Vec<f64>> {
    let tensor = &source.tensors()[index];
    let (n_columns, per_matrix) = (tensor.dims[0] as usize, tensor.rows_per_matrix());
    let unknown = |of: &str| Error::Tensor {
        path: source.path().into(),
        tensor: tensor.name.clone(),
        problem: format!("expected {of} of what flows into it, by expert, got none"),
    };
    let mut weights = vec![0f32; per_matrix as usize * n_columns];
    let zeros = vec![0f32; weights.len()];
    let mut gifts = Vec::new();
    for matrix in 0..tensor.dims[2] as usize {
        source.read_rows(index, matrix as u64 * per_matrix, &mut weights)?;
        let (n_tokens, power) = if let Some(moments) = moments {
            let of = |part| {
                let layout = moments.layout(&tensor.name)?;
                let fits = layout.n_columns == n_columns && layout.n_matrices as u64 == tensor.dims[2];
                moments.of(&tensor.name, matrix, part).filter(|_| fits)
            };
            let (seen, held) = of(Part::Seen).zip(of(Part::HeldOut)).ok_or_else(|| unknown("moments"))?;
            let n_tokens = seen.n_tokens + held.n_tokens;
            (n_tokens, error(seen.block, &seen.values, &weights, &zeros, n_columns))
        } else {
            let row = importance.and_then(|importance| importance.row(&tensor.name, matrix, n_columns));
            let count = importance.and_then(|importance| importance.count(&tensor.name, matrix));
            let (row, count) = row.zip(count).ok_or_else(|| unknown("importance"))?;
            let of_row = |weights: &[f32]| -> f64 {
                weights.iter().zip(row).map(|(w, x)| f64::from(*w).powi(2) * f64::from(*x)).sum()
            };
            (count, weights.chunks(n_columns).map(of_row).sum())
        };
        gifts.push(n_tokens * power.max(0.0).sqrt());
    }
    Ok(gifts)
}

/// What taking experts out costs on a text, in the precision of the source.
///
/// # Errors
/// Text that is too short, a model that cannot be loaded, a full disk, or [`Error::Cancelled`].
pub fn pruning_loss(
    pruned: &dyn TensorSource,
    judging: &Judging<'_>,
    watch: &mut Watch<'_>,
) -> Result<PruningLoss> {
    let judge = Judge::new(judging, watch)?;
    let path = judging.scratch.join("pruned.gguf");
    let file = File::create(&path).map_err(|error| Error::io(&path, error))?;
    let output = match pruned.precision().as_str() {
        "F16" => OutputType::F16,
        "F32" => OutputType::F32,
        _ => OutputType::Bf16,
    };
    convert(pruned, output, BufWriter::new(file), judging.threads, watch)?;
    let (kld, standard_error) = mean(&judge.open(&path)?.all()?);
    Ok(PruningLoss { kld, standard_error, n_scored: judge.n_scored() })
}

#[cfg(test)]
mod tests;
