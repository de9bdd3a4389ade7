//! What must hold of a model before anybody looks at it. Owns the walk over graphs below graphs; knows no operator.

use super::tensor::check_tensor;
use super::{AttributeProto, Error, GraphProto, ModelProto, NodeProto};

pub(super) fn model(model: &ModelProto) -> Result<(), Error> {
    graph(model.graph.as_ref().ok_or(Error::NoGraph)?)?;
    for function in &model.functions {
        nodes(&function.node)?;
        function.attribute_proto.iter().try_for_each(attribute)?;
    }
    Ok(())
}

fn graph(graph: &GraphProto) -> Result<(), Error> {
    graph.initializer.iter().try_for_each(check_tensor)?;
    for sparse in &graph.sparse_initializer {
        sparse.values.iter().chain(&sparse.indices).try_for_each(check_tensor)?;
    }
    nodes(&graph.node)
}

fn nodes(nodes: &[NodeProto]) -> Result<(), Error> {
    nodes.iter().flat_map(|node| &node.attribute).try_for_each(attribute)
}

/// The depth is bounded by that of the message.
fn attribute(attribute: &AttributeProto) -> Result<(), Error> {
    attribute.t.iter().chain(&attribute.tensors).try_for_each(check_tensor)?;
    attribute.g.iter().chain(&attribute.graphs).try_for_each(graph)
}
