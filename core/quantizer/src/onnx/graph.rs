//! A graph under construction: nodes in the order in which they compute, small constants, and weights that lie in a file
//! beside it.
//! Owns names and shapes of these; must not know models or how the file is written.

use crate::{Error, Result};
use formats::onnx::{
    AttributeProto, DataType, NodeProto, TensorProto, ValueInfoProto, attribute, float_bytes, node,
    tensor_of_bytes, value_info,
};
use std::collections::BTreeSet;
use std::path::Path;

/// The domain of ONNX Runtime's own operators.
pub(super) const RUNTIME: &str = "com.microsoft";

/// Which part of what is stored of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Its codes, or its floats.
    Values,
    /// A scale per block.
    Scales,
}

/// A tensor in the file beside the graph. Several may show the same bytes in different shapes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Weight {
    pub(super) name: String,
    pub(super) ty: DataType,
    pub(super) dims: Vec<u64>,
    /// Number of what is stored.
    pub(super) stored: usize,
    pub(super) part: Part,
}

/// A graph.
#[derive(Debug, Clone, Default)]
pub(super) struct Graph {
    pub(super) nodes: Vec<NodeProto>,
    pub(super) constants: Vec<TensorProto>,
    pub(super) weights: Vec<Weight>,
    pub(super) inputs: Vec<ValueInfoProto>,
    pub(super) outputs: Vec<ValueInfoProto>,
    named: BTreeSet<String>,
}

/// An operator and its domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Operator {
    domain: &'static str,
    name: &'static str,
}

/// One of ONNX's operators.
pub(super) const fn standard(name: &'static str) -> Operator {
    Operator { domain: "", name }
}

/// One of ONNX Runtime's.
pub(super) const fn runtime(name: &'static str) -> Operator {
    Operator { domain: RUNTIME, name }
}

impl Graph {
    /// Adds an operation with one output, and gives that output's name, which is `name`. An input of no name is left out.
    pub(super) fn add(
        &mut self,
        operator: Operator,
        inputs: &[&str],
        name: &str,
        attributes: Vec<AttributeProto>,
    ) -> String {
        self.add_many(operator, inputs, &[name], attributes);
        name.into()
    }

    /// Adds an operation with several outputs.
    pub(super) fn add_many(
        &mut self,
        operator: Operator,
        inputs: &[&str],
        outputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) {
        let made = node(operator.name, format!("{}/node", outputs[0]), inputs, outputs);
        let made = if operator.domain.is_empty() { made } else { made.in_domain(operator.domain) };
        self.nodes.push(NodeProto { attribute: attributes, ..made });
    }

    /// Whether an operation gives `name`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.nodes.iter().any(|node| node.output.iter().any(|output| output == name))
    }

    /// A standard operation without settings.
    pub(super) fn plain(&mut self, operator: &'static str, inputs: &[&str], name: &str) -> String {
        self.add(standard(operator), inputs, name, Vec::new())
    }

    /// A conversion of elements.
    pub(super) fn cast(&mut self, of: &str, to: DataType, name: &str) -> String {
        self.add(standard("Cast"), &[of], name, vec![attribute::int("to", to as i64)])
    }

    /// Whole numbers as a constant.
    pub(super) fn integers(&mut self, name: &str, values: &[i64]) -> Result<String> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, DataType::Int64, &[values.len() as i64], bytes)
    }

    /// A whole number without dimensions as a constant.
    pub(super) fn integer(&mut self, name: &str, value: i64) -> Result<String> {
        self.constant(name, DataType::Int64, &[], value.to_le_bytes().to_vec())
    }

    /// Numbers as a constant, in floats of `ty`: 16 bits, else 32.
    pub(super) fn numbers(
        &mut self,
        name: &str,
        ty: DataType,
        dims: &[i64],
        values: &[f32],
    ) -> Result<String> {
        self.constant(name, ty, dims, float_bytes(ty, values))
    }

    /// Codes of 8 bits that are all 0, as a constant.
    pub(super) fn zeros(&mut self, name: &str, dims: &[u64]) -> Result<String> {
        let bytes = vec![0; dims.iter().product::<u64>() as usize];
        let dims: Vec<i64> = dims.iter().map(|extent| *extent as i64).collect();
        self.constant(name, DataType::Int8, &dims, bytes)
    }

    /// The same constant once, however often it is asked for.
    fn constant(&mut self, name: &str, ty: DataType, dims: &[i64], bytes: Vec<u8>) -> Result<String> {
        if self.named.insert(name.into()) {
            self.constants.push(tensor_of_bytes(name, ty, dims, bytes).map_err(wrap)?);
        }
        Ok(name.into())
    }

    /// A tensor of the file, once under each name.
    pub(super) fn weight(&mut self, weight: Weight) -> String {
        let name = weight.name.clone();
        if self.named.insert(name.clone()) {
            self.weights.push(weight);
        }
        name
    }

    /// What goes in: extents are numbers or names.
    pub(super) fn input(&mut self, name: &str, ty: DataType, dims: &[std::result::Result<i64, &str>]) {
        self.inputs.push(value_info(name, ty, dims));
    }

    /// What comes out.
    pub(super) fn output(&mut self, name: &str, ty: DataType, dims: &[std::result::Result<i64, &str>]) {
        self.outputs.push(value_info(name, ty, dims));
    }
}

/// What the format refuses.
pub(super) fn wrap(source: formats::onnx::Error) -> Error {
    Error::Onnx { path: Path::new("model.onnx").into(), source }
}
