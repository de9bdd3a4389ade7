//! Names and declarations: every node has a name of its own, constants are no inputs, inputs have one shape.

use crate::Error;
use crate::quantize::evaluate::Feed;
use formats::onnx::{DataType, GraphProto, TensorProto, value_info};
use std::collections::HashSet;

/// Gives nodes without a name, or with another's, one of their own; takes constants out of the list of inputs; makes
/// nodes that are constants into constants.
pub(super) fn tidy(graph: &mut GraphProto) -> Result<(), Error> {
    let constants: HashSet<String> =
        graph.initializer.iter().map(|tensor| tensor.name().to_string()).collect();
    graph.input.retain(|input| !constants.contains(input.name()));
    let mut taken = HashSet::new();
    for (at, node) in graph.node.iter_mut().enumerate() {
        if node.name().is_empty() || !taken.insert(node.name().to_string()) {
            let mut name = format!("{}_{at}", node.op_type());
            while !taken.insert(name.clone()) {
                name.push('_');
            }
            node.name = Some(name);
        }
    }
    let mut made = Vec::new();
    graph.node.retain(|node| {
        let value = (node.op_type() == "Constant").then(|| node.attribute("value")?.t.clone()).flatten();
        let Some((mut tensor, name)) = value.zip(node.output.first()) else { return true };
        tensor.name = Some(name.clone());
        made.push(tensor);
        false
    });
    graph.initializer.extend(made);
    Ok(())
}

/// Inputs get the shapes that `feed` has, unless they are left `open`; those of `fixed` are read from a constant instead.
pub(super) fn fix_inputs(
    graph: &mut GraphProto,
    feed: &Feed,
    fixed: &[String],
    open: bool,
) -> Result<(), Error> {
    let mut constants: Vec<(String, TensorProto)> = Vec::new();
    for input in &mut graph.input {
        let name = input.name().to_string();
        let value = feed.get(&name).ok_or_else(|| Error::Value {
            name: name.clone(),
            expected: "an example of this input".into(),
            got: "none".into(),
        })?;
        let dims: Vec<_> = value.dims.iter().map(|&dim| Ok(dim)).collect();
        if !open {
            *input = value_info(&name, value.element_type(), &dims);
        }
        if fixed.contains(&name) {
            let constant = format!("{name}_fixed");
            constants.push((name, TensorProto { name: Some(constant), ..value.clone() }));
        }
    }
    for (name, constant) in constants {
        let names = [(name, constant.name().to_string())].into();
        crate::quantize::graph::rename(graph, &names);
        graph.initializer.push(constant);
    }
    if open {
        return Ok(());
    }
    // An output's shape may have said that it is open.
    for output in &mut graph.output {
        let ty = crate::quantize::graph::tensor_type(output)
            .and_then(|ty| DataType::try_from(ty.elem_type()).ok());
        if ty.is_some() {
            let kept = output.name().to_string();
            if let Some(formats::onnx::type_proto::Value::TensorType(tensor)) =
                output.r#type.as_mut().and_then(|ty| ty.value.as_mut())
            {
                tensor.shape = None;
            }
            output.name = Some(kept);
        }
    }
    Ok(())
}
