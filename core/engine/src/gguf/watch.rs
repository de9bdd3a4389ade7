//! Showing what flows into weights.
//!
//! Owns: [`Watcher`], which finds products among operations and reads their inputs. May know: graphs' nodes. Must not know:
//! what is made of the rows.

use llama_cpp_sys_2::{
    GGML_OP_MUL_MAT, GGML_OP_MUL_MAT_ID, GGML_OP_NONE, GGML_TYPE_F32, ggml_backend_tensor_get, ggml_tensor,
};

use super::nodes::{bytes_of, extent, name_of, read_numbers};
use crate::{Product, Watch};

/// Shows a context's products to a watch.
pub(super) struct Watcher {
    watch: Box<dyn Watch>,
    raw: Vec<u8>,
    rows: Vec<f32>,
    matrices: Vec<u32>,
}

impl Watcher {
    pub(super) fn new(watch: Box<dyn Watch>) -> Self {
        Self { watch, raw: Vec::new(), rows: Vec::new(), matrices: Vec::new() }
    }

    /// Whether the node is a product that is to be shown.
    pub(super) fn wants(&mut self, node: &ggml_tensor) -> bool {
        product_of(node).is_some_and(|(weight, _)| self.watch.wants(name_of(weight)))
    }

    /// Shows a node that was computed, if it is a product.
    pub(super) fn show(&mut self, node: &ggml_tensor) {
        let Some((weight, input)) = product_of(node) else { return };
        let name = name_of(weight);
        let [n_columns, n_inner, n_outer, n_outmost] = input.ne.map(extent);
        self.rows.clear();
        self.raw.clear();
        self.raw.resize(bytes_of(input), 0);
        // SAFETY: the input of a node that was just computed lies in its buffer, and spans so many bytes.
        unsafe { ggml_backend_tensor_get(input, self.raw.as_mut_ptr().cast(), 0, self.raw.len()) };
        for outmost in 0..n_outmost {
            for outer in 0..n_outer {
                for inner in 0..n_inner {
                    let start = inner * input.nb[1] + outer * input.nb[2] + outmost * input.nb[3];
                    let row = &self.raw[start..][..n_columns * 4];
                    self.rows.extend(row.as_chunks::<4>().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)));
                }
            }
        }
        self.matrices.clear();
        let n_matrices = extent(weight.ne[2]) * extent(weight.ne[3]);
        // SAFETY: a product by experts has their numbers as its third source.
        match (node.op == GGML_OP_MUL_MAT_ID).then(|| unsafe { &*node.src[2] }) {
            Some(experts) => self.read_experts(experts, n_inner),
            None => {
                // A matrix of the weight serves a run of the input's.
                let run = [2, 3].map(|dim| extent(input.ne[dim]) / extent(weight.ne[dim]).max(1));
                for index in 0..n_outmost * n_outer * n_inner {
                    let (outer, outmost) = (index / n_inner % n_outer, index / n_inner / n_outer);
                    let matrix = outmost / run[1].max(1) * extent(weight.ne[2]) + outer / run[0].max(1);
                    self.matrices.push(u32::try_from(matrix).expect("a stack has fewer matrices"));
                }
            }
        }
        let (rows, matrices) = (&self.rows[..], &self.matrices[..]);
        self.watch.saw(&Product { weight: name, n_columns, n_matrices, rows, matrices });
    }

    /// The experts of each row: all of a token's where it has one row, else one each.
    fn read_experts(&mut self, experts: &ggml_tensor, rows_per_token: usize) {
        debug_assert!(rows_per_token == 1 || rows_per_token == extent(experts.ne[0]));
        // SAFETY: a source of a node that was just computed lies in its buffer.
        unsafe { read_numbers(experts, &mut self.raw, &mut self.matrices) };
    }
}

/// The weight and the activations, where the node is a product of such. Weights are what no operation made.
fn product_of(node: &ggml_tensor) -> Option<(&ggml_tensor, &ggml_tensor)> {
    if node.op != GGML_OP_MUL_MAT && node.op != GGML_OP_MUL_MAT_ID {
        return None;
    }
    // SAFETY: products have two sources, which live as long as their graph.
    let (weight, input) = unsafe { (&*node.src[0], &*node.src[1]) };
    let is_read = input.type_ == GGML_TYPE_F32 && input.nb[0] == 4;
    (weight.op == GGML_OP_NONE && is_read).then_some((weight, input))
}
