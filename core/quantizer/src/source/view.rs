//! A source seen with other metadata, or without some of its layers: the layers behind them move up.
//! Knows names, metadata and descriptions; must not know why it is wanted so (`build`).

use super::restate::in_form_of;
use super::{SourceTensor, TensorSource, describe};
use crate::{Error, Result};
use families::{Form, OutputType};
use formats::gguf::{Array, GgmlType, Metadata, Value, in_layer};
use std::collections::BTreeSet;

/// The source inside, some of its tensors under other names.
pub(crate) struct View {
    inner: Box<dyn TensorSource>,
    metadata: Metadata,
    tensors: Vec<SourceTensor>,
    /// By tensor: which it is inside.
    indices: Vec<usize>,
}

impl View {
    /// `inner` with these values in its metadata: in their places, new keys behind the others.
    ///
    /// # Errors
    /// A value of another kind than the one that is there.
    pub(crate) fn restated(inner: Box<dyn TensorSource>, values: &[(String, Value)]) -> Result<Self> {
        let mut metadata = inner.metadata().clone();
        for (key, value) in values {
            let value = in_form_of(&metadata, key, value)?;
            metadata.insert(key.clone(), value);
        }
        let tensors = inner.tensors().to_vec();
        Ok(Self { metadata, indices: (0..tensors.len()).collect(), tensors, inner })
    }

    /// `inner` without the layers that `moved` takes out.
    ///
    /// # Errors
    /// An encoder with a decoder; layers behind those taken out that their new number would make layers of another kind.
    pub(crate) fn without_layers(inner: Box<dyn TensorSource>, moved: &Moved) -> Result<Self> {
        let whole = describe(inner.as_ref())?;
        let mut metadata = inner.metadata().clone();
        let of_architecture = format!("{}.", whole.architecture);
        let lists: Vec<(String, Array)> = metadata
            .iter()
            .filter(|(key, _)| key.starts_with(&of_architecture))
            .filter_map(|(key, value)| Some((key.to_string(), moved.list(value)?)))
            .collect();
        lists.into_iter().for_each(|(key, list)| {
            metadata.insert(key, Value::Array(list));
        });
        metadata.insert(format!("{of_architecture}block_count"), Value::U32(moved.n_kept() as u32));
        let dense = format!("{of_architecture}leading_dense_block_count");
        if let Some(n_dense) = metadata.u64(&dense) {
            metadata.insert(dense, Value::U32(moved.n_kept_of(n_dense) as u32));
        }
        let kept = inner.tensors().iter().enumerate().filter_map(|(index, tensor)| {
            Some((index, SourceTensor { name: moved.name(&tensor.name)?, ..tensor.clone() }))
        });
        let (indices, tensors) = kept.unzip();
        let view = Self { inner, metadata, tensors, indices };
        let kinds = whole.layers.iter().zip(0..).filter(|(_, layer)| moved.layer(*layer).is_some());
        let now = describe(&view)?;
        for (at, (kind, before)) in kinds.enumerate() {
            if now.layers.get(at) != Some(kind) {
                return Err(Error::Request {
                    wish: "prune layers".into(),
                    expected: "layers behind which all stay of the kind they are".into(),
                    got: format!(
                        "layer {before}, which as layer {at} would be of another kind in {}",
                        whole.family
                    ),
                });
            }
        }
        Ok(view)
    }
}

impl TensorSource for View {
    as_inner!(but tables);

    fn read_rows(&self, index: usize, first_row: u64, out: &mut [f32]) -> Result<()> {
        self.inner.read_rows(self.indices[index], first_row, out)
    }

    fn is_stored(&self, index: usize) -> bool {
        self.inner.is_stored(self.indices[index])
    }

    fn copy_rows(&self, index: usize, first_row: u64, out: &mut [u8]) {
        self.inner.copy_rows(self.indices[index], first_row, out);
    }

    fn float_type(&self, index: usize, output: OutputType) -> GgmlType {
        self.inner.float_type(self.indices[index], output)
    }
}

/// Which layers go, and where the others move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Moved {
    n_layers: u64,
    removed: BTreeSet<u64>,
}

impl Moved {
    /// Takes the layers of these numbers out of `source`.
    ///
    /// # Errors
    /// A layer that is not there, none that would be left, an encoder with a decoder.
    pub(crate) fn new(source: &dyn TensorSource, removed: &[u64]) -> Result<Self> {
        let refuse = |expected: String, got: String| {
            Err(Error::Request { wish: "prune layers".into(), expected, got })
        };
        let description = describe(source)?;
        if description.form == Form::EncoderDecoder {
            return refuse("a model of one stack of layers".into(), "an encoder with a decoder".into());
        }
        let n_layers = source.metadata().u64(&format!("{}.block_count", description.architecture));
        let n_layers = n_layers.unwrap_or(description.n_layers.into());
        let removed: BTreeSet<u64> = removed.iter().copied().collect();
        if let Some(beyond) = removed.iter().find(|layer| **layer >= n_layers) {
            return refuse(format!("layers 0 to {}", n_layers.saturating_sub(1)), format!("layer {beyond}"));
        }
        if removed.len() as u64 == n_layers {
            return refuse("a layer that stays".into(), format!("all {n_layers}"));
        }
        Ok(Self { n_layers, removed })
    }

    /// The number that a layer has now; `None` for one that is gone.
    fn layer(&self, layer: u64) -> Option<u64> {
        let before = self.removed.range(..layer).count() as u64;
        (!self.removed.contains(&layer)).then_some(layer - before)
    }

    /// The name that a tensor has now; `None` for one that is gone.
    pub(crate) fn name(&self, name: &str) -> Option<String> {
        let Some((layer, part)) = in_layer(name) else { return Some(name.into()) };
        Some(format!("blk.{}.{part}", self.layer(layer)?))
    }

    fn n_kept(&self) -> u64 {
        self.n_kept_of(self.n_layers)
    }

    /// How many of the first `n` layers stay.
    fn n_kept_of(&self, n: u64) -> u64 {
        n - self.removed.range(..n).count() as u64
    }

    /// What is left of a list that has one value for each layer.
    fn list(&self, value: &Value) -> Option<Array> {
        let Value::Array(list) = value else { return None };
        (list.len() as u64 == self.n_layers).then(|| list.filtered(|at| !self.removed.contains(&(at as u64))))
    }
}

#[cfg(test)]
mod tests;
