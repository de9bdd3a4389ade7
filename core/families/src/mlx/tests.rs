//! Layouts of small models, tensor by tensor.

use super::*;
use crate::detect_config;
use serde_json::json;

/// Names, shapes and kinds of what becomes of `stored`.
fn laid_out(config: &Value, stored: &[(String, Vec<u64>)]) -> Result<Vec<MlxTensor>, Error> {
    let description = detect_config(config)?;
    let family = Family::for_architecture(&description.architecture).expect("a known family");
    let stored: Vec<Stored<'_>> = stored.iter().map(|(name, shape)| Stored { name, shape }).collect();
    Layout::of(config)?.tensors(config, family, &description, &stored)
}

fn dense(layer: &str) -> Vec<(String, Vec<u64>)> {
    [
        ("input_layernorm.weight", vec![8]),
        ("post_attention_layernorm.weight", vec![8]),
        ("self_attn.q_proj.weight", vec![8, 8]),
        ("self_attn.k_proj.weight", vec![4, 8]),
        ("self_attn.v_proj.weight", vec![4, 8]),
        ("self_attn.o_proj.weight", vec![8, 8]),
        ("self_attn.q_norm.weight", vec![4]),
        ("self_attn.k_norm.weight", vec![4]),
    ]
    .into_iter()
    .map(|(name, shape)| (format!("{layer}{name}"), shape))
    .collect()
}

fn qwen3_moe() -> (Value, Vec<(String, Vec<u64>)>) {
    let config = json!({"model_type": "qwen3_moe", "vocab_size": 16, "hidden_size": 8, "intermediate_size": 12,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4, "num_experts": 2,
        "num_experts_per_tok": 1, "moe_intermediate_size": 6, "norm_topk_prob": true, "tie_word_embeddings": true,
        "max_position_embeddings": 64});
    let mut stored =
        vec![("lm_head.weight".into(), vec![16, 8]), ("model.embed_tokens.weight".into(), vec![16, 8])];
    stored.extend(dense("model.layers.0."));
    for expert in [1, 0] {
        for (part, shape) in [("down_proj", [8, 6]), ("gate_proj", [6, 8]), ("up_proj", [6, 8])] {
            stored.push((format!("model.layers.0.mlp.experts.{expert}.{part}.weight"), shape.to_vec()));
        }
    }
    stored.push(("model.layers.0.mlp.gate.weight".into(), vec![2, 8]));
    stored.push(("model.norm.weight".into(), vec![8]));
    (config, stored)
}

#[test]
fn experts_are_stacked_and_a_tied_output_is_left_out() {
    let (config, stored) = qwen3_moe();
    let tensors = laid_out(&config, &stored).expect("a whole model");
    let of = |name: &str| tensors.iter().find(|tensor| tensor.name == name);
    assert!(of("lm_head.weight").is_none() && tensors.len() == 1 + 8 + 3 + 1 + 1);
    let gate = of("model.layers.0.mlp.switch_mlp.gate_proj.weight").expect("a stack");
    assert_eq!((gate.shape.clone(), gate.kind), (vec![2, 6, 8], Kind::Matrix { is_fixed: false }));
    assert_eq!(
        (gate.role, gate.gguf_names.clone()),
        (Role::RoutedGate, vec!["blk.0.ffn_gate_exps.weight".into()])
    );
    let first = stored.iter().position(|(name, _)| name.ends_with("experts.0.gate_proj.weight"));
    assert_eq!(gate.pieces.first().map(|piece| piece.tensor), first);
    let router = of("model.layers.0.mlp.gate.weight").expect("kept");
    assert_eq!((router.kind, router.module()), (Kind::Matrix { is_fixed: true }, "model.layers.0.mlp.gate"));
    assert_eq!(of("model.norm.weight").map(|norm| norm.kind), Some(Kind::Plain { keeps_floats: false }));
}

#[test]
fn gaps_and_unknown_models_are_named() {
    let (config, mut stored) = qwen3_moe();
    stored.retain(|(name, _)| !name.ends_with("experts.1.up_proj.weight"));
    let error = laid_out(&config, &stored).expect_err("a gap").to_string();
    assert!(error.contains("model.layers.0.mlp.experts.1.up_proj.weight"), "{error}");
    let error = Layout::of(&json!({"model_type": "bert"})).expect_err("unknown").to_string();
    assert!(
        error.contains("`model_type`: expected one whose layout in MLX is known (cohere, ")
            && error.ends_with("got `bert`"),
        "{error}"
    );
}

#[test]
fn rows_are_taken_apart_and_matrices_turned() {
    let row = |table: &str| -> Row { toml::from_str(table).expect("a row") };
    let places = |row: &Row, shape: &[u64]| {
        let (shape, view) = row.arrange(&Stored { name: "t", shape }).expect("it splits");
        let mut places = Vec::new();
        view.each_run(0..view.n_elements(), |run| {
            places.extend((0..run.len).map(|i| run.start + i * run.stride))
        });
        (shape, places)
    };
    let even = row("from = 'a'\nto = 'b.weight'\nturned = true\npart = 'even'");
    // Two rows of four: four columns of two, of which the first and the third.
    assert_eq!(places(&even, &[1, 2, 4]), (vec![1, 2, 2], vec![0, 4, 2, 6]));
    let half = row("from = 'a'\nto = 'b.weight'\npart = 'second_half'");
    assert_eq!(places(&half, &[2, 2, 3]), (vec![2, 1, 3], vec![3, 4, 5, 9, 10, 11]));
    let bias = row("from = 'a'\nto = 'b.bias'\npart = 'odd'");
    assert_eq!(places(&bias, &[2, 4]), (vec![2, 2], vec![1, 3, 5, 7]));
    assert!(
        half.arrange(&Stored { name: "t", shape: &[3, 4] })
            .is_err_and(|e| e.to_string().contains("even number"))
    );
    assert!(even.arrange(&Stored { name: "t", shape: &[3] }).is_err());
    let when = row("from = 'a'\nto = 'b'\nwhen = '!n'");
    for (config, holds) in [(json!({"n": 0}), true), (json!({}), true), (json!({"n": 2}), false)] {
        assert_eq!(when.holds(&Config::new(&config).expect("an object")), holds);
    }
}

#[test]
fn every_table_names_models_once() {
    let mut all: Vec<&String> = LAYOUTS.iter().flat_map(|layout| &layout.model_types).collect();
    let n_all = all.len();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), n_all);
    for layout in LAYOUTS.iter() {
        for row in &layout.rows {
            assert_eq!(row.from.contains("{layer}"), row.to.contains("{layer}"), "{}", row.from);
            assert!(!row.to.contains("{expert}"), "{}", row.to);
        }
    }
}

#[test]
fn names_lead_back_to_those_of_gguf() {
    let (config, _) = qwen3_moe();
    let names = |config: &Value, name: &str| {
        let description = detect_config(config).expect("a model");
        let family = Family::for_architecture(&description.architecture).expect("a known family");
        Layout::of(config).and_then(|layout| layout.gguf_names(config, family, &description, name))
    };
    let only = |config: &Value, name: &str| {
        let names = names(config, name).expect("a known tensor");
        assert_eq!(names.len(), 1, "{name}: {names:?}");
        (names[0].name.clone(), names[0].value)
    };
    let plain = |name: &str| (name.to_string(), ValueChange::None);
    assert_eq!(
        only(&config, "model.layers.0.mlp.switch_mlp.gate_proj.weight"),
        plain("blk.0.ffn_gate_exps.weight")
    );
    assert_eq!(only(&config, "model.layers.0.mlp.gate.weight"), plain("blk.0.ffn_gate_inp.weight"));
    assert_eq!(only(&config, "model.embed_tokens.weight"), plain("token_embd.weight"));
    assert!(names(&config, "model.layers.7.mlp.gate.weight").is_err());
    assert!(names(&config, "model.layers.0.mlp.door.weight").is_err());
    let gpt_oss = json!({"model_type": "gpt_oss", "vocab_size": 16, "hidden_size": 8, "intermediate_size": 8,
        "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
        "num_local_experts": 2, "num_experts_per_tok": 1, "max_position_embeddings": 64});
    for (name, expected) in [
        ("gate_proj.weight", "blk.1.ffn_gate_exps.weight"),
        ("up_proj.weight", "blk.1.ffn_up_exps.weight"),
        ("up_proj.bias", "blk.1.ffn_up_exps.bias"),
        ("down_proj.bias", "blk.1.ffn_down_exps.bias"),
    ] {
        assert_eq!(only(&gpt_oss, &format!("model.layers.1.mlp.experts.{name}")), plain(expected));
    }
    let gemma = json!({"model_type": "gemma3_text", "vocab_size": 16, "hidden_size": 8, "intermediate_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
        "query_pre_attn_scalar": 4});
    let norm = only(&gemma, "model.layers.0.pre_feedforward_layernorm.weight");
    assert_eq!(norm, ("blk.0.ffn_norm.weight".to_string(), ValueChange::AddOne));
}
