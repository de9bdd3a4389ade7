//! Reasons and assumptions: a stable code for programs, a sentence for people.
//! Owns the codes; must not decide anything.

use serde::Serialize;

/// Stable codes of what speaks for a choice, of what was given up for it, and of what was taken for granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReasonCode {
    /// Why this variant: nothing better fits.
    Best,
    /// What it takes of the host's memory.
    Memory,
    /// What lies on a device.
    DeviceMemory,
    /// How fast it is expected to be.
    Speed,
    /// Variants of like quality were measured on this machine, and what came of it.
    SpeedMeasured,
    /// Quality was measured, and what it is.
    QualityMeasured,
    /// What earlier loads on this machine taught about its memory.
    MemoryLearned,
    /// What of the memory is the projector's.
    Projector,
    /// What of the memory is the draft model's.
    Draft,
    /// The context was bounded by what the model was made for.
    ContextBounded,
    /// The context was shortened to fit.
    ContextShortened,
    /// The cache has fewer bits to fit.
    KvPrecision,
    /// Fewer tokens are computed at a time to fit.
    Ubatch,
    /// Experts are read from the file as they are chosen.
    ExpertsPaged,
    /// Not all layers are on the device.
    Offload,
    /// A device cannot allocate the largest matrix.
    MaxAlloc,
    /// Another backend than the one that writes computes prompts.
    PromptsElsewhere,
    /// Another backend reads faster.
    PromptBackend,
    /// A smaller precision is taken for speed.
    PrecisionLowered,
    /// The engine's own account did not fit what is left by now, and the next smaller plan was made.
    SteppedDown,
    /// The format suits the hardware.
    FormatSuits,
    /// The budget is the app's cap.
    BudgetCapped,
    /// The budget was asked for.
    BudgetAsked,
    /// The budget is the tightest of the system's limits.
    BudgetLimit,
    /// The system states no limit.
    BudgetUnlimited,
    /// Mapped weights are counted whole.
    MappedCounted,
    /// Quality is a prior of the precision.
    QualityGuessed,
    /// Speed is what such chips reach.
    SpeedProfile,
    /// Speed is a guess from the processor's class.
    SpeedGuessed,
}

impl ReasonCode {
    /// The reason with its sentence.
    pub fn because(self, text: impl Into<String>) -> Reason {
        Reason { code: self, text: text.into() }
    }
}

/// A sentence of the explanation, with its figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// Stable code.
    pub code: ReasonCode,
    /// Plain text.
    pub text: String,
}
