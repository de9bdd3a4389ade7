//! LSTMs whose weights are levels, and whose inputs find their range at each step: ONNX Runtime's `DynamicQuantizeLSTM`.
//! Source: its documentation in ContribOperators.md; weights are turned, `[directions, inputs, 4·hidden]`, a scale per column.

use super::Emitter;
use crate::Error;
use crate::quantize::graph::{Index, RUNTIME_DOMAIN};
use crate::quantize::weights::quantize;
use formats::onnx::{DataType, GraphProto, NodeProto, tensor_floats, tensor_of_bytes, tensor_of_floats};

/// Turns an LSTM into that operator.
pub(super) fn emit(
    emitter: &mut Emitter<'_>,
    original: &GraphProto,
    index: &Index,
    node: &mut NodeProto,
) -> Result<(), Error> {
    let mut quantized = Vec::new();
    for place in [1, 2] {
        let Some(weight) = index.constant(original, &node.input[place]) else { return Ok(()) };
        let &[directions, rows, columns] = weight.dims.as_slice() else { return Ok(()) };
        let values = tensor_floats(weight)?;
        let (n_rows, n_columns) = (rows as usize, columns as usize);
        let (mut levels, mut scales) = (Vec::new(), Vec::new());
        for direction in values.chunks_exact(n_rows * n_columns) {
            let turned: Vec<f32> = (0..n_columns)
                .flat_map(|column| (0..n_rows).map(move |row| (row, column)))
                .map(|(row, column)| direction[row * n_columns + column])
                .collect();
            let part = quantize(&turned, &[columns, rows], Some(1));
            levels.extend(part.bytes());
            scales.extend(part.scales);
        }
        let (name, scale, zero) = (emitter.name("w"), emitter.name("s"), emitter.name("z"));
        let zeros = vec![0u8; scales.len()];
        emitter.tensors.extend([
            tensor_of_bytes(name.clone(), DataType::Int8, &[directions, columns, rows], levels)?,
            tensor_of_floats(scale.clone(), &[directions, rows], &scales)?,
            tensor_of_bytes(zero.clone(), DataType::Int8, &[directions, rows], zeros)?,
        ]);
        quantized.push((name, scale, zero));
    }
    node.input.resize(8, String::new());
    for (place, (name, scale, zero)) in [1, 2].into_iter().zip(quantized) {
        node.input[place] = name;
        node.input.extend([scale, zero]);
    }
    node.op_type = Some("DynamicQuantizeLSTM".into());
    node.domain = Some(RUNTIME_DOMAIN.into());
    node.attribute.retain(|attribute| attribute.name() != "layout");
    Ok(())
}
