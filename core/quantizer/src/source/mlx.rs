//! A Hugging Face checkpoint as MLX's models have it: tensors by `families`' layouts, read by element.
//! Knows safetensors and the formats that checkpoints are quantized in; must not know grids or recipes.

use super::SourceJson;
use super::adapter;
use super::assemble::{Assembled, assemble};
use super::coded::Block;
use super::rows::Float;
use super::shards::open_shards;
use super::stored::{Encoding, Pieces};
use crate::{Error, Result};
use bundle::mapped_file::MappedFile;
use families::mlx::{Layout, MlxTensor};
use families::{Description, Family, Stored};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Codes of a block that is copied, and its bytes: a scale's exponent, then the first half of the codes in the low halves of
/// the bytes and the second in the high.
const BLOCK: (usize, usize) = (32, 17);

/// An opened checkpoint.
pub(crate) struct MlxSource {
    directory: PathBuf,
    shards: Vec<MappedFile>,
    /// Tensors in the order of the checkpoint.
    pub(crate) tensors: Vec<Held>,
    /// Its configuration.
    pub(crate) config: Value,
    /// What the model is.
    pub(crate) description: Description,
    /// Things to know.
    pub(crate) warnings: Vec<String>,
}

/// A tensor and where its values are.
pub(crate) struct Held {
    /// What it is in the model.
    pub(crate) tensor: MlxTensor,
    /// The floats of the model that it is of.
    pub(crate) float: Float,
    /// Bytes that it takes where it lies.
    pub(crate) source_bytes: u64,
    /// Whether its codes and scales are MLX's `mxfp4` already.
    pub(crate) is_mxfp4: bool,
    pieces: Pieces,
}

impl Held {
    pub(crate) fn n_elements(&self) -> u64 {
        self.tensor.shape.iter().product()
    }

    /// Rows of one matrix of a stack.
    pub(crate) fn rows_per_matrix(&self) -> u64 {
        self.tensor.shape.iter().rev().nth(1).copied().unwrap_or(1).max(1)
    }

    /// Extent of the contiguous dimension.
    pub(crate) fn columns(&self) -> u64 {
        self.tensor.shape.last().copied().unwrap_or(1).max(1)
    }
}

impl MlxSource {
    /// Opens the checkpoint in `directory`, with `adapters` merged into it one after the other.
    ///
    /// # Errors
    /// A missing or broken file, a model whose layout in MLX is not known, a tensor that is missing, unknown or of another
    /// shape.
    pub(crate) fn open(directory: &Path, adapters: &[PathBuf]) -> Result<Self> {
        if !directory.is_dir() {
            return Err(Error::checkpoint(directory, "expected a checkpoint directory to make MLX files of"));
        }
        let config_path = directory.join("config.json");
        let config = SourceJson::required(&config_path)?;
        let family_error = |source| Error::Family { path: config_path.clone(), source };
        let layout = Layout::of(&config).map_err(family_error)?;
        // Runtimes of these files compute no layers that predict.
        let description =
            families::detect_config(&families::without_predictions(&config)).map_err(family_error)?;
        let family = Family::for_architecture(&description.architecture)
            .ok_or_else(|| Error::checkpoint(&config_path, "no conversion rules for this model"))?;
        let (mut shards, infos) = open_shards(directory)?;
        let infos = infos.into_iter().filter(|(_, info)| !family.skips(&info.name)).collect();
        let native = description.native_quantization.as_ref();
        let Assembled { mut tensors, warnings, .. } = assemble(native, &shards, infos)?;
        let plain = |name: &str| family.plain_name(name);
        for adapter in adapters {
            adapter::merge(adapter, description.tied_embeddings, plain, &mut shards, &mut tensors)?;
        }
        let stored: Vec<Stored<'_>> =
            tensors.iter().map(|tensor| Stored { name: &tensor.name, shape: &tensor.shape }).collect();
        let laid_out = layout
            .tensors(&config, family, &description, &stored)
            .map_err(|source| Error::Family { path: directory.into(), source })?;
        let stated = stated_float(&config);
        let tensors: Vec<Arc<_>> = tensors.into_iter().map(Arc::new).collect();
        let held = laid_out.into_iter().map(|tensor| {
            let parts =
                tensor.pieces.iter().map(|piece| (Arc::clone(&tensors[piece.tensor]), piece.view.clone()));
            let mut pieces = Pieces::new(parts, tensor.value);
            let own = match tensor.pieces.first().map(|piece| &tensors[piece.tensor].encoding) {
                Some(Encoding::Plain { float, .. }) => *float,
                Some(Encoding::Coded(_)) | None => Float::Bf16,
            };
            let keeps = matches!(tensor.kind, families::mlx::Kind::Plain { keeps_floats: true });
            let float = stated.filter(|_| !keeps).unwrap_or(own);
            let columns = tensor.shape.last().copied().unwrap_or(1);
            let is_matrix = matches!(tensor.kind, families::mlx::Kind::Matrix { .. });
            let is_mxfp4 = is_matrix && pieces.block(columns) == Some(Block::Mxfp4);
            if is_mxfp4 {
                pieces.keep(Block::Mxfp4);
            }
            Held { float, source_bytes: pieces.stored_bytes(), is_mxfp4, pieces, tensor }
        });
        let tensors = held.collect();
        Ok(Self { directory: directory.into(), shards, tensors, config, description, warnings })
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }

    /// Fills `out` with the elements of tensor `index` from `first` on, rounded to its floats.
    ///
    /// # Errors
    /// An element that is no finite number, by tensor and place.
    pub(crate) fn read(&self, index: usize, first: u64, out: &mut [f32]) -> Result<()> {
        let Held { pieces, float, tensor, .. } = &self.tensors[index];
        pieces.read(&self.shards, first, out)?;
        let mut is_finite = true;
        for value in out.iter_mut() {
            *value = float.rounded(*value);
            is_finite &= value.is_finite();
        }
        if is_finite {
            return Ok(());
        }
        let problem = format!("expected numbers that {} can hold, got larger ones", float.dtype().name());
        Err(Error::Tensor { path: self.directory.clone(), tensor: tensor.name.clone(), problem })
    }

    /// Appends codes and scales of the elements of tensor `index` from `first` on, `len` of them in whole groups, where they
    /// are MLX's `mxfp4` already.
    pub(crate) fn copy_mxfp4(
        &self,
        index: usize,
        first: u64,
        len: u64,
        codes: &mut Vec<u8>,
        scales: &mut Vec<u8>,
    ) {
        let (of_block, bytes) = BLOCK;
        let mut blocks = vec![0u8; len as usize / of_block * bytes];
        self.tensors[index].pieces.copy(&self.shards, first, &mut blocks);
        for block in blocks.chunks_exact(bytes) {
            scales.push(block[0]);
            let code = |at: usize| if at < 16 { block[1 + at] & 15 } else { block[1 + at - 16] >> 4 };
            codes.extend((0..of_block).step_by(2).map(|at| code(at) | code(at + 1) << 4));
        }
    }
}

/// The floats that the configuration says a model is of, where mlx-lm looks: what is stored counts otherwise.
fn stated_float(config: &Value) -> Option<Float> {
    let outer = config.get("torch_dtype").filter(|stated| !stated.is_null());
    let stated = outer.or_else(|| config.get("text_config")?.get("dtype"))?;
    match stated.as_str()? {
        "float32" => Some(Float::F32),
        "float16" => Some(Float::F16),
        "bfloat16" => Some(Float::Bf16),
        _ => None,
    }
}
