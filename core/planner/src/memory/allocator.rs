//! How the engine places the tensors of a computation in one buffer, and so the buffer's size.
//! Follows ggml's `ggml-alloc.c`: best fit among freed blocks, results over operands that nothing else needs. Must not
//! know models.

use super::graph::{Graph, Kind, Node, Tensor};

/// Where tensors begin in host memory, in bytes (`TENSOR_ALIGNMENT`).
pub(super) const HOST_ALIGNMENT_BYTES: u64 = 32;

/// Bytes of the buffer that holds all tensors of `graph`.
pub(super) fn buffer_bytes(graph: &Graph, alignment_bytes: u64) -> u64 {
    let mut placing =
        Placing { graph, blocks: Blocks::new(alignment_bytes), states: vec![State::default(); graph.len()] };
    placing.run();
    placing.blocks.peak
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// Operations that still read it.
    readers: u32,
    /// Views of it that are still needed.
    views: u32,
    /// Whether it owns memory now.
    owns: bool,
    offset: u64,
}

struct Placing<'g> {
    graph: &'g Graph,
    blocks: Blocks,
    states: Vec<State>,
}

impl Placing<'_> {
    fn node(&self, tensor: Tensor) -> &Node {
        self.graph.node(tensor)
    }

    fn state(&mut self, tensor: Tensor) -> &mut State {
        &mut self.states[tensor.index()]
    }

    fn run(&mut self) {
        let graph = self.graph;
        for leaf in &graph.leaves {
            self.place(*leaf);
        }
        for tensor in &graph.computed {
            let node = graph.node(*tensor);
            if let Some(owner) = node.shows {
                self.state(owner).views += 1;
            }
            for operand in &node.operands {
                self.state(*operand).readers += 1;
            }
        }
        for tensor in &graph.computed {
            self.place(*tensor);
            for operand in &graph.node(*tensor).operands {
                self.read(*operand);
            }
        }
    }

    /// One reader fewer; memory that nothing needs any more is free.
    fn read(&mut self, operand: Tensor) {
        let shows = self.node(operand).shows;
        let state = self.state(operand);
        state.readers = state.readers.saturating_sub(1);
        if state.readers > 0 || state.views > 0 {
            return;
        }
        match shows {
            None if state.owns => self.free(operand),
            None => {}
            Some(owner) => {
                let state = self.state(owner);
                state.views = state.views.saturating_sub(1);
                if state.views == 0 && state.readers == 0 && state.owns {
                    self.free(owner);
                }
            }
        }
    }

    fn free(&mut self, tensor: Tensor) {
        let node = self.node(tensor);
        if node.is_output {
            return;
        }
        let bytes = node.bytes();
        let state = self.state(tensor);
        state.owns = false;
        let offset = state.offset;
        self.blocks.give_back(offset, bytes);
    }

    fn place(&mut self, tensor: Tensor) {
        let node = self.node(tensor);
        if node.kind == Kind::External || node.shows.is_some() || self.states[tensor.index()].owns {
            return;
        }
        let over = match node.kind {
            Kind::InPlace => node.operands.iter().copied().find(|operand| self.may_lie_over(node, *operand)),
            _ => None,
        };
        let offset = match over {
            Some(operand) => {
                self.state(operand).owns = false;
                self.states[operand.index()].offset
            }
            None => {
                let bytes = self.node(tensor).bytes();
                self.blocks.take(bytes)
            }
        };
        let state = self.state(tensor);
        (state.owns, state.offset) = (true, offset);
    }

    /// Whether `node` may be computed over `operand`: it is the last one that needs it, and lies like it.
    fn may_lie_over(&self, node: &Node, operand: Tensor) -> bool {
        let state = &self.states[operand.index()];
        let other = self.node(operand);
        state.owns && state.readers == 1 && state.views == 0 && !other.is_output && node.lies_like(other)
    }
}

/// Free blocks by offset; the last one has no end.
struct Blocks {
    alignment: u64,
    free: Vec<(u64, u64)>,
    peak: u64,
}

/// Longer than any buffer, and far from overflowing.
const ENDLESS: u64 = 1 << 62;

impl Blocks {
    fn new(alignment: u64) -> Self {
        Self { alignment, free: vec![(0, ENDLESS)], peak: 0 }
    }

    fn aligned(&self, bytes: u64) -> u64 {
        bytes.min(ENDLESS / 2).next_multiple_of(self.alignment)
    }

    fn take(&mut self, bytes: u64) -> u64 {
        let bytes = self.aligned(bytes);
        let last = self.free.len().saturating_sub(1);
        let mut best: Option<(usize, u64)> = None;
        for (index, (_, size)) in self.free[..last].iter().enumerate() {
            // Of equals the last, as ggml compares.
            if *size >= bytes && best.is_none_or(|(_, smallest)| *size <= smallest) {
                best = Some((index, *size));
            }
        }
        let index = best.map_or(last, |(index, _)| index);
        let (offset, size) = self.free[index];
        if size == bytes {
            self.free.remove(index);
        } else {
            self.free[index] = (offset + bytes, size.saturating_sub(bytes));
        }
        self.peak = self.peak.max(offset.saturating_add(bytes));
        offset
    }

    fn give_back(&mut self, offset: u64, bytes: u64) {
        let bytes = self.aligned(bytes);
        let at = self.free.partition_point(|(start, _)| *start < offset);
        self.free.insert(at, (offset, bytes));
        // Neighbours become one.
        if at + 1 < self.free.len() && offset + bytes == self.free[at + 1].0 {
            self.free[at].1 += self.free[at + 1].1;
            self.free.remove(at + 1);
        }
        if at > 0 && self.free[at - 1].0 + self.free[at - 1].1 == offset {
            self.free[at - 1].1 += self.free[at].1;
            self.free.remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: [u64; 4] = [8, 1, 1, 1];

    #[test]
    fn what_is_read_for_the_last_time_is_free_for_what_comes_after() {
        let mut graph = Graph::default();
        let input = graph.input(4, ROW);
        let one = graph.fresh(ROW, &[input]);
        let two = graph.fresh(ROW, &[one]);
        let three = graph.fresh(ROW, &[two]);
        graph.expand(three);
        // The input's place goes to the second, the first's to the third.
        assert_eq!(buffer_bytes(&graph, 32), 64);
    }

    #[test]
    fn results_lie_over_operands_that_nothing_else_needs() {
        let mut graph = Graph::default();
        let input = graph.input(4, ROW);
        let one = graph.fresh(ROW, &[input]);
        let over = graph.in_place(&[one]);
        let sum = graph.in_place(&[over, input]);
        graph.expand(sum);
        assert_eq!(buffer_bytes(&graph, 32), 64);
    }

    #[test]
    fn a_view_keeps_its_owner_and_is_never_computed_over() {
        let mut graph = Graph::default();
        let input = graph.input(4, ROW);
        let one = graph.fresh(ROW, &[input]);
        let shown = graph.reshape(one, [4, 2, 1, 1]);
        let after = graph.in_place(&[shown]);
        graph.expand(after);
        assert_eq!(buffer_bytes(&graph, 32), 64, "the input is gone when the last comes");
        let mut graph = Graph::default();
        let input = graph.input(4, ROW);
        let one = graph.fresh(ROW, &[input]);
        let shown = graph.reshape(one, [4, 2, 1, 1]);
        let after = graph.in_place(&[shown]);
        let sum = graph.fresh(ROW, &[after, input]);
        graph.expand(sum);
        assert_eq!(buffer_bytes(&graph, 32), 96);
    }

    #[test]
    fn outputs_stay() {
        let mut graph = Graph::default();
        let input = graph.input(4, ROW);
        let one = graph.fresh(ROW, &[input]);
        let two = graph.in_place(&[one]);
        graph.keep(one);
        graph.expand(two);
        assert_eq!(buffer_bytes(&graph, 32), 64);
    }

    #[test]
    fn freed_neighbours_become_one_block() {
        let mut blocks = Blocks::new(32);
        let places = [blocks.take(32), blocks.take(32), blocks.take(32), blocks.take(32)];
        blocks.give_back(places[0], 32);
        blocks.give_back(places[2], 32);
        blocks.give_back(places[1], 32);
        assert_eq!(blocks.take(96), 0);
        assert_eq!(blocks.peak, 128);
    }
}
