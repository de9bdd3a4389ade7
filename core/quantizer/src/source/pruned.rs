//! A source without some of its experts: router and stacks cut together, the metadata with their new number.
//! Knows names and shapes of experts' tensors; must not know which experts matter (`prune`).

use super::{SourceTensor, TensorSource, describe};
use crate::{Error, Result};
use families::{OutputType, Role, role_of};
use formats::gguf::{GgmlType, Metadata, Value, layer_of};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Experts of every routed layer that stay, in rising order, by layer.
pub(crate) type Kept = BTreeMap<u64, Arc<[usize]>>;

/// A source whose routed layers have the same number of experts each, fewer than the one inside.
pub struct PrunedSource {
    inner: Box<dyn TensorSource>,
    metadata: Metadata,
    tensors: Vec<SourceTensor>,
    /// By tensor: the experts that stay, where it has a part for each.
    kept: Vec<Option<Arc<[usize]>>>,
    n_experts: usize,
}

impl PrunedSource {
    /// Takes the experts that are not `kept` out of `inner`; every routed layer keeps as many.
    ///
    /// # Errors
    /// A model without experts, one that chooses among groups of experts or by tokens, tensors that are not what their names
    /// say.
    pub(crate) fn new(inner: Box<dyn TensorSource>, kept: &Kept) -> Result<Self> {
        let n_experts = n_experts(inner.as_ref())?;
        let n_kept = kept.values().next().map_or(n_experts, |kept| kept.len());
        let mut metadata = inner.metadata().clone();
        let architecture = metadata.str("general.architecture").unwrap_or_default().to_string();
        let used = format!("{architecture}.expert_used_count");
        for (key, most) in [(format!("{architecture}.expert_count"), None), (used, Some(n_kept as u64))] {
            if let Some(stated) = metadata.u64(&key) {
                let value = most.map_or(n_kept as u64, |most| stated.min(most));
                metadata.insert(key, Value::U32(value as u32));
            }
        }
        let mut tensors = inner.tensors().to_vec();
        let mut of_tensors = vec![None; tensors.len()];
        for (tensor, of_tensor) in tensors.iter_mut().zip(&mut of_tensors) {
            if !has_a_part_for_each(&tensor.name) {
                continue;
            }
            let refuse = |problem: String| Error::Tensor {
                path: inner.path().into(),
                tensor: tensor.name.clone(),
                problem,
            };
            let last = tensor.dims.last().copied().unwrap_or(0);
            if last != n_experts as u64 {
                return Err(refuse(format!("expected a part for each of {n_experts} experts, got {last}")));
            }
            let kept = layer_of(&tensor.name).and_then(|layer| kept.get(&layer));
            let kept = kept.ok_or_else(|| refuse("is of a layer whose experts were not ranked".into()))?;
            *tensor.dims.last_mut().expect("it has a last extent") = kept.len() as u64;
            tensor.source_bytes = tensor.source_bytes / last * kept.len() as u64;
            *of_tensor = Some(Arc::clone(kept));
        }
        Ok(Self { inner, metadata, tensors, kept: of_tensors, n_experts })
    }

    /// Every stack of experts' matrices, with the experts that stay.
    pub(crate) fn stacks(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let stacks = self.tensors.iter().zip(&self.kept).filter(|(tensor, _)| tensor.dims.len() == 3);
        stacks.filter_map(|(tensor, kept)| Some((tensor.name.as_str(), kept.as_deref()?)))
    }

    /// Hands each run of rows over that lies together inside: its first row there, and which rows of those asked for it is.
    fn runs(
        &self,
        index: usize,
        kept: &[usize],
        first_row: u64,
        n_rows: u64,
        each: &mut dyn FnMut(u64, std::ops::Range<u64>) -> Result<()>,
    ) -> Result<()> {
        let per_expert = self.tensors[index].n_rows() / kept.len() as u64;
        let mut row = first_row;
        while row < first_row + n_rows {
            let (slot, of_expert) = ((row / per_expert) as usize, row % per_expert);
            let n = (per_expert - of_expert).min(first_row + n_rows - row);
            let inside = kept[slot] as u64 * per_expert + of_expert;
            each(inside, row - first_row..row - first_row + n)?;
            row += n;
        }
        Ok(())
    }
}

impl TensorSource for PrunedSource {
    as_inner!(but tables);

    fn read_rows(&self, index: usize, first_row: u64, out: &mut [f32]) -> Result<()> {
        let Some(kept) = &self.kept[index] else { return self.inner.read_rows(index, first_row, out) };
        if self.tensors[index].dims.len() == 1 {
            let mut whole = vec![0f32; self.n_experts];
            self.inner.read_rows(index, 0, &mut whole)?;
            out.iter_mut().zip(kept.iter()).for_each(|(value, expert)| *value = whole[*expert]);
            return Ok(());
        }
        let width = self.tensors[index].dims[0] as usize;
        let n_rows = (out.len() / width) as u64;
        self.runs(index, kept, first_row, n_rows, &mut |inside, rows| {
            let out = &mut out[rows.start as usize * width..rows.end as usize * width];
            self.inner.read_rows(index, inside, out)
        })
    }

    fn is_stored(&self, index: usize) -> bool {
        let picked = self.kept[index].is_some() && self.tensors[index].dims.len() == 1;
        !picked && self.inner.is_stored(index)
    }

    fn copy_rows(&self, index: usize, first_row: u64, out: &mut [u8]) {
        let Some(kept) = &self.kept[index] else { return self.inner.copy_rows(index, first_row, out) };
        let tensor = &self.tensors[index];
        let row_bytes =
            tensor.ty.row_bytes(tensor.dims[0]).expect("a stored row divides into blocks") as usize;
        let n_rows = (out.len() / row_bytes) as u64;
        let copied = self.runs(index, kept, first_row, n_rows, &mut |inside, rows| {
            let out = &mut out[rows.start as usize * row_bytes..rows.end as usize * row_bytes];
            self.inner.copy_rows(index, inside, out);
            Ok(())
        });
        copied.expect("copying does not fail");
    }

    fn float_type(&self, index: usize, output: OutputType) -> GgmlType {
        self.inner.float_type(index, output)
    }
}

/// Experts of every routed layer.
///
/// # Errors
/// A model whose experts cannot be taken out one by one.
pub(crate) fn n_experts(source: &dyn TensorSource) -> Result<usize> {
    let refuse = |got: String| Error::Request {
        wish: "prune experts".into(),
        expected: "a model with experts that a router chooses one by one".into(),
        got,
    };
    let description = describe(source)?;
    let Some(moe) = description.moe else {
        return Err(refuse(format!("{}, which has none", description.family)));
    };
    let groups = source.metadata().u64(&format!("{}.expert_group_count", description.architecture));
    if let Some(groups) = groups.filter(|groups| *groups > 1) {
        return Err(refuse(format!("{}, which chooses among {groups} groups of them", description.family)));
    }
    if let Some(by_token) = source.tensors().iter().find(|tensor| tensor.name.contains("tid2eid")) {
        return Err(refuse(format!("`{}`, which chooses them by tokens", by_token.name)));
    }
    Ok(moe.n_experts as usize)
}

/// Whether a tensor has a part for each expert: stacks, their biases and scales, what the router chooses with.
fn has_a_part_for_each(name: &str) -> bool {
    if name.contains("_exps.") {
        return true;
    }
    role_of(name) == Role::Router && !name.contains("_shexp")
}

#[cfg(test)]
pub(crate) mod tests;
