//! Grammar of the commands that measure a model before it is quantized.

use super::{Network, parse_bytes};
use clap::Args;
use std::path::PathBuf;

/// What the model reads while it is measured; shared by both commands.
#[derive(Debug, Clone, Args)]
pub(crate) struct Reading {
    /// Text to read; repeatable. Text that the result is judged by must not be among it
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    pub(crate) text: Vec<PathBuf>,
    /// Tokens that are read at a time, each time from an empty context
    #[arg(long, value_name = "TOKENS", default_value_t = 512)]
    pub(crate) context: usize,
    /// Most such chunks [default: all of the text; 16 of them, evenly spread, for sensitivity]
    #[arg(long, value_name = "N")]
    pub(crate) chunks: Option<usize>,
    /// Worker threads [default: all usable cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct Moments {
    /// Checkpoint directory or GGUF file, in the precision to quantize from
    pub(crate) model: String,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// File to write
    #[arg(short, long)]
    pub(crate) output: PathBuf,
    /// Most columns whose products are kept with each other's: a multiple of 256; more is better and larger
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub(crate) block: usize,
    /// Memory for sums: where they take more, the text is read several times
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, default_value = "1GiB")]
    pub(crate) memory_budget: u64,
    #[command(flatten)]
    pub(crate) network: ModelNetwork,
}

#[derive(Debug, Args)]
pub(crate) struct Sensitivity {
    /// Checkpoint directory or GGUF file, in the precision to quantize from
    pub(crate) model: String,
    /// Second moments (`moments` makes them)
    #[arg(long, value_name = "FILE")]
    pub(crate) moments: PathBuf,
    #[command(flatten)]
    pub(crate) reading: Reading,
    /// File to write
    #[arg(short, long)]
    pub(crate) output: PathBuf,
    /// Type that one tensor at a time is rounded to
    #[arg(long, value_name = "TYPE", default_value = "Q3_K")]
    pub(crate) probe_type: String,
    /// Round N random subsets of the tensors instead of one at a time, and refine what is known of roles by what they do
    /// together: a few dozen are enough
    #[arg(long, value_name = "N", conflicts_with = "no_probes")]
    pub(crate) probes: Option<usize>,
    /// Seed of the subsets
    #[arg(long, value_name = "N", default_value_t = 0, requires = "probes")]
    pub(crate) seed: u64,
    /// Measure errors alone: how much the model suffers is taken from what is known of roles
    #[arg(long)]
    pub(crate) no_probes: bool,
    /// Measure the errors of rounding without feedback
    #[arg(long)]
    pub(crate) no_feedback: bool,
    #[command(flatten)]
    pub(crate) network: ModelNetwork,
}

/// How a model is fetched that is not here. `--file` means text with these commands.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Getting models")]
pub(crate) struct ModelNetwork {
    /// Use what is here or in the cache, fetch nothing
    #[arg(long)]
    pub(crate) offline: bool,
}

impl ModelNetwork {
    /// As other commands have it.
    pub(crate) fn network(&self) -> Network {
        Network {
            offline: self.offline,
            cache: None,
            cache_cap: None,
            endpoint: llama_pajamas::bundle::hub::DEFAULT_ENDPOINT.into(),
            token_file: None,
            file: Vec::new(),
        }
    }
}
