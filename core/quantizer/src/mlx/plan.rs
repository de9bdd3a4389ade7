//! What a directory for MLX will hold: the form of each tensor, the files, and their exact lengths.
//! Knows tensors by name and shape; reads no weight.

use super::config;
use super::grid::Grid;
use super::recipe::{Recipe, Wishes};
use crate::source::Float;
use crate::source::mlx::{Held, MlxSource};
use crate::{Error, Moments, Result};
use families::Role;
use families::mlx::Kind;
use formats::safetensors::{Dtype, TensorSpec, file_start};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// The grid of what layouts give a precision of its own.
pub(super) const FIXED: Grid = Grid::Affine { bits: 8, group: 64 };
/// Most bytes of data in one file, as mlx-lm has it; a matrix that is larger has one for itself.
const SHARD_BYTES: u64 = 5 << 30;
/// The index's name.
const INDEX: &str = "model.safetensors.index.json";
/// Files of a checkpoint that go along, where they are there.
const COMPANIONS: [&str; 12] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "tiktoken.model",
];

/// What becomes of a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Its floats.
    Plain,
    /// Codes of a grid.
    On(Grid),
    /// Codes and scales as they are stored: `mxfp4`.
    Copied,
}

/// One tensor's part of a plan.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PlannedTensor {
    /// Its index in the source.
    pub(crate) index: usize,
    pub(crate) name: String,
    /// Slowest dimension first.
    pub(crate) shape: Vec<u64>,
    pub(crate) float: Float,
    pub(crate) form: Form,
    pub(crate) role: Role,
    /// Its name in GGUF, or the first of them.
    pub(crate) gguf_name: String,
    /// Share of the product's power that rounding changes, where it was estimated: lines are searched for then.
    pub(crate) error: Option<f64>,
}

impl PlannedTensor {
    /// The grid that it is on, copied or not.
    pub(crate) fn grid(&self) -> Option<Grid> {
        match self.form {
            Form::Plain => None,
            Form::On(grid) => Some(grid),
            Form::Copied => Some(Grid::Mxfp4),
        }
    }

    pub(crate) fn columns(&self) -> u64 {
        self.shape.last().copied().unwrap_or(1).max(1)
    }

    pub(crate) fn n_weights(&self) -> u64 {
        self.shape.iter().product()
    }

    pub(crate) fn n_rows(&self) -> u64 {
        self.n_weights() / self.columns()
    }

    /// Rows of one matrix of a stack.
    pub(crate) fn rows_per_matrix(&self) -> u64 {
        self.shape.iter().rev().nth(1).copied().unwrap_or(1).max(1)
    }

    /// Bytes of all that is written of it.
    pub(crate) fn bytes(&self) -> u64 {
        match self.grid() {
            None => self.n_weights() * self.float.bytes() as u64,
            Some(grid) => grid.row_bytes(self.columns(), self.float) * self.n_rows(),
        }
    }

    pub(crate) fn module(&self) -> &str {
        self.name.rsplit_once('.').map_or(self.name.as_str(), |(module, _)| module)
    }

    /// What a file holds of it: one tensor, or codes, scales and biases.
    fn specs(&self) -> Vec<TensorSpec> {
        let Some(grid) = self.grid() else {
            return vec![TensorSpec {
                name: self.name.clone(),
                dtype: self.float.dtype(),
                shape: self.shape.clone(),
            }];
        };
        let of = |part: &str, dtype, columns| {
            let mut shape = self.shape.clone();
            if let Some(last) = shape.last_mut() {
                *last = columns;
            }
            TensorSpec { name: format!("{}.{part}", self.module()), dtype, shape }
        };
        let (words, groups) = (grid.words_per_row(self.columns()), grid.groups_per_row(self.columns()));
        let mut specs = vec![of("weight", Dtype::U32, words)];
        match grid.has_biases() {
            true => specs.extend(["scales", "biases"].map(|part| of(part, self.float.dtype(), groups))),
            false => specs.push(of("scales", Dtype::U8, groups)),
        }
        specs
    }
}

/// One file of weights.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Shard {
    pub(crate) name: String,
    /// What it begins with.
    pub(crate) start: Vec<u8>,
    /// Tensors of the plan.
    pub(crate) tensors: std::ops::Range<usize>,
    /// Length of the whole file.
    pub(crate) bytes: u64,
}

/// A directory to write.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What progress calls it.
    pub(crate) label: String,
    pub(crate) recipe: Recipe,
    pub(crate) tensors: Vec<PlannedTensor>,
    pub(crate) shards: Vec<Shard>,
    /// Small files with what they hold, the configuration first.
    pub(crate) texts: Vec<(String, Vec<u8>)>,
    /// Files that are copied, with their lengths.
    pub(crate) companions: Vec<(String, PathBuf, u64)>,
    /// What flows into matrices, where it is known: codes are chosen with error feedback.
    pub(crate) moments: Option<Arc<Moments>>,
    /// Matrices that stay as they are, because their rows do not divide into the grid's groups.
    pub(crate) n_undivided: usize,
}

impl Plan {
    /// Exact length of all files together.
    pub fn predicted_bytes(&self) -> u64 {
        let shards = self.shards.iter().map(|shard| shard.bytes);
        let texts = self.texts.iter().map(|(_, text)| text.len() as u64);
        shards.chain(texts).chain(self.companions.iter().map(|(.., bytes)| *bytes)).sum()
    }

    /// Length of the files of weights together.
    pub fn weights_file_bytes(&self) -> u64 {
        self.shards.iter().map(|shard| shard.bytes).sum()
    }

    /// Bytes of all tensors.
    pub fn tensor_bytes(&self) -> u64 {
        self.tensors.iter().map(PlannedTensor::bytes).sum()
    }
}

/// What `recipe` makes of a tensor by its kind and shape alone, as mlx-lm's own conversion decides it, but for embedding and
/// output where `wishes` say otherwise.
pub(super) fn pure_form(held: &Held, grid: Grid, wishes: Wishes) -> Form {
    let Kind::Matrix { is_fixed } = held.tensor.kind else { return Form::Plain };
    if held.is_mxfp4 {
        return Form::Copied;
    }
    let own = match wishes.embedding_bits.filter(|_| is_embedding(held)) {
        Some(bits) => {
            Grid::Affine { bits, group: if grid.has_biases() { grid.group() } else { FIXED.group() } }
        }
        None if is_fixed => FIXED,
        None => grid,
    };
    // What the recipe's groups do not divide stays as it is, fixed or not.
    if grid.fits(held.columns()) && own.fits(held.columns()) { Form::On(own) } else { Form::Plain }
}

/// Whether it is the token embedding or the output.
pub(super) fn is_embedding(held: &Held) -> bool {
    matches!(held.tensor.role, Role::TokenEmbedding | Role::Output)
}

/// Plans the files of `source` with these forms, one for each of its tensors.
///
/// # Errors
/// A file that goes along and cannot be read, names or shapes that safetensors does not allow.
pub(super) fn plan_with(
    source: &MlxSource,
    recipe: Recipe,
    forms: &[(Form, Option<f64>)],
    shard_bytes: Option<u64>,
) -> Result<Plan> {
    let tensors: Vec<PlannedTensor> = source
        .tensors
        .iter()
        .zip(forms)
        .enumerate()
        .map(|(index, (held, &(form, error)))| PlannedTensor {
            index,
            name: held.tensor.name.clone(),
            shape: held.tensor.shape.clone(),
            float: held.float,
            form,
            role: held.tensor.role,
            gguf_name: held.tensor.gguf_names.first().cloned().unwrap_or_default(),
            error,
        })
        .collect();
    let shards = cut(&tensors, shard_bytes.unwrap_or(SHARD_BYTES))
        .map_err(|source_error| Error::Safetensors { path: source.path().into(), source: source_error })?;
    let mut texts = vec![("config.json".to_string(), config::config_text(source, recipe.grid(), &tensors)?)];
    if shards.len() > 1 {
        texts.push((INDEX.into(), config::index_text(&tensors, &shards, |tensor| tensor.specs())?));
    }
    let mut companions = Vec::new();
    for name in COMPANIONS {
        let path = source.path().join(name);
        if path.is_file() {
            let metadata = std::fs::metadata(&path).map_err(|error| Error::io(&path, error))?;
            companions.push((name.to_string(), path, metadata.len()));
        }
    }
    let is_undivided = |(held, (form, _)): &(&Held, &(Form, Option<f64>))| {
        matches!(held.tensor.kind, Kind::Matrix { .. }) && *form == Form::Plain
    };
    let n_undivided = source.tensors.iter().zip(forms).filter(is_undivided).count();
    Ok(Plan {
        label: format!("mlx {}", recipe.name()),
        recipe,
        tensors,
        shards,
        texts,
        companions,
        moments: None,
        n_undivided,
    })
}

/// The files that `tensors` go into, in their order.
fn cut(
    tensors: &[PlannedTensor],
    shard_bytes: u64,
) -> std::result::Result<Vec<Shard>, formats::safetensors::Error> {
    let mut ranges: Vec<std::ops::Range<usize>> = Vec::new();
    let mut held = 0u64;
    for (at, tensor) in tensors.iter().enumerate() {
        match ranges.last_mut() {
            Some(range) if held.saturating_add(tensor.bytes()) <= shard_bytes => range.end = at + 1,
            _ => {
                ranges.push(at..at + 1);
                held = 0;
            }
        }
        held += tensor.bytes();
    }
    let metadata = BTreeMap::from([("format".to_string(), "mlx".to_string())]);
    let n = ranges.len();
    let shard = |(at, range): (usize, std::ops::Range<usize>)| {
        let specs: Vec<TensorSpec> = tensors[range.clone()].iter().flat_map(PlannedTensor::specs).collect();
        let start = file_start(&specs, &metadata)?;
        let data: u64 = tensors[range.clone()].iter().map(PlannedTensor::bytes).sum();
        let name = match n {
            1 => "model.safetensors".into(),
            _ => format!("model-{:05}-of-{n:05}.safetensors", at + 1),
        };
        Ok(Shard { name, bytes: start.len() as u64 + data, start, tensors: range })
    };
    ranges.into_iter().enumerate().map(shard).collect()
}
