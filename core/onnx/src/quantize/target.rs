//! What each target computes in eight bits, as data (`data/targets.json`). Knows the table's shape; no graph.

use crate::Error;
use serde::Deserialize;
use std::collections::BTreeSet;

/// A row of the table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// As options name it, e.g. `cpu`.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// How activations are stored.
    pub(crate) activations: Activations,
    /// Whether activations have no zero point.
    pub(crate) symmetric: bool,
    /// Whether what an operator makes is quantized too, whoever reads it.
    pub(crate) outputs: bool,
    /// Whether biases are whole numbers.
    pub(crate) int32_bias: bool,
    /// The least range of an activation.
    pub(crate) min_range: f32,
    /// Operators whose weights have a scale per output channel.
    pub(crate) by_channel: BTreeSet<String>,
    /// Operators with weights that it computes in eight bits.
    pub(crate) weighted: BTreeSet<String>,
    /// Whether LSTMs run with 8-bit weights and ranges found while running.
    pub(crate) dynamic_lstm: bool,
    /// Operators without weights that it computes in eight bits, between two others.
    pub(crate) between: BTreeSet<String>,
    /// Operators that move values without changing them, and so keep their scale.
    pub(crate) passes: BTreeSet<String>,
    /// Names of the precisions that make sense there.
    pub precisions: BTreeSet<String>,
    /// Whether it has ONNX Runtime's operator for a sum and its norm.
    #[serde(default)]
    pub(crate) skip_norms: bool,
    /// Whether its speed is what this machine measures.
    pub(crate) timed: bool,
    /// Whether half precision is only how weights are stored.
    pub(crate) fp16: Fp16,
}

/// How activations are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Activations {
    U8,
    S8,
}

/// What half precision means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fp16 {
    /// Weights are stored so, and computed with in 32 bits.
    Stored,
    /// Everything that allows it is computed so.
    Computed,
}

impl Target {
    /// All rows.
    pub fn all() -> Vec<Self> {
        serde_json::from_str(include_str!("../../data/targets.json")).expect("the table is tested")
    }

    /// The row of a name.
    ///
    /// # Errors
    /// An unknown name, with those there are.
    pub fn of_name(name: &str) -> Result<Self, Error> {
        let all = Self::all();
        let known: Vec<String> = all.iter().map(|target| target.name.clone()).collect();
        all.into_iter().find(|target| target.name == name).ok_or_else(|| Error::Setting {
            field: "target",
            expected: format!("one of {}", known.join(", ")),
            got: name.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        let all = Target::all();
        let names: BTreeSet<&str> = all.iter().map(|target| target.name.as_str()).collect();
        assert_eq!(names.len(), all.len());
        for target in &all {
            assert!(target.by_channel.is_subset(&target.weighted), "{}", target.name);
            assert!(!target.precisions.contains("int8") || !target.weighted.is_empty(), "{}", target.name);
        }
        assert!(Target::of_name("toaster").unwrap_err().to_string().contains("tensorrt"));
    }
}
