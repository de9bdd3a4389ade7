//! What kind of model a graph is, by its operators and ports, as data (`data/architectures.json`): the first row that fits.
//! Knows shapes and names; computes nothing, and decides nothing but what is said and how sound is cut.

use crate::Port;
use formats::onnx::{GraphProto, ModelProto};
use serde::Deserialize;
use std::collections::BTreeMap;

/// A row of the table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Architecture {
    /// For people, e.g. `detector`.
    pub name: String,
    /// `vision` or `speech`.
    pub kind: String,
    /// Names of which one must be an input's.
    #[serde(default)]
    inputs: Vec<String>,
    /// Names of which one must be an output's.
    #[serde(default)]
    outputs: Vec<String>,
    /// Operators that must all be there, in graphs below too.
    operators: Vec<String>,
    input_rank: Option<usize>,
    output_rank: Option<usize>,
    most_outputs: Option<i64>,
    least_matrices: Option<usize>,
    /// Samples of sound per second.
    pub rate: Option<u32>,
    /// New samples of a step.
    pub step: Option<usize>,
    /// Samples of the step before that a step begins with.
    pub context: Option<usize>,
}

impl Architecture {
    /// Of a model and its ports, as a session tells them.
    pub fn of(model: &ModelProto, inputs: &[Port], outputs: &[Port]) -> Option<Self> {
        let mut counts = BTreeMap::new();
        if let Some(graph) = &model.graph {
            count(graph, &mut counts);
        }
        let rows: Vec<Self> =
            serde_json::from_str(include_str!("../../data/architectures.json")).expect("the table is tested");
        rows.into_iter().find(|row| row.fits(&counts, inputs, outputs))
    }

    fn fits(&self, counts: &BTreeMap<String, usize>, inputs: &[Port], outputs: &[Port]) -> bool {
        let first = |ports: &[Port]| ports.first().map_or(0, |port| port.shape.len());
        let rank = |wanted: Option<usize>, rank: usize| wanted.is_none_or(|wanted| wanted == rank);
        let elements =
            outputs.first().map_or(0, |port| port.shape.iter().map(|&dim| dim.max(1)).product::<i64>());
        let count = |name: &str| counts.get(name).copied().unwrap_or(0);
        (self.inputs.is_empty() || inputs.iter().any(|port| self.inputs.contains(&port.name)))
            && (self.outputs.is_empty() || outputs.iter().any(|port| self.outputs.contains(&port.name)))
            && self.operators.iter().all(|operator| count(operator) > 0)
            && rank(self.input_rank, first(inputs))
            && rank(self.output_rank, first(outputs))
            && self.most_outputs.is_none_or(|most| elements <= most)
            && self.least_matrices.is_none_or(|least| count("MatMul") + count("Gemm") >= least)
    }
}

fn count(graph: &GraphProto, counts: &mut BTreeMap<String, usize>) {
    for node in &graph.node {
        // A norm that took its sum in is a norm.
        let operator = node.op_type();
        *counts.entry(operator.strip_prefix("Skip").unwrap_or(operator).to_string()).or_default() += 1;
        node.attribute
            .iter()
            .filter_map(|attribute| attribute.g.as_ref())
            .for_each(|below| count(below, counts));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DataType;
    use formats::onnx::node;

    #[track_caller]
    fn check(operators: &[&str], input: &[i64], output: &[i64], expected: Option<&str>) {
        let graph = GraphProto {
            node: operators.iter().map(|name| node(name, "", &[], &[])).collect(),
            ..Default::default()
        };
        let model = ModelProto { graph: Some(graph), ..Default::default() };
        let port = |shape: &[i64]| Port { name: "x".into(), ty: DataType::Float, shape: shape.to_vec() };
        let found = Architecture::of(&model, &[port(input)], &[port(output)]);
        assert_eq!(found.map(|row| row.name).as_deref(), expected);
    }

    #[test]
    fn kinds_are_told_apart() {
        check(&["Conv", "Relu", "Gemm"], &[1, 3, 224, 224], &[1, 1000], Some("classifier"));
        check(&["Conv", "Concat"], &[1, 3, 640, 640], &[1, 84, 8400], Some("detector"));
        check(&["Conv", "LSTM"], &[1, 576], &[1, 1], Some("voice activity detector"));
        check(&["Add"], &[1], &[1], None);
        let mut encoder = vec!["Conv", "Softmax"];
        encoder.extend(["MatMul"; 8]);
        check(&encoder, &[1, 3, 224, 224], &[1, 197, 192], Some("ViT or CLIP image encoder"));
        encoder[1] = "LayerNormalization";
        check(&encoder, &[1, 3, 224, 224], &[1, 1000], Some("ViT classifier"));
    }
}
