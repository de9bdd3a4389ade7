//! What `requantize` takes. Knows words only.

use super::parse_bytes;
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Requantize {
    /// Bundle directory that holds a parent variant (F32, BF16, F16 or Q8_0)
    pub(crate) bundle: PathBuf,
    /// What to make: high, balanced, extreme or llama.cpp's, e.g. Q4_K_M
    #[arg(long, default_value = "balanced", conflicts_with = "plan")]
    pub(crate) precision: String,
    /// Make what this plan says (`quantize --write-plan`)
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,
    /// Variant to make it of [default: the finest that is here]
    #[arg(long, value_name = "ID")]
    pub(crate) parent: Option<String>,
    /// Variant that goes when the new one has passed
    #[arg(long, value_name = "ID")]
    pub(crate) replace: Option<String>,
    /// Text on which the new variant is held against its parent
    #[arg(long, value_name = "FILE")]
    pub(crate) text: PathBuf,
    /// Greatest mean divergence from the parent (nats) with which it is published
    #[arg(long, value_name = "NATS", default_value_t = 0.1)]
    pub(crate) max_kld: f64,
    /// Tokens of a window of the text
    #[arg(long, value_name = "TOKENS", default_value_t = 512)]
    pub(crate) context: usize,
    /// Read at most so many windows
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) windows: usize,
    /// Importance matrix (GGUF or legacy .dat)
    #[arg(long, value_name = "FILE")]
    pub(crate) imatrix: Option<PathBuf>,
    /// Round with error feedback by what flows into the weights (`moments`)
    #[arg(long, value_name = "FILE")]
    pub(crate) moments: Option<PathBuf>,
    /// Threads
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) threads: usize,
    /// Memory the work may take, e.g. 200MiB
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) memory_budget: Option<u64>,
    /// Stop after so long, pauses included; the next call goes on
    #[arg(long, value_name = "SECONDS")]
    pub(crate) time_budget: Option<f64>,
    /// Go on while the device runs on its battery
    #[arg(long)]
    pub(crate) on_battery: bool,
    /// Read the machine's signals below this folder or of this recording instead of here
    #[arg(long, value_name = "PATH", hide = true)]
    pub(crate) machine: Option<PathBuf>,
}
