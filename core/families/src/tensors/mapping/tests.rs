//! Tests of names, stacks and views on the way to GGUF.

use super::*;
use serde_json::json;

fn describe(config: serde_json::Value) -> (&'static Family, Description) {
    let description = crate::detect_config(&config).expect("a whole configuration");
    let family = Family::for_architecture(&description.architecture).expect("described by one");
    (family, description)
}

fn moe() -> (&'static Family, Description) {
    describe(
        json!({"model_type": "qwen3_moe", "norm_topk_prob": true, "hidden_size": 8, "intermediate_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
        "vocab_size": 10, "max_position_embeddings": 16, "num_experts": 2, "num_experts_per_tok": 1,
        "moe_intermediate_size": 4}),
    )
}

fn dense() -> (&'static Family, Description) {
    describe(json!({"model_type": "llama", "hidden_size": 8, "intermediate_size": 6, "num_hidden_layers": 1,
        "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 10, "max_position_embeddings": 16}))
}

/// Every tensor that the description asks for, as a checkpoint stores it; experts interleaved as sorted names are, the
/// second one first.
fn checkpoint((family, description): &(&'static Family, Description)) -> Vec<(String, Vec<u64>)> {
    let (mut outside, mut experts) = (Vec::new(), Vec::new());
    description.each_tensor(family, |rule, layer, dims| {
        let from = rule.from.replace("{layer}", &layer.unwrap_or_default().to_string());
        let stacked = rule.from.contains("{expert}");
        let own = if stacked { &dims[..dims.len() - 1] } else { &dims[..] };
        let shape: Vec<u64> = own.iter().rev().copied().collect();
        match stacked {
            true => experts.push((from, shape)),
            false => outside.push((from, shape)),
        }
    });
    for expert in ["1", "0"] {
        outside.extend(experts.iter().map(|(from, shape)| (from.replace("{expert}", expert), shape.clone())));
    }
    outside
}

fn outputs(
    (family, description): &(&'static Family, Description),
    tensors: &[(String, Vec<u64>)],
) -> Result<Vec<Output>, Error> {
    let stored: Vec<Stored<'_>> = tensors.iter().map(|(name, shape)| Stored { name, shape }).collect();
    family.outputs(description, &stored)
}

#[test]
fn every_shape_is_what_the_description_says() {
    for model in [moe(), dense()] {
        let outputs = outputs(&model, &checkpoint(&model)).expect("a whole checkpoint");
        let mut written: Vec<_> = outputs.into_iter().map(|o| (o.name, o.role, o.dims)).collect();
        let mut expected: Vec<_> =
            model.1.tensor_shapes().into_iter().map(|shape| (shape.name, shape.role, shape.dims)).collect();
        written.sort();
        expected.sort();
        assert_eq!(written, expected);
    }
}

#[test]
fn names_of_bare_and_enclosed_decoders_map_alike() {
    let model = dense();
    for (drop, add) in [("model.", ""), ("", "language_model."), ("model.", "model.language_model.")] {
        let enclosed = checkpoint(&model).into_iter().map(|(name, shape)| match name.strip_prefix(drop) {
            Some(rest) => (format!("{add}{rest}"), shape),
            None => (name, shape),
        });
        let enclosed: Vec<_> = enclosed.collect();
        assert_eq!(outputs(&model, &enclosed), outputs(&model, &checkpoint(&model)), "{add}");
    }
}

#[test]
fn unknown_tensors_are_named_and_computed_ones_skipped() {
    let model = dense();
    let with = |name: &str| outputs(&model, &[checkpoint(&model), vec![(name.into(), vec![1])]].concat());
    for name in ["model.layers.0.self_attn.rotary_emb.inv_freq", "vision_tower.layers.0.weight"] {
        assert_eq!(with(name), outputs(&model, &checkpoint(&model)));
    }
    for name in ["model.layers.0.mystery", "model.layers.99999999999.mlp.up_proj.weight", ""] {
        let error = with(name).expect_err(name).to_string();
        assert!(error.contains(name), "{error}");
    }
}

#[test]
fn stacks_stand_where_their_last_expert_does() {
    let model = moe();
    let mut tensors = checkpoint(&model);
    tensors.push(("model.layers.0.self_attn.q_proj.bias".into(), vec![8]));
    let outputs = outputs(&model, &tensors).expect("a whole checkpoint");
    let names: Vec<&str> = outputs[outputs.len() - 4..].iter().map(|output| output.name.as_str()).collect();
    let stacks = ["blk.0.ffn_down_exps.weight", "blk.0.ffn_gate_exps.weight", "blk.0.ffn_up_exps.weight"];
    assert_eq!(names, [&stacks[..], &["blk.0.attn_q.bias"]].concat());
    let place = |name: &str| tensors.iter().position(|(stored, _)| stored == name).expect("stored");
    let down = |expert: u32| Piece {
        tensor: place(&format!("model.layers.0.mlp.experts.{expert}.down_proj.weight")),
        view: View::whole(32),
        factors: Vec::new(),
    };
    assert_eq!(outputs[outputs.len() - 4].source, Source::Stored(vec![down(0), down(1)]));
}

#[test]
fn rotary_rows_alternate_between_the_halves_of_a_head() {
    let model = dense();
    let outputs = outputs(&model, &checkpoint(&model)).expect("a whole checkpoint");
    let query = outputs.iter().find(|output| output.name == "blk.0.attn_q.weight").expect("written");
    let Source::Stored(pieces) = &query.source else { panic!("stored") };
    let mut rows = Vec::new();
    pieces[0].view.each_run(0..64, |run| rows.extend((0..run.len / 8).map(|row| run.start / 8 + row)));
    assert_eq!(rows, [0, 2, 1, 3, 4, 6, 5, 7]);
}

#[test]
fn every_missing_tensor_is_named() {
    let model = moe();
    let tensors = checkpoint(&model);
    for (left_out, _) in &tensors {
        let rest: Vec<_> = tensors.iter().filter(|(name, _)| name != left_out).cloned().collect();
        assert_eq!(outputs(&model, &rest), Err(Error::MissingTensor { tensor: left_out.clone() }));
    }
}

#[test]
fn other_shapes_are_named() {
    for model in [moe(), dense()] {
        for index in 0..checkpoint(&model).len() {
            let mut tensors = checkpoint(&model);
            tensors[index].1[0] += 1;
            let named = outputs(&model, &tensors);
            assert!(
                matches!(&named, Err(Error::Shape { tensor, .. }) if *tensor == tensors[index].0),
                "{named:?}"
            );
        }
    }
}

#[test]
fn surplus_layers_and_experts_are_named() {
    let model = moe();
    for name in ["model.layers.0.mlp.experts.2.down_proj.weight", "model.layers.1.input_layernorm.weight"] {
        let tensors = [checkpoint(&model), vec![(name.to_string(), vec![8])]].concat();
        let named = outputs(&model, &tensors);
        assert!(matches!(named, Err(Error::UnknownTensor { tensor, .. }) if tensor == name));
    }
}

#[test]
fn a_missing_part_of_a_stack_that_stands_once_is_named() {
    let sample = include_str!("../../../samples/gemma3n.json");
    let (family, description) = describe(serde_json::from_str(sample).expect("JSON"));
    let shape = [64, 64];
    let names = [0, 2].map(|part| format!("model.altup_projections.{part}.weight"));
    let stored: Vec<Stored<'_>> = names.iter().map(|name| Stored { name, shape: &shape }).collect();
    let tensor = "model.altup_projections.1.weight".into();
    assert_eq!(family.outputs(&description, &stored), Err(Error::MissingTensor { tensor }));
}

/// The pairs of each head's first half go apart, its second half stays.
#[test]
fn equal_parts_are_arranged_each_for_itself() {
    let (family, description) = describe(
        json!({"model_type": "glm4v", "text_config": {"model_type": "glm4v_text",
        "hidden_size": 16, "num_attention_heads": 2, "num_key_value_heads": 1, "num_hidden_layers": 1, "vocab_size": 10,
        "rope_parameters": {"mrope_section": [1, 1, 0], "partial_rotary_factor": 0.5, "rope_theta": 1e4}}}),
    );
    let name = "model.language_model.layers.0.self_attn.q_proj.bias";
    let found = family.find(&description, name).expect("known").expect("its own");
    let layer = description.layers[0];
    let stored = Stored { name, shape: &[16] };
    let output =
        found.rules[0].output(|name| description.extent(name, &layer), "attn_q.bias".into(), &stored, 0);
    let Ok(Output { source: Source::Stored(pieces), .. }) = output else { panic!("{output:?}") };
    let mut places = Vec::new();
    for piece in &pieces {
        piece.view.each_run(0..piece.view.n_elements(), |run| {
            places.extend((0..run.len).map(|at| run.start + at * run.stride));
        });
    }
    assert_eq!(places, [0, 2, 1, 3, 4, 5, 6, 7, 8, 10, 9, 11, 12, 13, 14, 15]);
}

#[test]
fn rows_that_a_table_lacks_at_its_end_are_zeros() {
    let sample = include_str!("../../../samples/gemma3n.json");
    let (family, description) = describe(serde_json::from_str(sample).expect("JSON"));
    let name = "model.embed_tokens_per_layer.weight";
    let found = family.find(&description, name).expect("known").expect("its own");
    let outside = description.outside_layers();
    let stored = Stored { name, shape: &[4092, 6400] };
    let output = found.rules[0].output(|name| description.extent(name, &outside), name.into(), &stored, 0);
    let Ok(Output { source: Source::Stored(pieces), dims, .. }) = output else { panic!("{output:?}") };
    assert_eq!((dims, pieces.len(), pieces[1].view.n_elements()), (vec![6400, 4100], 2, 8 * 6400));
    assert_eq!((&pieces[0].factors[..], &pieces[1].factors[..]), (&[][..], &[0.0][..]));
}

#[test]
fn a_shape_whose_elements_cannot_be_counted_is_refused() {
    let sample = include_str!("../../../samples/gemma3n.json");
    let (family, description) = describe(serde_json::from_str(sample).expect("JSON"));
    let name = "model.embed_tokens_per_layer.weight";
    let found = family.find(&description, name).expect("known").expect("its own");
    let outside = description.outside_layers();
    for shape in [[1 << 40, 1 << 40], [u64::MAX, 2]] {
        let stored = Stored { name, shape: &shape };
        let output =
            found.rules[0].output(|name| description.extent(name, &outside), name.into(), &stored, 0);
        let Err(Error::Shape { expected, got, .. }) = output else { panic!("{output:?}") };
        assert_eq!((expected.as_str(), got.as_slice()), ("fewer than 2^64 elements", shape.as_slice()));
    }
}
