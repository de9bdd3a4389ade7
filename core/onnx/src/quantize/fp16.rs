//! Half precision: weights stored so and computed with in 32 bits, or everything that allows it computed so.
//! Knows which operators and ranges half precision is too narrow for (`data/fp16.json`).

use crate::Error;
use crate::quantize::graph::{drop_unused, graph_mut, sort};
use crate::quantize::record::Record;
use crate::quantize::target::{Fp16, Target};
use formats::onnx::{
    DataType, ModelProto, NodeProto, TensorProto, attribute, node, tensor_floats, tensor_of_bytes,
};
use half::f16;
use std::collections::{BTreeMap, BTreeSet};

/// Weights of fewer elements stay as they are: a step more costs more than it saves.
const LEAST_ELEMENTS: u64 = 64;

/// The model in half precision, inputs and outputs as they were.
pub(crate) fn convert(model: &ModelProto, record: &Record, target: &Target) -> Result<ModelProto, Error> {
    let mut model = model.clone();
    match target.fp16 {
        Fp16::Stored => store(&mut model)?,
        Fp16::Computed => compute(&mut model, record)?,
    }
    crate::quantize::sign(&mut model);
    Ok(model)
}

fn store(model: &mut ModelProto) -> Result<(), Error> {
    let graph = graph_mut(model)?;
    let mut casts = Vec::new();
    for tensor in &mut graph.initializer {
        if tensor.element_type() != DataType::Float
            || tensor.n_elements().unwrap_or_default() < LEAST_ELEMENTS
        {
            continue;
        }
        let values = tensor_floats(tensor)?;
        if values.iter().any(|value| value.abs() > f16::MAX.to_f32()) {
            continue;
        }
        let name = format!("{}_half", tensor.name());
        let bytes: Vec<u8> = values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect();
        let stored = tensor_of_bytes(name.clone(), DataType::Float16, &tensor.dims, bytes)?;
        let cast = node("Cast", format!("{name}_cast"), &[&name], &[tensor.name()]);
        casts.push(cast.with(attribute::int("to", DataType::Float as i64)));
        *tensor = stored;
    }
    if casts.is_empty() {
        return Err(Error::Nothing("no weight is large enough to be stored in half precision".into()));
    }
    graph.node.splice(0..0, casts);
    drop_unused(graph);
    sort(graph)
}

/// What half precision is too narrow for.
#[derive(serde::Deserialize)]
struct Narrow {
    /// Operators that stay as they are.
    keep: BTreeSet<String>,
    /// Operators that add up, and overflow where the sum does.
    sums: BTreeSet<String>,
}

/// Values above an eighth of the largest half stay in 32 bits: what was not seen while recording may be larger.
const LARGEST: f32 = 65504.0 / 8.0;
/// What stands for minus infinity in masks, where the original is below every half.
const MASK: f32 = -1e4;

fn compute(model: &mut ModelProto, record: &Record) -> Result<(), Error> {
    let narrow: Narrow =
        serde_json::from_str(include_str!("../../data/fp16.json")).expect("the table is tested");
    let graph = graph_mut(model)?;
    let floats: BTreeMap<String, TensorProto> = graph
        .initializer
        .iter()
        .filter(|tensor| tensor.element_type() == DataType::Float)
        .map(|tensor| (tensor.name().to_string(), tensor.clone()))
        .collect();
    let outputs: BTreeSet<String> = graph.output.iter().map(|output| output.name().to_string()).collect();
    let wide = |name: &String| record.get(name).is_some_and(|stat| stat.max.max(-stat.min) > LARGEST);
    let mut halves: BTreeSet<String> = BTreeSet::new();
    let mut half_nodes = Vec::new();
    for node in &graph.node {
        let sums = narrow.sums.contains(node.op_type())
            && node.input.first().and_then(|name| record.get(name)).is_some_and(|stat| {
                let row: i64 = stat.shape.iter().skip(1).product();
                stat.max.max(-stat.min) * row as f32 > 65504.0
            });
        let is_float = node.output.iter().any(|name| record.contains_key(name));
        let names = || node.input.iter().chain(&node.output);
        let is_half = is_float && !sums && !narrow.keep.contains(node.op_type()) && !names().any(wide);
        if is_half {
            halves.extend(node.output.iter().filter(|name| record.contains_key(*name)).cloned());
        }
        half_nodes.push(is_half);
    }
    if halves.is_empty() {
        return Err(Error::Nothing("no node can be computed in half precision".into()));
    }
    let mut casts = Casts::default();
    for (node, &is_half) in graph.node.iter_mut().zip(&half_nodes) {
        for input in &mut node.input {
            let is_constant = floats.contains_key(input);
            let is_activation = record.contains_key(input);
            if is_half && is_constant {
                *input = casts.constant(&floats[input])?;
            } else if is_half && is_activation && !halves.contains(input) {
                *input = casts.step(input, DataType::Float16);
            } else if !is_half && halves.contains(input) {
                *input = casts.step(input, DataType::Float);
            }
        }
    }
    // An output keeps its type: the node makes a half of another name.
    for name in halves.intersection(&outputs) {
        let half = format!("{name}_half");
        let names = [(name.clone(), half.clone())].into();
        let outputs = std::mem::take(&mut graph.output);
        crate::quantize::graph::rename(graph, &names);
        graph.output = outputs;
        casts
            .nodes
            .iter_mut()
            .filter(|cast| cast.input[0] == *name)
            .for_each(|cast| cast.input[0].clone_from(&half));
        casts.nodes.push(cast(&half, name, DataType::Float));
    }
    graph.node.append(&mut casts.nodes);
    graph.initializer.extend(casts.constants.into_values());
    sort(graph)?;
    drop_unused(graph);
    Ok(())
}

fn cast(from: &str, to: &str, ty: DataType) -> NodeProto {
    node("Cast", format!("{to}_cast"), &[from], &[to]).with(attribute::int("to", ty as i64))
}

/// Steps and constants that the other precision needs, each made once.
#[derive(Default)]
struct Casts {
    nodes: Vec<NodeProto>,
    made: BTreeSet<String>,
    constants: BTreeMap<String, TensorProto>,
}

impl Casts {
    fn step(&mut self, name: &str, ty: DataType) -> String {
        let new = format!("{name}_{}", if ty == DataType::Float { "whole" } else { "as_half" });
        if self.made.insert(new.clone()) {
            self.nodes.push(cast(name, &new, ty));
        }
        new
    }

    fn constant(&mut self, tensor: &TensorProto) -> Result<String, Error> {
        let name = format!("{}_half", tensor.name());
        if !self.constants.contains_key(&name) {
            let value = |value: f32| if value < -65504.0 { MASK } else { value.min(65504.0) };
            let values = tensor_floats(tensor)?;
            let bytes: Vec<u8> =
                values.iter().flat_map(|&one| f16::from_f32(value(one)).to_le_bytes()).collect();
            let made = tensor_of_bytes(name.clone(), DataType::Float16, &tensor.dims, bytes)?;
            self.constants.insert(name.clone(), made);
        }
        Ok(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let narrow: Narrow = serde_json::from_str(include_str!("../../data/fp16.json")).unwrap();
        assert!(narrow.keep.contains("Range") && narrow.sums.is_disjoint(&narrow.keep));
    }
}
