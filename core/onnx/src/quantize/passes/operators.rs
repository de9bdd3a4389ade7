//! Operators rewritten to the version that quantization by channel needs. Knows what changed between the versions of the few
//! whose form changed; all others are the same in both.

use crate::Error;
use crate::quantize::evaluate::{Evaluator, Feed};
use crate::quantize::graph::{describe, graph, graph_mut, opset};
use formats::onnx::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, attribute, tensor_of_floats,
    tensor_of_integers,
};

/// The oldest version that is understood: before it, broadcasting and shapes were attributes.
const OLDEST: i64 = 7;

/// Raises a model to `target`, where it is older.
pub(super) fn raise(
    model: &mut ModelProto,
    target: i64,
    evaluator: &Evaluator<'_>,
    feed: &Feed,
) -> Result<(), Error> {
    let version = opset(model);
    if version >= target {
        return Ok(());
    }
    if version < OLDEST {
        let reason = format!("operators of version {version}: expected {OLDEST} or later");
        return Err(Error::Graph { node: "the model".into(), reason });
    }
    let softmax =
        graph(model)?.node.iter().filter(|node| is_softmax(node)).filter_map(|node| node.input.first());
    let inputs: Vec<String> = softmax.cloned().collect();
    let shapes = evaluator.values(model, &inputs, feed)?;
    let graph = graph_mut(model)?;
    let mut nodes = std::mem::take(&mut graph.node);
    for node in &mut nodes {
        raise_node(node, graph, version)?;
        if is_softmax(node) {
            let dims =
                node.input.first().and_then(|name| shapes.get(name)).map(|value| value.dims.as_slice());
            softmax_axis(node, dims.unwrap_or_default())?;
        }
    }
    graph.node = nodes;
    model.opset_import.retain(|set| !matches!(set.domain(), "" | "ai.onnx"));
    model.opset_import.insert(0, OperatorSetIdProto { domain: Some(String::new()), version: Some(target) });
    model.ir_version = Some(model.ir_version().max(7));
    Ok(())
}

fn raise_node(node: &mut NodeProto, graph: &mut GraphProto, version: i64) -> Result<(), Error> {
    match node.op_type() {
        "Squeeze" | "Unsqueeze" | "ReduceSum" => ints_to_input(node, graph, "axes", 1)?,
        "Split" => ints_to_input(node, graph, "split", 1)?,
        "Slice" if version < 10 => {
            for (at, name) in [(1, "starts"), (2, "ends"), (3, "axes")] {
                ints_to_input(node, graph, name, at)?;
            }
        }
        "Pad" if version < 11 => {
            ints_to_input(node, graph, "pads", 1)?;
            float_to_input(node, graph, "value", 2)?;
        }
        "Clip" if version < 11 => {
            float_to_input(node, graph, "min", 1)?;
            float_to_input(node, graph, "max", 2)?;
        }
        "Dropout" if version < 12 => node.attribute.retain(|attribute| attribute.name() != "ratio"),
        "Upsample" | "Resize" | "TopK" | "Scan" if version < 11 => return Err(too_old(node, version)),
        _ => {}
    }
    Ok(())
}

fn too_old(node: &NodeProto, version: i64) -> Error {
    let reason = format!(
        "{} of version {version}: export the model with operators of version 11 or later",
        node.op_type()
    );
    Error::Graph { node: describe(node), reason }
}

fn place(node: &mut NodeProto, graph: &mut GraphProto, at: usize, tensor: TensorProto) {
    while node.input.len() <= at {
        node.input.push(String::new());
    }
    node.input[at] = tensor.name().to_string();
    graph.initializer.push(tensor);
}

fn ints_to_input(node: &mut NodeProto, graph: &mut GraphProto, name: &str, at: usize) -> Result<(), Error> {
    let Some(values) = node.ints(name).map(<[i64]>::to_vec) else { return Ok(()) };
    let tensor = tensor_of_integers(format!("{}_{name}", node.name()), &[values.len() as i64], &values)?;
    node.attribute.retain(|attribute| attribute.name() != name);
    place(node, graph, at, tensor);
    Ok(())
}

fn float_to_input(node: &mut NodeProto, graph: &mut GraphProto, name: &str, at: usize) -> Result<(), Error> {
    let Some(value) = node.attribute(name).and_then(|attribute| attribute.f) else { return Ok(()) };
    let tensor = tensor_of_floats(format!("{}_{name}", node.name()), &[], &[value])?;
    node.attribute.retain(|attribute| attribute.name() != name);
    place(node, graph, at, tensor);
    Ok(())
}

fn is_softmax(node: &NodeProto) -> bool {
    matches!(node.op_type(), "Softmax" | "LogSoftmax" | "Hardmax")
}

/// Before version 13 everything from the axis on was one row: the same as one axis where all others behind it are 1.
fn softmax_axis(node: &mut NodeProto, dims: &[i64]) -> Result<(), Error> {
    let rank = dims.len() as i64;
    let axis = node.int_or("axis", 1);
    let axis = if axis < 0 { axis + rank } else { axis };
    let rest = dims.get(axis.max(0) as usize..).unwrap_or_default();
    let wide = rest.iter().filter(|&&dim| dim != 1).count();
    let at = rest.iter().position(|&dim| dim != 1).unwrap_or_default() as i64;
    if wide > 1 {
        let reason = format!(
            "{} over several axes of {dims:?}: export the model with operators of version 13 or later",
            node.op_type()
        );
        return Err(Error::Graph { node: describe(node), reason });
    }
    node.attribute.retain(|attribute| attribute.name() != "axis");
    node.attribute.push(attribute::int("axis", axis + at));
    Ok(())
}
