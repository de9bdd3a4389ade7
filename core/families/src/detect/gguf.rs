//! Detection from a GGUF file's metadata and tensor table → [`Description`]. Standard keys mean the same in every
//! architecture, so a file of an unknown one is described too, as far as those keys go.

pub(crate) mod keys;
mod layers;

use crate::detect::gguf::keys::{Keys, text};
use crate::detect::gguf::layers::Layers;
use crate::detect::{MAX_LAYERS, narrow};
use crate::tensors::rule::{Condition, TensorRule};
use crate::*;
use formats::gguf::{Header, Metadata, TensorInfo};
use std::collections::{BTreeMap, BTreeSet};

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
    let mut quantities = keys.quantities(tensors)?;
    let mut moe = keys.moe(ffn_size)?;
    let shared = tensors.iter().find(|tensor| tensor.name.ends_with(".ffn_up_shexp.weight"));
    if let (Some(moe), Some(width)) = (&mut moe, shared.and_then(|tensor| tensor.dims.get(1))) {
        moe.shared_ffn_size = *width;
        quantities.insert("shared_ffn".into(), *width);
    }
    let chunk = family.and_then(|family| family.table.layers.engine_chunk);
    let chunk = chunk.filter(|_| !quantities.contains_key("window"));
    quantities.extend(chunk.map(|chunk| ("chunk".to_string(), chunk)));
    let blocks = family.map_or(("blk.", None), Family::block_prefixes);
    let n_blocks = n_layers;
    let n_layers = match family.map(Family::form) {
        Some(Form::EncoderDecoder) => {
            quantities.get("decoder_layers").copied().unwrap_or(n_layers).min(MAX_LAYERS)
        }
        _ => n_layers,
    };
    let layers = Layers {
        keys: &keys,
        blocks: blocks.0,
        n_layers,
        hidden_size,
        ffn_sizes: &ffn_sizes,
        quantities: &quantities,
        window_group: family.and_then(|family| family.table.layers.engine_group),
        full_first: family.is_some_and(|family| family.table.layers.engine_full_first),
        first_without_norm: family.is_some_and(|family| family.table.layers.first_without_norm),
        chunk,
    };
    let encoder_layers = match blocks.1 {
        Some(blocks) => {
            let encoder = Layers { blocks, n_layers: n_blocks, ..layers };
            encoder.read(moe.is_some(), tensors, &mut warnings)?
        }
        None => Vec::new(),
    };
    let layers = layers.read(moe.is_some(), tensors, &mut warnings)?;
    let embedding = tensors.iter().find(|tensor| tensor.name == "token_embd.weight");
    let tokens = metadata.strings("tokenizer.ggml.tokens").map(|tokens| tokens.len() as u64);
    let vocab_size = match embedding.and_then(|tensor| tensor.dims.get(1)).copied().or(tokens) {
        Some(rows) => rows,
        None => keys.required("vocab_size")?,
    };
    let heads = keys.heads(n_layers, hidden_size)?;
    let mut description = Description {
        family: family.map_or("generic", Family::id).into(),
        model_type: model_type(family, moe.is_some(), architecture),
        architecture: architecture.into(),
        name: text(metadata, "general.name")?.map(str::to_string),
        form: family.map(Family::form).unwrap_or_default(),
        n_layers: narrow("block_count", n_layers)?,
        hidden_size,
        ffn_size,
        n_heads: heads.query.iter().copied().max().unwrap_or(0),
        n_kv_heads: heads.key_value.iter().copied().max().unwrap_or(0),
        head_dim: layers_widest(&layers).unwrap_or(heads.key_dim),
        layers,
        encoder_layers,
        pooling: keys.pooling()?,
        moe,
        vocab_size,
        tied_embeddings: !tensors.iter().any(|tensor| tensor.name == "output.weight"),
        quantities,
        flags: family.map(|family| flags_of(family, tensors)).unwrap_or_default(),
        // A file holds what was multiplied.
        factors: BTreeMap::new(),
        rope: super::rope::of_gguf(
            metadata,
            architecture,
            tensors.iter().any(|t| role_of(&t.name) == Role::RopeFactors),
        ),
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
            (tensor.name.as_str(), n_elements)
        }))
    };
    Ok(description)
}

/// The widest key head of layers that differ in it.
fn layers_widest(layers: &[Layer]) -> Option<u32> {
    layers.iter().filter_map(Layer::attention).map(|attention| attention.key_dim).max()
}

/// How a file says that the vectors of a text's tokens become one.
///
/// # Errors
/// A number that stands for nothing.
pub fn stated_pooling(metadata: &Metadata) -> Result<Option<Pooling>, Error> {
    let architecture = text(metadata, "general.architecture")?.unwrap_or_default();
    Keys { metadata, architecture }.pooling()
}

/// The flags that some tensor of the file depends on.
fn flags_of(family: &Family, tensors: &[TensorInfo]) -> BTreeSet<String> {
    let has = |flag: &str| {
        let depends = |rule: &&TensorRule| rule.when.iter().any(|c| c.flag() == Some(flag));
        let negated = |rule: &TensorRule| {
            rule.when.iter().any(|c| matches!(c, Condition::Not(other) if other.flag() == Some(flag)))
        };
        let rules = family.tensors.iter().filter(depends);
        // A tensor that is there in either case tells nothing.
        let telling = |rule: &&TensorRule| {
            !family.tensors.iter().any(|other| other.to == rule.to && negated(other) != negated(rule))
        };
        rules.filter(telling).any(|rule| {
            let (before, after) = rule.to.split_once("{layer}").unwrap_or((&rule.to, ""));
            tensors.iter().any(|tensor| tensor.name.starts_with(before) && tensor.name.ends_with(after))
        })
    };
    family.flags().filter(|flag| has(flag)).map(str::to_owned).collect()
}

fn model_type(family: Option<&Family>, routed: bool, architecture: &str) -> String {
    let kinds = family.map(|family| family.table.checkpoints.as_slice()).unwrap_or_default();
    let found = kinds.iter().find(|checkpoint| checkpoint.may_be(routed)).or(kinds.first());
    found.map_or(architecture, |checkpoint| &checkpoint.model_type).into()
}

#[cfg(test)]
mod tests;
