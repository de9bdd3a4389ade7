//! What an engine's version does in its computations that changes the room they take. Must not know models.

/// Habits of llama.cpp's graphs by version; by default those of the engine that this product carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EngineGraph {
    /// A batch may hold tokens beside vectors: a third way into the first layer, with inputs of its own.
    pub batches_mix: bool,
    /// Masks of fused attention are made as 32-bit floats and cast to 16 bits.
    pub masks_are_cast: bool,
}

impl Default for EngineGraph {
    fn default() -> Self {
        Self { batches_mix: true, masks_are_cast: false }
    }
}
