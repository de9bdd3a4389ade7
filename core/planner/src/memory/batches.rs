//! What a device takes that computes batches of tokens with weights which stay in the host's memory: they are copied to it
//! matrix by matrix. Must not know speeds.

use super::estimate::{MemoryEstimate, MemoryModel, Setup};

/// Matrices that lie on the device at a time: one is computed with while the next is copied.
const COPIES: u64 = 2;

impl MemoryModel<'_> {
    /// Counts in what a device takes beside the layers it holds, so that prompts are computed there.
    pub(crate) fn add_batches(
        &self,
        estimate: &mut MemoryEstimate,
        setup: &Setup,
        largest_matrix_bytes: u64,
    ) {
        let computing = match setup.gpu_layers {
            // Nothing is counted there yet.
            0 => self.estimate(&Setup { gpu_layers: 1, ..*setup }, None).device_compute_bytes,
            _ => 0,
        };
        let copies = largest_matrix_bytes.saturating_mul(COPIES);
        let more = computing.saturating_add(copies);
        let add = |bytes: &mut u64| *bytes = bytes.saturating_add(more);
        add(&mut estimate.compute_bytes);
        add(&mut estimate.formula_compute_bytes);
        estimate.compute_interval_bytes.iter_mut().for_each(add);
        add(&mut estimate.device_compute_bytes);
        add(&mut estimate.device_bytes);
        estimate.largest_allocation_bytes =
            estimate.largest_allocation_bytes.max(estimate.device_compute_bytes);
    }
}
