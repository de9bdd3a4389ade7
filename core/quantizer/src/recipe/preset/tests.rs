//! Tests of presets: the table, and what it makes of models of every kind.

use super::*;
use serde_json::{Value, json};
use std::collections::HashSet;

fn describe(config: Value) -> Description {
    families::detect_config(&config).expect("a whole configuration")
}

fn dense() -> Description {
    describe(
        json!({"model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072, "vocab_size": 4096,
        "num_hidden_layers": 6, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
        "max_position_embeddings": 4096}),
    )
}

fn mixture() -> Description {
    describe(
        json!({"model_type": "qwen3_moe", "norm_topk_prob": true, "hidden_size": 2048, "intermediate_size": 6144,
        "vocab_size": 4096, "num_hidden_layers": 6, "num_attention_heads": 32, "num_key_value_heads": 4,
        "head_dim": 128, "max_position_embeddings": 4096, "num_experts": 8, "num_experts_per_tok": 2,
        "moe_intermediate_size": 768}),
    )
}

/// Types by name of the whole model.
fn types(description: &Description, wanted: Preset, wishes: &Overrides) -> HashMap<String, GgmlType> {
    let shapes = description.tensor_shapes();
    let full =
        |shape: &families::TensorShape| families::OutputType::Bf16.of_tensor(&shape.name, shape.dims.len());
    let rows: Vec<Row<'_>> =
        shapes.iter().map(|shape| (shape.name.as_str(), &shape.dims[..], full(shape))).collect();
    let choices = preset(&rows, wanted, description, wishes);
    rows.iter().zip(choices).map(|(row, choice)| (row.0.to_string(), choice.ty)).collect()
}

fn check(description: &Description, wanted: Preset, expected: &[(&str, GgmlType)]) {
    let types = types(description, wanted, &Overrides::default());
    for (name, ty) in expected {
        assert_eq!(types[*name], *ty, "{} {name}", wanted.name());
    }
}

#[test]
fn the_table_names_roles_once_and_ends_in_a_strategy_for_all() {
    let roles: Vec<&Role> = TABLE.groups.values().flatten().collect();
    assert_eq!(roles.iter().collect::<HashSet<_>>().len(), roles.len());
    assert!(roles.iter().all(|role| !is_kept(**role)));
    assert!(TABLE.strategy.last().is_some_and(|last| last.when.is_empty()));
    for strategy in &TABLE.strategy {
        for preset in Preset::ALL {
            let wishes = strategy.wishes(preset);
            assert!(wishes.contains_key("others"), "{}", strategy.name);
            let known = |group: &String| {
                TABLE.groups.contains_key(group.strip_prefix(ENCODER_GROUP).unwrap_or(group))
            };
            assert!(wishes.keys().all(known), "{}", strategy.name);
        }
    }
}

#[test]
fn dense_models_spend_on_attention_before_feed_forwards() {
    use GgmlType::*;
    check(
        &dense(),
        Preset::Balanced,
        &[
            ("token_embd.weight", Q6_K),
            ("output.weight", Q6_K),
            ("blk.2.attn_q.weight", Q6_K),
            ("blk.2.attn_output.weight", Q6_K),
            ("blk.2.ffn_gate.weight", Q4_K),
            ("blk.2.ffn_down.weight", Q5_K),
            ("blk.2.attn_norm.weight", F32),
        ],
    );
    check(&dense(), Preset::High, &[("blk.2.attn_v.weight", Q8_0), ("blk.2.ffn_up.weight", Q6_K)]);
    check(&dense(), Preset::Extreme, &[("blk.2.attn_v.weight", Q4_K), ("blk.2.ffn_up.weight", Q3_K)]);
}

#[test]
fn layers_at_the_ends_go_one_step_up() {
    use GgmlType::*;
    for layer in ["0", "5"] {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let types = types(&dense(), Preset::Balanced, &Overrides::default());
        assert_eq!((types[&name("ffn_up")], types[&name("ffn_down")]), (Q5_K, Q6_K));
        assert_eq!(types[&name("attn_q")], Q8_0);
    }
    assert_eq!((one_step_up(Q8_0), one_step_up(MXFP4)), (Q8_0, MXFP4));
}

#[test]
fn routers_stay_and_experts_pay() {
    use GgmlType::*;
    check(
        &mixture(),
        Preset::Balanced,
        &[
            ("blk.2.ffn_gate_inp.weight", F32),
            ("blk.2.attn_k.weight", Q8_0),
            ("blk.2.ffn_up_exps.weight", Q4_K),
            ("blk.0.ffn_up_exps.weight", Q5_K),
            ("output.weight", Q8_0),
        ],
    );
    check(
        &mixture(),
        Preset::Extreme,
        &[
            ("blk.2.ffn_gate_exps.weight", Q2_K),
            ("blk.2.ffn_down_exps.weight", Q3_K),
            ("output.weight", Q4_K),
        ],
    );
    assert_eq!(Strategy::of(&mixture(), &[]).name(), "routed experts");
    let native: [Row<'_>; 1] = [("blk.0.ffn_up_exps.weight", &[64, 64, 8], MXFP4)];
    assert_eq!(Strategy::of(&mixture(), &native).name(), "native MXFP4 experts");
    let kept = preset(&native, Preset::Extreme, &mixture(), &Overrides::default());
    assert_eq!(kept[0].ty, MXFP4);
}

#[test]
fn wishes_count_before_the_table_and_narrow_rows_get_what_fits() {
    use GgmlType::*;
    let mut wishes =
        Overrides { token_embedding: Some(Q4_0), leave_output_tensor: true, ..Overrides::default() };
    wishes.add_by_name("blk\\.1\\.attn_q=Q8_0").expect("a wish");
    let types = types(&dense(), Preset::Balanced, &wishes);
    assert_eq!((types["token_embd.weight"], types["output.weight"]), (Q4_0, BF16));
    assert_eq!((types["blk.1.attn_q.weight"], types["blk.2.attn_q.weight"]), (Q8_0, Q6_K));
    let narrow: [Row<'_>; 1] = [("blk.2.ffn_up.weight", &[96, 64], BF16)];
    let choice = preset(&narrow, Preset::Balanced, &dense(), &Overrides::default())[0];
    assert_eq!((choice.ty, choice.instead_of), (Q5_0, Some(Q4_K)));
}
