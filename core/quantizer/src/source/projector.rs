//! The projector in a Hugging Face checkpoint as a [`TensorSource`](super::TensorSource): its tensors alone, by the rules
//! of its kind. Knows safetensors and the files beside them; must not know quantized types.

use super::assemble::assemble;
use super::shards::{open_shards, precision_of, usual_output};
use super::{Checkpoint, SourceJson};
use crate::{Error, Result};
use families::Stored;
use families::projector::{ARCHITECTURE, ModelProjector, Sources};
use formats::gguf::Metadata;
use serde_json::{Map, Value};
use std::path::Path;

impl Checkpoint {
    /// Opens the projector in the checkpoint in `directory`; `None` where it has none of a known kind.
    ///
    /// # Errors
    /// A missing or broken file, a field or token that the projector needs, a tensor that is missing, unknown or of
    /// another shape.
    pub fn open_projector(directory: &Path) -> Result<Option<Self>> {
        let config_path = directory.join("config.json");
        let config = SourceJson::required(&config_path)?;
        let family_error = |source| Error::Family { path: config_path.clone(), source };
        let processor = processor(directory)?;
        let ids = token_ids(directory)?;
        let token = |text: &str| ids.get(text).and_then(Value::as_u64);
        let sources = Sources { config: &config, processor: &processor, token: &token };
        let Some(projector) = ModelProjector::new(sources).map_err(family_error)? else { return Ok(None) };
        let (shards, mut infos) = open_shards(directory)?;
        infos.retain(|(_, info)| projector.covers(&info.name));
        let precision = precision_of(&infos);
        let mut checkpoint = Self {
            directory: directory.into(),
            shards,
            tensors: Vec::new(),
            places: Vec::new(),
            floats: Vec::new(),
            metadata: Metadata::new(),
            precision,
            usual_output: usual_output(&infos, |_| true),
            warnings: Vec::new(),
        };
        let assembled = assemble(projector.native_quantization(), &checkpoint.shards, infos)?;
        let outputs = |stored: &[Stored<'_>]| projector.outputs(stored);
        checkpoint.collect(outputs, |_| false, assembled)?;
        let keys = projector.metadata(precision).map_err(family_error)?;
        checkpoint.metadata = checkpoint.metadata_of(ARCHITECTURE, &config, &keys)?;
        Ok(Some(checkpoint))
    }
}

/// What the files beside the checkpoint say of images; where both do, the newer one counts.
fn processor(directory: &Path) -> Result<Value> {
    let mut fields = Map::new();
    for (file, inner) in
        [("preprocessor_config.json", "media_proc_cfg"), ("processor_config.json", "image_processor")]
    {
        let Some(stated) = SourceJson::optional(&directory.join(file))? else { continue };
        for object in [Some(&stated), stated.get(inner)].into_iter().flatten() {
            fields.extend(object.as_object().into_iter().flatten().map(|(k, v)| (k.clone(), v.clone())));
        }
    }
    Ok(fields.into())
}

/// Ids of added tokens by their text.
fn token_ids(directory: &Path) -> Result<Map<String, Value>> {
    let mut ids = Map::new();
    if let Some(tokenizer) = SourceJson::optional(&directory.join("tokenizer.json"))? {
        for token in tokenizer.get("added_tokens").and_then(Value::as_array).into_iter().flatten() {
            if let (Some(text), Some(id)) = (token["content"].as_str(), token["id"].as_u64()) {
                ids.insert(text.into(), id.into());
            }
        }
    }
    if let Some(settings) = SourceJson::optional(&directory.join("tokenizer_config.json"))? {
        let added = settings.get("added_tokens_decoder").and_then(Value::as_object);
        for (id, token) in added.into_iter().flatten() {
            if let (Some(text), Ok(id)) = (token["content"].as_str(), id.parse::<u64>()) {
                ids.insert(text.into(), id.into());
            }
        }
    }
    Ok(ids)
}
