//! Changes of layout that cancel: exporters of models whose channels come last put a `Transpose` before and behind every
//! convolution, since ONNX's have their channels first on every target. One is carried through operators that treat all
//! values alike to where it meets another, or what it undoes.
//! Knows which operators those are; must not know what the rest computes.

use crate::Error;
use crate::quantize::graph::{Index, drop_unused, rename, sort};
use formats::onnx::{GraphProto, NodeProto, TensorProto, attribute, node, tensor_bytes};
use std::collections::{BTreeMap, BTreeSet};

/// Operators of one value each, or of values at the same place.
const POINTWISE: [&str; 31] = [
    "Abs",
    "Add",
    "Cast",
    "Ceil",
    "Clip",
    "Div",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "LeakyRelu",
    "Log",
    "Max",
    "Min",
    "Mish",
    "Mul",
    "Neg",
    "PRelu",
    "Pow",
    "Reciprocal",
    "Relu",
    "Selu",
    "Sigmoid",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Sub",
    "Tanh",
];

/// Operators along one axis.
const BY_AXIS: [&str; 3] = ["Concat", "LogSoftmax", "Softmax"];

/// Gives how many went.
///
/// # Errors
/// A constant whose bytes are fewer than its extents ask for, nodes that wait for each other.
pub(super) fn cancel(graph: &mut GraphProto) -> Result<usize, Error> {
    sort(graph)?;
    let before = count(graph);
    'again: loop {
        let orders: BTreeSet<Vec<usize>> = graph.node.iter().filter_map(order).collect();
        for order in orders {
            if carry(graph, &order)? {
                continue 'again;
            }
        }
        return Ok(before - count(graph));
    }
}

/// Those that something reads.
fn count(graph: &GraphProto) -> usize {
    let index = Index::of(graph);
    let is_read = |tensor: &String| index.is_output(tensor) || !index.readers(tensor).is_empty();
    graph.node.iter().filter(|node| node.op_type() == "Transpose" && node.output.iter().any(is_read)).count()
}

/// The order of dimensions of a `Transpose` that says it.
fn order(node: &NodeProto) -> Option<Vec<usize>> {
    if node.op_type() != "Transpose" {
        return None;
    }
    node.ints("perm")?.iter().map(|&axis| usize::try_from(axis).ok()).collect()
}

fn transpose(name: &str, input: &str, output: &str, order: &[usize]) -> NodeProto {
    let order: Vec<i64> = order.iter().map(|&axis| axis as i64).collect();
    node("Transpose", name.to_string(), &[input], &[output]).with(attribute::ints("perm", &order))
}

/// Lets operators compute before their inputs are put in `order`, where fewer are put so then; otherwise the graph stays as
/// it was. Nodes stay in order.
fn carry(graph: &mut GraphProto, order: &[usize]) -> Result<bool, Error> {
    let (before, nodes, n_constants) = (count(graph), graph.node.clone(), graph.initializer.len());
    let index = Index::of(graph);
    let region = Region::of(graph, &index, order);
    rewrite(graph, &index, &region)?;
    if count(graph) < before {
        drop_unused(graph);
        return Ok(true);
    }
    graph.node = nodes;
    graph.initializer.truncate(n_constants);
    Ok(false)
}

/// Nodes that may compute before their inputs are put in an order, which pays for each of them.
struct Region<'a> {
    order: &'a [usize],
    /// Their places.
    nodes: BTreeSet<usize>,
    /// Tensors in that order, and what they are before.
    tensors: BTreeMap<String, String>,
}

impl<'a> Region<'a> {
    fn of(graph: &GraphProto, index: &Index, order: &'a [usize]) -> Self {
        let mut region = Self { order, nodes: BTreeSet::new(), tensors: BTreeMap::new() };
        for (at, node) in graph.node.iter().enumerate() {
            if self::order(node).as_deref() == Some(order) && !region.tensors.contains_key(&node.input[0]) {
                region.tensors.insert(node.output[0].clone(), node.input[0].clone());
            } else if region.may_move(graph, index, node) {
                let output = &node.output[0];
                region.tensors.insert(output.clone(), format!("{output}/{}", name_of(order)));
                region.nodes.insert(at);
            }
        }
        while let Some(&useless) = region.nodes.iter().rev().find(|&&at| !region.pays(graph, index, at)) {
            region.nodes.remove(&useless);
            region.tensors.remove(&graph.node[useless].output[0]);
        }
        region
    }

    /// Whether all that a node computes with is in the order, or constant and no longer than that.
    fn may_move(&self, graph: &GraphProto, index: &Index, node: &NodeProto) -> bool {
        let n_dims = self.order.len();
        let joins = node.op_type() == "Concat";
        let by_axis = BY_AXIS.contains(&node.op_type());
        let is_known = by_axis && axis(node, n_dims).is_some() || POINTWISE.contains(&node.op_type());
        let mut inputs = node.input.iter().filter(|name| !name.is_empty());
        is_known
            && node.output.len() == 1
            && node.domain().is_empty()
            && inputs.clone().any(|name| self.tensors.contains_key(name))
            && inputs.all(|name| match index.constant(graph, name) {
                Some(constant) => !joins && constant.dims.len() <= n_dims,
                None => self.tensors.contains_key(name),
            })
    }

    /// Whether something behind a node undoes the order or gains by it, or else it joins several ways that nobody else needs
    /// in that order.
    fn pays(&self, graph: &GraphProto, index: &Index, at: usize) -> bool {
        let node = &graph.node[at];
        let is_used = |&reader: &usize| self.nodes.contains(&reader) || order(&graph.node[reader]).is_some();
        if index.readers(&node.output[0]).iter().any(is_used) {
            return true;
        }
        let inputs: BTreeSet<&String> = node.input.iter().collect();
        let ways = inputs.into_iter().filter(|name| self.tensors.contains_key(*name));
        ways.filter(|name| !self.is_needed(graph, index, name, Some(at))).count() > 1
    }

    /// Whether a tensor is needed in the order, by others than those of the region, than what changes its layout again and
    /// than `except`.
    fn is_needed(&self, graph: &GraphProto, index: &Index, tensor: &str, except: Option<usize>) -> bool {
        let stays = |&reader: &usize| {
            !self.nodes.contains(&reader) && order(&graph.node[reader]).is_none() && Some(reader) != except
        };
        index.is_output(tensor) || index.readers(tensor).iter().any(stays)
    }
}

/// The axis of an operator that has one, of `n_dims`; the last where it says none.
fn axis(node: &NodeProto, n_dims: usize) -> Option<usize> {
    let axis = node.int_or("axis", -1);
    let axis = if axis < 0 { axis + n_dims as i64 } else { axis };
    usize::try_from(axis).ok().filter(|&axis| axis < n_dims)
}

fn name_of(order: &[usize]) -> String {
    let axes: Vec<String> = order.iter().map(ToString::to_string).collect();
    format!("before-{}", axes.join("-"))
}

/// Lets the nodes of a region compute before, and puts what others need in order behind them.
fn rewrite(graph: &mut GraphProto, index: &Index, region: &Region<'_>) -> Result<(), Error> {
    let (mut nodes, mut constants, mut skipped) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
    for (at, node) in graph.node.iter().enumerate() {
        if region.nodes.contains(&at) {
            let moved = moved(graph, index, region, node, &mut constants)?;
            let (before, output) = (moved.output[0].clone(), &node.output[0]);
            nodes.push(moved);
            if region.is_needed(graph, index, output, None) {
                nodes.push(transpose(&before, &before, output, region.order));
            }
            continue;
        }
        let input = node.input.first().and_then(|input| region.tensors.get(input));
        let (Some(input), Some(behind)) = (input, order(node)) else {
            nodes.push(node.clone());
            continue;
        };
        let both: Vec<usize> = behind.iter().filter_map(|&axis| region.order.get(axis).copied()).collect();
        let output = &node.output[0];
        if !both.iter().copied().eq(0..region.order.len()) {
            nodes.push(transpose(node.name(), input, output, &both));
        } else if index.is_output(output) {
            nodes.push(self::node("Identity", node.name(), &[input], &[output]));
        } else {
            let input = skipped.get(input).unwrap_or(input).clone();
            skipped.insert(output.clone(), input);
        }
    }
    graph.node = nodes;
    graph.initializer.extend(constants.into_values());
    rename(graph, &skipped);
    Ok(())
}

/// A node of the region as it computes before; its constants join `constants` by their names.
fn moved(
    graph: &GraphProto,
    index: &Index,
    region: &Region<'_>,
    node: &NodeProto,
    constants: &mut BTreeMap<String, TensorProto>,
) -> Result<NodeProto, Error> {
    let mut moved = node.clone();
    for input in moved.input.iter_mut().filter(|name| !name.is_empty()) {
        if let Some(before) = region.tensors.get(input) {
            input.clone_from(before);
        } else if let Some(constant) = index.constant(graph, input)
            && constant.dims.iter().product::<i64>() != 1
        {
            let name = format!("{input}/{}", name_of(region.order));
            let constant = TensorProto { name: Some(name.clone()), ..undone(constant, region.order)? };
            input.clone_from(&name);
            constants.insert(name, constant);
        }
    }
    if BY_AXIS.contains(&moved.op_type())
        && let Some(axis) = axis(&moved, region.order.len())
    {
        moved.attribute.retain(|attribute| attribute.name() != "axis");
        moved.attribute.push(attribute::int("axis", region.order[axis] as i64));
    }
    moved.output[0].clone_from(&region.tensors[&node.output[0]]);
    Ok(moved)
}

/// A constant that is `constant` after its dimensions are put in `order`; with as many of them, those in front of length 1.
fn undone(constant: &TensorProto, order: &[usize]) -> Result<TensorProto, Error> {
    let bytes = tensor_bytes(constant)?;
    let n: usize = constant.dims.iter().map(|&dim| dim as usize).product();
    let size = bytes.len() / n.max(1);
    let mut dims = vec![1usize; order.len() - constant.dims.len()];
    dims.extend(constant.dims.iter().map(|&dim| dim as usize));
    let mut strides = vec![1usize; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    let place = |axis: usize| order.iter().position(|&from| from == axis).unwrap_or(axis);
    let new: Vec<usize> = (0..order.len()).map(|axis| dims[place(axis)]).collect();
    let mut values = Vec::with_capacity(bytes.len());
    for at in 0..n {
        let (mut rest, mut from) = (at, 0);
        for axis in (0..new.len()).rev() {
            from += rest % new[axis] * strides[place(axis)];
            rest /= new[axis];
        }
        values.extend_from_slice(&bytes[from * size..][..size]);
    }
    let dims = new.iter().map(|&dim| dim as i64).collect();
    let (name, data_type) = (constant.name.clone(), constant.data_type);
    Ok(TensorProto { name, data_type, dims, raw_data: Some(values.into()), ..Default::default() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::onnx::{DataType, tensor_of_floats, value_info};

    const FIRST: [usize; 4] = [0, 3, 1, 2];
    const LAST: [usize; 4] = [0, 2, 3, 1];

    fn graph(nodes: Vec<NodeProto>) -> GraphProto {
        GraphProto {
            node: nodes,
            input: vec![value_info("x", DataType::Float, &[]), value_info("z", DataType::Float, &[])],
            initializer: vec![
                tensor_of_floats("by_channel", &[2], &[1.0, 2.0]).unwrap(),
                tensor_of_floats("half", &[], &[0.5]).unwrap(),
                tensor_of_floats("w", &[2, 2, 1, 1], &[1.0; 4]).unwrap(),
            ],
            output: vec![value_info("y", DataType::Float, &[])],
            ..Default::default()
        }
    }

    fn operators(graph: &GraphProto) -> Vec<&str> {
        graph.node.iter().map(|node| node.op_type()).collect()
    }

    /// Two convolutions as exporters of models with channels last write them, with what lies between.
    fn exported(between: Vec<NodeProto>) -> GraphProto {
        let mut nodes = vec![
            transpose("", "x", "a", &FIRST),
            node("Conv", "", &["a", "w"], &["b"]),
            transpose("", "b", "c", &LAST),
        ];
        nodes.extend(between);
        nodes.extend([
            transpose("", "d", "e", &FIRST),
            node("Conv", "", &["e", "w"], &["f"]),
            transpose("", "f", "y", &LAST),
        ]);
        graph(nodes)
    }

    #[test]
    fn those_between_convolutions_go_and_constants_change_their_layout() {
        let between = vec![
            node("Add", "", &["c", "by_channel"], &["s"]),
            node("Mul", "", &["half", "s"], &["m"]),
            node("Relu", "", &["m"], &["d"]),
        ];
        let mut graph = exported(between);
        assert_eq!(cancel(&mut graph).unwrap(), 2);
        assert_eq!(operators(&graph), ["Transpose", "Conv", "Add", "Mul", "Relu", "Conv", "Transpose"]);
        let added = &graph.node[2].input[1];
        let constant = graph.initializer.iter().find(|constant| constant.name() == added).unwrap();
        assert_eq!(constant.dims, [1, 2, 1, 1]);
        assert!(graph.initializer.iter().all(|constant| constant.name() != "by_channel"));
    }

    #[test]
    fn both_ways_of_a_sum_go_together_and_axes_follow() {
        let between = vec![
            transpose("", "z", "t", &LAST),
            node("Sigmoid", "", &["t"], &["u"]),
            node("Concat", "", &["c", "u"], &["d"]).with(attribute::int("axis", -1)),
        ];
        let mut graph = exported(between);
        assert_eq!(cancel(&mut graph).unwrap(), 3);
        let concat = graph.node.iter().find(|node| node.op_type() == "Concat").unwrap();
        assert_eq!(concat.int_or("axis", -1), 1);
    }

    #[test]
    fn what_others_read_or_what_depends_on_the_layout_stays() {
        for between in [
            vec![node("Reshape", "", &["c", "shape"], &["d"])],
            vec![node("Add", "", &["c", "z"], &["d"])],
            vec![node("MatMul", "", &["c", "w"], &["d"])],
        ] {
            let mut graph = exported(between);
            graph.initializer.push(tensor_of_floats("shape", &[4], &[1.0; 4]).unwrap());
            let before = graph.clone();
            assert_eq!(cancel(&mut graph).unwrap(), 0);
            assert_eq!(graph, before);
        }
    }

    #[test]
    fn two_in_a_row_are_one() {
        let mut graph = graph(vec![
            transpose("", "x", "a", &FIRST),
            transpose("", "a", "b", &FIRST),
            node("Softmax", "", &["b"], &["y"]),
        ]);
        assert_eq!(cancel(&mut graph).unwrap(), 1);
        assert_eq!(order(&graph.node[0]).unwrap(), [0, 2, 3, 1]);
    }

    #[test]
    fn what_was_undone_twice_is_what_it_was() {
        let mut graph = graph(vec![
            transpose("", "x", "a", &FIRST),
            transpose("", "a", "b", &LAST),
            transpose("", "b", "c", &FIRST),
            transpose("", "c", "d", &LAST),
            node("Relu", "", &["d"], &["y"]),
        ]);
        assert_eq!(cancel(&mut graph).unwrap(), 4);
        assert_eq!(graph.node.len(), 1);
        assert_eq!(graph.node[0].input, ["x"]);
    }

    #[test]
    fn constants_are_put_in_the_order_before() {
        let values: Vec<f32> = (0..24u8).map(f32::from).collect();
        let constant = tensor_of_floats("c", &[2, 3, 4], &values).unwrap();
        let undone = undone(&constant, &[2, 0, 1]).unwrap();
        // Of [3, 4, 2], since axis 0 of it became the second.
        assert_eq!(undone.dims, [3, 4, 2]);
        let undone = formats::onnx::tensor_floats(&undone).unwrap();
        assert_eq!(undone[..4], [0.0, 12.0, 1.0, 13.0]);
    }
}
