//! Any bytes as a GGUF file whose model is described: an error with a key, or a description whose figures can be summed.
//! Knows the public API alone.
#![no_main]

use families::{detect_gguf, memory};
use formats::gguf::{GgmlType, Header};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(header) = Header::read(bytes, bytes.len() as u64) else { return };
    let Ok(description) = detect_gguf(&header) else { return };
    assert_eq!(description.layers.len(), description.n_layers as usize);
    let _ = memory::kv_bytes(&description, 1 << 20, GgmlType::F16, GgmlType::Q8_0);
    let _ = memory::state_bytes(&description);
    let _ = memory::weights_bytes(&description.tensor_shapes(), |_| GgmlType::F16);
});
