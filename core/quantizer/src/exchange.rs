//! Where factors may move between tensors of a layer so that the model computes what it did (`data/exchanges.toml`): into the
//! columns of the matrices that read something, out of what comes before.
//! Knows names, shapes and descriptions; must not know why factors are wanted (`fold`, `onnx::statics`).

use crate::Result;
use crate::source::smoothed::Factors;
use crate::source::{SourceTensor, TensorSource, describe};
use families::Description;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    serde_json::from_slice(include_bytes!(concat!(env!("OUT_DIR"), "/exchanges.json")))
        .expect("the built-in table parses: every test of this file reads it")
});

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    architectures: Vec<String>,
    #[serde(rename = "exchange")]
    rules: Vec<Rule>,
}

/// Something that flows into matrices of a layer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    readers: Vec<String>,
    after: After,
    #[serde(default)]
    by_kv_head: bool,
    gate: Option<String>,
    #[serde(default)]
    unless: Vec<String>,
    #[serde(default)]
    stacked: bool,
}

/// What comes before it and can take its factors.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct After {
    kind: AfterKind,
    tensors: Vec<String>,
}

/// How it takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AfterKind {
    /// Element by element.
    Norm,
    /// In its last rows.
    Rows,
}

/// Matrices that read the same, and what can take their factors.
#[derive(Debug, Clone)]
pub(crate) struct Exchange {
    /// Names and indices.
    pub(crate) readers: Vec<(String, usize)>,
    takers: Vec<Taker>,
    /// By column of a matrix, which of its factors it has.
    pub(crate) group: Vec<usize>,
    /// Matrices of a stack, each with factors of its own.
    pub(crate) n_matrices: usize,
}

/// A tensor that takes the inverse factors: in its rows or its columns, from `first` on of so many for each matrix.
#[derive(Debug, Clone)]
struct Taker {
    tensor: String,
    by_rows: bool,
    first: usize,
    len: usize,
}

/// Architectures whose factors may move.
pub fn architectures() -> impl Iterator<Item = &'static str> {
    TABLE.architectures.iter().map(String::as_str)
}

/// What flows into matrices of `source`, layer by layer; where nothing can take factors, no factors can move.
///
/// # Errors
/// Metadata that does not describe a model.
pub(crate) fn exchanges(source: &dyn TensorSource) -> Result<Vec<Exchange>> {
    let description = describe(source)?;
    let names: BTreeMap<&str, usize> =
        source.tensors().iter().enumerate().map(|(index, tensor)| (tensor.name.as_str(), index)).collect();
    let is_known = TABLE.architectures.contains(&description.architecture);
    let mut exchanges = Vec::new();
    for layer in 0..description.layers.len() {
        let find = |name: &str| names.get(format!("blk.{layer}.{name}").as_str()).copied();
        for rule in &TABLE.rules {
            let named = rule.readers.iter().filter_map(|reader| find(&format!("{reader}.weight")));
            let readers: Vec<(String, usize)> =
                named.map(|index| (source.tensors()[index].name.clone(), index)).collect();
            let Some((_, first)) = readers.first() else { continue };
            let reader = &source.tensors()[*first];
            let n_matrices = if rule.stacked { reader.dims.get(2).copied().unwrap_or(1) } else { 1 } as usize;
            let group = groups(rule, &description, layer, reader.dims[0] as usize);
            let n_factors = group.iter().max().map_or(0, |last| last + 1);
            // What is stored in blocks would be rounded once more.
            let is_whole = readers.iter().all(|(_, index)| !source.tensors()[*index].ty.is_quantized());
            let takers = match is_known && is_whole && !rule.unless.iter().any(|name| find(name).is_some()) {
                true => takers(source, rule, &find, n_factors),
                false => Vec::new(),
            };
            exchanges.push(Exchange { readers, takers, group, n_matrices });
        }
    }
    Ok(exchanges)
}

/// The first tensor of the rule that the layer has, and its bias; none where it has none that is so long.
fn takers(
    source: &dyn TensorSource,
    rule: &Rule,
    find: &dyn Fn(&str) -> Option<usize>,
    n_factors: usize,
) -> Vec<Taker> {
    let found = |part: &str, stem: &String| find(&format!("{stem}.{part}"));
    let Some(stem) = rule.after.tensors.iter().find(|stem| found("weight", stem).is_some()) else {
        return Vec::new();
    };
    let taker = |tensor: &SourceTensor| {
        if tensor.ty.is_quantized() {
            return None;
        }
        let by_rows = rule.after.kind == AfterKind::Rows && tensor.dims.len() > 1;
        let len = if by_rows { tensor.rows_per_matrix() } else { tensor.dims[0] } as usize;
        let is_gated = rule.gate.as_ref().is_none_or(|gate| match find(&format!("{gate}.weight")) {
            Some(_) => len == n_factors,
            None => len == 2 * n_factors,
        });
        let first = len.checked_sub(n_factors).filter(|_| is_gated)?;
        Some(Taker { tensor: tensor.name.clone(), by_rows, first, len })
    };
    let parts = ["weight", "bias"].into_iter().filter_map(|part| found(part, stem));
    let takers: Option<Vec<Taker>> = parts.map(|index| taker(&source.tensors()[index])).collect();
    takers.unwrap_or_default()
}

/// Which factor each of `width` columns has.
fn groups(rule: &Rule, description: &Description, layer: usize, width: usize) -> Vec<usize> {
    let attention = description.layers[layer].attention().filter(|_| rule.by_kv_head);
    let Some(attention) = attention else { return (0..width).collect() };
    let value = attention.value_dim as usize;
    let sharing = (attention.n_heads / attention.n_kv_heads.max(1)).max(1) as usize;
    (0..width).map(|column| column / value / sharing * value + column % value).collect()
}

impl Exchange {
    /// Whether something can take factors.
    pub(crate) fn is_open(&self) -> bool {
        !self.takers.is_empty()
    }

    /// The matrix by which what flows in is known.
    pub(crate) fn shown_by(&self) -> &str {
        &self.readers[0].0
    }

    /// Columns of a matrix.
    pub(crate) fn width(&self) -> usize {
        self.group.len()
    }

    /// Factors of a matrix.
    pub(crate) fn n_factors(&self) -> usize {
        self.group.iter().max().map_or(0, |last| last + 1)
    }

    /// Multiplies the readers' columns by `by`, one number for each column of each matrix, and divides what comes before by the
    /// same. Columns that share a factor have the same.
    pub(crate) fn apply(&self, by: &[f32], factors: &mut BTreeMap<String, Factors>) {
        for (reader, _) in &self.readers {
            multiply(&mut factors.entry(reader.clone()).or_default().columns, by.len(), 0, by);
        }
        for (matrix, by) in by.chunks(self.width()).enumerate() {
            let mut inverse = vec![1f32; self.n_factors()];
            self.group.iter().zip(by).for_each(|(group, by)| inverse[*group] = 1.0 / by);
            for Taker { tensor, by_rows, first, len } in &self.takers {
                let factors = factors.entry(tensor.clone()).or_default();
                let part = if *by_rows { &mut factors.rows } else { &mut factors.columns };
                multiply(part, self.n_matrices * len, matrix * len + first, &inverse);
            }
        }
    }
}

/// Multiplies factors from `first` on; there are none yet, or `len`.
fn multiply(factors: &mut Vec<f32>, len: usize, first: usize, by: &[f32]) {
    factors.resize(len, 1.0);
    factors[first..].iter_mut().zip(by).for_each(|(factor, by)| *factor *= by);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_matrix_reads_two_things_and_no_name_stands_twice() {
        let mut readers: Vec<&String> = TABLE.rules.iter().flat_map(|rule| &rule.readers).collect();
        let mut names: Vec<&str> = architectures().collect();
        let (n_readers, n_names) = (readers.len(), names.len());
        readers.sort_unstable();
        readers.dedup();
        names.sort_unstable();
        names.dedup();
        assert_eq!((readers.len(), names.len()), (n_readers, n_names));
    }
}
