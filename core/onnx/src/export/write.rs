//! A graph and its weights as files: each tensor once, those of the same bytes once too, in the file or beside it. Knows how
//! weights are made of the checkpoint's tensors; must not know what they are for. Nothing stays half-written.

use super::Request;
use super::checkpoint::Checkpoint;
use super::graph::{Graph, Made, Weight};
use crate::{Error, files};
use formats::onnx::{
    DataType, GraphProto, Location, ModelProto, OperatorSetIdProto, TensorProto, external_tensor,
    float_bytes, tensor_of_bytes, write_model,
};
use std::collections::HashMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

/// Places of tensors beside the graph are multiples of this.
const ALIGN: u64 = 64;
/// Smaller ones stay in the graph: shapes and scales, which readers want to see.
const LEAST_BESIDE: usize = 1024;
/// The version of the file's format that each version of operators came with.
fn file_version(opset: i64) -> i64 {
    match opset {
        ..=18 => 8,
        19..=20 => 9,
        21..=22 => 10,
        _ => 11,
    }
}

/// What was written.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Written {
    /// Path of the graph, below the folder.
    pub file: String,
    /// Its bytes.
    pub bytes: u64,
    /// Bytes of what lies beside it.
    pub bytes_beside: u64,
    /// Its nodes.
    pub n_nodes: usize,
    /// Its weights.
    pub n_weights: usize,
    /// Weights that were the same as others, byte by byte.
    pub n_shared: usize,
}

/// Bytes of an element.
fn width(float: DataType) -> u64 {
    if float == DataType::Float16 { 2 } else { 4 }
}

/// Bytes of all weights of a graph, before those that are the same are found.
pub(super) fn weight_bytes(graph: &Graph) -> u64 {
    let elements = |weight: &Weight| weight.dims.iter().product::<i64>() as u64;
    graph.weights.iter().map(elements).sum::<u64>() * width(graph.float)
}

/// Writes a graph called `file` below `folder`. `advance` is told of bytes of weights.
///
/// # Errors
/// A weight that the graph's floats cannot hold, what the system says, [`Error::Cancelled`].
pub(super) fn write(
    mut graph: Graph,
    checkpoint: &Checkpoint,
    folder: &Path,
    file: &str,
    request: &Request,
    advance: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<Written, Error> {
    let data = format!("{file}_data");
    let beside = weight_bytes(&graph) > request.inline_bytes;
    let failed = |error: std::io::Error| Error::File { path: folder.join(&data), reason: error.to_string() };
    let mut out = match beside {
        true => Some(File::create(folder.join(&data)).map_err(failed)?),
        false => None,
    };
    let mut tensors: Vec<TensorProto> = std::mem::take(&mut graph.constants);
    // By digest: what has it. Bytes are compared before two are called the same.
    let mut known: HashMap<u64, Vec<Weight>> = HashMap::new();
    let (mut end, mut n_shared) = (0u64, 0);
    for weight in std::mem::take(&mut graph.weights) {
        let bytes = bytes_of(&weight, checkpoint, graph.float)?;
        if advance(bytes.len() as u64).is_break() {
            return Err(Error::Cancelled);
        }
        let mut digest = DefaultHasher::new();
        (&weight.dims, &bytes).hash(&mut digest);
        let same = known.entry(digest.finish()).or_default();
        let mut twin = None;
        for other in same.iter().filter(|other| other.dims == weight.dims) {
            if bytes_of(other, checkpoint, graph.float)? == bytes {
                twin = Some(other.name.clone());
            }
        }
        if let Some(twin) = twin {
            graph.rename(&weight.name, &twin);
            n_shared += 1;
            continue;
        }
        same.push(weight.clone());
        let Some(out) = out.as_mut().filter(|_| bytes.len() >= LEAST_BESIDE) else {
            tensors.push(tensor_of_bytes(&weight.name, graph.float, &weight.dims, bytes)?);
            continue;
        };
        let offset = end.next_multiple_of(ALIGN);
        out.write_all(&vec![0; (offset - end) as usize]).map_err(failed)?;
        out.write_all(&bytes).map_err(failed)?;
        end = offset + bytes.len() as u64;
        let location = Location { file: data.clone(), offset, length: Some(bytes.len() as u64) };
        tensors.push(external_tensor(&weight.name, graph.float, &weight.dims, &location)?);
    }
    if let Some(out) = out {
        out.sync_all().map_err(failed)?;
    }
    let (n_nodes, n_weights) = (graph.nodes.len(), tensors.len());
    let bytes = write_model(&model(graph, tensors, file))?;
    files::write(&folder.join(file), &bytes)?;
    Ok(Written {
        file: file.into(),
        bytes: bytes.len() as u64,
        bytes_beside: end,
        n_nodes,
        n_weights,
        n_shared,
    })
}

fn model(graph: Graph, initializer: Vec<TensorProto>, file: &str) -> ModelProto {
    let set = OperatorSetIdProto { domain: Some(String::new()), version: Some(graph.opset) };
    ModelProto {
        ir_version: Some(file_version(graph.opset)),
        producer_name: Some("llama-pajamas".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        opset_import: vec![set],
        graph: Some(GraphProto {
            name: Some(file.trim_end_matches(".onnx").into()),
            node: graph.nodes,
            initializer,
            input: graph.inputs,
            output: graph.outputs,
            ..GraphProto::default()
        }),
        ..ModelProto::default()
    }
}

/// The numbers of a weight, in the graph's floats.
fn bytes_of(weight: &Weight, checkpoint: &Checkpoint, float: DataType) -> Result<Vec<u8>, Error> {
    let mut values = checkpoint.read(&weight.source)?;
    match &weight.made {
        Made::Same => {}
        Made::Turned => values = turned(&values, weight.dims[0] as usize),
        Made::FirstPlus(other) => {
            let row = checkpoint.read(other)?;
            let columns = weight.dims[1] as usize;
            if row.len() != columns {
                return Err(Error::Value {
                    name: other.clone(),
                    expected: format!("{columns} numbers"),
                    got: format!("{}", row.len()),
                });
            }
            values.iter_mut().zip(row).for_each(|(value, more)| *value += more);
        }
    }
    let largest = if float == DataType::Float16 { half::f16::MAX.to_f32() } else { f32::MAX };
    if let Some(value) = values.iter().find(|value| value.is_nan() || value.abs() > largest) {
        return Err(Error::Value {
            name: weight.source.clone(),
            expected: format!("numbers up to {largest}"),
            got: value.to_string(),
        });
    }
    Ok(float_bytes(float, &values))
}

/// A matrix of `columns` columns, its rows as columns.
fn turned(values: &[f32], columns: usize) -> Vec<f32> {
    let rows = values.len() / columns.max(1);
    let mut turned = Vec::with_capacity(values.len());
    for column in 0..columns {
        turned.extend((0..rows).map(|row| values[row * columns + column]));
    }
    turned
}
