//! Showing what flows into weights.
//!
//! Owns: [`Watcher`], which llama.cpp asks before and after operations, and reading its tensors. May know: graphs' nodes.
//! Must not know: what is made of the rows.

use std::any::Any;
use std::ffi::{CStr, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use llama_cpp_sys_2::{
    GGML_OP_MUL_MAT, GGML_OP_MUL_MAT_ID, GGML_OP_NONE, GGML_TYPE_F32, GGML_TYPE_I32, ggml_backend_tensor_get,
    ggml_tensor,
};

use crate::{Product, Watch};

/// What llama.cpp asks about every operation of a watched context. Lives behind a pointer of the native context, so it
/// never moves.
pub(super) struct Watcher {
    watch: Box<dyn Watch>,
    panic: Option<Box<dyn Any + Send>>,
    raw: Vec<u8>,
    rows: Vec<f32>,
    matrices: Vec<u32>,
}

impl Watcher {
    pub(super) fn new(watch: Box<dyn Watch>) -> Self {
        Self { watch, panic: None, raw: Vec::new(), rows: Vec::new(), matrices: Vec::new() }
    }

    /// Goes on with a panic of the watch, which was kept out of C++.
    pub(super) fn resume(&mut self) {
        if let Some(panic) = self.panic.take() {
            resume_unwind(panic);
        }
    }

    /// llama.cpp's question: before an operation whether it is to be shown, after it whether to go on.
    pub(super) unsafe extern "C" fn receive(node: *mut ggml_tensor, ask: bool, watcher: *mut c_void) -> bool {
        // SAFETY: `open` passes the value of the context, which outlives the native context, and one thread computes.
        let watcher = unsafe { &mut *watcher.cast::<Watcher>() };
        // SAFETY: llama.cpp passes a node of the graph that it computes.
        let node = unsafe { &*node };
        if watcher.panic.is_some() {
            return !ask;
        }
        match catch_unwind(AssertUnwindSafe(|| watcher.answer(node, ask))) {
            Ok(answer) => answer,
            Err(panic) => {
                watcher.panic = Some(panic);
                !ask
            }
        }
    }

    fn answer(&mut self, node: &ggml_tensor, ask: bool) -> bool {
        let Some((weight, input)) = product_of(node) else {
            return !ask;
        };
        let name = name_of(weight);
        if ask {
            return self.watch.wants(name);
        }
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
        true
    }

    /// The experts of each row: all of a token's where it has one row, else one each.
    fn read_experts(&mut self, experts: &ggml_tensor, rows_per_token: usize) {
        let (n_used, n_tokens) = (extent(experts.ne[0]), extent(experts.ne[1]));
        debug_assert!(rows_per_token == 1 || rows_per_token == n_used);
        debug_assert_eq!(experts.type_, GGML_TYPE_I32);
        self.raw.clear();
        self.raw.resize(bytes_of(experts), 0);
        // SAFETY: a source of a node that was just computed lies in its buffer, and spans so many bytes.
        unsafe { ggml_backend_tensor_get(experts, self.raw.as_mut_ptr().cast(), 0, self.raw.len()) };
        for token in 0..n_tokens {
            let ids = &self.raw[token * experts.nb[1]..][..n_used * 4];
            self.matrices.extend(ids.as_chunks::<4>().0.iter().map(|bytes| u32::from_ne_bytes(*bytes)));
        }
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

/// The name as the file has it: a copy for another device is called `DEVICE#name#number`.
fn name_of(tensor: &ggml_tensor) -> &str {
    // SAFETY: ggml ends names with NUL, within their room.
    let name = unsafe { CStr::from_ptr(tensor.name.as_ptr()) }.to_str().unwrap_or_default();
    name.split('#').nth(1).unwrap_or(name)
}

/// Bytes from a tensor's first value to its last, of types without blocks.
fn bytes_of(tensor: &ggml_tensor) -> usize {
    if tensor.ne.contains(&0) {
        return 0;
    }
    4 + (0..4).map(|dim| (extent(tensor.ne[dim]) - 1) * tensor.nb[dim]).sum::<usize>()
}

fn extent(n: i64) -> usize {
    usize::try_from(n).expect("extents are not negative")
}
