//! Makes bundles: reads checkpoints, converts, chooses types, quantizes, writes.
//!
//! Owns the way from a Hugging Face checkpoint or a GGUF file to the variants of a bundle. May know formats,
//! families, bundles and the engine's block quantizers. Must not know hosts, plans or sessions, nor print.

pub mod allocate;
mod build;
mod convert;
mod error;
mod estimate;
mod exchange;
mod execute;
mod fold;
mod importance;
mod judge;
pub mod mlx;
mod moments;
pub mod onnx;
mod pipeline;
mod plan;
mod progress;
mod projector;
mod prune;
pub mod recipe;
mod resume;
mod rounding;
pub mod sensitivity;
pub mod source;
pub mod tokenizer;
mod tournament;
mod type_plan;

pub use build::{
    BuildReport, BuildRequest, Inputs, Remade, Remake, VariantReport, build_bundle, model_id, open_inputs,
    open_source,
};
pub use convert::convert;
pub use error::{Error, Result};
pub use estimate::{Estimate, RoleEstimate, estimate, strategy};
pub use exchange::architectures as folding_architectures;
pub use execute::{Summary, work_bytes, write_file};
pub use fold::{FoldedExchange, Folding};
pub use importance::Importance;
pub use judge::Judging;
pub use moments::{Calibration, Moments, collect_moments};
pub use plan::{Job, TensorPlan, plan_file, plan_types};
pub use progress::{Progress, Watch};
pub use projector::{ProjectorPrecision, ProjectorReport, ProjectorWish, projector_job};
pub use prune::{PrunedLayer, Pruning, PruningLoss, prune_experts, pruning_loss};
pub use sensitivity::{Probes, Sensitivity, Subsets, measure_errors, measure_kappas, refine_kappas};
pub use tournament::{Contest, ContestEntry, ContestRecord, hold_contest};
pub use type_plan::{Known, PlannedType, Target, TypePlan, plan_for_target};
