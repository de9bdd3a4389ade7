//! Detection from a GGUF file's metadata and tensor table → [`Description`]. Standard keys mean the same in every
//! architecture, so a file of an unknown one is described too, as far as those keys go.

use crate::config::MAX_EXTENT;
use crate::detect::{MAX_LAYERS, narrow};
use crate::*;
use formats::gguf::{Array, Header, Metadata, TensorInfo, Value};
use std::collections::{BTreeSet, HashSet};

/// Keys of mechanisms that only a family file can describe.
const OTHER_MECHANISMS: [&str; 5] =
    ["attention.kv_lora_rank", "ssm.state_size", "wkv.head_size", "shortconv.l_cache", "decoder_block_count"];

/// Describes the model of a whole GGUF file.
///
/// # Errors
/// A missing, mistyped or absurd metadata key, by name, or a mechanism that no family file describes.
pub fn detect_gguf(header: &Header) -> Result<Description, Error> {
    detect_gguf_tensors(&header.metadata, &header.tensors)
}

/// The same for a model in several files: the first one's metadata and the tensors of all.
///
/// # Errors
/// As [`detect_gguf`].
pub fn detect_gguf_tensors(metadata: &Metadata, tensors: &[TensorInfo]) -> Result<Description, Error> {
    let architecture = text(metadata, "general.architecture")?
        .ok_or_else(|| Error::Missing { field: "general.architecture".into() })?;
    let keys = Keys { metadata, architecture };
    let family = Family::for_architecture(architecture);
    let mut warnings = Vec::new();
    if family.is_none() {
        if let Some(key) = OTHER_MECHANISMS.iter().find(|key| metadata.get(&keys.full(key)).is_some()) {
            let known: Vec<&str> = Family::all().iter().map(Family::architecture).collect();
            let why = format!("key `{}` asks for another mechanism", keys.full(key));
            return Err(Error::UnknownFamily {
                model_type: architecture.into(),
                why,
                known: known.join(", "),
            });
        }
        warnings.push(format!("unknown architecture `{architecture}`: described by its standard keys"));
    }
    let n_layers = keys.required("block_count")?;
    if n_layers > MAX_LAYERS {
        return Err(keys.wrong("block_count", &format!("at most {MAX_LAYERS}"), n_layers.to_string()));
    }
    let hidden_size = keys.required("embedding_length")?;
    let ffn_sizes = keys
        .per_layer("feed_forward_length", n_layers)?
        .ok_or_else(|| keys.missing("feed_forward_length"))?;
    let ffn_size = ffn_sizes.iter().copied().max().unwrap_or(0);
    let moe = keys.moe(ffn_size)?;
    let layers = keys.layers(n_layers, hidden_size, &ffn_sizes, moe.as_ref(), tensors, &mut warnings)?;
    let embedding = tensors.iter().find(|tensor| tensor.name == "token_embd.weight");
    let tokens = metadata.strings("tokenizer.ggml.tokens").map(|tokens| tokens.len() as u64);
    let vocab_size = match embedding.and_then(|tensor| tensor.dims.get(1)).copied().or(tokens) {
        Some(rows) => rows,
        None => keys.required("vocab_size")?,
    };
    let most = |value: fn(&Layer) -> u32| layers.iter().map(value).max().unwrap_or(0);
    let mut description = Description {
        family: family.map_or("generic", Family::id).into(),
        model_type: model_type(family, moe.is_some(), architecture),
        architecture: architecture.into(),
        name: text(metadata, "general.name")?.map(str::to_string),
        n_layers: narrow("block_count", n_layers)?,
        hidden_size,
        ffn_size,
        n_heads: most(|layer| layer.n_heads),
        n_kv_heads: most(|layer| layer.n_kv_heads),
        head_dim: most(|layer| layer.key_dim),
        layers,
        moe,
        vocab_size,
        tied_embeddings: !tensors.iter().any(|tensor| tensor.name == "output.weight"),
        flags: family.map(|family| flags_of(family, tensors)).unwrap_or_default(),
        rope: rope::of_gguf(metadata, architecture, tensors.iter().any(|t| t.name == "rope_freqs.weight")),
        max_context: keys.required("context_length")?,
        parameters: Parameters::default(),
        native_quantization: None,
        modalities: Modalities::default(),
        warnings,
    };
    description.parameters = if tensors.is_empty() {
        description.count_parameters()
    } else {
        description.count(tensors.iter().map(|tensor| {
            let n_elements = tensor.dims.iter().fold(1u64, |product, &dim| product.saturating_mul(dim));
            (role_of(&tensor.name), n_elements)
        }))
    };
    Ok(description)
}

/// The flags that some tensor of the file depends on.
fn flags_of(family: &Family, tensors: &[TensorInfo]) -> BTreeSet<String> {
    let has = |flag: &str| {
        let rules = family.tensors.iter().filter(|rule| rule.when.iter().any(|c| c.flag() == Some(flag)));
        rules.into_iter().any(|rule| {
            let (before, after) = rule.to.split_once("{layer}").unwrap_or((&rule.to, ""));
            tensors.iter().any(|tensor| tensor.name.starts_with(before) && tensor.name.ends_with(after))
        })
    };
    family.flags().filter(|flag| has(flag)).map(str::to_owned).collect()
}

fn model_type(family: Option<&Family>, routed: bool, architecture: &str) -> String {
    let kinds = family.map(|family| family.table.checkpoints.as_slice()).unwrap_or_default();
    let found = kinds.iter().find(|checkpoint| checkpoint.routed == routed).or(kinds.first());
    found.map_or(architecture, |checkpoint| &checkpoint.model_type).into()
}

fn text<'m>(metadata: &'m Metadata, key: &str) -> Result<Option<&'m str>, Error> {
    match metadata.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => {
            Err(Error::Field { field: key.into(), expected: "a string".into(), got: shown(other) })
        }
    }
}

fn shown(value: &Value) -> String {
    format!("{value:?}").chars().take(60).collect()
}

/// Metadata keys of one architecture.
struct Keys<'m> {
    metadata: &'m Metadata,
    architecture: &'m str,
}

impl Keys<'_> {
    fn full(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn missing(&self, name: &str) -> Error {
        Error::Missing { field: self.full(name) }
    }

    fn wrong(&self, name: &str, expected: &str, got: String) -> Error {
        Error::Field { field: self.full(name), expected: expected.into(), got }
    }

    /// A whole number up to [`MAX_EXTENT`]; 0 is one.
    fn number(&self, name: &str) -> Result<Option<u64>, Error> {
        let Some(value) = self.metadata.get(&self.full(name)) else { return Ok(None) };
        match value.as_u64() {
            Some(n) if n <= MAX_EXTENT => Ok(Some(n)),
            _ => Err(self.wrong(name, &format!("a whole number from 0 to {MAX_EXTENT}"), shown(value))),
        }
    }

    fn required(&self, name: &str) -> Result<u64, Error> {
        match self.number(name)? {
            None => Err(self.missing(name)),
            Some(0) => Err(self.wrong(name, "a number above 0", "0".into())),
            Some(n) => Ok(n),
        }
    }

    /// A number for every layer, from one number or an array of them.
    fn per_layer(&self, name: &str, n_layers: u64) -> Result<Option<Vec<u64>>, Error> {
        let numbers: Vec<u64> = match self.metadata.get(&self.full(name)) {
            Some(Value::Array(Array::I32(items))) => {
                items.iter().map_while(|item| u64::try_from(*item).ok()).collect()
            }
            Some(Value::Array(Array::U32(items))) => items.iter().map(|item| u64::from(*item)).collect(),
            _ => return Ok(self.number(name)?.map(|n| vec![n; n_layers as usize])),
        };
        let believed = numbers.len() as u64 == n_layers && numbers.iter().all(|n| *n <= MAX_EXTENT);
        let expected = format!("{n_layers} whole numbers from 0 to {MAX_EXTENT}");
        believed.then_some(Some(numbers)).ok_or_else(|| self.wrong(name, &expected, "another array".into()))
    }

    fn moe(&self, ffn_size: u64) -> Result<Option<Moe>, Error> {
        let Some(n_experts) = self.number("expert_count")?.filter(|n| *n > 0) else { return Ok(None) };
        let n_active = self.required("expert_used_count")?;
        if n_active > n_experts {
            return Err(self.wrong(
                "expert_used_count",
                &format!("at most {n_experts}"),
                n_active.to_string(),
            ));
        }
        let expert_ffn_size =
            self.number("expert_feed_forward_length")?.filter(|n| *n > 0).unwrap_or(ffn_size);
        let n_shared = self.number("expert_shared_count")?.unwrap_or(0);
        let shared = self.number("expert_shared_feed_forward_length")?;
        Ok(Some(Moe {
            n_experts: narrow("expert_count", n_experts)?,
            n_active: narrow("expert_used_count", n_active)?,
            expert_ffn_size,
            shared_ffn_size: shared.unwrap_or(n_shared * expert_ffn_size),
            n_leading_dense: narrow(
                "leading_dense_block_count",
                self.number("leading_dense_block_count")?.unwrap_or(0),
            )?,
        }))
    }

    fn layers(
        &self,
        n_layers: u64,
        hidden_size: u64,
        ffn_sizes: &[u64],
        moe: Option<&Moe>,
        tensors: &[TensorInfo],
        warnings: &mut Vec<String>,
    ) -> Result<Vec<Layer>, Error> {
        let heads = self
            .per_layer("attention.head_count", n_layers)?
            .ok_or_else(|| self.missing("attention.head_count"))?;
        let kv_heads = self.per_layer("attention.head_count_kv", n_layers)?.unwrap_or_else(|| heads.clone());
        let most = heads.iter().copied().max().unwrap_or(0);
        if most == 0 {
            return Err(self.wrong("attention.head_count", "a number above 0", "0".into()));
        }
        let key_dim = match self.number("attention.key_length")? {
            Some(dim) => dim,
            None if hidden_size.is_multiple_of(most) => hidden_size / most,
            None => {
                return Err(self.wrong(
                    "attention.head_count",
                    &format!("a divisor of {hidden_size}"),
                    most.to_string(),
                ));
            }
        };
        let key_dim = narrow("attention.key_length", key_dim)?;
        let value_dim = self
            .number("attention.value_length")?
            .map_or(Ok(key_dim), |n| narrow("attention.value_length", n))?;
        let windows = self.windows(n_layers, warnings)?;
        let routers: HashSet<&str> = tensors
            .iter()
            .filter_map(|tensor| tensor.name.strip_prefix("blk.")?.strip_suffix(".ffn_gate_inp.weight"))
            .collect();
        let layer = |index: usize| {
            let routed = moe.is_some_and(|moe| match tensors {
                [] => index >= moe.n_leading_dense as usize,
                _ => routers.contains(index.to_string().as_str()),
            });
            Ok(Layer {
                attention: windows[index],
                n_heads: narrow("attention.head_count", heads[index])?,
                n_kv_heads: narrow("attention.head_count_kv", kv_heads[index])?,
                key_dim,
                value_dim,
                ffn_size: moe.filter(|_| routed).map_or(ffn_sizes[index], |moe| moe.expert_ffn_size),
                routed,
            })
        };
        (0..n_layers as usize).map(layer).collect()
    }

    /// What each layer's attention sees: `attention.sliding_window` and its pattern, layers in groups of `n` of which
    /// the last sees everything, or one flag per layer.
    fn windows(&self, n_layers: u64, warnings: &mut Vec<String>) -> Result<Vec<AttentionKind>, Error> {
        let Some(window) = self.number("attention.sliding_window")?.filter(|window| *window > 0) else {
            return Ok(vec![AttentionKind::Full; n_layers as usize]);
        };
        let name = "attention.sliding_window_pattern";
        let slides: Vec<bool> = match self.metadata.get(&self.full(name)) {
            Some(Value::Array(Array::Bool(flags))) if flags.len() as u64 == n_layers => flags.clone(),
            Some(Value::Array(_)) => {
                return Err(self.wrong(name, &format!("{n_layers} flags"), "another array".into()));
            }
            _ => match self.number(name)? {
                Some(group) if group > 0 => (0..n_layers).map(|layer| layer % group < group - 1).collect(),
                _ => {
                    warnings.push(format!(
                        "which layers slide by {window} tokens is not stated: all are taken to see the full context"
                    ));
                    vec![false; n_layers as usize]
                }
            },
        };
        let kind =
            |slides: bool| if slides { AttentionKind::Sliding { window } } else { AttentionKind::Full };
        Ok(slides.into_iter().map(kind).collect())
    }
}

#[cfg(test)]
#[path = "detect_gguf_tests.rs"]
mod tests;
