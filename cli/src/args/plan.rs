//! What `plan` and `profile` take. Owns names and help; must not know what they do.

use super::{Wishes, parse_bytes};
use clap::Args;
use std::path::PathBuf;

/// Room that is left to an app which shares the device.
#[derive(Debug, Clone, Args)]
pub(crate) struct Caps {
    /// Most memory to use, whatever there is: the app needs the rest
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) memory_cap: Option<u64>,
    /// Most memory to use, with as many experts of a mixture left in its file, and read as they are chosen, as have no room:
    /// for models that are larger than the memory; without a GPU
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) max_resident: Option<u64>,
    /// Most memory to use on a GPU, whatever is free: the app draws with the rest
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) device_memory_cap: Option<u64>,
}

/// The machine to plan for; shared by the commands that do not load.
#[derive(Debug, Clone, Args)]
pub(crate) struct Target {
    /// Plan for a machine like this instead of this one: PROFILE[:GB], e.g. apple-m2:8 (`hardware --profiles` lists
    /// them), or a file that `hardware --record` wrote
    #[arg(long = "for", value_name = "PROFILE|FILE")]
    pub(crate) host: Option<String>,
}

/// `plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Bundle directory, GGUF file (its header is enough), checkpoint directory, config.json, or hub id
    /// (organisation/name[@revision])
    pub(crate) model: String,
    #[command(flatten)]
    pub(crate) target: Target,
    /// Of a config.json or checkpoint: precisions to choose from, e.g. Q8_0,Q4_K_M [default: all sensible ones]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) precision: Vec<String>,
    /// Slowest writing that will do, in tokens per second: the low end of what is expected must reach it
    #[arg(long, value_name = "TOKENS/S")]
    pub(crate) min_speed: Option<f64>,
    /// Latest first token that will do, in seconds, to a prompt of the usual length
    #[arg(long, value_name = "SECONDS")]
    pub(crate) max_first_token: Option<f64>,
    /// Images are to be read: count the projector in, leave variants without one out
    #[arg(long)]
    pub(crate) images: bool,
    /// A draft model to be loaded beside it: GGUF file, bundle (its first variant), config.json with --draft-precision
    #[arg(long, value_name = "MODEL")]
    pub(crate) draft: Option<String>,
    /// Of a draft model's config.json: its precision
    #[arg(long, value_name = "NAME", requires = "draft")]
    pub(crate) draft_precision: Option<String>,
    /// Time variants of like quality on this machine first, and remember what came of it: speed then decides between them
    #[arg(long, conflicts_with_all = ["host", "measured"])]
    pub(crate) measure: bool,
    /// Most time for that, in seconds, loading included
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, requires = "measure")]
    pub(crate) measure_budget: f64,
    /// Write what --measure found
    #[arg(long, value_name = "FILE", requires = "measure")]
    pub(crate) write_measured: Option<PathBuf>,
    /// Take speeds from a file that --write-measured wrote, perhaps on the machine that --for names
    #[arg(long, value_name = "FILE")]
    pub(crate) measured: Option<PathBuf>,
    /// The whole answer: settings, memory and speed by part, what was refused and why, what was assumed
    #[arg(long)]
    pub(crate) explain: bool,
    #[command(flatten)]
    pub(crate) wishes: Wishes,
}

/// `profile`.
#[derive(Debug, Args)]
pub(crate) struct Profile {
    /// Bundle directory, GGUF file or hub id of GGUF files (organisation/name[@revision])
    pub(crate) model: String,
    /// Context length in tokens [default: what fits, up to 4096]
    #[arg(long, value_name = "TOKENS", conflicts_with = "context")]
    pub(crate) context_length: Option<u64>,
    #[command(flatten)]
    pub(crate) wishes: Wishes,
}
