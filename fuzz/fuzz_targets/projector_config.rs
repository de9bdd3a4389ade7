//! Any list of a checkpoint's `config.json`, its image processor, the ids of its special tokens and the shapes of its
//! tensors: an error with a field or a tensor, or a projector whose tensors and keys can be written. Knows the public API
//! alone.
#![no_main]

use families::projector::{ModelProjector, Sources};
use families::{OutputType, Source, Stored};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let Ok(Value::Array(parts)) = serde_json::from_slice(bytes) else { return };
    let [config, processor, ids, shapes] = parts.as_slice() else { return };
    let token = |text: &str| ids[text].as_u64();
    let projector = match ModelProjector::new(Sources { config, processor, token: &token }) {
        Ok(Some(projector)) => projector,
        Ok(None) => return,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    if let Ok(metadata) = projector.metadata(OutputType::F16) {
        // A projector of several towers says so by tower.
        let kind = metadata.str("clip.projector_type").or_else(|| metadata.str("clip.vision.projector_type"));
        assert_eq!(kind, Some(projector.kind().id()));
    }
    let shapes: Vec<(&String, Vec<u64>)> = shapes
        .as_object()
        .into_iter()
        .flatten()
        .map(|(name, shape)| {
            (name, shape.as_array().into_iter().flatten().filter_map(Value::as_u64).collect())
        })
        .collect();
    let stored: Vec<Stored<'_>> = shapes.iter().map(|(name, shape)| Stored { name, shape }).collect();
    let Ok(outputs) = projector.outputs(&stored) else { return };
    for output in outputs {
        assert!(!output.name.is_empty() && !output.dims.is_empty());
        if let Source::Stored(pieces) = output.source {
            assert!(pieces.iter().all(|piece| piece.tensor < stored.len()));
        }
    }
});
