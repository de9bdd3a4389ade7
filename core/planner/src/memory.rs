//! What a configuration takes, in bytes, before anything is loaded: weights by buffer, caches, the computation's buffers.
//! Knows shapes and how the engine sizes its buffers; must not know budgets.

mod allocator;
mod audit;
mod batches;
mod cache;
mod companions;
mod compute;
mod engine_graph;
mod estimate;
mod graph;
mod network;
mod own_cache;
mod shapes;
mod weights;

pub use audit::{MemoryAudit, Part, Residual, Residuals};
pub use cache::CacheTypes;
pub use companions::{Draft, Projector};
pub use engine_graph::EngineGraph;
pub use estimate::{MemoryEstimate, MemoryModel, Setup};
pub use own_cache::OwnCache;
pub use weights::{Repack, Weights};
