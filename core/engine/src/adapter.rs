//! Adapters: what changes a model's computation without changing its weights.
//!
//! Owns: the [`Adapter`] trait and [`Applied`]. May know: nothing else. Must not know: how a file stores one.

use std::any::Any;
use std::fmt::Debug;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What an adapter does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AdapterKind {
    /// Low-rank products beside weights (LoRA).
    LowRank,
    /// A direction per layer that is added behind it (a control vector).
    Control,
}

/// An adapter in memory, of one loaded model. Freed when nobody holds it any more.
pub trait Adapter: Any + Debug + Send + Sync {
    /// What it does.
    fn kind(&self) -> AdapterKind;

    /// What it occupies, in bytes.
    fn bytes(&self) -> u64;
}

/// An adapter and how strongly it works.
#[derive(Clone, Debug)]
pub struct Applied {
    /// The adapter.
    pub adapter: Arc<dyn Adapter>,
    /// What its addition is multiplied by: 1 as it was trained, 0 not at all, below 0 against it. Finite.
    pub scale: f32,
}

/// The same adapter, not an equal one, as strongly.
impl PartialEq for Applied {
    fn eq(&self, other: &Self) -> bool {
        let place = |applied: &Self| Arc::as_ptr(&applied.adapter).cast::<()>();
        place(self) == place(other) && self.scale == other.scale
    }
}
