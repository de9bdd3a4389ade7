//! A computation as the engine lays it out: tensors, what they are made of, and the order in which they are computed.
//! Knows extents and aliasing; must not know models.

use std::collections::HashSet;

/// A tensor of a [`Graph`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Tensor(u32);

impl Tensor {
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// How the result of an operation comes to its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is there already: weights, caches.
    External,
    /// The caller fills it in.
    Input,
    /// It is computed into memory of its own.
    Fresh,
    /// It is computed into memory of its own or over the first operand that nothing else needs.
    InPlace,
}

/// One tensor.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Extents, contiguous dimension first.
    pub(super) extents: [u64; 4],
    /// Distance of neighbours along each dimension, in bytes.
    pub(super) strides: [u64; 4],
    /// Bytes of an element.
    pub(super) element_bytes: u64,
    /// Whose memory it shows, where it has none of its own.
    pub(super) shows: Option<Tensor>,
    pub(super) operands: Vec<Tensor>,
    /// It is read after the computation.
    pub(super) is_output: bool,
}

impl Node {
    /// Bytes from the first to the last element.
    pub(super) fn bytes(&self) -> u64 {
        let reach = self.extents.iter().zip(&self.strides);
        reach.fold(self.element_bytes, |bytes, (extent, stride)| {
            bytes.saturating_add(extent.saturating_sub(1).saturating_mul(*stride))
        })
    }

    /// Whether both lie alike, so that one may be computed over the other.
    pub(super) fn lies_like(&self, other: &Self) -> bool {
        self.element_bytes == other.element_bytes
            && self.extents == other.extents
            && self.strides == other.strides
    }
}

/// Bytes of the elements that computations use.
pub(super) const F32: u64 = 4;
pub(super) const F16: u64 = 2;
pub(super) const I32: u64 = 4;
pub(super) const I64: u64 = 8;

/// Tensors and the order in which they are computed.
#[derive(Debug, Default)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    /// Computed tensors, in order.
    pub(super) computed: Vec<Tensor>,
    /// Inputs, in the order in which they were first needed.
    pub(super) leaves: Vec<Tensor>,
    visited: HashSet<Tensor>,
}

impl Graph {
    pub(super) fn node(&self, tensor: Tensor) -> &Node {
        &self.nodes[tensor.index()]
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    fn push(&mut self, node: Node) -> Tensor {
        let tensor = Tensor(u32::try_from(self.nodes.len()).expect("graphs have thousands of tensors"));
        self.nodes.push(node);
        tensor
    }

    fn contiguous(
        &mut self,
        kind: Kind,
        element_bytes: u64,
        extents: [u64; 4],
        operands: &[Tensor],
    ) -> Tensor {
        let node = Node {
            kind,
            extents,
            strides: contiguous_strides(element_bytes, extents),
            element_bytes,
            shows: None,
            operands: operands.to_vec(),
            is_output: false,
        };
        self.push(node)
    }

    /// Weights or a cache. Their extents play no part.
    pub(super) fn external(&mut self) -> Tensor {
        self.contiguous(Kind::External, 1, [1; 4], &[])
    }

    /// What the caller fills in.
    pub(super) fn input(&mut self, element_bytes: u64, extents: [u64; 4]) -> Tensor {
        self.contiguous(Kind::Input, element_bytes, extents, &[])
    }

    /// A result in memory of its own, of 32-bit floats.
    pub(super) fn fresh(&mut self, extents: [u64; 4], operands: &[Tensor]) -> Tensor {
        self.contiguous(Kind::Fresh, F32, extents, operands)
    }

    /// The same, of other elements.
    pub(super) fn fresh_of(&mut self, element_bytes: u64, extents: [u64; 4], operands: &[Tensor]) -> Tensor {
        self.contiguous(Kind::Fresh, element_bytes, extents, operands)
    }

    /// A result that lies like the first operand, over an operand where that is free.
    pub(super) fn in_place(&mut self, operands: &[Tensor]) -> Tensor {
        let like = self.node(operands[0]);
        let (element_bytes, extents) = (like.element_bytes, like.extents);
        self.contiguous(Kind::InPlace, element_bytes, extents, operands)
    }

    /// The same memory in other extents.
    pub(super) fn reshape(&mut self, of: Tensor, extents: [u64; 4]) -> Tensor {
        let element_bytes = self.node(of).element_bytes;
        self.view(of, extents, contiguous_strides(element_bytes, extents))
    }

    /// A part of the memory, or all of it, in other extents and strides.
    pub(super) fn view(&mut self, of: Tensor, extents: [u64; 4], strides: [u64; 4]) -> Tensor {
        let node = self.node(of);
        let node = Node {
            kind: Kind::Fresh,
            extents,
            strides,
            element_bytes: node.element_bytes,
            shows: Some(node.shows.unwrap_or(of)),
            operands: vec![of],
            is_output: false,
        };
        self.push(node)
    }

    /// `width` neighbouring elements of each row.
    pub(super) fn part(&mut self, of: Tensor, width: u64) -> Tensor {
        let node = self.node(of);
        let ([_, rest @ ..], strides) = (node.extents, node.strides);
        self.view(of, [width, rest[0], rest[1], rest[2]], strides)
    }

    /// The dimensions in another order: dimension `i` goes where `places[i]` says.
    pub(super) fn permute(&mut self, of: Tensor, places: [usize; 4]) -> Tensor {
        let node = self.node(of);
        let (mut extents, mut strides) = ([0; 4], [0; 4]);
        for (from, to) in places.into_iter().enumerate() {
            extents[to] = node.extents[from];
            strides[to] = node.strides[from];
        }
        self.view(of, extents, strides)
    }

    /// Writes rows of `from` into `into`, which it then stands for.
    pub(super) fn write(&mut self, into: Tensor, operands: &[Tensor]) -> Tensor {
        let node = self.node(into);
        let node =
            Node { shows: Some(node.shows.unwrap_or(into)), operands: operands.to_vec(), ..node.clone() };
        self.push(Node { kind: Kind::Fresh, ..node })
    }

    /// It is read after the computation: its memory stays.
    pub(super) fn keep(&mut self, tensor: Tensor) {
        self.nodes[tensor.index()].is_output = true;
    }

    /// Appends what `root` needs and is not there yet, then `root`.
    pub(super) fn expand(&mut self, root: Tensor) {
        // Operands from the first to the last, each with what it needs before it.
        let mut open = vec![(root, 0)];
        self.visited.insert(root);
        while let Some((tensor, next)) = open.pop() {
            let node = &self.nodes[tensor.index()];
            let Some(operand) = node.operands.get(next).copied() else {
                match node.kind {
                    Kind::External => {}
                    Kind::Input => self.leaves.push(tensor),
                    Kind::Fresh | Kind::InPlace => self.computed.push(tensor),
                }
                continue;
            };
            open.push((tensor, next + 1));
            if self.visited.insert(operand) {
                open.push((operand, 0));
            }
        }
    }
}

fn contiguous_strides(element_bytes: u64, extents: [u64; 4]) -> [u64; 4] {
    let mut strides = [element_bytes; 4];
    for dimension in 1..4 {
        strides[dimension] = strides[dimension - 1].saturating_mul(extents[dimension - 1]);
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_come_first_and_once() {
        let mut graph = Graph::default();
        let input = graph.input(F32, [8, 2, 1, 1]);
        let weight = graph.external();
        let left = graph.fresh([8, 2, 1, 1], &[weight, input]);
        let right = graph.fresh([8, 2, 1, 1], &[weight, input]);
        let sum = graph.in_place(&[right, left]);
        graph.expand(left);
        graph.expand(sum);
        assert_eq!(graph.computed, [left, right, sum]);
        assert_eq!(graph.leaves, [input]);
        assert_eq!(graph.node(sum).bytes(), 64);
    }

    #[test]
    fn views_show_the_first_owner_and_measure_what_they_span() {
        let mut graph = Graph::default();
        let owner = graph.fresh([8, 4, 1, 1], &[]);
        let part = graph.part(owner, 2);
        let turned = graph.permute(part, [1, 0, 2, 3]);
        assert_eq!(graph.node(turned).shows, Some(owner));
        assert_eq!(graph.node(turned).extents, [4, 2, 1, 1]);
        assert_eq!(graph.node(part).bytes(), 4 + 4 + 3 * 32);
        assert!(!graph.node(part).lies_like(graph.node(owner)));
    }
}
