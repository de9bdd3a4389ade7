//! What `tune` takes. Knows words only.

use super::Wishes;
use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct Tune {
    /// Bundle directory, GGUF file or hub id of GGUF files (organisation/name[@revision])
    pub(crate) model: String,
    /// Most time to take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 12.0)]
    pub(crate) budget: f64,
    /// Leave alone what changes the rounding of results
    #[arg(long)]
    pub(crate) bit_exact: bool,
    /// Order of the measurements: same seed, same order
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
    #[command(flatten)]
    pub(crate) wishes: Wishes,
}
