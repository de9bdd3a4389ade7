//! Any bytes as a checkpoint's `config.json`: an error with a field, or a description whose figures can be summed and
//! whose metadata can be written. Knows the public API alone.
#![no_main]

use families::model_name::{ModelCard, Sources, WeightCounts, general};
use families::{Family, OutputType, detect_config, memory};
use formats::gguf::GgmlType;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(config) = serde_json::from_slice(bytes) else { return };
    let description = match detect_config(&config) {
        Ok(description) => description,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert_eq!(description.layers.len(), description.n_layers as usize);
    let _ = memory::kv_bytes(&description, 1 << 20, GgmlType::F16, GgmlType::Q8_0);
    let _ = memory::state_bytes(&description);
    let shapes = description.tensor_shapes();
    let _ = memory::weights_bytes(&shapes, |_| GgmlType::F16);
    // The shapes, stored as they are, make the file's tensors or an error that names one.
    let extents = shapes.iter().map(|shape| (shape.name.as_str(), shape.dims.as_slice()));
    let card = ModelCard::default();
    let sources = Sources { directory: "model", config: &config, generation: Some(&config), card: &card };
    let _ = general(sources, WeightCounts::of(extents));
    if let Some(family) = Family::for_architecture(&description.architecture) {
        let _ = family.metadata(&config, OutputType::F16);
        let _ = family.outputs(&description, &[]);
    }
});
