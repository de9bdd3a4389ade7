//! A sum and the norm of it become ONNX Runtime's one operator for both, `com.microsoft.SkipLayerNormalization`, which
//! gives the sum too where others read it. Knows that operator's shapes: both terms alike, of two or three dimensions.

use crate::Error;
use crate::quantize::evaluate::{Evaluator, Feed};
use crate::quantize::graph::{Index, RUNTIME_DOMAIN, graph, graph_mut, import_runtime_domain};
use formats::onnx::{DataType, GraphProto, ModelProto, TensorProto, attribute, node};
use std::collections::HashSet;

/// Of each norm of a sum: where both stand, and what is added.
struct Pair {
    sum: usize,
    norm: usize,
    terms: [String; 2],
}

/// Gives how many were found. Nodes are not in order afterwards.
pub(super) fn fuse(model: &mut ModelProto, evaluator: &Evaluator<'_>, feed: &Feed) -> Result<usize, Error> {
    let pairs = pairs(graph(model)?);
    let terms: Vec<String> = pairs.iter().flat_map(|pair| pair.terms.clone()).collect();
    let values = evaluator.values(model, &terms, feed)?;
    let alike = |pair: &Pair| {
        let [Some(one), Some(other)] = pair.terms.each_ref().map(|name| values.get(name)) else {
            return false;
        };
        let floats = |tensor: &TensorProto| tensor.data_type() == DataType::Float as i32;
        one.dims == other.dims && matches!(one.dims.len(), 2 | 3) && floats(one) && floats(other)
    };
    let pairs: Vec<Pair> = pairs.into_iter().filter(alike).collect();
    let graph = graph_mut(model)?;
    let index = Index::of(graph);
    for pair in &pairs {
        let (sum, norm) = (&graph.node[pair.sum], &graph.node[pair.norm]);
        let total = &sum.output[0];
        let is_read = index.is_output(total) || index.readers(total).iter().any(|&at| at != pair.norm);
        let mut inputs = vec![pair.terms[0].as_str(), &pair.terms[1]];
        inputs.extend(norm.input[1..].iter().map(String::as_str));
        // Mean and spread lie between; they are of training alone.
        let outputs = [norm.output[0].as_str(), "", "", total];
        graph.node[pair.norm] = node(
            "SkipLayerNormalization",
            norm.name().to_string(),
            &inputs,
            if is_read { &outputs } else { &outputs[..1] },
        )
        .in_domain(RUNTIME_DOMAIN)
        .with(attribute::float("epsilon", norm.float_or("epsilon", 1e-5)));
    }
    let gone: HashSet<usize> = pairs.iter().map(|pair| pair.sum).collect();
    let mut at = 0..;
    graph.node.retain(|_| !gone.contains(&at.next().unwrap_or_default()));
    import_runtime_domain(model);
    Ok(pairs.len())
}

/// Norms over the last dimension of sums of two computed tensors, each sum once.
fn pairs(graph: &GraphProto) -> Vec<Pair> {
    let index = Index::of(graph);
    let mut taken = HashSet::new();
    let mut found = Vec::new();
    for (norm, node) in graph.node.iter().enumerate() {
        let is_norm = node.op_type() == "LayerNormalization" && node.int_or("axis", -1) == -1;
        let alone = node.output.iter().skip(1).all(String::is_empty);
        let constant = node.input.iter().skip(1).all(|name| index.is_constant(name));
        if !(is_norm && alone && constant && matches!(node.input.len(), 2 | 3)) {
            continue;
        }
        let Some(sum) = index.producer(&node.input[0]) else { continue };
        let [one, other] = graph.node[sum].input.as_slice() else { continue };
        let computed = !index.is_constant(one) && !index.is_constant(other);
        if graph.node[sum].op_type() == "Add" && computed && taken.insert(sum) {
            found.push(Pair { sum, norm, terms: [one.clone(), other.clone()] });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::onnx::{NodeProto, tensor_of_floats, value_info};

    fn graph(terms: [&str; 2], norm: NodeProto) -> GraphProto {
        let floats = |name: &str, dims: &[i64], values: &[f32]| tensor_of_floats(name, dims, values).unwrap();
        GraphProto {
            node: vec![node("Add", "a", &terms, &["sum"]), norm, node("Add", "b", &["sum", "even"], &["y"])],
            input: vec![value_info("x", DataType::Float, &[]), value_info("z", DataType::Float, &[])],
            initializer: vec![floats("weight", &[2], &[1.0, 2.0]), floats("at", &[1, 2], &[1.0, 2.0])],
            output: vec![value_info("y", DataType::Float, &[])],
            ..Default::default()
        }
    }

    fn norm() -> NodeProto {
        node("LayerNormalization", "n", &["sum", "weight"], &["even"])
    }

    #[test]
    fn norms_of_computed_sums_over_the_last_dimension_are_found() {
        let found = pairs(&graph(["x", "z"], norm()));
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].sum, found[0].norm, &found[0].terms), (0, 1, &["x".to_string(), "z".into()]));
        assert!(pairs(&graph(["x", "at"], norm())).is_empty());
        assert!(pairs(&graph(["x", "z"], norm().with(attribute::int("axis", 1)))).is_empty());
        let twice = GraphProto {
            node: [
                graph(["x", "z"], norm()).node,
                vec![node("LayerNormalization", "o", &["sum", "at"], &["o"])],
            ]
            .concat(),
            ..graph(["x", "z"], norm())
        };
        assert_eq!(pairs(&twice).len(), 1);
    }
}
