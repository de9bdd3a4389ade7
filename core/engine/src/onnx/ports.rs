//! What a decoder's graph takes and gives, by the names that exporters and onnxruntime-genai have for it.
//!
//! Owns: [`Ports`]. May know: the format. Must not know: sessions.

use std::path::Path;

use formats::onnx::{DataType, GraphProto, ModelProto, ValueInfoProto, tensor_shape_proto, type_proto};

use crate::Error;

pub(super) const TOKENS: &str = "input_ids";
pub(super) const MASK: &str = "attention_mask";
pub(super) const LOGITS: &str = "logits";
/// The key under which a graph states its longest context, and what counts where none does.
const CONTEXT_KEY: &str = "context_length";
const USUAL_CONTEXT: u64 = 4096;
/// The operator that reads as much of a cache as the mask says, as long as what it appends has room in it.
const READS_BY_MASK: &str = "GroupQueryAttention";

/// The shape of a decoder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) n_vocab: usize,
    pub(super) n_ctx_train: u64,
    /// Heads and width of keys and values, layer by layer.
    pub(super) layers: Vec<(i64, i64)>,
    /// Elements of the cache.
    pub(super) float: DataType,
    /// Whether a cache may be longer than what is held, where it is long enough for what is appended.
    pub(super) reads_by_mask: bool,
}

impl Ports {
    /// Those of `model`, which was read from `path`.
    pub(super) fn of(model: &ModelProto, path: &Path) -> Result<Self, Error> {
        let refuse = |reason: String| Error::InvalidFile { path: path.to_owned(), reason };
        let graph = model.graph.as_ref().ok_or_else(|| refuse("expected a graph, found none".into()))?;
        let logits = find(&graph.output, LOGITS).map(dims);
        let n_vocab = logits.and_then(|dims| usize::try_from(*dims.get(2)?).ok()).filter(|n| *n > 0);
        let n_vocab = n_vocab.ok_or_else(|| {
            refuse(format!("expected an output `{LOGITS}` of [batch, sequence, vocabulary], found none"))
        })?;
        for name in [TOKENS, MASK] {
            find(&graph.input, name)
                .ok_or_else(|| refuse(format!("expected a decoder's input `{name}`, found none")))?;
        }
        let mut layers = Vec::new();
        let mut float = DataType::Float;
        while let Some(cache) = find(&graph.input, &past(layers.len(), "key")) {
            let [_, heads, _, width] = dims(cache)[..] else {
                let name = cache.name();
                return Err(refuse(format!("`{name}`: expected [batch, heads, tokens, width]")));
            };
            if heads <= 0 || width <= 0 {
                return Err(refuse(format!("`{}`: expected numbers of heads and width", cache.name())));
            }
            float = element(cache);
            layers.push((heads, width));
        }
        if layers.is_empty() || !matches!(float, DataType::Float | DataType::Float16) {
            let expected = format!("expected caches `{}` and so on of floats", past(0, "key"));
            return Err(refuse(expected));
        }
        let known = layers.len() * 2 + 2;
        if graph.input.len() != known {
            let got = graph.input.len();
            return Err(refuse(format!("expected the {known} inputs of a decoder, found {got}")));
        }
        let stated = model.metadata_props.iter().find(|entry| entry.key() == CONTEXT_KEY);
        let stated = stated.and_then(|entry| entry.value().parse().ok());
        Ok(Self {
            n_vocab,
            n_ctx_train: stated.filter(|n| *n > 0).unwrap_or(USUAL_CONTEXT),
            layers,
            float,
            reads_by_mask: reads_by_mask(graph),
        })
    }

    /// Bytes of the cache of a token.
    pub(super) fn cache_bytes(&self) -> u64 {
        let element = if self.float == DataType::Float16 { 2 } else { 4 };
        self.layers.iter().map(|(heads, width)| (heads * width) as u64 * 2 * element).sum()
    }

    /// Names of caches in the order in which a graph of ours has them, which is each layer's keys and values.
    pub(super) fn names(&self) -> Vec<[String; 2]> {
        let pair = |layer, kind| [past(layer, kind), present(layer, kind)];
        (0..self.layers.len()).flat_map(|layer| [pair(layer, "key"), pair(layer, "value")]).collect()
    }
}

fn past(layer: usize, kind: &str) -> String {
    format!("past_key_values.{layer}.{kind}")
}

fn present(layer: usize, kind: &str) -> String {
    format!("present.{layer}.{kind}")
}

fn find<'a>(ports: &'a [ValueInfoProto], name: &str) -> Option<&'a ValueInfoProto> {
    ports.iter().find(|port| port.name() == name)
}

fn tensor(port: &ValueInfoProto) -> Option<&type_proto::Tensor> {
    match port.r#type.as_ref()?.value.as_ref()? {
        type_proto::Value::TensorType(tensor) => Some(tensor),
        _ => None,
    }
}

fn element(port: &ValueInfoProto) -> DataType {
    let ty = tensor(port).and_then(|tensor| tensor.elem_type);
    ty.and_then(|ty| DataType::try_from(ty).ok()).unwrap_or(DataType::Undefined)
}

/// Extents; -1 where one is open.
fn dims(port: &ValueInfoProto) -> Vec<i64> {
    let shape = tensor(port).and_then(|tensor| tensor.shape.as_ref());
    let dims = shape.map(|shape| shape.dim.as_slice()).unwrap_or_default();
    let extent = |dim: &tensor_shape_proto::Dimension| match &dim.value {
        Some(tensor_shape_proto::dimension::Value::DimValue(extent)) => *extent,
        _ => -1,
    };
    dims.iter().map(extent).collect()
}

fn reads_by_mask(graph: &GraphProto) -> bool {
    let attends = |operator: &&str| operator.contains("Attention");
    let operators: Vec<&str> = graph.node.iter().map(|node| node.op_type()).filter(attends).collect();
    !operators.is_empty() && operators.iter().all(|operator| *operator == READS_BY_MASK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::onnx::{node, value_info};

    fn model(caches: usize, operator: &str) -> ModelProto {
        let cache = |name: &str| value_info(name, DataType::Float, &[Err("b"), Ok(2), Err("p"), Ok(8)]);
        let mut input = vec![
            value_info(TOKENS, DataType::Int64, &[Err("b"), Err("s")]),
            value_info(MASK, DataType::Int64, &[Err("b"), Err("t")]),
        ];
        for layer in 0..caches {
            input.extend([cache(&past(layer, "key")), cache(&past(layer, "value"))]);
        }
        let output = vec![value_info(LOGITS, DataType::Float, &[Err("b"), Err("s"), Ok(64)])];
        let node = vec![node(operator, "a", &[], &["x"])];
        ModelProto {
            graph: Some(GraphProto { input, output, node, ..GraphProto::default() }),
            ..ModelProto::default()
        }
    }

    #[test]
    fn a_decoder_is_known_by_its_ports() {
        let ports = Ports::of(&model(3, READS_BY_MASK), Path::new("m.onnx")).expect("a decoder");
        assert_eq!((ports.n_vocab, ports.layers.len(), ports.cache_bytes()), (64, 3, 3 * 2 * 16 * 4));
        assert!(ports.reads_by_mask && ports.n_ctx_train == USUAL_CONTEXT);
        assert_eq!(ports.names()[3], ["past_key_values.1.value", "present.1.value"]);
        let portable = Ports::of(&model(1, "Attention"), Path::new("m.onnx")).expect("a decoder");
        assert!(!portable.reads_by_mask);
    }

    #[test]
    fn other_graphs_are_refused_by_what_they_lack() {
        let refused =
            |model: &ModelProto| Ports::of(model, Path::new("m.onnx")).expect_err("refused").to_string();
        assert!(refused(&ModelProto::default()).contains("m.onnx: expected a graph"));
        assert!(refused(&model(0, "x")).contains("past_key_values.0.key"));
        let mut other = model(1, "x");
        let graph = other.graph.as_mut().expect("there is one");
        graph.input.push(value_info("position_ids", DataType::Int64, &[]));
        assert!(refused(&other).contains("expected the 4 inputs of a decoder, found 5"));
    }
}
