//! Constants of the same type, extents and bytes become one. Knows constants and who reads them; no operator.

use crate::Error;
use crate::quantize::graph::{graph_mut, rename};
use formats::onnx::{ModelProto, TensorProto, tensor_bytes};
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};

/// Gives how many went.
pub(super) fn join(model: &mut ModelProto) -> Result<usize, Error> {
    let graph = graph_mut(model)?;
    let mut known: HashMap<u64, Vec<usize>> = HashMap::new();
    let mut kept: Vec<TensorProto> = Vec::new();
    let mut names = BTreeMap::new();
    let outputs: Vec<&str> = graph.output.iter().map(|output| output.name()).collect();
    for tensor in std::mem::take(&mut graph.initializer) {
        // What has no bytes (texts) or is an output keeps its name.
        let bytes = tensor_bytes(&tensor).ok().filter(|_| !outputs.contains(&tensor.name()));
        let Some(bytes) = bytes else {
            kept.push(tensor);
            continue;
        };
        let mut digest = DefaultHasher::new();
        (tensor.data_type, &tensor.dims, &bytes).hash(&mut digest);
        let same = known.entry(digest.finish()).or_default();
        let is_twin = |other: &TensorProto| {
            other.data_type == tensor.data_type
                && other.dims == tensor.dims
                && tensor_bytes(other).is_ok_and(|other| other == bytes)
        };
        match same.iter().find(|&&at| is_twin(&kept[at])) {
            Some(&at) => {
                names.insert(tensor.name().to_string(), kept[at].name().to_string());
            }
            None => {
                same.push(kept.len());
                kept.push(tensor);
            }
        }
    }
    graph.initializer = kept;
    rename(graph, &names);
    Ok(names.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::onnx::{DataType, GraphProto, node, tensor_of_floats, value_info};

    #[test]
    fn the_same_constant_stays_once() {
        let tensor = |name: &str, dims: &[i64], values: &[f32]| tensor_of_floats(name, dims, values).unwrap();
        let graph = GraphProto {
            node: vec![
                node("Add", "one", &["x", "a"], &["t"]),
                node("Add", "two", &["t", "b"], &["u"]),
                node("Add", "three", &["u", "c"], &["y"]),
            ],
            initializer: vec![
                tensor("a", &[2], &[1.0, 2.0]),
                tensor("b", &[2], &[1.0, 2.0]),
                tensor("c", &[2, 1], &[1.0, 2.0]),
            ],
            output: vec![value_info("y", DataType::Float, &[])],
            ..Default::default()
        };
        let mut model = ModelProto { graph: Some(graph), ..Default::default() };
        assert_eq!(join(&mut model).unwrap(), 1);
        let graph = model.graph.unwrap();
        assert_eq!(graph.initializer.iter().map(|tensor| tensor.name()).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!((graph.node[1].input[1].as_str(), graph.node[2].input[1].as_str()), ("a", "c"));
    }
}
