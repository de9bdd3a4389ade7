//! What lies in memory beside the model: the projector of one that reads images, and a draft model.
//! Knows their shapes; must not know budgets. Both are taken to run on the processor.

use super::estimate::{MemoryEstimate, MemoryModel, Setup};
use super::weights::Weights;
use crate::{Candidate, Request};
use families::Description;
use families::projector::Encoder;
use formats::gguf::TensorSpec;

/// The vision encoder of a variant and what leads from it into the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Projector {
    /// Bytes of its file, all of which is read.
    pub file_bytes: u64,
    /// Its shape, where its file is here.
    pub encoder: Option<Encoder>,
}

/// A small model that writes ahead what a large one checks.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What it is called.
    pub id: String,
    /// What it is.
    pub description: Description,
    /// Bytes of its weights.
    pub weights_bytes: u64,
    /// Each of them, where they are known.
    pub tensors: Vec<TensorSpec>,
}

impl Draft {
    /// What is known of a variant of a small model.
    pub fn of(candidate: &Candidate) -> Self {
        Self {
            id: candidate.id.clone(),
            description: candidate.description.clone(),
            weights_bytes: candidate.weights_bytes,
            tensors: candidate.tensors.clone(),
        }
    }
}

impl Projector {
    /// Buffers for computing one image: from those without attention's scores, which fused attention does not store, to those
    /// with them, twice, as plain attention does. By shapes; where they are not known, up to the weights again.
    fn compute_bytes(&self) -> [u64; 2] {
        let Some(encoder) = self.encoder else { return [0, self.file_bytes] };
        let patches = encoder.n_patches();
        // Input, keys, queries and values beside each other, and the wide middle.
        let values = encoder.width.saturating_mul(4).saturating_add(encoder.feed_forward);
        let least = patches.saturating_mul(values).saturating_mul(4);
        let scores = patches.saturating_mul(patches).saturating_mul(encoder.n_heads).saturating_mul(4);
        [least, least.saturating_add(scores.saturating_mul(2))]
    }
}

impl MemoryEstimate {
    /// Counts in what lies beside the model: what `request` asks for and `candidate` has.
    pub(crate) fn accompany(&mut self, candidate: &Candidate, request: &Request, setup: &Setup) {
        if let Some(projector) = candidate.projector.filter(|_| request.images) {
            let [least, most] = projector.compute_bytes();
            self.projector_bytes = projector.file_bytes.saturating_add(least);
            self.uncertainty_bytes = self.uncertainty_bytes.saturating_add(most - least);
        }
        if let Some(draft) = &request.draft {
            let weights = Weights { bytes: draft.weights_bytes, tensors: &draft.tensors };
            let alone = Setup { gpu_layers: 0, ..*setup };
            let estimate = MemoryModel::new(&draft.description, weights).estimate(&alone, None);
            self.draft_bytes = estimate.expected_bytes().saturating_sub(estimate.overhead_bytes);
            let above = estimate.compute_interval_bytes[1].saturating_sub(estimate.compute_bytes);
            self.uncertainty_bytes = self.uncertainty_bytes.saturating_add(above);
            self.mapped_bytes = self.mapped_bytes.saturating_add(estimate.mapped_bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_of_attention_are_the_upper_end() {
        let encoder =
            Encoder { width: 1152, feed_forward: 4304, n_heads: 16, image_size: 896, patch_size: 14 };
        let known = Projector { file_bytes: 850 << 20, encoder: Some(encoder) };
        let [least, most] = known.compute_bytes();
        assert_eq!(least, 4096 * (4 * 1152 + 4304) * 4);
        assert_eq!(most - least, 2 * 4096 * 4096 * 16 * 4);
        assert_eq!(Projector { encoder: None, ..known }.compute_bytes(), [0, 850 << 20]);
    }
}
