//! Detection: config.json or a GGUF header → [`Description`]. Reads what the file says; guesses nothing from names.

use crate::config::{Config, number_in, wrong};
use crate::*;
use formats::gguf::Header;
use serde_json::Value;

/// Most decoder layers that are believed.
const MAX_LAYERS: u64 = 4096;

/// Describes the model of a parsed `config.json`.
///
/// # Errors
/// A missing, mistyped or absurd field, by name; an unknown `model_type` whose shape is not a plain decoder's.
pub fn detect_config(config: &Value) -> Result<Description, Error> {
    let root = Config::new(config, None)?;
    let model_type =
        root.string("model_type")?.ok_or_else(|| Error::Missing { field: "model_type".into() })?;
    let mut warnings = Vec::new();
    let family = match Family::for_model_type(model_type) {
        Some(family) => family,
        None => generic_family(&root, model_type, &mut warnings)?,
    };
    let config = Config::new(config, Some(&family.defaults))?;
    let n_layers = config.required_extent(&["num_hidden_layers", "n_layer", "n_layers"])?;
    if n_layers > MAX_LAYERS {
        return Err(wrong("num_hidden_layers", &format!("at most {MAX_LAYERS}"), &Value::from(n_layers)));
    }
    let hidden_size = config.required_extent(&["hidden_size", "n_embd", "dim"])?;
    let n_heads = config.required_extent(&["num_attention_heads", "n_head", "n_heads"])?;
    let n_kv_heads = config.extent(&["num_key_value_heads", "n_kv_heads"])?.unwrap_or(n_heads);
    if n_heads % n_kv_heads != 0 {
        return Err(wrong(
            "num_key_value_heads",
            &format!("a divisor of {n_heads} heads"),
            &Value::from(n_kv_heads),
        ));
    }
    let head_dim = match config.extent(&["head_dim"])? {
        Some(head_dim) => head_dim,
        None if hidden_size % n_heads == 0 => hidden_size / n_heads,
        None => {
            return Err(wrong(
                "hidden_size",
                &format!("a multiple of {n_heads} heads"),
                &Value::from(hidden_size),
            ));
        }
    };
    let moe = if family.is_routed() { Some(moe_of(&config)?) } else { None };
    if let Some(window) = config.extent(&["sliding_window"])?
        && config.boolean("use_sliding_window")?.unwrap_or(true)
    {
        warnings.push(format!(
            "the engine attends to the full context, not to a sliding window of {window} tokens"
        ));
    }
    let native_quantization = config
        .get("quantization_config")
        .map(|value| value["quant_method"].as_str().unwrap_or("unknown").to_string());
    let mut description = Description {
        family: family.id().into(),
        model_type: model_type.into(),
        architecture: family.architecture().into(),
        name: None,
        n_layers: n_layers as u32,
        hidden_size,
        ffn_size: config.required_extent(&["intermediate_size", "n_inner", "hidden_dim"])?,
        n_heads: narrow("num_attention_heads", n_heads)?,
        n_kv_heads: narrow("num_key_value_heads", n_kv_heads)?,
        head_dim: narrow("head_dim", head_dim)?,
        layers: vec![Layer { attention: AttentionKind::Full, routed: moe.is_some() }; n_layers as usize],
        moe,
        vocab_size: config.required_extent(&["vocab_size"])?,
        tied_embeddings: config.boolean("tie_word_embeddings")?.unwrap_or(false),
        attention_bias: config.boolean("attention_bias")?.unwrap_or(false),
        rope: rope_of(&config)?,
        max_context: config.required_extent(&["max_position_embeddings", "n_ctx", "n_positions"])?,
        parameters: Parameters::default(),
        native_quantization,
        warnings,
    };
    description.parameters = description.count_parameters();
    Ok(description)
}

/// Plain decoders under a new name: the fields of a Llama, nothing that speaks of another mechanism.
fn generic_family(
    config: &Config<'_>,
    model_type: &str,
    warnings: &mut Vec<String>,
) -> Result<&'static Family, Error> {
    const OTHER_MECHANISMS: [&str; 10] = [
        "kv_lora_rank",
        "num_experts",
        "num_local_experts",
        "n_routed_experts",
        "mamba_d_state",
        "ssm_state_size",
        "linear_num_key_heads",
        "layer_types",
        "is_encoder_decoder",
        "hybrid_override_pattern",
    ];
    let plain =
        ["num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "rms_norm_eps"]
            .iter()
            .all(|field| config.get(field).is_some());
    let other = OTHER_MECHANISMS.iter().any(|field| config.get(field).is_some());
    match Family::for_model_type("llama") {
        Some(family) if plain && !other => {
            warnings
                .push(format!("unknown model type `{model_type}`: treated as a plain decoder by its shape"));
            Ok(family)
        }
        _ => {
            let known: Vec<&str> =
                Family::all().iter().flat_map(|f| f.model_types()).map(String::as_str).collect();
            Err(Error::UnknownFamily { model_type: model_type.into(), known: known.join(", ") })
        }
    }
}

fn moe_of(config: &Config<'_>) -> Result<Moe, Error> {
    let n_experts = config.required_extent(&["num_experts", "num_local_experts", "n_routed_experts"])?;
    let n_active = config.required_extent(&["num_experts_per_tok"])?;
    if n_active > n_experts {
        return Err(wrong(
            "num_experts_per_tok",
            &format!("at most {n_experts} experts"),
            &Value::from(n_active),
        ));
    }
    let expert_ffn_size = config.required_extent(&["moe_intermediate_size", "intermediate_size"])?;
    Ok(Moe {
        n_experts: narrow("num_experts", n_experts)?,
        n_active: narrow("num_experts_per_tok", n_active)?,
        expert_ffn_size,
    })
}

fn rope_of(config: &Config<'_>) -> Result<Rope, Error> {
    let parameters = config.get("rope_parameters").or_else(|| config.get("rope_scaling"));
    let inner = parameters.unwrap_or(&Value::Null);
    let theta = match config.number("rope_theta")? {
        Some(theta) => theta,
        None => number_in(inner, "rope_theta")?.unwrap_or(10_000.0),
    };
    let kind =
        inner.get("rope_type").or_else(|| inner.get("type")).and_then(Value::as_str).unwrap_or("default");
    let need = |field: &str| {
        number_in(inner, field)?.ok_or_else(|| Error::Missing { field: format!("rope_scaling.{field}") })
    };
    let scaling = match kind {
        "linear" => RopeScaling::Linear { factor: need("factor")? },
        "yarn" => RopeScaling::Yarn {
            factor: need("factor")?,
            original_context: need("original_max_position_embeddings")? as u64,
        },
        "llama3" => RopeScaling::Llama3 {
            factor: number_in(inner, "factor")?.unwrap_or(8.0),
            low_freq_factor: number_in(inner, "low_freq_factor")?.unwrap_or(1.0),
            high_freq_factor: number_in(inner, "high_freq_factor")?.unwrap_or(4.0),
            original_context: number_in(inner, "original_max_position_embeddings")?.unwrap_or(8192.0) as u64,
        },
        "default" => RopeScaling::None,
        other => {
            return Err(wrong(
                "rope_scaling.rope_type",
                "default, linear, yarn or llama3",
                &Value::from(other),
            ));
        }
    };
    Ok(Rope { theta, scaling })
}

fn narrow(field: &str, value: u64) -> Result<u32, Error> {
    u32::try_from(value).map_err(|_| wrong(field, "a number below 2^32", &Value::from(value)))
}

/// Describes the model of a GGUF file.
///
/// # Errors
/// A missing or absurd metadata key, by name, or an unknown architecture.
pub fn detect_gguf(header: &Header) -> Result<Description, Error> {
    let metadata = &header.metadata;
    let architecture = metadata
        .str("general.architecture")
        .ok_or_else(|| Error::Missing { field: "general.architecture".into() })?;
    let key = |name: &str| format!("{architecture}.{name}");
    let optional = |name: &str| metadata.u64(&key(name)).filter(|n| *n > 0 && *n < 1 << 28);
    let need = |name: &str| optional(name).ok_or_else(|| Error::Missing { field: key(name) });
    let n_experts = optional("expert_count").unwrap_or(0);
    let family =
        Family::for_architecture(architecture, n_experts > 0).ok_or_else(|| Error::UnknownFamily {
            model_type: architecture.into(),
            known: Family::all().iter().map(Family::architecture).collect::<Vec<_>>().join(", "),
        })?;
    let n_layers = need("block_count")?.min(MAX_LAYERS);
    let (hidden_size, n_heads, ffn_size) =
        (need("embedding_length")?, need("attention.head_count")?, need("feed_forward_length")?);
    let n_kv_heads = optional("attention.head_count_kv").unwrap_or(n_heads);
    let moe = match n_experts {
        0 => None,
        n => Some(Moe {
            n_experts: narrow("expert_count", n)?,
            n_active: narrow("expert_used_count", need("expert_used_count")?)?,
            expert_ffn_size: optional("expert_feed_forward_length").unwrap_or(ffn_size),
        }),
    };
    let embedding_rows = header.tensor("token_embd.weight").and_then(|tensor| tensor.dims.get(1).copied());
    let tokens = metadata.strings("tokenizer.ggml.tokens").map(|tokens| tokens.len() as u64);
    let vocab_size = embedding_rows
        .or_else(|| optional("vocab_size"))
        .or(tokens)
        .ok_or_else(|| Error::Missing { field: key("vocab_size") })?;
    let has = |suffix: &str| header.tensors.iter().any(|tensor| tensor.name.ends_with(suffix));
    let mut description = Description {
        family: family.id().into(),
        model_type: family.model_types()[0].clone(),
        architecture: architecture.into(),
        name: metadata.str("general.name").map(str::to_string),
        n_layers: n_layers as u32,
        hidden_size,
        ffn_size,
        n_heads: narrow("head_count", n_heads)?,
        n_kv_heads: narrow("head_count_kv", n_kv_heads)?,
        head_dim: narrow("key_length", optional("attention.key_length").unwrap_or(hidden_size / n_heads))?,
        layers: vec![Layer { attention: AttentionKind::Full, routed: moe.is_some() }; n_layers as usize],
        moe,
        vocab_size,
        tied_embeddings: !has("output.weight"),
        attention_bias: has("attn_q.bias"),
        rope: Rope {
            theta: metadata.f64(&key("rope.freq_base")).unwrap_or(10_000.0),
            scaling: gguf_scaling(metadata, &key),
        },
        max_context: need("context_length")?,
        parameters: Parameters::default(),
        native_quantization: None,
        warnings: Vec::new(),
    };
    description.parameters = description.count_parameters();
    Ok(description)
}

fn gguf_scaling(metadata: &formats::gguf::Metadata, key: &dyn Fn(&str) -> String) -> RopeScaling {
    let factor = metadata.f64(&key("rope.scaling.factor")).unwrap_or(1.0);
    match metadata.str(&key("rope.scaling.type")) {
        Some("linear") => RopeScaling::Linear { factor },
        Some("yarn") => RopeScaling::Yarn {
            factor,
            original_context: metadata.u64(&key("rope.scaling.original_context_length")).unwrap_or(0),
        },
        _ => RopeScaling::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn qwen3_8b() -> Value {
        json!({"model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
            "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
            "max_position_embeddings": 40960, "rope_theta": 1000000, "tie_word_embeddings": false, "rms_norm_eps": 1e-6})
    }

    #[track_caller]
    fn total(config: Value, expected: u64, active: u64) {
        let found = detect_config(&config).unwrap().parameters;
        let close = |a: u64, b: u64| (a as f64 / b as f64 - 1.0).abs() < 1e-3;
        assert!(close(found.total, expected) && close(found.active, active), "{found:?}");
    }

    #[test]
    fn parameters_match_the_published_counts() {
        total(qwen3_8b(), 8_190_735_360, 8_190_735_360);
        total(
            json!({"model_type": "qwen3_moe", "hidden_size": 2048, "intermediate_size": 6144, "num_hidden_layers": 48,
                "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128, "vocab_size": 151936,
                "max_position_embeddings": 40960, "num_experts": 128, "num_experts_per_tok": 8,
                "moe_intermediate_size": 768, "tie_word_embeddings": false}),
            30_532_122_624,
            3_353_032_704,
        );
        total(
            json!({"model_type": "mixtral", "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
                "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32000,
                "max_position_embeddings": 32768, "num_local_experts": 8, "num_experts_per_tok": 2}),
            46_702_792_704,
            12_879_925_248,
        );
    }

    #[test]
    fn a_missing_or_absurd_field_is_named() {
        for field in ["model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"] {
            let mut config = qwen3_8b();
            config.as_object_mut().unwrap().remove(field);
            assert!(detect_config(&config).unwrap_err().to_string().contains(field), "{field}");
            config[field] = json!(1u64 << 60);
            assert!(detect_config(&config).unwrap_err().to_string().contains(field), "{field}");
        }
    }

    #[test]
    fn an_unknown_plain_decoder_is_described_with_a_warning() {
        let mut config = qwen3_8b();
        config["model_type"] = json!("brand_new");
        assert!(detect_config(&config).unwrap().warnings[0].contains("brand_new"));
        config["kv_lora_rank"] = json!(512);
        assert!(matches!(detect_config(&config), Err(Error::UnknownFamily { .. })));
    }

    proptest::proptest! {
        #[test]
        fn random_fields_never_panic(field in 0usize..9, number in proptest::num::u64::ANY, text in ".*") {
            let mut config = qwen3_8b();
            let names = ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                "num_key_value_heads", "head_dim", "vocab_size", "max_position_embeddings", "rope_scaling"];
            config[names[field]] = json!(number);
            let _ = detect_config(&config);
            config[names[field]] = json!(text);
            let _ = detect_config(&config);
        }
    }
}
