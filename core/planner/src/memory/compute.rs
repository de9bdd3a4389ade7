//! The computation's buffer: the largest of the computations that the engine makes room for. Must not know weights.

use super::allocator::{HOST_ALIGNMENT_BYTES, buffer_bytes};
use super::cache;
use super::estimate::Setup;
use super::network::{self, Batch, Stack};
use super::shapes::Shapes;
use families::{Description, Form};

/// Bytes of the engine's buffers for computing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compute {
    /// Of the computation that a context opens with.
    pub(super) opened: u64,
    /// Of the largest that it may come to: an encoder in front of a decoder has its own.
    pub(super) largest: u64,
}

pub(super) fn bytes(description: &Description, shapes: &Shapes, setup: &Setup, cells: [u64; 2]) -> Compute {
    let n_tokens = setup.n_ubatch.min(cells[0]).max(1);
    let n_outputs = match description.form {
        Form::Decoder => setup.n_outputs.clamp(1, n_tokens),
        Form::Encoder | Form::EncoderDecoder => n_tokens,
    };
    let batch = Batch {
        n_tokens,
        n_outputs,
        n_cells: cells,
        flash_attention: setup.flash_attention,
        rotated: cache::rotations(description, setup.cache),
        engine: setup.engine_graph,
        key_bytes: (setup.cache.k.block_bytes() / setup.cache.k.block_len()).max(1),
    };
    let of = |stack| buffer_bytes(&network::build(description, shapes, batch, stack), HOST_ALIGNMENT_BYTES);
    let opened = of(Stack::Main);
    let largest = match description.form {
        Form::EncoderDecoder => opened.max(of(Stack::Encoder)),
        Form::Decoder | Form::Encoder => opened,
    };
    Compute { opened, largest }
}
