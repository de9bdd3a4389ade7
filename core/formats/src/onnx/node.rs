//! Nodes and their attributes: asking for one by name, and making them. Knows kinds of attributes; no operator.

use super::schema::{AttributeProto, GraphProto, NodeProto, TensorProto, attribute_proto::AttributeType};
use super::{Bytes, Error};

/// A node of the default domain.
pub fn node(operator: &str, name: impl Into<String>, inputs: &[&str], outputs: &[&str]) -> NodeProto {
    NodeProto {
        op_type: Some(operator.into()),
        name: Some(name.into()),
        input: inputs.iter().map(|input| input.to_string()).collect(),
        output: outputs.iter().map(|output| output.to_string()).collect(),
        ..NodeProto::default()
    }
}

impl NodeProto {
    /// The same node in another domain, e.g. `com.microsoft`.
    #[must_use]
    pub fn in_domain(mut self, domain: &str) -> Self {
        self.domain = Some(domain.into());
        self
    }

    /// The same node with one attribute more.
    #[must_use]
    pub fn with(mut self, attribute: AttributeProto) -> Self {
        self.attribute.push(attribute);
        self
    }

    /// The attribute of a name.
    pub fn attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|attribute| attribute.name() == name)
    }

    /// A whole number, or what the operator takes where it is not said.
    pub fn int_or(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).and_then(|attribute| attribute.i).unwrap_or(default)
    }

    /// A number, or what the operator takes where it is not said.
    pub fn float_or(&self, name: &str, default: f32) -> f32 {
        self.attribute(name).and_then(|attribute| attribute.f).unwrap_or(default)
    }

    /// Whole numbers, where they are said.
    pub fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|attribute| attribute.ints.as_slice())
    }

    /// A text, where it is said and is one.
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.attribute(name)?.s.as_deref()?).ok()
    }

    /// The graph of a name, of an operator that has one.
    ///
    /// # Errors
    /// No such attribute, or one that is no graph.
    pub fn graph(&self, name: &str) -> Result<&GraphProto, Error> {
        self.attribute(name).and_then(|attribute| attribute.g.as_ref()).ok_or_else(|| Error::Attribute {
            node: self.name().into(),
            operator: self.op_type().into(),
            attribute: name.into(),
            expected: "a graph",
        })
    }
}

/// Attributes of every kind that graphs of ours are made of.
pub mod attribute {
    use super::*;

    fn of(name: &str, ty: AttributeType) -> AttributeProto {
        AttributeProto { name: Some(name.into()), r#type: Some(ty as i32), ..AttributeProto::default() }
    }

    /// A whole number.
    pub fn int(name: &str, value: i64) -> AttributeProto {
        AttributeProto { i: Some(value), ..of(name, AttributeType::Int) }
    }

    /// A number.
    pub fn float(name: &str, value: f32) -> AttributeProto {
        AttributeProto { f: Some(value), ..of(name, AttributeType::Float) }
    }

    /// A text.
    pub fn text(name: &str, value: &str) -> AttributeProto {
        AttributeProto {
            s: Some(Bytes::copy_from_slice(value.as_bytes())),
            ..of(name, AttributeType::String)
        }
    }

    /// Whole numbers.
    pub fn ints(name: &str, values: &[i64]) -> AttributeProto {
        AttributeProto { ints: values.to_vec(), ..of(name, AttributeType::Ints) }
    }

    /// Numbers.
    pub fn floats(name: &str, values: &[f32]) -> AttributeProto {
        AttributeProto { floats: values.to_vec(), ..of(name, AttributeType::Floats) }
    }

    /// A tensor.
    pub fn tensor(name: &str, value: TensorProto) -> AttributeProto {
        AttributeProto { t: Some(value), ..of(name, AttributeType::Tensor) }
    }

    /// A graph.
    pub fn graph(name: &str, value: GraphProto) -> AttributeProto {
        AttributeProto { g: Some(value), ..of(name, AttributeType::Graph) }
    }
}
