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

/// Families whose computation is not laid out yet, and why: their estimates allow for it.
const NOT_LAID_OUT: [(&str, &str); 0] = [];

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
    for (name, config) in samples() {
        if NOT_LAID_OUT.iter().any(|(family, _)| *family == name) {
            continue;
        }
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
