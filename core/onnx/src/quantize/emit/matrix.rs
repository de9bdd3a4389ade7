//! Matrices whose weights are levels, and whose inputs find their range while running: `DynamicQuantizeLinear`, `MatMulInteger`.

use super::{Emitter, channel_axis};
use crate::Error;
use crate::quantize::graph::Index;
use crate::quantize::weights::quantize;
use formats::onnx::{
    DataType, GraphProto, NodeProto, attribute, node, tensor_floats, tensor_of_bytes, tensor_of_floats,
};

/// Turns a Gemm or MatMul with a constant matrix into those steps; the node itself becomes the last of them.
pub(super) fn emit(
    emitter: &mut Emitter<'_>,
    original: &GraphProto,
    index: &Index,
    changed: &mut NodeProto,
) -> Result<(), Error> {
    let plain = changed.int_or("transA", 0) == 0
        && changed.float_or("alpha", 1.0) == 1.0
        && changed.float_or("beta", 1.0) == 1.0;
    let Some(weight) = index.constant(original, &changed.input[1]).filter(|_| plain) else { return Ok(()) };
    let &[rows, columns] = weight.dims.as_slice() else { return Ok(()) };
    let mut values = tensor_floats(weight)?;
    let axis = channel_axis(changed, &weight.dims);
    let (mut inner, mut outer) = (rows, columns);
    if axis == Some(0) {
        let (n_rows, n_columns) = (rows as usize, columns as usize);
        let place = |at: usize| (at % n_rows) * n_columns + at / n_rows;
        values = (0..values.len()).map(|at| values[place(at)]).collect();
        (inner, outer) = (columns, rows);
    }
    let levels = quantize(&values, &[inner, outer], Some(1));
    let [weight, scale, zero, input, input_scale, input_zero, product, factor, real, scaled] =
        std::array::from_fn(|_| emitter.name("m"));
    emitter.tensors.extend([
        tensor_of_bytes(weight.clone(), DataType::Int8, &[inner, outer], levels.bytes())?,
        tensor_of_floats(scale.clone(), &[outer], &levels.scales)?,
        tensor_of_bytes(zero.clone(), DataType::Int8, &[outer], vec![0u8; outer as usize])?,
    ]);
    let names: [String; 5] = std::array::from_fn(|_| emitter.name("M"));
    let [quantizes, multiplies, casts, factors, scales] = names;
    let bias = changed.input.get(2).filter(|name| !name.is_empty()).cloned();
    let output = changed.output[0].clone();
    let last = if bias.is_some() { scaled.clone() } else { output.clone() };
    emitter.nodes.extend([
        node("DynamicQuantizeLinear", quantizes, &[&changed.input[0]], &[&input, &input_scale, &input_zero]),
        node("MatMulInteger", multiplies, &[&input, &weight, &input_zero, &zero], &[&product]),
        node("Cast", casts, &[&product], &[&real]).with(attribute::int("to", DataType::Float as i64)),
        node("Mul", factors, &[&input_scale, &scale], &[&factor]),
    ]);
    let name = changed.name().to_string();
    *changed = match bias {
        Some(bias) => {
            emitter.nodes.push(node("Mul", scales, &[&real, &factor], &[&last]));
            node("Add", name, &[&last, &bias], &[&output])
        }
        None => node("Mul", name, &[&real, &factor], &[&output]),
    };
    Ok(())
}
