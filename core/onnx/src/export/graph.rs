//! A graph under construction: nodes in the order in which they compute, small constants, and weights of a checkpoint, each once.
//! Owns names; must not know models, or how weights are read.

use crate::Error;
use formats::onnx::{
    AttributeProto, DataType, NodeProto, TensorProto, ValueInfoProto, attribute, float_bytes, node,
    tensor_of_bytes, value_info,
};
use std::collections::BTreeSet;

/// What is made of a tensor of the checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Made {
    /// As it is.
    Same,
    /// Rows become columns.
    Turned,
    /// The first row has another tensor, of one row, added to it.
    FirstPlus(String),
}

/// A tensor of the checkpoint in the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Weight {
    /// Its name in the graph.
    pub(super) name: String,
    /// Its name in the checkpoint.
    pub(super) source: String,
    pub(super) made: Made,
    /// Extents in the graph.
    pub(super) dims: Vec<i64>,
}

/// A graph.
#[derive(Debug, Clone)]
pub(super) struct Graph {
    pub(super) nodes: Vec<NodeProto>,
    pub(super) constants: Vec<TensorProto>,
    pub(super) weights: Vec<Weight>,
    pub(super) inputs: Vec<ValueInfoProto>,
    pub(super) outputs: Vec<ValueInfoProto>,
    /// What it computes in.
    pub(super) float: DataType,
    /// Version of ONNX's operators.
    pub(super) opset: i64,
    named: BTreeSet<String>,
}

/// Extents of an input or output: numbers or names.
pub(super) type Dims<'a> = [Result<i64, &'a str>];

impl Graph {
    pub(super) fn new(float: DataType, opset: i64) -> Self {
        Self {
            nodes: vec![],
            constants: vec![],
            weights: vec![],
            inputs: vec![],
            outputs: vec![],
            float,
            opset,
            named: BTreeSet::new(),
        }
    }

    /// Adds an operation with one output, whose name is `name`.
    pub(super) fn add(
        &mut self,
        operator: &str,
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
        operator: &str,
        inputs: &[&str],
        outputs: &[&str],
        attributes: Vec<AttributeProto>,
    ) {
        let made = node(operator, format!("{}/node", outputs[0]), inputs, outputs);
        self.nodes.push(NodeProto { attribute: attributes, ..made });
    }

    /// An operation without settings.
    pub(super) fn plain(&mut self, operator: &str, inputs: &[&str], name: &str) -> String {
        self.add(operator, inputs, name, vec![])
    }

    /// A conversion of elements.
    pub(super) fn cast(&mut self, of: &str, to: DataType, name: &str) -> String {
        self.add("Cast", &[of], name, vec![attribute::int("to", to as i64)])
    }

    /// Other extents; 0 keeps one, −1 is what is left.
    pub(super) fn reshape(&mut self, of: &str, dims: &[i64], name: &str) -> Result<String, Error> {
        let shape = self.integers(dims)?;
        Ok(self.plain("Reshape", &[of, &shape], name))
    }

    /// Another order of dimensions.
    pub(super) fn transpose(&mut self, of: &str, order: &[i64], name: &str) -> String {
        self.add("Transpose", &[of], name, vec![attribute::ints("perm", order)])
    }

    /// Whole numbers as a constant, which is named by them.
    pub(super) fn integers(&mut self, values: &[i64]) -> Result<String, Error> {
        let words: Vec<String> = values.iter().map(i64::to_string).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(&format!("whole_{}", words.join("_")), DataType::Int64, &[values.len() as i64], bytes)
    }

    /// A whole number without dimensions.
    pub(super) fn integer(&mut self, value: i64) -> Result<String, Error> {
        self.constant(&format!("number_{value}"), DataType::Int64, &[], value.to_le_bytes().to_vec())
    }

    /// A number without dimensions, in the floats that the graph computes in.
    pub(super) fn number(&mut self, value: f32) -> Result<String, Error> {
        self.constant(&format!("float_{value}"), self.float, &[], float_bytes(self.float, &[value]))
    }

    fn constant(&mut self, name: &str, ty: DataType, dims: &[i64], bytes: Vec<u8>) -> Result<String, Error> {
        if self.named.insert(name.into()) {
            self.constants.push(tensor_of_bytes(name, ty, dims, bytes)?);
        }
        Ok(name.into())
    }

    /// A tensor of the checkpoint, once however often it is asked for.
    pub(super) fn weight(&mut self, source: &str, made: Made, dims: &[i64]) -> String {
        let name = match made {
            Made::Turned => format!("{source}.turned"),
            Made::Same | Made::FirstPlus(_) => source.to_string(),
        };
        if self.named.insert(name.clone()) {
            let weight = Weight { name: name.clone(), source: source.into(), made, dims: dims.to_vec() };
            self.weights.push(weight);
        }
        name
    }

    /// What goes in.
    pub(super) fn input(&mut self, name: &str, ty: DataType, dims: &Dims<'_>) {
        self.inputs.push(value_info(name, ty, dims));
    }

    /// What goes in as 32-bit floats, in those that the graph computes in.
    pub(super) fn float_input(&mut self, name: &str, dims: &Dims<'_>) -> String {
        self.input(name, DataType::Float, dims);
        match self.float {
            DataType::Float => name.into(),
            float => self.cast(name, float, &format!("{name}/narrow")),
        }
    }

    /// What comes out, of this type.
    pub(super) fn output(&mut self, name: &str, ty: DataType, dims: &Dims<'_>) {
        self.outputs.push(value_info(name, ty, dims));
    }

    /// What comes out as 32-bit floats: `of` under its own name.
    pub(super) fn float_output(&mut self, of: &str, name: &str, dims: &Dims<'_>) {
        if self.float == DataType::Float {
            self.rename(of, name);
        } else {
            self.cast(of, DataType::Float, name);
        }
        self.output(name, DataType::Float, dims);
    }

    /// Gives a value another name, wherever it is made and read.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        for node in &mut self.nodes {
            for name in node.input.iter_mut().chain(&mut node.output).filter(|name| *name == from) {
                *name = to.into();
            }
        }
    }
}
