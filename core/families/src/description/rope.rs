//! Rotary position encoding of a model, as detection reports it. Owns these types; must not know formulas.

use serde::{Deserialize, Serialize};

/// Rotary position encoding.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f64,
    /// Base of the frequencies in layers that see a part of the context, where it is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_theta: Option<f64>,
    /// How contexts beyond the trained one are reached.
    pub scaling: RopeScaling,
}

/// Kinds of RoPE scaling.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RopeScaling {
    /// Frequencies as trained.
    None,
    /// Every frequency divided by `factor`.
    Linear {
        /// Multiple of the trained context.
        factor: f64,
    },
    /// Frequencies interpolated by wavelength (Peng et al. 2023).
    Yarn {
        /// Multiple of the trained context.
        factor: f64,
        /// Trained context in tokens.
        original_context: u64,
    },
    /// Llama 3.1's interpolation: wavelengths above `original_context / low_freq_factor` stretch by `factor`,
    /// those below `original_context / high_freq_factor` stay, smooth between.
    Llama3 {
        /// Multiple of the trained context.
        factor: f64,
        /// See above.
        low_freq_factor: f64,
        /// See above.
        high_freq_factor: f64,
        /// Trained context in tokens.
        original_context: u64,
    },
    /// LongRoPE: a factor per pair of dimensions, other ones for contexts up to `original_context` and beyond.
    Long {
        /// Trained context in tokens.
        original_context: u64,
        /// Factors up to the trained context.
        short_factors: Vec<f64>,
        /// Factors beyond it.
        long_factors: Vec<f64>,
    },
    /// Of each head the first `fraction` of the pairs of dimensions is rotated, at the frequencies that they have among all.
    Proportional {
        /// From 0 to 1.
        fraction: f64,
    },
    /// Factors per dimension stored with the weights (a GGUF's `rope_freqs`, `rope_factors_long`).
    Stored,
    /// A kind that is not applied; its name in the file.
    Other {
        /// `rope_type` as written.
        kind: String,
    },
}
