//! Tests of projectors, on configurations written for them.

use super::*;
use crate::tensors::rule::Condition;
use crate::{Floats, Role, Source, Stored};
use serde_json::json;

fn config() -> Json {
    json!({
        "model_type": "qwen3_vl", "tie_word_embeddings": false,
        "text_config": {"model_type": "qwen3_vl_text", "hidden_size": 64, "intermediate_size": 96,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
            "vocab_size": 100, "max_position_embeddings": 512, "rms_norm_eps": 1e-5},
        "vision_config": {"model_type": "qwen3_vl", "depth": 2, "hidden_size": 32, "intermediate_size": 40,
            "num_heads": 2, "patch_size": 4, "num_position_embeddings": 16, "deepstack_visual_indexes": [1],
            "hidden_act": "gelu_pytorch_tanh"},
    })
}

fn open(config: &Json) -> Result<Option<ModelProjector>, Error> {
    let processor = json!({"image_mean": [0.5, 0.25, 0.125], "image_std": [0.5, 0.5, 0.5]});
    ModelProjector::new(Sources { config, processor: &processor, token: &|_| Some(7) })
}

/// Names and shapes of what the projector of [`config`] needs, in another order than theirs.
fn stored() -> Vec<(String, Vec<u64>)> {
    let mut stored = vec![
        ("visual.patch_embed.proj.weight".to_string(), vec![32, 3, 2, 4, 4]),
        ("visual.patch_embed.proj.bias".into(), vec![32]),
        ("visual.pos_embed.weight".into(), vec![16, 32]),
        ("visual.merger.norm.weight".into(), vec![32]),
        ("visual.merger.norm.bias".into(), vec![32]),
    ];
    let merger = |name: &str| {
        [("linear_fc1", [128, 128]), ("linear_fc2", [64, 128])].map(|(part, shape)| {
            let name = format!("{name}.{part}");
            [(format!("{name}.weight"), shape.to_vec()), (format!("{name}.bias"), vec![shape[0]])]
        })
    };
    stored.extend(merger("visual.merger").into_iter().flatten());
    stored.extend(merger("visual.deepstack_merger_list.0").into_iter().flatten());
    for part in ["weight", "bias"] {
        stored.push((format!("visual.deepstack_merger_list.0.norm.{part}"), vec![128]));
    }
    for layer in 0..2 {
        for (part, rows, columns) in [
            ("attn.qkv", 96, 32),
            ("attn.proj", 32, 32),
            ("mlp.linear_fc1", 40, 32),
            ("mlp.linear_fc2", 32, 40),
        ] {
            let name = format!("visual.blocks.{layer}.{part}");
            stored.extend([
                (format!("{name}.weight"), vec![rows, columns]),
                (format!("{name}.bias"), vec![rows]),
            ]);
        }
        for part in ["norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"] {
            stored.push((format!("visual.blocks.{layer}.{part}"), vec![32]));
        }
    }
    stored
}

fn outputs(stored: &[(String, Vec<u64>)]) -> Result<Vec<crate::Output>, Error> {
    let stored: Vec<Stored<'_>> = stored.iter().map(|(name, shape)| Stored { name, shape }).collect();
    open(&config())?.expect("a projector").outputs(&stored)
}

#[test]
fn tables_name_known_things() {
    let mut ids = std::collections::HashSet::new();
    for projector in Projector::all() {
        assert!(ids.insert(projector.id()));
        for rule in projector.groups.iter().flat_map(|group| &group.rules) {
            assert_ne!(rule.role, Role::Other, "{}: {}", projector.id(), rule.to);
            let is_flag = |condition: &Condition| condition.flag().is_some();
            assert!(rule.when.iter().all(is_flag), "{}: {}", projector.id(), rule.to);
        }
    }
}

#[test]
fn a_model_without_images_has_none() {
    let mut text = config();
    text.as_object_mut().expect("an object").remove("vision_config");
    assert!(open(&text).expect("sound").is_none());
    let mut unknown = config();
    unknown["model_type"] = json!("qwen9_vl");
    assert!(Projector::of_config(&unknown).expect("sound").is_none());
    assert_eq!(Projector::of_config(&config()).expect("sound").map(Projector::id), Some("qwen3vl_merger"));
}

#[test]
fn keys_are_made_of_both_configurations() {
    let projector = open(&config()).expect("sound").expect("a projector");
    let metadata = projector.metadata(OutputType::F16).expect("every field is there");
    let number = |key: &str| metadata.u64(&format!("clip.vision.{key}"));
    assert_eq!((number("projection_dim"), number("embedding_length")), (Some(64), Some(32)));
    assert_eq!((number("image_size"), number("block_count")), (Some(16), Some(2)));
    assert_eq!(metadata.f64("clip.vision.attention.layer_norm_epsilon"), Some(f64::from(1e-5f32)));
    assert_eq!(metadata.str("general.type"), Some("mmproj"));
    let flags = Value::Array(formats::gguf::Array::Bool(vec![false, true]));
    assert_eq!(metadata.get("clip.vision.is_deepstack_layers"), Some(&flags));
    assert_eq!(metadata.f32s("clip.vision.image_mean"), Some(&[0.5, 0.25, 0.125][..]));
}

#[test]
fn stored_tensors_are_split_and_numbered_anew() {
    let outputs = outputs(&stored()).expect("complete");
    let find = |name: &str| outputs.iter().find(|output| output.name == name).expect(name);
    assert_eq!(find("v.patch_embd.weight").dims, [4, 4, 3, 32]);
    assert_eq!(find("v.patch_embd.weight.1").floats, Floats::F16OrF32);
    assert_eq!(find("v.deepstack.1.fc1.weight").dims, [128, 128]);
    assert_eq!(find("mm.2.weight").dims, [128, 64]);
    let Source::Stored(pieces) = &find("v.patch_embd.weight.1").source else { panic!("it is stored") };
    let mut first = None;
    pieces[0].view.each_run(0..1, |run| first = Some(run.start));
    assert_eq!(first, Some(16), "behind the 4 x 4 of the first moment");
}

#[test]
fn names_of_later_versions_mean_the_same() {
    let later: Vec<_> = stored().into_iter().map(|(name, shape)| (format!("model.{name}"), shape)).collect();
    assert_eq!(outputs(&later), outputs(&stored()));
}

#[test]
fn what_is_missing_unknown_or_wrong_is_named() {
    for (at, (name, _)) in stored().into_iter().enumerate() {
        let mut short = stored();
        short.remove(at);
        assert_eq!(outputs(&short), Err(Error::MissingTensor { tensor: name }));
    }
    let mut more = stored();
    more.push(("visual.blocks.2.norm1.weight".into(), vec![32]));
    assert!(
        matches!(outputs(&more), Err(Error::UnknownTensor { tensor, .. }) if tensor.contains("blocks.2"))
    );
    more.pop();
    more[2].1 = vec![32, 16];
    assert!(matches!(outputs(&more), Err(Error::Shape { tensor, .. }) if tensor.contains("pos_embed")));
    let mut other = config();
    other["vision_config"]["temporal_patch_size"] = json!(1);
    assert!(open(&other).is_err_and(|error| error.to_string().contains("temporal_patch_size")));
    other["vision_config"] = json!(7);
    assert!(open(&other).is_err_and(|error| error.to_string().contains("vision_config")));
}

#[test]
fn a_row_of_the_embedding_may_go_with_it() {
    let config = json!({
        "model_type": "mistral3", "projector_hidden_act": "gelu",
        "text_config": {"model_type": "mistral", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 512},
        "vision_config": {"model_type": "pixtral", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
    });
    let projector = open(&config).expect("sound").expect("a projector");
    assert!(projector.covers("language_model.model.embed_tokens.weight"));
    assert!(!projector.covers("language_model.model.layers.0.mlp.up_proj.weight"));
    assert!(
        projector.covers("vision_tower.something.else"),
        "a name of its own that no rule has is an error"
    );
    let (name, shape) = ("language_model.model.embed_tokens.weight", &[100, 64][..]);
    let found = projector.found(name).expect("covered");
    let output = found[0].rule.output(|name| projector.number(name), "x".into(), &Stored { name, shape }, 0);
    let Ok(crate::Output { source: Source::Stored(pieces), .. }) = output else { panic!("{output:?}") };
    let mut runs = Vec::new();
    pieces[0].view.each_run(0..64, |run| runs.push((run.start, run.len)));
    assert_eq!(runs, [(7 * 64, 64)]);
}

fn internvl(vision: Json) -> Json {
    json!({
        "model_type": "internvl_chat", "downsample_ratio": 0.5, "min_dynamic_patch": 0, "max_dynamic_patch": 12,
        "llm_config": {"model_type": "qwen2", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 512},
        "vision_config": vision,
    })
}

#[test]
fn the_largest_encoder_norms_queries_and_has_norms_without_biases() {
    let vision = json!({"hidden_size": 3200, "num_hidden_layers": 45, "num_attention_heads": 25, "intermediate_size": 12800,
        "norm_type": "rms_norm", "qk_normalization": true, "qkv_bias": false, "image_size": [448, 448], "patch_size": 14});
    let projector = open(&internvl(vision)).expect("sound").expect("a projector");
    let finds = |part: &str| {
        let name = format!("vision_model.encoder.layers.44.{part}");
        let found = projector.found(&name).expect("sound");
        found.iter().map(|found| found.rule.to.replace("v.blk.{layer}.", "")).collect::<Vec<_>>()
    };
    assert_eq!(finds("attn.qkv.weight"), ["attn_q.weight", "attn_k.weight", "attn_v.weight"]);
    assert_eq!(finds("attn.q_norm.weight"), ["attn_q_norm.weight"]);
    assert!(finds("attn.qkv.bias").is_empty() && finds("norm1.bias").is_empty());
    let metadata = projector.metadata(OutputType::F16).expect("every field is there");
    assert_eq!(metadata.u64("clip.vision.image_size"), Some(448));
    assert_eq!(metadata.u64("clip.vision.projector.scale_factor"), Some(2));
    assert_eq!(metadata.u64("clip.vision.preproc_min_tiles"), None);
    assert_eq!(metadata.u64("clip.vision.preproc_max_tiles"), Some(12));
}

#[test]
fn an_encoder_that_the_engine_takes_for_another_is_refused() {
    let small = |norm: &str, size: Json| {
        json!({"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096,
            "norm_type": norm, "qk_normalization": false, "qkv_bias": true, "image_size": size, "patch_size": 14})
    };
    assert!(open(&internvl(small("layer_norm", json!(448)))).is_ok());
    let refused = |vision: Json, field: &str| {
        open(&internvl(vision)).is_err_and(|error| error.to_string().contains(field))
    };
    assert!(refused(small("rms_norm", json!(448)), "norm_type"));
    assert!(refused(small("layer_norm", json!([448, 224])), "image_size"));
}

/// One more encoder has keys, layers and bounds of its own; without it there is none of them.
#[test]
fn what_hears_goes_with_what_sees() {
    let mut config = json!({
        "model_type": "gemma4",
        "text_config": {"model_type": "gemma4_text", "hidden_size": 64, "hidden_size_per_layer_input": 0},
        "vision_config": {"hidden_size": 48, "use_clipped_linears": true},
        "audio_config": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "output_proj_dims": 40,
            "subsampling_conv_channels": [24, 8], "conv_kernel_size": 5, "use_clipped_linears": false},
    });
    let part = "model.audio_tower.layers.1.self_attn.q_proj";
    let projector = open(&config).expect("sound").expect("a projector");
    let n_found = |projector: &ModelProjector, name: &str| projector.found(name).expect("sound").len();
    assert_eq!(n_found(&projector, &format!("{part}.linear.weight")), 1);
    assert_eq!(n_found(&projector, &format!("{part}.input_max")), 0);
    let bound = "model.vision_tower.encoder.layers.0.mlp.up_proj.output_min";
    assert_eq!(projector.found(bound).expect("sound")[0].rule.to, "v.blk.{layer}.ffn_up.output_min");
    let metadata = projector.metadata(OutputType::F16).expect("every field is there");
    assert_eq!(metadata.u64("clip.audio.feed_forward_length"), Some(128));
    config.as_object_mut().expect("an object").remove("audio_config");
    let projector = open(&config).expect("sound").expect("a projector");
    assert_eq!(n_found(&projector, &format!("{part}.linear.weight")), 0);
    let metadata = projector.metadata(OutputType::F16).expect("every field is there");
    assert!(metadata.iter().all(|(key, _)| !key.contains("audio")));
}
