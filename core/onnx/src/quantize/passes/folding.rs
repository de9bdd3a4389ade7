//! What does not depend on any input's values becomes a constant: the library computes it once.
//! Knows which operators draw at random, and that shapes are constants once inputs have one.

use crate::Error;
use crate::quantize::evaluate::{Evaluator, Feed};
use crate::quantize::graph::{drop_unused, graph, graph_mut, has_graph, rename};
use formats::onnx::{GraphProto, ModelProto, NodeProto, TensorProto};
use std::collections::{BTreeMap, HashSet};

/// Tensors above this many bytes stay computed, unless they are no larger than what they are computed from.
const MAX_GROWTH_BYTES: usize = 1 << 20;

/// Gives how many nodes went. Shapes are constants unless they are left `open`.
pub(super) fn fold(
    model: &mut ModelProto,
    evaluator: &Evaluator<'_>,
    feed: &Feed,
    open: bool,
) -> Result<usize, Error> {
    skip_identities(graph_mut(model)?);
    let graph = graph(model)?;
    let mut constant: HashSet<String> =
        graph.initializer.iter().map(|tensor| tensor.name().to_string()).collect();
    let mut foldable = HashSet::new();
    for (at, node) in graph.node.iter().enumerate() {
        if is_constant(node, &constant, open) {
            constant.extend(node.output.iter().filter(|name| !name.is_empty()).cloned());
            foldable.insert(at);
        }
    }
    let stays =
        || graph.node.iter().enumerate().filter(|(at, _)| !foldable.contains(at)).map(|(_, node)| node);
    let mut read: HashSet<String> = stays().flat_map(crate::quantize::graph::reads).collect();
    read.extend(graph.output.iter().map(|output| output.name().to_string()));
    let made = foldable.iter().flat_map(|&at| &graph.node[at].output);
    let mut wanted: Vec<String> = made.filter(|name| read.contains(*name)).cloned().collect();
    wanted.sort();
    let values = evaluator.values(model, &wanted, feed)?;
    let graph = graph_mut(model)?;
    let has: usize = graph.initializer.iter().map(bytes).sum();
    let grows: usize = values.values().map(bytes).sum();
    if grows > has + MAX_GROWTH_BYTES {
        return Ok(0);
    }
    let mut at = 0;
    graph.node.retain(|_| {
        at += 1;
        !foldable.contains(&(at - 1))
    });
    graph.initializer.extend(values.into_values());
    drop_unused(graph);
    Ok(foldable.len())
}

fn bytes(tensor: &TensorProto) -> usize {
    tensor.raw_data.as_ref().map_or(0, |raw| raw.len())
        + 4 * (tensor.float_data.len() + tensor.int32_data.len())
}

fn is_constant(node: &NodeProto, constant: &HashSet<String>, open: bool) -> bool {
    // Drawn at random, or no tensor of numbers.
    let others = [
        "Random",
        "Bernoulli",
        "Multinomial",
        "Sequence",
        "Optional",
        "SplitToSequence",
        "String",
        "Regex",
        "Tfidf",
    ];
    if has_graph(node) || others.iter().any(|name| node.op_type().starts_with(name)) {
        return false;
    }
    let from_shapes = !open && matches!(node.op_type(), "Shape" | "Size");
    from_shapes || node.input.iter().all(|input| input.is_empty() || constant.contains(input))
}

/// Readers of what an `Identity`, or a `Dropout` that lets all through, makes read its input instead.
pub(super) fn skip_identities(graph: &mut GraphProto) {
    let outputs: HashSet<String> = graph.output.iter().map(|output| output.name().to_string()).collect();
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    graph.node.retain(|node| {
        let passes = match node.op_type() {
            "Identity" => true,
            "Dropout" => node.input.len() < 3 && node.output.get(1).is_none_or(String::is_empty),
            _ => false,
        };
        let (Some(input), Some(output)) = (node.input.first(), node.output.first()) else { return true };
        if !passes || outputs.contains(output) {
            return true;
        }
        names.insert(output.clone(), names.get(input).unwrap_or(input).clone());
        false
    });
    rename(graph, &names);
}
