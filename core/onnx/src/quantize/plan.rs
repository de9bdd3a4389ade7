//! What each node with weights becomes, and which of its neighbours follow. Owns the placement; knows a target's row and the
//! graph's edges. A plan is data: it can be written down, changed and used again.

use crate::Error;
use crate::quantize::graph::{Index, graph};
use crate::quantize::record::Record;
use crate::quantize::target::Target;
use formats::onnx::{DataType, GraphProto, ModelProto, NodeProto};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// What becomes of a node with weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Choice {
    /// Weights and what flows into them, with ranges from calibration.
    Int8,
    /// Weights; ranges of what flows are found while running.
    Dynamic,
    /// Weights alone: they become floats again before they are used.
    Weights,
    /// As it was.
    Float,
}

/// A choice for every node with weights, by name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The target's name.
    pub target: String,
    /// By name of the node.
    pub nodes: BTreeMap<String, Choice>,
}

/// A node with constant weights.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) name: String,
    pub(crate) operator: String,
    /// Multiplications of one run.
    pub(crate) macs: u64,
    /// Elements of its weights.
    pub(crate) n_weights: u64,
    /// Elements that it reads and makes in one run.
    pub(crate) n_values: u64,
}

/// Nodes with constant weights of floats, in the graph's order.
pub(crate) fn items(model: &ModelProto, record: &Record) -> Result<Vec<Item>, Error> {
    let graph = graph(model)?;
    let index = Index::of(graph);
    let mut items = Vec::new();
    for node in &graph.node {
        let weights = match node.op_type() {
            "Conv" | "ConvTranspose" | "Gemm" | "MatMul" => node.input.get(1..2),
            "LSTM" | "GRU" | "RNN" => node.input.get(1..3),
            _ => None,
        };
        let tensors: Vec<_> =
            weights.into_iter().flatten().filter_map(|name| index.constant(graph, name)).collect();
        if tensors.is_empty() || tensors.iter().any(|tensor| tensor.element_type() != DataType::Float) {
            continue;
        }
        let n_weights: u64 = tensors.iter().filter_map(|tensor| tensor.n_elements()).sum();
        items.push(Item {
            name: node.name().into(),
            operator: node.op_type().into(),
            macs: macs(node, &tensors[0].dims, n_weights, record),
            n_weights,
            n_values: [node.input.first(), node.output.first()]
                .into_iter()
                .flatten()
                .filter_map(|name| record.get(name))
                .map(|stat| stat.n_elements())
                .sum(),
        });
    }
    Ok(items)
}

fn macs(node: &NodeProto, weight: &[i64], n_weights: u64, record: &Record) -> u64 {
    let stat = |name: Option<&String>| name.and_then(|name| record.get(name));
    let (input, output) = (stat(node.input.first()), stat(node.output.first()));
    let elements =
        |stat: Option<&crate::quantize::record::TensorStat>| stat.map_or(1, |stat| stat.n_elements());
    match node.op_type() {
        "Conv" => elements(output) * weight.iter().skip(1).map(|&dim| dim as u64).product::<u64>(),
        "ConvTranspose" => elements(input) * weight.iter().skip(1).map(|&dim| dim as u64).product::<u64>(),
        "LSTM" | "GRU" | "RNN" => {
            n_weights * input.and_then(|stat| stat.shape.first()).map_or(1, |&dim| dim.max(1) as u64)
        }
        _ => {
            let columns = output.and_then(|stat| stat.shape.last()).map_or(1, |&dim| dim.max(1) as u64);
            n_weights * (elements(output) / columns).max(1)
        }
    }
}

impl Plan {
    /// Everything that the target computes in eight bits.
    pub(crate) fn all_int8(target: &Target, items: &[Item]) -> Self {
        let choose = |item: &Item| {
            if target.weighted.contains(&item.operator) {
                Choice::Int8
            } else if item.operator == "LSTM" && target.dynamic_lstm {
                Choice::Dynamic
            } else {
                Choice::Float
            }
        };
        Self {
            target: target.name.clone(),
            nodes: items.iter().map(|item| (item.name.clone(), choose(item))).collect(),
        }
    }

    /// Matrices and LSTMs with ranges found while running.
    pub(crate) fn all_dynamic(target: &Target, items: &[Item]) -> Self {
        let choose = |item: &Item| match item.operator.as_str() {
            "MatMul" | "Gemm" => Choice::Dynamic,
            "LSTM" if target.dynamic_lstm => Choice::Dynamic,
            _ => Choice::Float,
        };
        Self {
            target: target.name.clone(),
            nodes: items.iter().map(|item| (item.name.clone(), choose(item))).collect(),
        }
    }

    pub(crate) fn choice(&self, node: &str) -> Choice {
        self.nodes.get(node).copied().unwrap_or(Choice::Float)
    }
}

/// Which nodes compute in eight bits, and which tensors are quantized for them.
#[derive(Debug, Default)]
pub(crate) struct Placement {
    /// Places of nodes with weights.
    pub(crate) weighted: BTreeSet<usize>,
    /// Places of nodes between them.
    pub(crate) between: BTreeSet<usize>,
    /// Tensors, with the one whose scale they have: their own, or what an operator that only moves values reads.
    pub(crate) tensors: BTreeMap<String, String>,
    /// Tensors of these whose every reader takes the quantized one, because an integer operator makes them.
    pub(crate) whole: BTreeSet<String>,
}

impl Placement {
    pub(crate) fn of(graph: &GraphProto, plan: &Plan, target: &Target) -> Self {
        let index = Index::of(graph);
        let weighted: BTreeSet<usize> =
            (0..graph.node.len()).filter(|&at| plan.choice(graph.node[at].name()) == Choice::Int8).collect();
        let leads = leads_to(graph, &index, &weighted, target);
        let mut placement = Self { weighted, ..Self::default() };
        for at in 0..graph.node.len() {
            let node = &graph.node[at];
            let fits = target.between.contains(node.op_type()) || target.passes.contains(node.op_type());
            if !fits || !leads.contains(&at) || node.output.len() > 1 && !node.output[1].is_empty() {
                continue;
            }
            let data = placement.data_inputs(graph, &index, at, target);
            let quantized = |name: &String| placement.comes_from(graph, &index, name);
            if !data.is_empty() && data.iter().all(quantized) {
                placement.between.insert(at);
            }
        }
        placement.choose_tensors(graph, &index, target);
        placement
    }

    /// Inputs that are values rather than shapes.
    fn data_inputs(&self, graph: &GraphProto, index: &Index, at: usize, target: &Target) -> Vec<String> {
        let node = &graph.node[at];
        let first_alone = self.weighted.contains(&at)
            || target.passes.contains(node.op_type())
            || matches!(node.op_type(), "Resize" | "Softmax" | "Sigmoid");
        let count = if first_alone { 1 } else { node.input.len() };
        let inputs = node.input.iter().take(count).filter(|name| !name.is_empty());
        if self.weighted.contains(&at) {
            return inputs.cloned().collect();
        }
        // A constant summand would need a scale of its own: such nodes stay float.
        if inputs.clone().any(|name| index.is_constant(name)) {
            return Vec::new();
        }
        inputs.cloned().collect()
    }

    /// Whether a tensor is made by an operator that computes in eight bits, an activation behind it included.
    fn comes_from(&self, graph: &GraphProto, index: &Index, tensor: &str) -> bool {
        let Some(mut at) = index.producer(tensor) else { return false };
        if is_clamp(&graph.node[at]) {
            let Some(before) = index.producer(&graph.node[at].input[0]) else { return false };
            at = before;
        }
        self.weighted.contains(&at) || self.between.contains(&at)
    }

    fn choose_tensors(&mut self, graph: &GraphProto, index: &Index, target: &Target) {
        let nodes: Vec<usize> = self.weighted.union(&self.between).copied().collect();
        for &at in &nodes {
            for input in self.data_inputs(graph, index, at, target) {
                self.tensors.entry(input.clone()).or_insert(input);
            }
        }
        for &at in &nodes {
            if !target.outputs {
                break;
            }
            let mut output = graph.node[at].output[0].clone();
            if let Some(next) = index.only_reader(&output).filter(|&next| is_clamp(&graph.node[next])) {
                output.clone_from(&graph.node[next].output[0]);
            }
            if !index.is_output(&output) {
                self.tensors.entry(output.clone()).or_insert_with(|| output.clone());
                self.whole.insert(output);
            }
        }
        // What only moves values has the scale of what it reads; the nodes stand in order.
        for at in 0..graph.node.len() {
            let node = &graph.node[at];
            if self.between.contains(&at)
                && (target.passes.contains(node.op_type()) || node.op_type() == "MaxPool")
            {
                let root = self.tensors.get(&node.input[0]).cloned();
                if let Some((root, own)) = root.zip(self.tensors.get_mut(&node.output[0])) {
                    *own = root;
                }
            }
        }
    }
}

/// What keeps values within bounds and is taken into the operator before it.
pub(crate) fn is_clamp(node: &NodeProto) -> bool {
    matches!(node.op_type(), "Relu" | "Clip")
}

/// Nodes from which one of `weighted` is reached by operators that the target computes in eight bits.
fn leads_to(
    graph: &GraphProto,
    index: &Index,
    weighted: &BTreeSet<usize>,
    target: &Target,
) -> HashSet<usize> {
    let mut leads = HashSet::new();
    for at in (0..graph.node.len()).rev() {
        let mut readers = graph.node[at].output.iter().flat_map(|name| index.readers(name));
        let through = |next: &usize| {
            let node = &graph.node[*next];
            let fits = target.between.contains(node.op_type()) || target.passes.contains(node.op_type());
            weighted.contains(next) || (leads.contains(next) && (fits || is_clamp(node)))
        };
        if readers.any(through) {
            leads.insert(at);
        }
    }
    leads
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::onnx::{node, tensor_of_floats, value_info};

    /// Two convolutions, a sum of both, a third, and behind it a float tail that joins boxes and scores.
    fn graph() -> GraphProto {
        let weight = tensor_of_floats("w", &[1, 1, 1, 1], &[1.0]).unwrap();
        GraphProto {
            node: vec![
                node("Conv", "one", &["x", "w"], &["a"]),
                node("Relu", "clamp", &["a"], &["b"]),
                node("Conv", "two", &["b", "w"], &["c"]),
                node("Add", "sum", &["b", "c"], &["d"]),
                node("MaxPool", "pool", &["d"], &["e"]),
                node("Conv", "three", &["e", "w"], &["f"]),
                node("Sigmoid", "likely", &["f"], &["g"]),
                node("Concat", "joined", &["f", "g"], &["y"]),
            ],
            initializer: vec![weight],
            input: vec![value_info("x", DataType::Float, &[])],
            output: vec![value_info("y", DataType::Float, &[])],
            ..Default::default()
        }
    }

    fn placed(float: &[&str]) -> Placement {
        let target = Target::of_name("cpu").unwrap();
        let choice = |name: &str| if float.contains(&name) { Choice::Float } else { Choice::Int8 };
        let nodes = ["one", "two", "three"].map(|name| (name.to_string(), choice(name)));
        Placement::of(&graph(), &Plan { target: "cpu".into(), nodes: nodes.into() }, &target)
    }

    #[test]
    fn what_lies_between_follows_and_the_tail_stays_float() {
        let placement = placed(&[]);
        assert_eq!(placement.between.iter().copied().collect::<Vec<_>>(), [3, 4]);
        let tensors: Vec<&str> = placement.tensors.keys().map(String::as_str).collect();
        // Never the convolution's own output where a clamp follows, and nothing of the tail but its first input.
        assert_eq!(tensors, ["b", "c", "d", "e", "f", "x"]);
        assert_eq!(placement.tensors["e"], "d", "a pool keeps the scale of what it reads");
        assert!(!placement.whole.contains("x") && placement.whole.contains("f"));
    }

    #[test]
    fn a_float_node_breaks_what_lies_between() {
        let placement = placed(&["two"]);
        assert!(placement.between.is_empty());
        assert_eq!(placement.tensors.keys().map(String::as_str).collect::<Vec<_>>(), ["b", "e", "f", "x"]);
    }
}
