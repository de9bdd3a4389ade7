//! Any bytes as an ONNX model: an error, or a model whose tensors have as many bytes as they say, and which survives being
//! written and read again. Knows the public API alone.
#![no_main]

use formats::onnx;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(model) = onnx::read_model(bytes.to_vec()) else { return };
    let graph = model.graph.as_ref().expect("a model has a graph");
    for tensor in &graph.initializer {
        let bits = onnx::element_bits(tensor.element_type());
        let Some(bits) = bits.filter(|_| !tensor.is_external()) else { continue };
        let data = onnx::tensor_bytes(tensor).expect("a model's tensor has its data");
        assert_eq!(data.len() as u64, (tensor.n_elements().expect("checked") * bits).div_ceil(8));
        let _ = (onnx::tensor_floats(tensor), onnx::tensor_integers(tensor));
    }
    let written = onnx::write_model(&model).expect("no longer than what was read");
    let again = onnx::read_model(written.clone()).expect("what was written can be read");
    assert_eq!(onnx::write_model(&again).expect("the same"), written);
});
