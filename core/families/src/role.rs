//! Roles: what a tensor does in the model, whatever its family calls it.

use serde::{Deserialize, Serialize};

/// What a tensor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Role {
    TokenEmbedding,
    Output,
    AttentionQ,
    AttentionK,
    AttentionV,
    AttentionOutput,
    FfnGate,
    FfnUp,
    FfnDown,
    Router,
    RoutedGate,
    RoutedUp,
    RoutedDown,
    Norm,
    Bias,
    RopeFactors,
    /// A tensor of a file whose role no rule names.
    Other,
}

impl Role {
    /// Whether only `active of all` experts of this tensor are read per token.
    pub fn is_routed_expert(self) -> bool {
        matches!(self, Self::RoutedGate | Self::RoutedUp | Self::RoutedDown)
    }
}
