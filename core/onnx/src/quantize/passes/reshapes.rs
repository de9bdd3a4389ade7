//! Reshapes that nobody sees: of what was reshaped before, where the second alone says the extents. Knows `Reshape`.

use crate::Error;
use crate::quantize::graph::{Index, drop_unused};
use formats::onnx::{GraphProto, tensor_integers};

/// Gives how many went.
pub(super) fn join(graph: &mut GraphProto) -> Result<usize, Error> {
    let index = Index::of(graph);
    let mut changed = Vec::new();
    for (at, node) in graph.node.iter().enumerate() {
        if node.op_type() != "Reshape" || node.int_or("allowzero", 0) != 0 {
            continue;
        }
        // An extent of 0 is the one before, which the first may have made.
        let Some(shape) = node.input.get(1).and_then(|name| index.constant(graph, name)) else { continue };
        if tensor_integers(shape)?.contains(&0) {
            continue;
        }
        let Some(before) = index.producer(&node.input[0]).map(|before| &graph.node[before]) else { continue };
        if before.op_type() == "Reshape" {
            changed.push((at, before.input[0].clone()));
        }
    }
    let before = graph.node.len();
    for (at, input) in changed {
        graph.node[at].input[0] = input;
    }
    drop_unused(graph);
    Ok(before - graph.node.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::onnx::{DataType, node, tensor_of_integers, value_info};

    #[test]
    fn the_first_of_two_goes_where_the_second_says_all() {
        let constant =
            |name: &str, values: &[i64]| tensor_of_integers(name, &[values.len() as i64], values).unwrap();
        let made = |last: &[i64]| {
            let mut graph = GraphProto {
                node: vec![
                    node("Reshape", "one", &["x", "a"], &["t"]),
                    node("Reshape", "two", &["t", "b"], &["y"]),
                ],
                initializer: vec![constant("a", &[6, 2]), constant("b", last)],
                output: vec![value_info("y", DataType::Float, &[])],
                ..Default::default()
            };
            (join(&mut graph).unwrap(), graph.node[0].input[0].clone())
        };
        assert_eq!(made(&[3, -1]), (1, "x".to_string()));
        assert_eq!(made(&[0, 2]), (0, "x".to_string()));
    }
}
