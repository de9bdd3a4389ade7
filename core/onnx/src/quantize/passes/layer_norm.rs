//! Norms of vectors that are spelled out become one operator, as exporters before version 17 of ONNX's operators spelled them:
//! `(x − mean) / sqrt(mean((x − mean)²) + ε) · weight + bias`. Knows that spelling.

use crate::Error;
use crate::quantize::graph::{Index, drop_unused};
use formats::onnx::{GraphProto, NodeProto, attribute, node, tensor_floats, tensor_integers};

/// The first version with the operator.
pub(super) const FIRST: i64 = 17;

/// Gives how many were found. The operators are of version [`FIRST`] or later.
pub(super) fn fuse(graph: &mut GraphProto) -> Result<usize, Error> {
    let index = Index::of(graph);
    let mut found = Vec::new();
    for (at, last) in graph.node.iter().enumerate() {
        if last.op_type() == "Add" {
            found.extend(spelled(graph, &index, last).map(|norm| (at, norm)));
        }
    }
    let n = found.len();
    for (at, Norm { x, weight, bias, epsilon }) in found {
        let old = &graph.node[at];
        graph.node[at] =
            node("LayerNormalization", old.name().to_string(), &[&x, &weight, &bias], &[&old.output[0]])
                .with(attribute::int("axis", -1))
                .with(attribute::float("epsilon", epsilon));
    }
    if n > 0 {
        drop_unused(graph);
    }
    Ok(n)
}

struct Norm {
    x: String,
    weight: String,
    bias: String,
    epsilon: f32,
}

/// The norm that ends with `last`.
fn spelled(graph: &GraphProto, index: &Index, last: &NodeProto) -> Option<Norm> {
    // A node of this kind that makes one of the inputs, and the other input.
    let made = |node: &NodeProto, kind: &str| {
        let pairs = [(0, 1), (1, 0)];
        pairs.into_iter().find_map(|(own, other)| {
            let maker = &graph.node[index.producer(node.input.get(own)?)?];
            (maker.op_type() == kind).then(|| (maker.clone(), node.input[other].clone()))
        })
    };
    let maker = |tensor: &String, kind: &str| {
        let maker = &graph.node[index.producer(tensor)?];
        (maker.op_type() == kind).then_some(maker)
    };
    let floats = |name: &String| tensor_floats(index.constant(graph, name)?).ok();
    let one = |name: &String| floats(name).filter(|values| values.len() == 1).map(|values| values[0]);
    let row = |name: &String| index.constant(graph, name).is_some_and(|tensor| tensor.dims.len() == 1);
    let (scaled, bias) = made(last, "Mul")?;
    let (divided, weight) = made(&scaled, "Div")?;
    let centred = maker(&divided.input[0], "Sub")?;
    let root = maker(&divided.input[1], "Sqrt")?;
    let raised = maker(&root.input[0], "Add")?;
    let (spread, epsilon) = made(raised, "ReduceMean")?;
    let squared = &graph.node[index.producer(&spread.input[0])?];
    let is_square = match squared.op_type() {
        "Pow" => one(&squared.input[1]) == Some(2.0),
        "Mul" => squared.input[0] == squared.input[1],
        _ => false,
    };
    let mean = maker(&centred.input[1], "ReduceMean")?;
    let over_last = |node: &NodeProto| {
        let axes = node.ints("axes").map(<[i64]>::to_vec);
        let axes = axes.or_else(|| tensor_integers(index.constant(graph, node.input.get(1)?)?).ok());
        axes.as_deref() == Some(&[-1]) && node.int_or("keepdims", 1) == 1
    };
    let same = squared.input[0] == centred.output[0] && mean.input[0] == centred.input[0];
    let fits = is_square && same && over_last(mean) && over_last(&spread) && row(&weight) && row(&bias);
    fits.then(|| one(&epsilon).map(|epsilon| Norm { x: centred.input[0].clone(), weight, bias, epsilon }))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::onnx::{DataType, tensor_of_floats, value_info};

    fn graph(power: f32) -> GraphProto {
        let last = |node: NodeProto| node.with(attribute::ints("axes", &[-1]));
        GraphProto {
            node: vec![
                last(node("ReduceMean", "m", &["x"], &["mean"])),
                node("Sub", "s", &["x", "mean"], &["centred"]),
                node("Pow", "p", &["centred", "two"], &["square"]),
                last(node("ReduceMean", "v", &["square"], &["spread"])),
                node("Add", "e", &["spread", "epsilon"], &["raised"]),
                node("Sqrt", "r", &["raised"], &["root"]),
                node("Div", "d", &["centred", "root"], &["even"]),
                node("Mul", "w", &["weight", "even"], &["scaled"]),
                node("Add", "b", &["scaled", "bias"], &["y"]),
            ],
            initializer: vec![
                tensor_of_floats("two", &[], &[power]).unwrap(),
                tensor_of_floats("epsilon", &[1], &[0.5]).unwrap(),
                tensor_of_floats("weight", &[2], &[1.0, 2.0]).unwrap(),
                tensor_of_floats("bias", &[2], &[3.0, 4.0]).unwrap(),
            ],
            output: vec![value_info("y", DataType::Float, &[])],
            ..Default::default()
        }
    }

    #[test]
    fn what_is_spelled_out_becomes_one_operator() {
        let mut norm = graph(2.0);
        assert_eq!(fuse(&mut norm).unwrap(), 1);
        assert_eq!((norm.node.len(), norm.node[0].op_type()), (1, "LayerNormalization"));
        assert_eq!(norm.node[0].input, ["x", "weight", "bias"]);
        assert_eq!((norm.node[0].float_or("epsilon", 0.0), norm.initializer.len()), (0.5, 2));
        let mut other = graph(3.0);
        assert_eq!((fuse(&mut other).unwrap(), other.node.len()), (0, 9));
    }
}
