//! Which variant, engine and settings serve best here, and why.
//!
//! Owns the memory estimate, the choice and its explanation. Knows hosts and descriptions; must not know engines,
//! manifests or files. The same inputs give the same plan.

mod allocation;
mod choose;
mod explain;
mod kv_precision;
mod ladder;
mod measured;
mod memory;
mod paging;
mod plan;
mod preference;
mod quality;
mod reason;
mod render;
mod request;
mod room;
pub mod speed;
mod threads;
mod ways;

pub use choose::{bytes, competitors, plan};
pub use kv_precision::{CacheStep, MeasuredKv};
pub use measured::MeasuredSpeed;
pub use memory::{
    CacheTypes, Draft, EngineGraph, MemoryAudit, MemoryEstimate, MemoryModel, OwnCache, Part, Projector,
    Repack, Residual, Residuals, Setup, Weights,
};
pub use plan::{Allowance, Choice, Code, Evidence, Nearest, Plan, Rejection};
pub use quality::QualityEstimate;
pub use reason::{Reason, ReasonCode};
pub use request::{Backend, BackendDevice, Candidate, Objective, Request};
pub use room::{Room, room_for_weights};
pub use speed::SpeedEstimate;
pub use threads::prior_threads;
