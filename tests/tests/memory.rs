//! The planner's memory, figured from shapes, against the engine's own account of the same configuration, for every
//! family. Owns which; must not load weights.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod outline;

use engine::gguf::{EngineOptions, GgufEngine};
use engine::{Engine, KvType, LoadSettings};
use formats::gguf::GgmlType;
use outline::compare::compare;
use outline::{Outline, in_type, samples};
use planner::Repack;

const CONTEXTS: [u32; 3] = [256, 1024, 4096];
const TYPES: [(KvType, KvType); 4] = [
    (KvType::F16, KvType::F16),
    (KvType::Q8_0, KvType::Q8_0),
    (KvType::Q8_0, KvType::Q4_0),
    (KvType::Bf16, KvType::F32),
];

/// Models of families whose samples lack some of what their layers may have.
fn more_samples() -> Vec<(String, serde_json::Value)> {
    let mut gemma4 = samples().into_iter().find(|(name, _)| name == "gemma4").expect("a sample").1;
    for (field, value) in [
        ("enable_moe_block", false.into()),
        ("hidden_size_per_layer_input", 32.into()),
        ("vocab_size_per_layer_input", gemma4["vocab_size"].clone()),
        ("num_kv_shared_layers", 3.into()),
        ("use_double_wide_mlp", true.into()),
        ("attention_k_eq_v", false.into()),
        ("per_layer_config", serde_json::Value::Null),
        ("global_head_dim", 32.into()),
        ("layer_types", ["sliding_attention", "sliding_attention", "full_attention"].repeat(2).into()),
    ] {
        gemma4[field] = value;
    }
    vec![("gemma4-layers".into(), gemma4)]
}

fn engine() -> GgufEngine {
    GgufEngine::start(EngineOptions::default()).expect("starts")
}

#[test]
fn every_family_takes_what_the_engine_says() {
    let folder = tempfile::tempdir().unwrap();
    let engine = engine();
    let repack = Repack::of(&hardware::detect().unwrap());
    let mut lines = Vec::new();
    let mut n_families = 0;
    for (name, config) in samples().into_iter().chain(more_samples()) {
        for ty in [GgmlType::F16, GgmlType::Q4_0, GgmlType::Q8_0] {
            let name = format!("{name}-{ty}");
            let outline = match Outline::write(folder.path(), &name, &config, in_type(ty)) {
                Ok(outline) => outline,
                Err(error) => {
                    lines.push(format!("{name}: {error}"));
                    continue;
                }
            };
            match engine.dry_load(&outline.path, &LoadSettings::default()) {
                Ok(model) => lines.extend(compare(&outline, repack, &model, &name, &CONTEXTS, &TYPES)),
                Err(error) => lines.push(format!("{name}: {error}")),
            }
            std::fs::remove_file(&outline.path).unwrap();
        }
        n_families += 1;
    }
    assert!(n_families >= 50, "{n_families}");
    assert!(lines.is_empty(), "{} of them:\n{}", lines.len(), lines.join("\n"));
}
