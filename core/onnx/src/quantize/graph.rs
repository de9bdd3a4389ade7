//! A graph as something to change: who makes a tensor, who reads it, what is constant; order, names, what nothing needs.
//! Knows names and edges, graphs below nodes included; must not know what an operator computes.

use crate::Error;
use formats::onnx::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TypeProto, ValueInfoProto, type_proto,
};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Who makes and who reads each tensor of a graph, by place in its list of nodes.
#[derive(Debug, Default)]
pub(crate) struct Index {
    producers: HashMap<String, usize>,
    readers: HashMap<String, Vec<usize>>,
    initializers: HashMap<String, usize>,
    outputs: HashSet<String>,
}

impl Index {
    pub(crate) fn of(graph: &GraphProto) -> Self {
        let mut index = Self::default();
        for (at, node) in graph.node.iter().enumerate() {
            for output in node.output.iter().filter(|name| !name.is_empty()) {
                index.producers.insert(output.clone(), at);
            }
            for input in reads(node) {
                index.readers.entry(input).or_default().push(at);
            }
        }
        index.initializers = graph
            .initializer
            .iter()
            .enumerate()
            .map(|(at, tensor)| (tensor.name().to_string(), at))
            .collect();
        index.outputs = graph.output.iter().map(|output| output.name().to_string()).collect();
        index
    }

    pub(crate) fn producer(&self, tensor: &str) -> Option<usize> {
        self.producers.get(tensor).copied()
    }

    pub(crate) fn readers(&self, tensor: &str) -> &[usize] {
        self.readers.get(tensor).map(Vec::as_slice).unwrap_or_default()
    }

    pub(crate) fn is_constant(&self, tensor: &str) -> bool {
        self.initializers.contains_key(tensor)
    }

    pub(crate) fn is_output(&self, tensor: &str) -> bool {
        self.outputs.contains(tensor)
    }

    pub(crate) fn constant<'g>(&self, graph: &'g GraphProto, tensor: &str) -> Option<&'g TensorProto> {
        self.initializers.get(tensor).map(|&at| &graph.initializer[at])
    }

    /// The only reader of a tensor that is no output.
    pub(crate) fn only_reader(&self, tensor: &str) -> Option<usize> {
        match self.readers(tensor) {
            [reader] if !self.is_output(tensor) => Some(*reader),
            _ => None,
        }
    }
}

/// Every tensor that a node reads, those that graphs below it take from outside included; without the empty names.
pub(crate) fn reads(node: &NodeProto) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = node.input.iter().filter(|name| !name.is_empty()).cloned().collect();
    for graph in node.attribute.iter().flat_map(|attribute| attribute.g.iter().chain(&attribute.graphs)) {
        let inside: HashSet<&str> = graph
            .node
            .iter()
            .flat_map(|node| node.output.iter().map(String::as_str))
            .chain(graph.initializer.iter().map(|tensor| tensor.name()))
            .chain(graph.input.iter().map(|input| input.name()))
            .collect();
        let below =
            graph.node.iter().flat_map(reads).chain(graph.output.iter().map(|out| out.name().to_string()));
        names.extend(below.filter(|name| !inside.contains(name.as_str())));
    }
    names
}

/// Gives every tensor of a map its new name wherever a node, an output or a graph below mentions it.
pub(crate) fn rename(graph: &mut GraphProto, names: &BTreeMap<String, String>) {
    let change = |name: &mut String| {
        if let Some(new) = names.get(name) {
            new.clone_into(name);
        }
    };
    for node in &mut graph.node {
        node.input.iter_mut().chain(&mut node.output).for_each(change);
        for attribute in &mut node.attribute {
            attribute.g.iter_mut().chain(&mut attribute.graphs).for_each(|below| rename(below, names));
        }
    }
    graph.output.iter_mut().filter_map(|output| output.name.as_mut()).for_each(change);
    graph.initializer.iter_mut().filter_map(|tensor| tensor.name.as_mut()).for_each(change);
}

/// Whether a node has a graph below it.
pub(crate) fn has_graph(node: &NodeProto) -> bool {
    node.attribute.iter().any(|attribute| attribute.g.is_some() || !attribute.graphs.is_empty())
}

/// Takes out nodes and constants that no output needs, of nodes in order.
pub(crate) fn drop_unused(graph: &mut GraphProto) {
    let mut needed: HashSet<String> = graph.output.iter().map(|output| output.name().to_string()).collect();
    let mut kept = Vec::new();
    for node in std::mem::take(&mut graph.node).into_iter().rev() {
        if node.output.iter().any(|output| needed.contains(output)) {
            needed.extend(reads(&node));
            kept.push(node);
        }
    }
    kept.reverse();
    graph.node = kept;
    graph.initializer.retain(|tensor| needed.contains(tensor.name()));
}

/// Puts nodes behind what they read, keeping their order otherwise.
///
/// # Errors
/// [`Error::Graph`] where nodes wait for each other, or for a tensor that nobody makes.
pub(crate) fn sort(graph: &mut GraphProto) -> Result<(), Error> {
    let names =
        |infos: &[ValueInfoProto]| infos.iter().map(|info| info.name().to_string()).collect::<Vec<_>>();
    let mut there: HashSet<String> = names(&graph.input).into_iter().collect();
    there.extend(graph.initializer.iter().map(|tensor| tensor.name().to_string()));
    let mut waiting: Vec<NodeProto> = std::mem::take(&mut graph.node);
    while !waiting.is_empty() {
        let before = waiting.len();
        for node in std::mem::take(&mut waiting) {
            if reads(&node).iter().all(|input| there.contains(input)) {
                there.extend(node.output.iter().cloned());
                graph.node.push(node);
            } else {
                waiting.push(node);
            }
        }
        if waiting.len() == before {
            let missing =
                reads(&waiting[0]).into_iter().find(|input| !there.contains(input)).unwrap_or_default();
            return Err(Error::Graph {
                node: describe(&waiting[0]),
                reason: format!("reads `{missing}`, which nothing before it makes"),
            });
        }
    }
    Ok(())
}

/// How errors and reports name a node.
pub(crate) fn describe(node: &NodeProto) -> String {
    if node.name().is_empty() {
        format!("{} making {}", node.op_type(), node.output.first().map(String::as_str).unwrap_or("nothing"))
    } else {
        node.name().to_string()
    }
}

/// The graph of a model that was read, and so has one.
pub(crate) fn graph(model: &ModelProto) -> Result<&GraphProto, Error> {
    model.graph.as_ref().ok_or(Error::Format(formats::onnx::Error::NoGraph))
}

pub(crate) fn graph_mut(model: &mut ModelProto) -> Result<&mut GraphProto, Error> {
    model.graph.as_mut().ok_or(Error::Format(formats::onnx::Error::NoGraph))
}

/// Version of the default operators.
pub(crate) fn opset(model: &ModelProto) -> i64 {
    let default = model.opset_import.iter().find(|set| matches!(set.domain(), "" | "ai.onnx"));
    default.map_or(1, |set| set.version())
}

/// Operators that ONNX Runtime has beside the standard's.
pub(crate) const RUNTIME_DOMAIN: &str = "com.microsoft";

/// Says that operators of [`RUNTIME_DOMAIN`] are used, where they are.
pub(crate) fn import_runtime_domain(model: &mut ModelProto) {
    let mut nodes = model.graph.iter().flat_map(|graph| &graph.node);
    let is_used = nodes.any(|node| node.domain() == RUNTIME_DOMAIN);
    if is_used && model.opset_import.iter().all(|set| set.domain() != RUNTIME_DOMAIN) {
        let set = OperatorSetIdProto { domain: Some(RUNTIME_DOMAIN.into()), version: Some(1) };
        model.opset_import.push(set);
    }
}

/// The tensor type of an input or output.
pub(crate) fn tensor_type(info: &ValueInfoProto) -> Option<&type_proto::Tensor> {
    match info.r#type.as_ref()? {
        TypeProto { value: Some(type_proto::Value::TensorType(tensor)), .. } => Some(tensor),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::onnx::{DataType, attribute, node, value_info};

    fn model(nodes: Vec<NodeProto>) -> GraphProto {
        GraphProto {
            node: nodes,
            input: vec![value_info("x", DataType::Float, &[])],
            output: vec![value_info("y", DataType::Float, &[])],
            ..Default::default()
        }
    }

    #[test]
    fn nodes_come_behind_what_they_read_and_the_rest_goes() {
        let mut graph = model(vec![
            node("Relu", "last", &["b"], &["y"]),
            node("Relu", "idle", &["a"], &["c"]),
            node("Relu", "first", &["x"], &["a"]),
            node("Relu", "second", &["a"], &["b"]),
        ]);
        sort(&mut graph).unwrap();
        drop_unused(&mut graph);
        let names: Vec<&str> = graph.node.iter().map(|node| node.name()).collect();
        assert_eq!(names, ["first", "second", "last"]);
    }

    #[test]
    fn a_tensor_that_nobody_makes_is_named() {
        let error = sort(&mut model(vec![node("Relu", "r", &["nowhere"], &["y"])])).unwrap_err().to_string();
        assert_eq!(error, "node `r`: reads `nowhere`, which nothing before it makes");
    }

    #[test]
    fn graphs_below_read_from_outside() {
        let below =
            GraphProto { node: vec![node("Add", "", &["a", "inside"], &["o"])], ..Default::default() };
        let inside = GraphProto {
            initializer: vec![formats::onnx::tensor_of_floats("inside", &[], &[1.0]).unwrap()],
            output: vec![value_info("o", DataType::Float, &[])],
            ..below
        };
        let choice = node("If", "choice", &["c"], &["y"]).with(attribute::graph("then_branch", inside));
        assert_eq!(reads(&choice).into_iter().collect::<Vec<_>>(), ["a", "c"]);
        let mut graph = model(vec![choice]);
        rename(&mut graph, &[("a".to_string(), "b".to_string())].into());
        assert!(reads(&graph.node[0]).contains("b"));
    }
}
