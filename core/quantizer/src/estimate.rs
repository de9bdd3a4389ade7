//! What a recipe makes of a model that is only described: types by role and bytes, without a weight.
//! Knows descriptions and recipes; must not know sources.

use crate::recipe::{Overrides, Recipe, Row, Shape, Strategy, order, preset, stock};
use families::{Description, Family, OutputType, Role, TensorShape};
use formats::gguf::{Array, GgmlType, Metadata, TensorSpec, Value};
use std::collections::BTreeMap;

/// Sizes under one recipe.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Estimate {
    /// The recipe.
    pub precision: String,
    /// Bytes of all tensors; metadata and vocabulary come on top.
    pub tensor_bytes: u64,
    /// Everything counted.
    pub bits_per_weight: f64,
    /// By role.
    pub roles: BTreeMap<Role, RoleEstimate>,
    /// Each of them, in the order of recipes.
    #[serde(skip)]
    pub tensors: Vec<TensorSpec>,
}

/// All tensors of one role.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct RoleEstimate {
    /// How many there are.
    pub n_tensors: usize,
    /// Their bytes.
    pub bytes: u64,
    /// The type that holds most of them.
    pub ty: &'static str,
}

/// What `recipe` makes of the model; `None` where no family file gives its tensors. Types that need an importance
/// matrix are taken as if there were one.
pub fn estimate(description: &Description, recipe: Recipe) -> Option<Estimate> {
    let shapes = shapes_of(description)?;
    let rows = rows_of(&shapes);
    let wishes = Overrides::default();
    let choices = match recipe {
        Recipe::Stock(file_type) => stock(&rows, file_type, Shape::of(&metadata(description), true), &wishes),
        Recipe::Preset(wanted) => preset(&rows, wanted, description, &wishes),
    };
    let mut by_type: BTreeMap<Role, Vec<(GgmlType, u64, usize)>> = BTreeMap::new();
    let (mut tensor_bytes, mut n_weights, mut tensors) = (0u64, 0u64, Vec::with_capacity(shapes.len()));
    for ((shape, _), choice) in shapes.iter().zip(choices) {
        let rows: u64 = shape.dims[1..].iter().product();
        let bytes = choice.ty.row_bytes(shape.dims[0])?.saturating_mul(rows);
        tensor_bytes = tensor_bytes.saturating_add(bytes);
        n_weights = n_weights.saturating_add(shape.n_elements());
        tensors.push(TensorSpec { name: shape.name.clone(), dims: shape.dims.clone(), ty: choice.ty });
        let types = by_type.entry(shape.role).or_default();
        match types.iter_mut().find(|(ty, ..)| *ty == choice.ty) {
            Some((_, sum, n_tensors)) => {
                *sum = sum.saturating_add(bytes);
                *n_tensors += 1;
            }
            None => types.push((choice.ty, bytes, 1)),
        }
    }
    let roles = by_type.into_iter().filter_map(|(role, types)| {
        let (ty, ..) = types.iter().max_by_key(|(_, bytes, _)| *bytes)?;
        let n_tensors = types.iter().map(|(.., n)| n).sum();
        let bytes = types.iter().map(|(_, bytes, _)| bytes).sum();
        Some((role, RoleEstimate { n_tensors, bytes, ty: ty.name() }))
    });
    Some(Estimate {
        precision: recipe.name().into(),
        tensor_bytes,
        bits_per_weight: tensor_bytes as f64 * 8.0 / n_weights.max(1) as f64,
        roles: roles.collect(),
        tensors,
    })
}

/// What the strategy is called that the presets follow for this model; `None` as for [`estimate`].
pub fn strategy(description: &Description) -> Option<&'static str> {
    let shapes = shapes_of(description)?;
    Some(Strategy::of(description, &rows_of(&shapes)).name())
}

/// The tensors in the order of recipes, with the types that a plain conversion gives them.
fn shapes_of(description: &Description) -> Option<Vec<(TensorShape, GgmlType)>> {
    let mut shapes = description.tensor_shapes();
    if shapes.is_empty() {
        return None;
    }
    shapes.sort_by(|a, b| order(&a.name).cmp(&order(&b.name)));
    let native = description.native_quantization.as_ref();
    let in_mxfp4 = native.is_some_and(|native| native.method == "mxfp4");
    let typed = |shape: TensorShape| {
        let ty = match shape.role.is_routed_expert() && shape.dims.len() == 3 && in_mxfp4 {
            true => GgmlType::MXFP4,
            false => OutputType::F16.of_tensor(&shape.name, shape.dims.len()),
        };
        (shape, ty)
    };
    Some(shapes.into_iter().map(typed).collect())
}

/// The same as recipes take them.
fn rows_of(shapes: &[(TensorShape, GgmlType)]) -> Vec<Row<'_>> {
    shapes.iter().map(|(shape, ty)| (shape.name.as_str(), &shape.dims[..], *ty)).collect()
}

/// The keys that recipes read.
fn metadata(description: &Description) -> Metadata {
    let key = |name: &str| format!("{}.{name}", description.architecture);
    let family = Family::for_architecture(&description.architecture);
    let heads = |name: &str, of: fn(&families::Attention) -> u32| {
        let mut attentions = description.layers.iter().map(|layer| layer.attention().map_or(0, of));
        let value = if family.is_some_and(|family| family.states_by_layer(name)) {
            Value::Array(Array::I32(attentions.map(u32::cast_signed).collect()))
        } else {
            Value::U32(attentions.find(|heads| *heads > 0).unwrap_or(0))
        };
        (key(name), value)
    };
    Metadata::from_iter([
        ("general.architecture".to_string(), Value::String(description.architecture.clone())),
        (key("block_count"), Value::U32(description.n_layers)),
        (key("expert_count"), Value::U32(description.moe.map_or(0, |moe| moe.n_experts))),
        heads("attention.head_count", |attention| attention.n_heads),
        heads("attention.head_count_kv", |attention| attention.n_kv_heads),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::FileType;
    use serde_json::json;

    /// Bytes that design arithmetic gives for released models, in GB of 10^9 bytes as they are told there.
    #[test]
    fn sizes_are_those_of_released_models() {
        let qwen3_8b = json!({"model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288,
            "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
            "vocab_size": 151936, "max_position_embeddings": 40960});
        let qwen3_30b = json!({"model_type": "qwen3_moe", "norm_topk_prob": true, "hidden_size": 2048,
            "intermediate_size": 6144, "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4,
            "head_dim": 128, "vocab_size": 151936, "max_position_embeddings": 40960, "num_experts": 128,
            "num_experts_per_tok": 8, "moe_intermediate_size": 768});
        let mut layer_types = vec!["mamba"; 40];
        for layer in [5, 15, 25, 35] {
            layer_types[layer] = "attention";
        }
        let granite_small = json!({"model_type": "granitemoehybrid", "hidden_size": 4096, "intermediate_size": 768,
            "num_hidden_layers": 40, "num_attention_heads": 32, "num_key_value_heads": 8, "num_local_experts": 72,
            "num_experts_per_tok": 10, "shared_intermediate_size": 1536, "mamba_n_heads": 128, "mamba_d_state": 128,
            "vocab_size": 100352, "max_position_embeddings": 131072, "tie_word_embeddings": true,
            "layer_types": layer_types});
        let granite_tiny = json!({"model_type": "granitemoehybrid", "hidden_size": 1536, "intermediate_size": 512,
            "num_hidden_layers": 40, "num_attention_heads": 12, "num_key_value_heads": 4, "num_local_experts": 64,
            "num_experts_per_tok": 6, "shared_intermediate_size": 1024, "mamba_n_heads": 48, "mamba_d_state": 128,
            "vocab_size": 100352, "max_position_embeddings": 131072, "tie_word_embeddings": true,
            "layer_types": layer_types});
        let gpt_oss = json!({"model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880,
            "num_hidden_layers": 24, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64,
            "num_local_experts": 32, "num_experts_per_tok": 4, "vocab_size": 201088, "attention_bias": true,
            "max_position_embeddings": 131072, "sliding_window": 128});
        let mut native = gpt_oss.clone();
        native["quantization_config"] = json!({"quant_method": "mxfp4"});
        use FileType::*;
        let plain = [Q8_0, Q4_K_M, IQ4_XS, Q3_K_M, Q2_K, IQ2_XXS, IQ1_S];
        // Rows of 2880 are no multiple of 256: the output is Q8_0 then, also where the table counts it as Q5_K (11.8).
        let odd = [Q8_0, IQ4_XS, Q3_K_M, Q2_K, IQ2_XXS, IQ1_S];
        let mut off = Vec::new();
        for (name, config, file_types, expected) in [
            ("Qwen3-8B", qwen3_8b, &plain[..], "8.70 5.02 4.55 4.12 3.27 2.48 2.11"),
            ("Qwen3-30B-A3B", qwen3_30b, &plain, "32.48 18.55 16.36 14.71 11.25 8.17 6.41"),
            ("Granite-4.0-H-Small", granite_small, &plain, "34.3 19.5 17.3 15.4 11.8 8.6 6.7"),
            ("Granite-4.0-H-Tiny", granite_tiny, &plain, "7.39 4.23 3.75 3.35 2.58 1.88 1.47"),
            ("gpt-oss-20b", gpt_oss, &odd, "22.2 12.06 12.9 12.0 12.0 12.0"),
            ("gpt-oss-20b as released", native, &[MXFP4_MOE], "12.1"),
        ] {
            let description = families::detect_config(&config).expect("a whole configuration");
            for (file_type, expected) in file_types.iter().zip(expected.split(' ')) {
                let estimate = estimate(&description, (*file_type).into()).expect("a family");
                let got = estimate.tensor_bytes as f64 / 1e9;
                let digits = expected.split_once('.').map_or(0, |(_, digits)| digits.len());
                let told: f64 = expected.parse().expect("a number");
                // What is told is rounded.
                let tolerance = 0.005 * told + 0.5 * 0.1f64.powi(digits as i32);
                if (got - told).abs() > tolerance {
                    off.push(format!("{name} {}: {got} for {told}", file_type.name()));
                }
                let by_role: u64 = estimate.roles.values().map(|role| role.bytes).sum();
                assert_eq!(by_role, estimate.tensor_bytes);
            }
        }
        assert!(off.is_empty(), "{}", off.join("\n"));
    }
}
