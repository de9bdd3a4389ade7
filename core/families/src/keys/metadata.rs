//! Architecture metadata of a GGUF file, in the keys, types and order that llama.cpp's converter writes.
//! Owns the writing of `data/decoder.toml`'s table; must not know `general.*` names beyond the file type and version.

use crate::config::{self, Config, number_in, wrong};
use crate::detect::narrow;
use crate::detect::rope;
use crate::keys::rule::{Model, Replacement, ValueRule};
use crate::keys::{Entry, Key, Kind, Mechanism, decoder};
use crate::{Description, Error, Family, Floats, Role, RopeScaling, detect_config, role_of};
use formats::gguf::{Array, GgmlType, Metadata, Value};

/// Version of the block formats (`GGML_QNT_VERSION`).
pub(crate) const QUANTIZATION_VERSION: u32 = 2;

/// The float type that a conversion writes matrices in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputType {
    /// Everything in F32.
    F32,
    /// Matrices in F16, the rest in F32.
    F16,
    /// Matrices in BF16, the rest in F32.
    Bf16,
}

impl OutputType {
    /// The type of matrices.
    pub fn ggml_type(self) -> GgmlType {
        match self {
            Self::F32 => GgmlType::F32,
            Self::F16 => GgmlType::F16,
            Self::Bf16 => GgmlType::BF16,
        }
    }

    /// `general.file_type` (`enum llama_ftype`).
    pub fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Bf16 => 32,
        }
    }

    /// The type of one tensor that only some floats may hold.
    pub fn of_floats(self, floats: Floats, name: &str, n_dims: usize) -> GgmlType {
        let plain = self.of_tensor(name, n_dims);
        match floats {
            Floats::Any => plain,
            Floats::F16 if n_dims > 1 => GgmlType::F16,
            Floats::F16OrF32 if n_dims > 1 && self == Self::F16 => GgmlType::F16,
            Floats::F32 | Floats::F16 | Floats::F16OrF32 => GgmlType::F32,
        }
    }

    /// The type of one tensor: vectors, norms, routers, convolutions, learned positions and whatever is no `.weight` stay in F32.
    pub fn of_tensor(self, name: &str, n_dims: usize) -> GgmlType {
        let full = n_dims <= 1
            || name.ends_with("_norm.weight")
            || matches!(role_of(name), Role::Router | Role::Convolution | Role::PositionEmbedding)
            || !name.ends_with(".weight");
        if full { GgmlType::F32 } else { self.ggml_type() }
    }
}

impl Family {
    /// Whether GGUF states the architecture key `name` layer by layer, and not once for the model.
    pub fn states_by_layer(&self, name: &str) -> bool {
        let replaced = match self.table.decoder_keys.get(name) {
            Some(Replacement::Value(rule)) => Some(&**rule),
            _ => None,
        };
        matches!(replaced, Some(ValueRule::I32s(_) | ValueRule::U32s(_)))
    }

    /// Architecture keys of a checkpoint's configuration, with `general.file_type` and `general.quantization_version`
    /// at their places: what stands between the other `general.*` keys and the tokenizer's.
    ///
    /// # Errors
    /// As [`detect_config`], and a field that does not fit its key's type.
    pub fn metadata(&self, config: &serde_json::Value, output: OutputType) -> Result<Metadata, Error> {
        let description = detect_config(config)?;
        let config = Config::new(config)?;
        let config = match self.checkpoint(&description.model_type).or(self.table.checkpoints.first()) {
            Some(checkpoint) => config.with_defaults(checkpoint),
            None => config,
        };
        let model = Model { config: &config, description: &description };
        let mut metadata = Metadata::new();
        for entry in &decoder().entries {
            match entry {
                Entry::Key(key) => {
                    let value = match self.table.decoder_keys.get(&key.name) {
                        Some(Replacement::Written(false)) => None,
                        Some(Replacement::Value(rule)) => rule.value(model)?,
                        None | Some(Replacement::Written(true)) => key_value(&config, key)?,
                    };
                    if let Some(value) = value {
                        metadata.insert(format!("{}.{}", self.architecture(), key.name), value);
                    }
                }
                Entry::Mechanism { mechanism: Mechanism::Rope } => {
                    if let Some(Replacement::Written(false)) = self.table.decoder_keys.get("rope") {
                        continue;
                    }
                    for (name, value) in rope_keys(&config, &description, self)? {
                        metadata.insert(format!("{}.rope.{name}", self.architecture()), value);
                    }
                }
                Entry::Mechanism { mechanism: Mechanism::FileType } => {
                    metadata.insert("general.file_type", Value::U32(output.file_type()));
                }
            }
        }
        for rule in &self.table.keys {
            if let Some(value) = rule.value(model)? {
                metadata.insert(rule.key(self.architecture()), value);
            }
        }
        metadata.insert("general.quantization_version", Value::U32(QUANTIZATION_VERSION));
        Ok(metadata)
    }
}

fn key_value(config: &Config<'_>, key: &'static Key) -> Result<Option<Value>, Error> {
    let found = config.find(key);
    Ok(match (key.kind, found) {
        (Kind::U32, Some((field, word @ serde_json::Value::String(text)))) => match key.words.get(text) {
            Some(number) => Some(Value::U32(*number)),
            None => {
                let words: Vec<&str> = key.words.keys().map(String::as_str).collect();
                return Err(wrong(field, &words.join(" or "), word));
            }
        },
        (Kind::U32, Some((field, value))) => Some(Value::U32(config::whole(field, value)?)),
        (Kind::U32, None) => match config.extent_of(key)? {
            Some(derived) => Some(Value::U32(narrow(key.called(), derived)?)),
            None => None,
        },
        (_, None) => None,
        (Kind::F32, Some((field, value))) => Some(Value::F32(config::number(field, value)? as f32)),
        (Kind::Bool, Some((field, value))) => {
            let flag = value.as_bool().ok_or_else(|| wrong(field, "true or false", value))?;
            key.only.is_none_or(|only| only == flag).then_some(Value::Bool(flag))
        }
    })
}

/// Keys behind `<architecture>.rope.`.
fn rope_keys(
    config: &Config<'_>,
    description: &Description,
    family: &Family,
) -> Result<Vec<(&'static str, Value)>, Error> {
    let rope = &description.rope;
    let (place, inner) = rope::settings(config)?.unwrap_or(("rope_scaling", &serde_json::Value::Null));
    let mut keys = Vec::new();
    let kind = |name: &str| ("scaling.type", Value::String(name.into()));
    match &rope.scaling {
        RopeScaling::None
        | RopeScaling::Llama3 { .. }
        | RopeScaling::Proportional { .. }
        | RopeScaling::Stored => {}
        RopeScaling::Linear { factor } => {
            keys.extend([kind("linear"), ("scaling.factor", Value::F32(*factor as f32))]);
        }
        RopeScaling::Yarn { factor, original_context } => {
            keys.extend([kind("yarn"), ("scaling.factor", Value::F32(*factor as f32))]);
            let original = narrow("original_max_position_embeddings", *original_context)?;
            keys.push(("scaling.original_context_length", Value::U32(original)));
            for (fields, name) in [
                (&["extrapolation_factor"][..], "scaling.yarn_ext_factor"),
                (&["attention_factor", "attn_factor"], "scaling.yarn_attn_factor"),
                (&["beta_fast"], "scaling.yarn_beta_fast"),
                (&["beta_slow"], "scaling.yarn_beta_slow"),
            ] {
                for field in fields {
                    if let Some(number) = number_in(place, inner, field)? {
                        keys.push((name, Value::F32(number as f32)));
                        break;
                    }
                }
            }
        }
        RopeScaling::Long { .. } => match rope.long_attention_factor(description.max_context) {
            Some(factor) if rope.unstated(family).is_none() => {
                keys.push(("scaling.attn_factor", Value::F32(factor as f32)));
            }
            _ => keys.push(kind("longrope")),
        },
        RopeScaling::Other { .. } => {}
    }
    if let Some(sections) = inner.get("mrope_section").and_then(serde_json::Value::as_array) {
        let numbers = sections.iter().map(|n| n.as_i64().and_then(|n| i32::try_from(n).ok()));
        let mut numbers: Vec<i32> = numbers.collect::<Option<_>>().ok_or_else(|| {
            wrong(&format!("{place}.mrope_section"), "whole numbers", &sections.clone().into())
        })?;
        numbers.resize(4, 0);
        keys.push(("dimension_sections", Value::Array(Array::I32(numbers))));
    } else if !family.table.mechanisms.rotary_sections.is_empty() {
        let sections = family.table.mechanisms.rotary_sections.clone();
        keys.push(("dimension_sections", Value::Array(Array::I32(sections))));
    }
    keys.push(("freq_base", Value::F32(rope.theta as f32)));
    keys.extend(rope.local_theta.map(|theta| ("freq_base_swa", Value::F32(theta as f32))));
    Ok(keys)
}

#[cfg(test)]
mod tests;
