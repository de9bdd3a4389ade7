//! A source whose widths are padded with zeros to what blocks of 256 weights divide (gpt-oss: 2,880 to 3,072), so that it can
//! become every type; it computes the same (`data/padding.toml`).
//! Knows roles, shapes and metadata; must not know types.
//!
//! What normalizes the residual stream divides by the root of the mean of `n'` squares instead of `n`, of which `n' - n` are
//! zero: with `r = n / n'`, weights times `√r` and an epsilon times `r` give what there was.

use super::{SourceTensor, TensorSource, describe};
use crate::{Error, Result};
use families::{Description, OutputType, Role, role_of};
use formats::gguf::{Array, GgmlType, Metadata, Value, in_layer};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What widths become multiples of.
const BLOCK: u64 = 256;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    serde_json::from_slice(include_bytes!(concat!(env!("OUT_DIR"), "/padding.json")))
        .expect("the built-in table parses: every test of this file reads it")
});

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    architectures: Vec<String>,
    norms: Vec<String>,
    widths: Vec<String>,
    extents: BTreeMap<Role, [Extent; 2]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Extent {
    Hidden,
    Inner,
    #[serde(rename = "-")]
    Other,
}

/// The source inside, with zeros behind its rows and beneath its matrices.
pub(crate) struct PaddedSource {
    inner: Box<dyn TensorSource>,
    metadata: Metadata,
    tensors: Vec<SourceTensor>,
    /// By tensor, what its values are multiplied by.
    factors: Vec<f32>,
}

/// Architectures that can be padded.
pub fn architectures() -> impl Iterator<Item = &'static str> {
    TABLE.architectures.iter().map(String::as_str)
}

impl PaddedSource {
    /// Pads `inner`.
    ///
    /// # Errors
    /// An architecture that the table does not have.
    pub(crate) fn new(inner: Box<dyn TensorSource>) -> Result<Self> {
        let description = describe(inner.as_ref())?;
        if !TABLE.architectures.contains(&description.architecture) {
            return Err(Error::Request {
                wish: "pad".into(),
                expected: format!("one of {}", TABLE.architectures.join(", ")),
                got: description.architecture,
            });
        }
        let hidden = description.hidden_size;
        let padded = hidden.next_multiple_of(BLOCK);
        let ratio = hidden as f64 / padded as f64;
        let mut tensors = inner.tensors().to_vec();
        let mut factors = vec![1f32; tensors.len()];
        for (tensor, factor) in tensors.iter_mut().zip(&mut factors) {
            let before = tensor.dims.clone();
            for (dim, extent) in tensor.dims.iter_mut().zip(extents(&tensor.name, before.len())) {
                if extent != Extent::Other {
                    *dim = dim.next_multiple_of(BLOCK);
                }
            }
            if is_norm(&tensor.name) {
                *factor = ratio.sqrt() as f32;
            }
            let (before, now) = (before.iter().product::<u64>(), tensor.dims.iter().product::<u64>());
            tensor.source_bytes =
                (u128::from(tensor.source_bytes) * u128::from(now) / u128::from(before.max(1))) as u64;
        }
        let metadata = restated(inner.metadata(), &description, ratio);
        Ok(Self { inner, metadata, tensors, factors })
    }

    /// Whether any width was padded.
    pub(crate) fn is_changed(&self) -> bool {
        self.inner.tensors() != self.tensors
    }

    /// Columns of `tensor` before.
    pub(crate) fn columns_before(&self, tensor: usize) -> u64 {
        self.inner.tensors()[tensor].dims[0]
    }

    /// Hands each row of `n_rows` from `first_row` on over: its number inside, or none for one of zeros.
    fn rows(
        &self,
        index: usize,
        first_row: u64,
        n_rows: u64,
        each: &mut dyn FnMut(usize, Option<u64>) -> Result<()>,
    ) -> Result<()> {
        let (before, now) =
            (self.inner.tensors()[index].rows_per_matrix(), self.tensors[index].rows_per_matrix());
        for at in 0..n_rows {
            let (matrix, row) = ((first_row + at) / now, (first_row + at) % now);
            each(at as usize, (row < before).then_some(matrix * before + row))?;
        }
        Ok(())
    }
}

fn is_norm(name: &str) -> bool {
    let stem = stem(name);
    TABLE.norms.iter().any(|norm| stem == norm) && name.ends_with(".weight")
}

/// `blk.3.ffn_up.weight` → `ffn_up`.
fn stem(name: &str) -> &str {
    let name = name.strip_suffix(".weight").or_else(|| name.strip_suffix(".bias")).unwrap_or(name);
    in_layer::<u64>(name).map_or(name, |(_, part)| part)
}

/// What the extents of a tensor are.
fn extents(name: &str, n_dims: usize) -> Vec<Extent> {
    let mut extents = vec![Extent::Other; n_dims];
    if is_norm(name) {
        extents[0] = Extent::Hidden;
        return extents;
    }
    let weight = format!("{}.weight", name.strip_suffix(".bias").unwrap_or(name));
    let role = role_of(if name.ends_with(".bias") { &weight } else { name });
    let Some([columns, rows]) = TABLE.extents.get(&role) else { return extents };
    match name.ends_with(".bias") {
        true => extents[0] = *rows,
        false if n_dims > 1 => (extents[0], extents[1]) = (*columns, *rows),
        // A router's bias by another name.
        false => {}
    }
    extents
}

/// Metadata with padded widths, and with what readers would otherwise make of them.
fn restated(metadata: &Metadata, description: &Description, ratio: f64) -> Metadata {
    let key = |name: &str| format!("{}.{name}", description.architecture);
    let mut stated = metadata.clone();
    // A head's width is that of the stream by heads where nothing else is said.
    let says_nothing = metadata.get(&key("attention.key_length")).is_none();
    if let Some(width) =
        description.hidden_size.checked_div(description.n_heads.into()).filter(|_| says_nothing)
    {
        for name in ["attention.key_length", "attention.value_length", "rope.dimension_count"] {
            if metadata.get(&key(name)).is_none() {
                stated.insert(key(name), Value::U32(width as u32));
            }
        }
    }
    for name in &TABLE.widths {
        let pad = |width: u32| width.next_multiple_of(BLOCK as u32);
        let padded = match metadata.get(&key(name)) {
            Some(Value::Array(Array::U32(of_layers))) => {
                Some(Value::Array(Array::U32(of_layers.iter().map(|width| pad(*width)).collect())))
            }
            Some(Value::Array(Array::I32(of_layers))) => Some(Value::Array(Array::I32(
                of_layers.iter().map(|width| pad(*width as u32) as i32).collect(),
            ))),
            other => other.and_then(Value::as_u64).map(|width| Value::U32(pad(width as u32))),
        };
        if let Some(padded) = padded {
            stated.insert(key(name), padded);
        }
    }
    let epsilon = key("attention.layer_norm_rms_epsilon");
    if let Some(value) = metadata.f64(&epsilon) {
        stated.insert(epsilon, Value::F32((value * ratio) as f32));
    }
    stated
}

impl TensorSource for PaddedSource {
    as_inner!(but tables);

    fn read_rows(&self, index: usize, first_row: u64, out: &mut [f32]) -> Result<()> {
        let (before, now) =
            (self.inner.tensors()[index].dims[0] as usize, self.tensors[index].dims[0] as usize);
        self.rows(index, first_row, (out.len() / now) as u64, &mut |at, inside| {
            let (row, beyond) = out[at * now..][..now].split_at_mut(before);
            beyond.fill(0.0);
            match inside {
                Some(inside) => self.inner.read_rows(index, inside, row)?,
                None => row.fill(0.0),
            }
            row.iter_mut().for_each(|weight| *weight *= self.factors[index]);
            Ok(())
        })
    }

    fn is_stored(&self, index: usize) -> bool {
        let (before, now) = (self.inner.tensors()[index].dims[0], self.tensors[index].dims[0]);
        // In every type bytes of zero are weights of zero.
        let divides = (now - before).is_multiple_of(self.tensors[index].ty.block_len());
        self.factors[index] == 1.0 && divides && self.inner.is_stored(index)
    }

    fn copy_rows(&self, index: usize, first_row: u64, out: &mut [u8]) {
        let ty = self.tensors[index].ty;
        let bytes = |columns: u64| ty.row_bytes(columns).expect("a stored row divides into blocks") as usize;
        let (before, now) = (bytes(self.inner.tensors()[index].dims[0]), bytes(self.tensors[index].dims[0]));
        let n_rows = (out.len() / now) as u64;
        let copied = self.rows(index, first_row, n_rows, &mut |at, inside| {
            let (row, beyond) = out[at * now..][..now].split_at_mut(before);
            beyond.fill(0);
            match inside {
                Some(inside) => self.inner.copy_rows(index, inside, row),
                None => row.fill(0),
            }
            Ok(())
        });
        copied.expect("copying does not fail");
    }

    fn float_type(&self, index: usize, output: OutputType) -> GgmlType {
        self.inner.float_type(index, output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_what_is_as_wide_as_the_stream() {
        use Extent::{Hidden, Inner, Other};
        for (name, n_dims, expected) in [
            ("token_embd.weight", 2, &[Hidden, Other][..]),
            ("blk.3.attn_output.weight", 2, &[Other, Hidden]),
            ("blk.3.attn_output.bias", 1, &[Hidden]),
            ("blk.3.attn_q.bias", 1, &[Other]),
            ("blk.3.attn_q_norm.weight", 1, &[Other]),
            ("blk.3.attn_norm.weight", 1, &[Hidden]),
            ("blk.3.ffn_down_exps.weight", 3, &[Inner, Hidden, Other]),
            ("blk.3.ffn_down_exps.bias", 2, &[Hidden, Other]),
            ("blk.3.ffn_up_exps.bias", 2, &[Inner, Other]),
            ("blk.3.ffn_gate_inp.weight", 2, &[Hidden, Other]),
            ("blk.3.ffn_gate_inp.bias", 1, &[Other]),
            ("blk.3.attn_sinks.weight", 1, &[Other]),
        ] {
            assert_eq!(extents(name, n_dims), expected, "{name}");
        }
    }
}
