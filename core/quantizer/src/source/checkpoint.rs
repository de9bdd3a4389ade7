//! A Hugging Face checkpoint directory as a [`TensorSource`]: names mapped, experts stacked, rows rearranged on the fly,
//! all by the family's rules. Knows safetensors; must not know quantized types.

use super::shards::{open_shards, precision_of, usual_output};
use super::stored::{Pieces, StoredTensor};
use super::{SourceJson, SourceTensor, TensorSource};
use crate::{Error, Result, tokenizer};
use bundle::mapped_file::MappedFile;
use families::model_name::ModelCard;
use families::model_name::{Sources, WeightCounts};
use families::{Description, Family, OutputType, Source, Stored};
use formats::gguf::{GgmlType, Metadata, Value};
use formats::safetensors::TensorInfo;
use std::path::{Path, PathBuf};

/// Version of the block formats that files state (`GGML_QNT_VERSION`).
pub(crate) const QUANTIZATION_VERSION: u32 = 2;

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
    Stored(Pieces),
    Computed(Vec<f32>),
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
        let family = Family::for_architecture(&description.architecture)
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
        checkpoint.collect(family, &description, infos)?;
        checkpoint.metadata = checkpoint.build_metadata(family, &config, precision)?;
        Ok(checkpoint)
    }

    /// The type that llama.cpp's converter gives a plain conversion when none is asked for (`--outtype auto`): that of
    /// the first matrix in 16 bits, F16 where all are in 32.
    pub fn output_type(&self) -> OutputType {
        self.usual_output
    }

    /// Reads the tensors as the family's rules have them.
    fn collect(
        &mut self,
        family: &Family,
        description: &Description,
        infos: Vec<(usize, TensorInfo)>,
    ) -> Result<()> {
        let infos = infos.into_iter().filter(|(_, info)| !family.skips(&info.name));
        let tensors = infos.map(|(shard, info)| StoredTensor::new(shard, &self.shards[shard], info));
        let tensors = tensors.collect::<Result<Vec<_>>>()?;
        let stored: Vec<Stored<'_>> =
            tensors.iter().map(|tensor| Stored { name: &tensor.name, shape: &tensor.shape }).collect();
        let outputs = family
            .outputs(description, &stored)
            .map_err(|source| Error::Family { path: self.directory.clone(), source })?;
        for output in outputs {
            let (place, source_bytes) = match output.source {
                Source::Generated(values) => {
                    let bytes = values.len() as u64 * 4;
                    (Place::Computed(values), bytes)
                }
                Source::Stored(pieces) => {
                    let parts = pieces.into_iter().map(|piece| (tensors[piece.tensor].clone(), piece.view));
                    let pieces = Pieces::new(parts, output.value);
                    let bytes = pieces.stored_bytes();
                    (Place::Stored(pieces), bytes)
                }
            };
            let ty = match place {
                Place::Computed(_) => GgmlType::F32,
                Place::Stored(_) => self.precision.of_tensor(&output.name, output.dims.len()),
            };
            self.tensors.push(SourceTensor { name: output.name, dims: output.dims, ty, source_bytes });
            self.places.push(place);
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
        let mut metadata = Metadata::new();
        metadata.insert("general.architecture", Value::String(family.architecture().into()));
        let tensors = self.tensors.iter().map(|tensor| (tensor.name.as_str(), &tensor.dims[..]));
        let card = &card_of(&self.directory);
        let sources = Sources { directory: &directory, config, generation: generation.as_ref(), card };
        let general = families::model_name::general(sources, WeightCounts::of(tensors));
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
        let first = first_row * self.tensors[index].dims[0];
        match &self.places[index] {
            Place::Computed(values) => out.copy_from_slice(&values[first as usize..][..out.len()]),
            Place::Stored(pieces) => pieces.read(&self.shards, first, out)?,
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

/// What the README's front matter says; a checkpoint without a README has an empty card.
fn card_of(directory: &Path) -> ModelCard {
    let readme = std::fs::read(directory.join("README.md")).unwrap_or_default();
    ModelCard::parse(&String::from_utf8_lossy(&readme))
}
