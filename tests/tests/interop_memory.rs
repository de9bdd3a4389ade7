//! The planner's memory against the engine's own account for published configurations in full size: their headers are
//! written here, their weights nowhere. Owns the selection; must not load weights.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod outline;

use engine::gguf::{EngineOptions, GgufEngine};
use engine::{Engine, KvType, LoadSettings};
use formats::gguf::GgmlType;
use outline::compare::compare;
use outline::{Outline, in_type};
use planner::Repack;

#[test]
fn published_models_take_what_the_engine_says() {
    let folder = tempfile::tempdir().unwrap();
    let engine = GgufEngine::start(EngineOptions::default()).expect("starts");
    let repack = Repack::of(&hardware::detect().unwrap());
    let mut paths: Vec<_> = std::fs::read_dir(llama_pajamas_tests::shared("data/configs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    let types = [(KvType::F16, KvType::F16), (KvType::Q8_0, KvType::Q8_0)];
    let (mut lines, mut n_models) = (Vec::new(), 0);
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let Ok(config) = serde_json::from_slice(&std::fs::read(&path).unwrap()) else { continue };
        // What no family describes is refused by the tests of detection.
        let Ok(outline) = Outline::write(folder.path(), &name, &config, in_type(GgmlType::Q4_K)) else {
            continue;
        };
        if let Ok(model) = engine.dry_load(&outline.path, &LoadSettings::default()) {
            lines.extend(compare(&outline, repack, &model, &name, &[4096, 32768], &types));
            n_models += 1;
        }
        std::fs::remove_file(&outline.path).unwrap();
    }
    assert!(lines.is_empty(), "{} of {n_models} models:\n{}", lines.len(), lines.join("\n"));
    assert!(n_models >= 40, "{n_models}");
}
