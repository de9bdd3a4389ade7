//! A Hugging Face checkpoint directory as a [`TensorSource`]: names mapped, experts stacked, rows rearranged on the fly,
//! all by the family's rules. Knows safetensors; must not know quantized types.

use super::adapter;
use super::assemble::{Assembled, assemble};
use super::pooling;
use super::shards::{open_shards, precision_of, usual_output};
use super::stored::Pieces;
use super::{SourceJson, SourceTensor, TensorSource};
use crate::{Error, Result, tokenizer};
use bundle::mapped_file::MappedFile;
use families::model_name::ModelCard;
use families::model_name::{Sources, WeightCounts};
use families::projector::Projector;
use families::{Family, Floats, Output, OutputType, Pooling, Reranker, Source, Stored};
use formats::gguf::{Array, GgmlType, Metadata, Value};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Version of the block formats that files state (`GGML_QNT_VERSION`).
pub(crate) const QUANTIZATION_VERSION: u32 = 2;

/// A scale this near to 1 is not written, as llama.cpp's converter has it.
const TRIVIAL: f32 = 1e-6;

/// An opened checkpoint.
pub struct Checkpoint {
    pub(super) directory: PathBuf,
    pub(super) shards: Vec<MappedFile>,
    pub(super) tensors: Vec<SourceTensor>,
    pub(super) places: Vec<Place>,
    /// Which floats each tensor may be stored as.
    pub(super) floats: Vec<Floats>,
    pub(super) metadata: Metadata,
    pub(super) precision: OutputType,
    pub(super) usual_output: OutputType,
    pub(super) warnings: Vec<String>,
}

/// Where a tensor's values are.
pub(super) enum Place {
    Stored(Pieces),
    Computed(Vec<f32>),
}

impl Checkpoint {
    /// Opens the checkpoint in `directory` and checks that every tensor of the family is there.
    ///
    /// # Errors
    /// A missing or broken file, an unknown architecture, a tensor that is missing, unknown or of another shape.
    pub fn open(directory: &Path) -> Result<Self> {
        Self::open_with(directory, &[])
    }

    /// The same with low-rank adapters merged into it, one after the other: directories as `peft` writes them.
    ///
    /// # Errors
    /// As [`Checkpoint::open`], and an adapter that is broken, of another kind or made for another model.
    pub fn open_with(directory: &Path, adapters: &[PathBuf]) -> Result<Self> {
        let config_path = directory.join("config.json");
        let mut config = SourceJson::required(&config_path)?;
        let family_error = |source| Error::Family { path: config_path.clone(), source };
        let mut description = families::detect_config(&config).map_err(family_error)?;
        let family = Family::for_architecture(&description.architecture)
            .ok_or_else(|| Error::checkpoint(&config_path, "no conversion rules for this model"))?;
        let (shards, infos) = open_shards(directory)?;
        let is_kept = |description: &families::Description| {
            infos.iter().any(|(_, info)| family.is_of_prediction(description, &info.name))
        };
        if description.layers.iter().any(|layer| layer.predicts) && !is_kept(&description) {
            // What it was trained with it does not bring.
            config = families::without_predictions(&config);
            description = families::detect_config(&config).map_err(family_error)?;
        }
        let precision = precision_of(&infos);
        let mut checkpoint = Self {
            directory: directory.into(),
            shards,
            tensors: Vec::new(),
            places: Vec::new(),
            floats: Vec::new(),
            metadata: Metadata::new(),
            precision,
            usual_output: usual_output(&infos, |name| !family.skips(name)),
            warnings: description.warnings.clone(),
        };
        let known = Projector::of_config(&config).map_err(family_error)?;
        if description.modalities.vision && known.is_none() {
            let warning = "what sees images is left out: no projector of this kind is known";
            checkpoint.warnings.push(warning.into());
        }
        let infos = infos.into_iter().filter(|(_, info)| !family.skips(&info.name)).collect();
        let native = description.native_quantization.as_ref();
        let mut assembled = assemble(native, &checkpoint.shards, infos)?;
        let plain = |name: &str| family.plain_name(name);
        let tied = description.tied_embeddings;
        for adapter in adapters {
            adapter::merge(adapter, tied, plain, &mut checkpoint.shards, &mut assembled.tensors)?;
        }
        let reranker = checkpoint.reranker(family, &config)?;
        let outputs = |stored: &[Stored<'_>]| {
            let mut outputs = family.outputs(&description, stored)?;
            if let Some((reranker, ids)) = &reranker {
                reranker.score(&mut outputs, ids);
            }
            Ok(outputs)
        };
        checkpoint.collect(outputs, |name| family.scales_product_of(name), assembled)?;
        checkpoint.metadata = checkpoint.build_metadata(family, &config, precision)?;
        if let Some((reranker, _)) = reranker {
            write_reranker(reranker, family.architecture(), &mut checkpoint.metadata);
        }
        Ok(checkpoint)
    }

    /// What makes it a reranker, where it is one, and the tokens that it answers with.
    fn reranker<'f>(
        &self,
        family: &'f Family,
        config: &serde_json::Value,
    ) -> Result<Option<(&'f Reranker, Vec<u32>)>> {
        let card = std::fs::read(self.directory.join("README.md")).unwrap_or_default();
        let folder = self.directory.file_name().unwrap_or_default().to_string_lossy();
        let is_one = |reranker: &&Reranker| reranker.is(&folder, &String::from_utf8_lossy(&card), config);
        let Some(reranker) = family.reranker().filter(is_one) else { return Ok(None) };
        Ok(Some((reranker, tokenizer::ids_of(&self.directory, &reranker.words)?)))
    }

    /// The type that llama.cpp's converter gives a plain conversion when none is asked for (`--outtype auto`): that of
    /// the first matrix in 16 bits, F16 where all are in 32.
    pub fn output_type(&self) -> OutputType {
        self.usual_output
    }

    /// Reads the tensors as `outputs` has them; those that are kept as they are stored come first. `scales` tells whether
    /// the engine multiplies a scale beside a tensor onto its products.
    pub(super) fn collect(
        &mut self,
        outputs: impl FnOnce(&[Stored<'_>]) -> std::result::Result<Vec<Output>, families::Error>,
        scales: impl Fn(&str) -> bool,
        assembled: Assembled,
    ) -> Result<()> {
        let Assembled { tensors, input_scales, warnings } = assembled;
        self.warnings.extend(warnings);
        let stored: Vec<Stored<'_>> =
            tensors.iter().map(|tensor| Stored { name: &tensor.name, shape: &tensor.shape }).collect();
        let outputs =
            outputs(&stored).map_err(|source| Error::Family { path: self.directory.clone(), source })?;
        let tensors: Vec<Arc<_>> = tensors.into_iter().map(Arc::new).collect();
        let mut later = Vec::new();
        for output in outputs {
            let Output { name, dims, value, floats, source, .. } = output;
            let pieces = match source {
                Source::Generated(values) => {
                    later.push((name, dims, GgmlType::F32, floats, Place::Computed(values)));
                    continue;
                }
                Source::Stored(pieces) => pieces,
            };
            let factors = pieces.iter().map(|piece| piece.factors.clone()).collect();
            let parts = pieces.into_iter().map(|piece| (Arc::clone(&tensors[piece.tensor]), piece.view));
            let mut pieces = Pieces::new(parts, value).multiplied(factors);
            let kept = pieces
                .block(dims[0])
                .filter(|_| pieces.factors().iter().all(|factor| *factor == 1.0) || scales(&name));
            let Some(block) = kept else {
                let ty = self.precision.of_floats(floats, &name, dims.len());
                later.push((name, dims, ty, floats, Place::Stored(pieces)));
                continue;
            };
            let input = |tensor: &str| input_scales.get(tensor).copied().unwrap_or(1.0);
            let of_inputs: Vec<f32> = pieces.names().map(input).collect();
            pieces.keep(block);
            let factors = pieces.factors();
            self.push(name.clone(), dims, block.ggml_type(), Floats::Any, Place::Stored(pieces));
            for (part, scales) in [("scale", factors), ("input_scale", of_inputs)] {
                if scales.iter().any(|scale| (scale - 1.0).abs() > TRIVIAL) {
                    let name = format!("{}.{part}", name.trim_end_matches(".weight"));
                    let dims = vec![scales.len() as u64];
                    self.push(name, dims, GgmlType::F32, Floats::Any, Place::Computed(scales));
                }
            }
        }
        for (name, dims, ty, floats, place) in later {
            self.push(name, dims, ty, floats, place);
        }
        Ok(())
    }

    fn push(&mut self, name: String, dims: Vec<u64>, ty: GgmlType, floats: Floats, place: Place) {
        let source_bytes = match &place {
            Place::Computed(values) => values.len() as u64 * 4,
            Place::Stored(pieces) => pieces.stored_bytes(),
        };
        self.tensors.push(SourceTensor { name, dims, ty, source_bytes });
        self.places.push(place);
        self.floats.push(floats);
    }

    fn build_metadata(
        &self,
        family: &Family,
        config: &serde_json::Value,
        precision: OutputType,
    ) -> Result<Metadata> {
        let config_path = self.directory.join("config.json");
        let architecture = family
            .metadata(config, precision)
            .map_err(|source| Error::Family { path: config_path, source })?;
        let mut metadata = self.metadata_of(family.architecture(), config, &architecture)?;
        if let Some(pooling) = pooling::stated(&self.directory)?.filter(|_| family.states_pooling()) {
            let key = format!("{}.pooling_type", family.architecture());
            metadata.insert(key, Value::U32(pooling.number()));
        }
        metadata.insert("general.quantization_version", Value::U32(QUANTIZATION_VERSION));
        for (key, value) in tokenizer::convert(&self.directory, config, family)?.iter() {
            metadata.insert(key, value.clone());
        }
        Ok(metadata)
    }

    /// What names the model, and `keys` behind it.
    pub(super) fn metadata_of(
        &self,
        architecture: &str,
        config: &serde_json::Value,
        keys: &Metadata,
    ) -> Result<Metadata> {
        let generation = SourceJson::optional(&self.directory.join("generation_config.json"))?;
        let absolute =
            std::fs::canonicalize(&self.directory).map_err(|source| Error::io(&self.directory, source))?;
        let directory = absolute.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut metadata = Metadata::new();
        metadata.insert("general.architecture", Value::String(architecture.into()));
        let tensors = self.tensors.iter().map(|tensor| (tensor.name.as_str(), &tensor.dims[..]));
        let card = &card_of(&self.directory);
        let sources = Sources { directory: &directory, config, generation: generation.as_ref(), card };
        let general = families::model_name::general(sources, WeightCounts::of(tensors));
        for (key, value) in general.iter().chain(keys.iter()) {
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

    fn is_stored(&self, index: usize) -> bool {
        matches!(&self.places[index], Place::Stored(pieces) if pieces.is_kept())
    }

    fn copy_rows(&self, index: usize, first_row: u64, out: &mut [u8]) {
        if let Place::Stored(pieces) = &self.places[index] {
            pieces.copy(&self.shards, first_row * self.tensors[index].dims[0], out);
        }
    }

    fn warnings(&self) -> &[String] {
        &self.warnings
    }

    fn float_type(&self, index: usize, output: OutputType) -> GgmlType {
        let tensor = &self.tensors[index];
        output.of_floats(self.floats[index], &tensor.name, tensor.dims.len())
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

/// Keys of a reranker: it is read for scores, of these words, behind this question.
fn write_reranker(reranker: &Reranker, architecture: &str, metadata: &mut Metadata) {
    let words = Value::Array(Array::String(reranker.words.clone()));
    metadata.insert(format!("{architecture}.pooling_type"), Value::U32(Pooling::Rank.number()));
    metadata.insert(format!("{architecture}.classifier.output_labels"), words);
    metadata.insert("tokenizer.chat_template.rerank", Value::String(reranker.template.clone()));
    metadata.insert("tokenizer.chat_templates", Value::Array(Array::String(vec!["rerank".into()])));
}
