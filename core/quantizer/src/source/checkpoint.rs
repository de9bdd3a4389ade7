//! A Hugging Face checkpoint directory as a [`TensorSource`]: names mapped, experts stacked, rotary rows permuted on
//! the fly. Knows safetensors and the family's rules; must not know quantized types.

use super::rows::{Float, first_not_finite};
use super::shards::{open_shards, precision_of, usual_output};
use super::{SourceJson, SourceTensor, TensorSource};
use crate::{Error, Result, tokenizer};
use bundle::mapped_file::MappedFile;
use families::model_card::ModelCard;
use families::model_name::{Sources, WeightCounts};
use families::{Family, Mapping, OutputType, Transform};
use formats::gguf::{GgmlType, Metadata, Value};
use formats::safetensors::TensorInfo;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Version of the block formats that files state (`GGML_QNT_VERSION`).
pub(crate) const QUANTIZATION_VERSION: u32 = 2;

const TOKEN_EMBEDDING: &str = "token_embd.weight";
const OUTPUT: &str = "output.weight";

/// An opened checkpoint.
pub struct Checkpoint {
    directory: PathBuf,
    shards: Vec<MappedFile>,
    tensors: Vec<SourceTensor>,
    places: Vec<Place>,
    metadata: Metadata,
    precision: OutputType,
    usual_output: OutputType,
}

/// Where a tensor's values are.
enum Place {
    Stored { pieces: Vec<Piece>, permuted_heads: Option<u64> },
    Computed(Vec<f32>),
}

/// One matrix, in one shard.
#[derive(Clone)]
struct Piece {
    shard: usize,
    range: Range<u64>,
    float: Float,
    source_name: String,
}

impl Checkpoint {
    /// Opens the checkpoint in `directory` and checks that every tensor of the family is there.
    ///
    /// # Errors
    /// A missing or broken file, an unknown architecture, a tensor that is missing, unknown or of another shape.
    pub fn open(directory: &Path) -> Result<Self> {
        let config_path = directory.join("config.json");
        let config = SourceJson::required(&config_path)?;
        let family_error = |source| Error::Family { path: config_path.clone(), source };
        let description = families::detect_config(&config).map_err(family_error)?;
        let family = Family::for_model_type(&description.model_type)
            .or_else(|| Family::for_architecture(&description.architecture))
            .ok_or_else(|| Error::checkpoint(&config_path, "no conversion rules for this model"))?;
        if let Some(method) = &description.native_quantization {
            return Err(Error::checkpoint(
                &config_path,
                format!("quantization_config: expected a float checkpoint, got {method:?}"),
            ));
        }
        let (shards, infos) = open_shards(directory)?;
        let precision = precision_of(&infos);
        let mut checkpoint = Self {
            directory: directory.into(),
            shards,
            tensors: Vec::new(),
            places: Vec::new(),
            metadata: Metadata::new(),
            precision,
            usual_output: usual_output(family, &infos),
        };
        if let Some(factors) = family.rope_factors(&config).map_err(family_error)? {
            let dims = vec![factors.len() as u64];
            checkpoint.push("rope_freqs.weight".into(), dims, GgmlType::F32, Place::Computed(factors));
        }
        checkpoint.collect(family, &description, infos)?;
        checkpoint.check_shapes(&description)?;
        checkpoint.metadata = checkpoint.build_metadata(family, &config, precision)?;
        Ok(checkpoint)
    }

    /// The type that llama.cpp's converter gives a plain conversion when none is asked for (`--outtype auto`): that of
    /// the first matrix in 16 bits, F16 where all are in 32.
    pub fn output_type(&self) -> OutputType {
        self.usual_output
    }

    fn push(&mut self, name: String, dims: Vec<u64>, ty: GgmlType, place: Place) {
        let source_bytes = match &place {
            Place::Stored { pieces, .. } => {
                pieces.iter().map(|piece| piece.range.end - piece.range.start).sum()
            }
            Place::Computed(values) => values.len() as u64 * 4,
        };
        self.tensors.push(SourceTensor { name, dims, ty, source_bytes });
        self.places.push(place);
    }

    /// Maps names; a stack of experts takes its place when its layer's last expert has come.
    fn collect(
        &mut self,
        family: &Family,
        description: &families::Description,
        infos: Vec<(usize, TensorInfo)>,
    ) -> Result<()> {
        let n_experts = description.moe.map_or(0, |moe| moe.n_experts as usize);
        let mut stacks: BTreeMap<String, BTreeMap<u32, (Piece, Vec<u64>)>> = BTreeMap::new();
        for (shard, info) in infos {
            let path = self.shards[shard].path().to_path_buf();
            let mapping = family
                .map_tensor(&info.name)
                .map_err(|source| Error::Family { path: path.clone(), source })?;
            let Mapping::Tensor { name, transform, layer, expert, .. } = mapping else { continue };
            let refuse =
                |problem: String| Error::Tensor { path: path.clone(), tensor: info.name.clone(), problem };
            let float = Float::of(info.dtype).ok_or_else(|| {
                refuse(format!("dtype: expected F32, F16 or BF16, got {}", info.dtype.name()))
            })?;
            if info.shape.is_empty() || info.shape.len() > 2 || info.shape.contains(&0) {
                return Err(refuse(format!("shape: expected one or two dimensions, got {:?}", info.shape)));
            }
            let mut dims = info.shape.clone();
            dims.reverse();
            let piece = Piece { shard, range: info.range.clone(), float, source_name: info.name.clone() };
            let Some(expert) = expert else {
                let permuted_heads = match transform {
                    Transform::None => None,
                    Transform::PermuteQueryHeads => Some(u64::from(description.n_heads)),
                    Transform::PermuteKeyHeads => Some(u64::from(description.n_kv_heads)),
                };
                let ty = self.precision.of_tensor(&name, dims.len());
                self.push(name, dims, ty, Place::Stored { pieces: vec![piece], permuted_heads });
                continue;
            };
            let stack = stacks.entry(name).or_default();
            if expert as usize >= n_experts || stack.insert(expert, (piece, dims)).is_some() {
                return Err(refuse(format!("expert: expected each of 0..{n_experts} once")));
            }
            let names = family.expert_stacks(layer.unwrap_or(0));
            if names.iter().all(|name| stacks.get(name).is_some_and(|stack| stack.len() == n_experts)) {
                for name in names {
                    let stack =
                        stacks.remove(&name).expect("all stacks of the layer were just seen to be complete");
                    self.push_stack(name, stack)?;
                }
            }
        }
        match stacks.into_iter().next() {
            None => {
                self.store_tied_embedding_as_embedding(description);
                Ok(())
            }
            Some((name, stack)) => Err(Error::checkpoint(
                &self.directory,
                format!("tensor `{name}`: expected {n_experts} experts, got {}", stack.len()),
            )),
        }
    }

    /// A checkpoint may hold the one matrix of tied embeddings as the output. The engine looks for the embedding and
    /// takes it for the output as well.
    fn store_tied_embedding_as_embedding(&mut self, description: &families::Description) {
        let embedded = self.tensors.iter().any(|tensor| tensor.name == TOKEN_EMBEDDING);
        if description.tied_embeddings && !embedded {
            let output = self.tensors.iter_mut().find(|tensor| tensor.name == OUTPUT);
            output.into_iter().for_each(|tensor| tensor.name = TOKEN_EMBEDDING.into());
        }
    }

    fn push_stack(&mut self, name: String, stack: BTreeMap<u32, (Piece, Vec<u64>)>) -> Result<()> {
        let n = stack.len() as u64;
        let (pieces, shapes): (Vec<Piece>, Vec<Vec<u64>>) = stack.into_values().unzip();
        let mut dims = shapes[0].clone();
        if let Some(other) = shapes.iter().position(|shape| *shape != dims) {
            let tensor = pieces[other].source_name.clone();
            let problem = format!("shape: expected {dims:?} like expert 0, got {:?}", shapes[other]);
            return Err(Error::Tensor { path: self.directory.clone(), tensor, problem });
        }
        dims.push(n);
        let ty = self.precision.of_tensor(&name, dims.len());
        self.push(name, dims, ty, Place::Stored { pieces, permuted_heads: None });
        Ok(())
    }

    /// Every tensor that the description promises, with its shape.
    fn check_shapes(&self, description: &families::Description) -> Result<()> {
        let found: BTreeMap<&str, &SourceTensor> =
            self.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
        for shape in description.tensor_shapes() {
            match found.get(shape.name.as_str()) {
                Some(tensor) if tensor.dims == shape.dims => {}
                Some(tensor) => {
                    let problem =
                        format!("shape: expected {:?} by config.json, got {:?}", shape.dims, tensor.dims);
                    return Err(Error::Tensor { path: self.directory.clone(), tensor: shape.name, problem });
                }
                None => {
                    let problem = "missing from the checkpoint".to_string();
                    return Err(Error::Tensor { path: self.directory.clone(), tensor: shape.name, problem });
                }
            }
        }
        Ok(())
    }

    fn build_metadata(
        &self,
        family: &Family,
        config: &serde_json::Value,
        precision: OutputType,
    ) -> Result<Metadata> {
        let config_path = self.directory.join("config.json");
        let generation = SourceJson::optional(&self.directory.join("generation_config.json"))?;
        let absolute =
            std::fs::canonicalize(&self.directory).map_err(|source| Error::io(&self.directory, source))?;
        let directory = absolute.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let sources =
            Sources { directory: &directory, config, generation: generation.as_ref(), licence: None };
        let mut metadata = Metadata::new();
        metadata.insert("general.architecture", Value::String(family.architecture().into()));
        let tensors = self.tensors.iter().map(|tensor| (tensor.name.as_str(), &tensor.dims[..]));
        let (card, counts) = (card_of(&self.directory), WeightCounts::of(tensors));
        let general = families::model_name::general_with_card(sources, &card, counts);
        let architecture = family
            .metadata(config, precision)
            .map_err(|source| Error::Family { path: config_path, source })?;
        for (key, value) in general.iter().chain(architecture.iter()) {
            metadata.insert(key, value.clone());
        }
        metadata.insert("general.quantization_version", Value::U32(QUANTIZATION_VERSION));
        for (key, value) in tokenizer::convert(&self.directory, config, family)?.iter() {
            metadata.insert(key, value.clone());
        }
        Ok(metadata)
    }
}

impl TensorSource for Checkpoint {
    fn path(&self) -> &Path {
        &self.directory
    }

    fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    fn tensors(&self) -> &[SourceTensor] {
        &self.tensors
    }

    fn read_rows(&self, index: usize, first_row: u64, out: &mut [f32]) -> Result<()> {
        let tensor = &self.tensors[index];
        let width = tensor.dims[0] as usize;
        let (pieces, permuted_heads) = match &self.places[index] {
            Place::Computed(values) => {
                out.copy_from_slice(&values[first_row as usize * width..][..out.len()]);
                return Ok(());
            }
            Place::Stored { pieces, permuted_heads } => (pieces, *permuted_heads),
        };
        // A permuted bias is a column of rows of one.
        let (width, rows) = match permuted_heads {
            Some(_) if tensor.dims.len() == 1 => (1, tensor.dims[0]),
            _ => (width, tensor.rows_per_matrix()),
        };
        for (offset, row_out) in out.chunks_exact_mut(width).enumerate() {
            let row = first_row + offset as u64;
            let piece = &pieces[(row / rows) as usize];
            let row = permuted_heads.map_or(row % rows, |heads| permuted_row(row % rows, rows / heads));
            let bytes = width * piece.float.bytes();
            let start = piece.range.start as usize + row as usize * bytes;
            piece.float.widen(&self.shards[piece.shard][start..start + bytes], row_out);
            if let Some(column) = first_not_finite(row_out) {
                return Err(Error::Tensor {
                    path: self.shards[piece.shard].path().into(),
                    tensor: piece.source_name.clone(),
                    problem: format!(
                        "row {row}, column {column}: expected a finite number, got {}",
                        row_out[column]
                    ),
                });
            }
        }
        Ok(())
    }

    fn stored_bytes(&self, _index: usize) -> Option<&[u8]> {
        None
    }

    fn precision(&self) -> String {
        self.precision.ggml_type().name().into()
    }
}

/// Source row of output row `row`: within a head of `head` rows, output alternates between the halves of the source.
fn permuted_row(row: u64, head: u64) -> u64 {
    let (start, within) = (row / head * head, row % head);
    start + within % 2 * (head / 2) + within / 2
}

/// What the README's front matter says; a checkpoint without a README has an empty card.
fn card_of(directory: &Path) -> ModelCard {
    let readme = std::fs::read(directory.join("README.md")).unwrap_or_default();
    ModelCard::parse(&String::from_utf8_lossy(&readme))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotary_rows_alternate_between_the_halves_of_a_head() {
        let order: Vec<u64> = (0..8).map(|row| permuted_row(row, 4)).collect();
        assert_eq!(order, [0, 2, 1, 3, 4, 6, 5, 7]);
    }
}
