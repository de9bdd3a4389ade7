//! Detection from config.json → [`Description`]. Reads what the file says; guesses nothing from names.

pub(crate) mod gguf;
mod native;
pub(crate) mod quantities;
pub(crate) mod rope;
pub(crate) mod schedule;

use crate::config::{Config, boolean, wrong};
use crate::family::{Checkpoint, Requirement};
use crate::keys::{decoder, key};
use crate::*;
use schedule::Common;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Most decoder layers that are believed.
pub(crate) const MAX_LAYERS: u64 = 4096;

/// The field that states layers which predict tokens beyond the next.
const PREDICTION_LAYERS: &str = "num_nextn_predict_layers";

/// A `config.json` for what does not have the layers that predict tokens beyond the next which it states.
pub fn without_predictions(config: &Value) -> Value {
    let mut config = config.clone();
    let none = |object: &mut Value| {
        if let Some(stated) = object.get_mut(PREDICTION_LAYERS) {
            *stated = 0.into();
        }
    };
    config.get_mut("text_config").map(none);
    none(&mut config);
    config
}

/// Describes the model of a parsed `config.json`; where it encloses a text model (`text_config`), that one.
///
/// # Errors
/// A missing, mistyped or absurd field, by name; an unknown `model_type` whose shape is not a plain decoder's.
pub fn detect_config(config: &Value) -> Result<Description, Error> {
    let config = Config::new(config)?;
    let model_type =
        config.string("model_type")?.ok_or_else(|| Error::Missing { field: "model_type".into() })?;
    let mut warnings = Vec::new();
    let (id, family, checkpoint) = match Family::for_config(&config, model_type) {
        Some((family, checkpoint)) => (family.id(), family, checkpoint),
        None => {
            let (family, checkpoint) = generic(&config, model_type)?;
            warnings
                .push(format!("unknown model type `{model_type}`: treated as a plain decoder by its shape"));
            ("generic", family, checkpoint)
        }
    };
    let config = config.with_defaults(checkpoint);
    warnings.extend(check_requirements(&config, &family.table.requirements)?);
    let n_layers = match (config.extent_of(key("block_count"))?, family.table.layers.n_listed(&config)) {
        (None, Some(listed)) => listed,
        _ => config.required_extent_of(key("block_count"))?,
    };
    if n_layers > MAX_LAYERS {
        let field = key("block_count").called();
        return Err(wrong(field, &format!("at most {MAX_LAYERS}"), &Value::from(n_layers)));
    }
    let hidden_size = config.required_extent_of(key("embedding_length"))?;
    let heads = Heads::of(&config)?;
    let ffn_size = match (config.extent_of(key("feed_forward_length"))?, &family.table.mechanisms.dense_ffn) {
        (Some(usual), Some(dense)) => Some(dense.width(&config, usual)?),
        (usual, _) => usual,
    };
    let mut quantities = quantities::of_config(&config, family)?;
    let stated = quantities.get("prediction_layers").copied().unwrap_or(0);
    let n_predicting = if checkpoint.keeps_predictions { stated } else { 0 };
    let left_out = n_predicting < stated && family.table.mechanisms.leaves_out_predictions;
    if left_out {
        quantities.remove("prediction_layers");
    }
    let n_layers = n_layers.saturating_add(n_predicting);
    if n_layers > MAX_LAYERS {
        let expected = format!("at most {MAX_LAYERS} together with the other layers");
        return Err(wrong(PREDICTION_LAYERS, &expected, &Value::from(stated)));
    }
    let moe =
        if checkpoint.is_routed(&config) { Some(moe_of(&config, ffn_size, &quantities)?) } else { None };
    let max_context = match &checkpoint.context {
        Some(expression) => {
            let used = config.evaluate(expression, key("context_length").called())?;
            let stored = config.extent_of(key("context_length"))?.unwrap_or(used);
            if stored > used {
                quantities.insert("unused_positions".into(), stored - used);
            }
            used
        }
        None => config.required_extent_of(key("context_length"))?,
    };
    let classifier = family.table.mechanisms.classifier.as_ref();
    if let Some((classes, layer)) = classifier.and_then(|c| c.widths(&config, model_type, hidden_size)) {
        quantities.insert("classes".into(), classes);
        quantities.extend(layer.map(|width| ("class_layer".into(), width)));
    }
    let rope = rope::of_config(&config, max_context, heads.as_ref().map_or(0, |heads| heads.dim))?;
    if let Some(kind) = rope.unstated(family) {
        warnings.push(format!("RoPE scaling `{kind}` is not applied"));
    }
    if rope::has_fractional_ramp(&config, &rope)? {
        warnings.push("the engine rounds the ends of YaRN's ramp to whole dimensions".into());
    }
    if left_out {
        warnings.push("layers that predict tokens beyond the next are left out".into());
    }
    warnings.extend(rope::ignored_by_engine(&config, &rope)?);
    let attention = heads.as_ref().map(|heads| Attention {
        reach: Reach::Full,
        n_heads: heads.query,
        n_kv_heads: heads.key_value,
        key_dim: heads.dim,
        value_dim: heads.dim,
        own_bias: false,
        without_norm: false,
        keys_as_values: false,
        shares_cache: false,
    });
    let encoder = Common {
        n_layers: n_layers as usize,
        hidden_size,
        attention,
        dense_width: ffn_size,
        is_routed: moe.is_some(),
        quantities: &quantities,
    };
    let (n_layers, encoder_layers) = match family.form() {
        Form::Decoder | Form::Encoder => (n_layers, Vec::new()),
        Form::EncoderDecoder => {
            let n_decoder = quantities.get("decoder_layers").copied().unwrap_or(n_layers).min(MAX_LAYERS);
            (n_decoder, family.table.layers.layers(&config, &encoder)?)
        }
    };
    let common = Common { n_layers: n_layers as usize, ..encoder };
    let mut layers = family.table.layers.layers(&config, &common)?;
    layers.iter_mut().rev().take(n_predicting as usize).for_each(|layer| layer.predicts = true);
    family.table.layers.check_window_groups(&layers)?;
    let heads = heads.unwrap_or_default().into_cached(&layers)?;
    let widest = layers.iter().filter_map(|layer| match layer.feed_forward {
        FeedForward::Dense { width } => Some(width),
        FeedForward::Routed | FeedForward::None => None,
    });
    let ffn_size = match layers.iter().any(|layer| layer.feed_forward != FeedForward::None) {
        true => widest.chain(ffn_size).max().ok_or_else(missing_width)?,
        false => 0,
    };
    let slides = layers.iter().any(|layer| layer.attention().is_some_and(|a| a.reach != Reach::Full));
    if !slides {
        // A window that no layer has is no number of this model's.
        quantities.remove("window");
    }
    if let Some(window) = window_of(&config)?.filter(|window| *window < max_context && !slides) {
        warnings.push(format!(
            "the engine attends to the full context, not to a sliding window of {window} tokens"
        ));
    }
    let mut description = Description {
        family: id.into(),
        model_type: model_type.into(),
        architecture: family.architecture().into(),
        name: None,
        form: family.form(),
        n_layers: narrow("num_hidden_layers", n_layers)?,
        hidden_size,
        ffn_size,
        n_heads: heads.query,
        n_kv_heads: heads.key_value,
        head_dim: heads.dim,
        layers,
        encoder_layers,
        pooling: None,
        moe,
        vocab_size: config.required_extent("vocab_size")?,
        // Nothing leaves an encoder, or a decoder without its output, by the vocabulary.
        tied_embeddings: family.form() == Form::Encoder
            || config.is_bare_model()
            || tied_embeddings(&config)?,
        flags: flags_of(&config, family, checkpoint)?,
        factors: factors_of(&config, family)?,
        quantities,
        rope,
        max_context,
        parameters: Parameters::default(),
        native_quantization: native::of_config(&config)?,
        modalities: Modalities {
            vision: config.stated("vision_config").is_some(),
            audio: config.stated("audio_config").is_some(),
        },
        warnings,
    };
    description.check_extents(family)?;
    description.parameters = description.count_parameters();
    Ok(description)
}

/// Whether the output shares the embedding: the model around a text model says so before that one.
fn tied_embeddings(config: &Config<'_>) -> Result<bool, Error> {
    let field = "tie_word_embeddings";
    Ok(config.of_whole(field).map(|value| boolean(field, value)).transpose()?.unwrap_or(false))
}

/// The true ones of the fields that the family's tensors depend on.
fn flags_of(
    config: &Config<'_>,
    family: &Family,
    checkpoint: &Checkpoint,
) -> Result<BTreeSet<String>, Error> {
    let mut flags = BTreeSet::new();
    for flag in family.flags() {
        let implied = || checkpoint.flags.get(flag).is_some_and(|test| test.holds(config));
        if config.boolean(flag)?.unwrap_or_else(implied) {
            flags.insert(flag.to_owned());
        }
    }
    Ok(flags)
}

/// The numbers that the family's weights are multiplied by; 1 where the configuration states none.
fn factors_of(config: &Config<'_>, family: &Family) -> Result<BTreeMap<String, f64>, Error> {
    let factor = |path: &str| {
        let (field, place) = path.split_once('.').unwrap_or((path, ""));
        let value = match (config.get(field), place.parse::<usize>()) {
            (Some(Value::Array(items)), Ok(place)) => items.get(place),
            (value, _) => value,
        };
        let number = value.map_or(Ok(1.0), |value| crate::config::number(path, value))?;
        Ok((path.to_owned(), number))
    };
    family.factor_fields().map(factor).collect()
}

/// Plain decoders under a new name: the fields of one, nothing that speaks of another mechanism.
fn generic(config: &Config<'_>, model_type: &str) -> Result<(&'static Family, &'static Checkpoint), Error> {
    // A type that families share is never a plain decoder: the fields that tell them apart are missing or say nothing.
    let shared = Family::all().iter().find_map(|family| family.checkpoint(model_type));
    if let Some(field) = shared.and_then(|checkpoint| checkpoint.when.first()).map(|test| &test.field) {
        let expected = format!("what tells the families of `{model_type}` apart");
        return Err(wrong(field, &expected, config.stated(field).unwrap_or(&Value::Null)));
    }
    let rules = &decoder().generic;
    let says = |path: &&String| match config.stated(path) {
        None | Some(Value::Bool(false)) => false,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(_) => true,
    };
    let lacks = rules.needs.iter().find(|field| config.stated(field).is_none());
    let why = match (rules.foreign.iter().find(says), lacks) {
        (None, None) => match Family::for_config(config, &rules.like) {
            Some(found) => return Ok(found),
            None => format!("no rules for `{}`", rules.like),
        },
        (Some(field), _) => format!("field `{field}` asks for another mechanism"),
        (None, Some(field)) => format!("field `{field}` is missing"),
    };
    let known: Vec<&str> = Family::all().iter().flat_map(Family::model_types).collect();
    Err(Error::UnknownFamily { model_type: model_type.into(), why, known: known.join(", ") })
}

/// Refuses what the engine computes otherwise; returns what is only warned of.
pub(crate) fn check_requirements(
    config: &Config<'_>,
    requirements: &[Requirement],
) -> Result<Vec<String>, Error> {
    let mut warnings = Vec::new();
    for requirement in requirements.iter().filter(|requirement| requirement.counts(config)) {
        let Some(value) = config.get(&requirement.field) else { continue };
        let mut allowed: Vec<String> = requirement.one_of.iter().map(Value::to_string).collect();
        let mut holds = requirement.one_of.contains(value);
        if let Some(expression) = &requirement.equals {
            let number = config.evaluate(expression, &requirement.field)?;
            holds |= value.as_f64() == Some(number as f64);
            allowed.push(format!("{number} ({})", expression.text()));
        }
        if let Some(other) = &requirement.same_as {
            let wanted = config.get(other).unwrap_or(&Value::Null);
            holds |= value == wanted;
            allowed.push(format!("{wanted} ({other})"));
        }
        if let Some(entries) = value.as_array().filter(|_| !requirement.repeats.is_empty()) {
            holds |=
                entries.iter().zip(requirement.repeats.iter().cycle()).all(|(entry, wanted)| entry == wanted);
            allowed.push(format!("{} again and again", Value::from(requirement.repeats.clone())));
        }
        if let (Some(beginning), Some(entries)) = (&requirement.begins, value.as_array()) {
            holds |= beginning.is_of(entries);
            allowed.push(beginning.told());
        }
        match &requirement.warning {
            _ if holds => {}
            Some(warning) => warnings.push(warning.clone()),
            None => return Err(wrong(&requirement.field, &allowed.join(" or "), value)),
        }
    }
    Ok(warnings)
}

/// Head counts and the width of a head.
#[derive(Default)]
struct Heads {
    query: u32,
    key_value: u32,
    dim: u32,
}

impl Heads {
    /// What the configuration says of them; `None` where it knows no heads.
    fn of(config: &Config<'_>) -> Result<Option<Self>, Error> {
        let hidden_size = config.required_extent_of(key("embedding_length"))?;
        let Some(query) = config.extent_of(key("attention.head_count"))? else { return Ok(None) };
        let key_value = config.required_extent_of(key("attention.head_count_kv"))?;
        if !query.is_multiple_of(key_value) {
            let field = key("attention.head_count_kv").called();
            return Err(wrong(field, &format!("a divisor of {query} heads"), &Value::from(key_value)));
        }
        let dim = match config.extent("head_dim")? {
            Some(dim) => dim,
            None if hidden_size.is_multiple_of(query) => hidden_size / query,
            None => {
                let expected = format!("a multiple of {query} heads");
                return Err(wrong("hidden_size", &expected, &Value::from(hidden_size)));
            }
        };
        Ok(Some(Self {
            query: narrow("num_attention_heads", query)?,
            key_value: narrow("num_key_value_heads", key_value)?,
            dim: narrow("head_dim", dim)?,
        }))
    }
}

impl Heads {
    /// What a cache holds: where every layer attends to a latent, it is the one key head that all queries share; where
    /// layers differ, the most of each.
    fn into_cached(self, layers: &[Layer]) -> Result<Self, Error> {
        let latent = layers.iter().map(|layer| match layer.mixer {
            Mixer::Latent(latent) => Some(latent.kv_rank + latent.rope_dim),
            _ => None,
        });
        match latent.collect::<Option<Vec<_>>>().and_then(|widths| widths.first().copied()) {
            Some(width) => Ok(Self { key_value: 1, dim: narrow("kv_lora_rank", width)?, ..self }),
            None => Ok(layers.iter().filter_map(Layer::attention).fold(self, |heads, attention| Self {
                query: heads.query.max(attention.n_heads),
                key_value: heads.key_value.max(attention.n_kv_heads),
                dim: heads.dim.max(attention.key_dim),
            })),
        }
    }
}

fn moe_of(
    config: &Config<'_>,
    ffn_size: Option<u64>,
    quantities: &BTreeMap<String, u64>,
) -> Result<Moe, Error> {
    let n_experts = config.required_extent_of(key("expert_count"))?;
    let n_active = config.required_extent_of(key("expert_used_count"))?;
    if n_active > n_experts {
        let field = key("expert_used_count").called();
        return Err(wrong(field, &format!("at most {n_experts} experts"), &Value::from(n_active)));
    }
    Ok(Moe {
        n_experts: narrow("num_experts", n_experts)?,
        n_active: narrow("num_experts_per_tok", n_active)?,
        expert_ffn_size: quantities.get("expert_ffn").copied().or(ffn_size).ok_or_else(missing_width)?,
        shared_ffn_size: quantities.get("shared_ffn").copied().unwrap_or(0),
    })
}

/// What a configuration lacks that gives feed-forwards no width.
pub(crate) fn missing_width() -> Error {
    Error::Missing { field: key("feed_forward_length").called().into() }
}

fn window_of(config: &Config<'_>) -> Result<Option<u64>, Error> {
    let used = config.boolean("use_sliding_window")?.unwrap_or(true);
    // A window of 0 is none.
    let is_none = config.get("sliding_window").and_then(Value::as_u64) == Some(0);
    if is_none { Ok(None) } else { Ok(config.extent("sliding_window")?.filter(|_| used)) }
}

pub(crate) fn narrow(field: &str, value: u64) -> Result<u32, Error> {
    u32::try_from(value).map_err(|_| wrong(field, "a number below 2^32", &Value::from(value)))
}

#[cfg(test)]
mod tests;
