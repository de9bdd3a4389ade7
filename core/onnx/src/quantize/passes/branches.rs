//! Branches whose condition does not change: the one that is taken stands in the graph itself afterwards.
//! Knows `If`; asks the library what each condition is, and again for conditions inside the branches.

use crate::Error;
use crate::quantize::evaluate::{Evaluator, Feed};
use crate::quantize::graph::{graph, graph_mut, has_graph, rename};
use formats::onnx::{GraphProto, ModelProto, NodeProto, node, tensor_integers};
use std::collections::BTreeMap;

/// Nodes, those of graphs below included.
pub(super) fn count(graph: &GraphProto) -> usize {
    let below = graph.node.iter().flat_map(|node| &node.attribute).flat_map(|attribute| &attribute.g);
    graph.node.len() + below.map(count).sum::<usize>()
}

/// Puts the branch that `feed` takes in every `If`'s place, until there is none; gives how many there were.
pub(super) fn take(model: &mut ModelProto, evaluator: &Evaluator<'_>, feed: &Feed) -> Result<usize, Error> {
    let mut n_taken = 0;
    loop {
        let conditions: Vec<String> = graph(model)?
            .node
            .iter()
            .filter(|node| node.op_type() == "If")
            .filter_map(|node| node.input.first().cloned())
            .collect();
        if conditions.is_empty() {
            return Ok(n_taken);
        }
        let values = evaluator.values(model, &conditions, feed)?;
        let graph = graph_mut(model)?;
        let mut nodes = Vec::new();
        for node in std::mem::take(&mut graph.node) {
            if node.op_type() != "If" {
                nodes.push(node);
                continue;
            }
            let condition = node.input.first().and_then(|name| values.get(name));
            let is_true =
                condition.map(tensor_integers).transpose()?.is_some_and(|value| value.first() == Some(&1));
            let branch = node.graph(if is_true { "then_branch" } else { "else_branch" })?.clone();
            splice(&mut nodes, graph, branch, &node, n_taken);
            n_taken += 1;
        }
        graph.node = nodes;
        super::names::tidy(graph)?;
    }
}

/// The branch's nodes and constants under names that nothing else has, and a step from its outputs to the node's.
fn splice(
    nodes: &mut Vec<NodeProto>,
    graph: &mut GraphProto,
    mut branch: GraphProto,
    of: &NodeProto,
    number: usize,
) {
    let made = branch.node.iter().flat_map(|node| node.output.clone());
    let own = made.chain(branch.initializer.iter().map(|tensor| tensor.name().to_string()));
    let names: BTreeMap<String, String> =
        own.filter(|name| !name.is_empty()).map(|name| (name.clone(), format!("b{number}_{name}"))).collect();
    rename(&mut branch, &names);
    for inner in &mut branch.node {
        inner.name = Some(format!("b{number}_{}", inner.name()));
    }
    debug_assert!(has_graph(of));
    for (inside, outside) in branch.output.iter().zip(&of.output) {
        branch.node.push(node("Identity", "", &[inside.name()], &[outside.as_str()]));
    }
    graph.initializer.append(&mut branch.initializer);
    nodes.append(&mut branch.node);
}
