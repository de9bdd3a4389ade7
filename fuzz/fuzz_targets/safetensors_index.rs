//! Any bytes as `model.safetensors.index.json`: an error or shards that are plain file names.
//! Knows the public API alone.
#![no_main]

use formats::safetensors::Index;
use libfuzzer_sys::fuzz_target;
use std::path::{Component, Path};

fuzz_target!(|bytes: &[u8]| {
    let Ok(index) = Index::parse(bytes) else { return };
    for file in index.weight_map.values() {
        let mut components = Path::new(file).components();
        assert!(matches!(components.next(), Some(Component::Normal(name)) if name == file.as_str()));
        assert!(components.next().is_none() && !file.contains('\\'));
    }
});
