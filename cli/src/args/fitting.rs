//! Grammar of sizes to fit and plans to carry out.

use super::parse_bytes;
use clap::Args;
use std::path::PathBuf;

/// Types chosen tensor by tensor, to fit a size.
#[derive(Debug, Args)]
#[command(next_help_heading = "Fitting a size")]
pub(crate) struct Fitting {
    /// File size to fit as well as possible, e.g. 4784736, 1.2GB or 700MiB; repeatable
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, requires = "sensitivity", conflicts_with_all = ["pure", "copy"])]
    pub(crate) target_size: Vec<u64>,
    /// The same in bits of tensors per weight, e.g. 4.5; repeatable
    #[arg(long, value_name = "BITS", requires = "sensitivity", conflicts_with_all = ["pure", "copy"])]
    pub(crate) target_bpw: Vec<f64>,
    /// Fit what a machine can run: a profile with its memory, e.g. apple-m2:8 (`hardware --profiles` lists them), a file that
    /// `hardware --record` wrote, or `this`. The planner counts what lies beside the weights
    #[arg(long, value_name = "PROFILE|FILE|this", conflicts_with_all = ["target_size", "target_bpw", "recipe", "plan", "pure", "copy"])]
    pub(crate) fit_device: Option<String>,
    /// With --fit-device: context in tokens [default: what fits, up to 4096]
    #[arg(long, value_name = "TOKENS", requires = "fit_device")]
    pub(crate) context: Option<u64>,
    /// With --fit-device: choose types too that the machine computes slowly, which otherwise happens only where nothing fits
    /// without them
    #[arg(long, requires = "fit_device")]
    pub(crate) any_type: bool,
    /// Carry out a plan that --write-plan wrote, as it is or edited; repeatable
    #[arg(long, value_name = "FILE", conflicts_with = "copy")]
    pub(crate) plan: Vec<PathBuf>,
    /// How much each tensor suffers (`sensitivity` measures it)
    #[arg(long, value_name = "FILE")]
    pub(crate) sensitivity: Option<PathBuf>,
    /// What flows into the weights (`moments` measures it): blocks are then rounded with error feedback
    #[arg(long, value_name = "FILE")]
    pub(crate) moments: Option<PathBuf>,
    /// Move factors between tensors first, which leaves the model what it computes, where that lessens errors on text that was
    /// held out by 3 % or more
    #[arg(long, requires = "moments", conflicts_with = "copy")]
    pub(crate) fold: bool,
    /// Print type, bytes and expected error of every tensor
    #[arg(long)]
    pub(crate) explain_plan: bool,
    /// Write the plan of the one size that was asked for
    #[arg(long, value_name = "FILE")]
    pub(crate) write_plan: Option<PathBuf>,
    /// Hold a contest of N plans around the one size that was asked for: each is made, and the least divergence on --text wins
    #[arg(long, value_name = "N", requires_all = ["sensitivity", "text"], conflicts_with = "plan")]
    pub(crate) tournament: Option<usize>,
    /// Seed of the contest
    #[arg(long, value_name = "N", default_value_t = 0, requires = "tournament")]
    pub(crate) seed: u64,
    /// Take the N experts that give least out of every layer first, by --moments or --imatrix; with --text it says what that
    /// costs
    #[arg(long, value_name = "N", conflicts_with = "copy", value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub(crate) prune_experts: Option<usize>,
    #[command(flatten)]
    pub(crate) judging: JudgingText,
}

/// Text that candidates are judged by.
#[derive(Debug, Clone, Args)]
pub(crate) struct JudgingText {
    /// Text to judge by, which neither moments nor sensitivities have seen; repeatable. int8-qdq learns from three of four of its
    /// windows and judges by the others
    #[arg(short = 'f', long, value_name = "FILE")]
    pub(crate) text: Vec<PathBuf>,
    /// Tokens of a window of that text, of which candidates are judged by the second half
    #[arg(long, value_name = "TOKENS", default_value_t = 512, requires = "text")]
    pub(crate) window: usize,
    /// Most windows, evenly spread
    #[arg(long, value_name = "N", default_value_t = 32, requires = "text")]
    pub(crate) windows: usize,
}
