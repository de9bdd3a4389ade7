//! What `iq` takes: calibration texts and importance matrices. Owns names and help; must not know what they do.

use super::{Computing, Network, Texts};
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `iq`.
#[derive(Debug, Subcommand)]
pub(crate) enum Iq {
    /// Draw a calibration text of several kinds, with a split that is held out
    GenerateCalibration(Box<GenerateCalibration>),
    /// Measure how much each weight's columns matter while a model reads a text
    Imatrix(Box<Imatrix>),
}

/// `iq imatrix`.
#[derive(Debug, Args)]
pub(crate) struct Imatrix {
    /// Bundle or GGUF file, as few of its weights rounded as there are; checkpoint directory
    #[arg(required_unless_present = "merge")]
    pub(crate) model: Option<String>,
    /// Importance matrix to write (GGUF); while it is being made, what there is lies in FILE.partial, and the same
    /// command goes on there
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// The bundle's variant to read with [default: the one with the most bits]
    #[arg(long, value_name = "ID")]
    pub(crate) variant: Option<String>,
    #[command(flatten)]
    pub(crate) texts: Texts,
    /// Documents with pictures or sound, read behind the texts: JSON lines {"text": "What is <__media__> ?", "files": ["a.png"]},
    /// files beside the document's; repeatable
    #[arg(long, value_name = "FILE")]
    pub(crate) documents: Vec<PathBuf>,
    /// Projector of a single GGUF file, which reads pictures and sound; bundles have their own
    #[arg(long, value_name = "FILE", requires = "documents")]
    pub(crate) mmproj: Option<PathBuf>,
    /// Add these importance matrices (GGUF or legacy .dat, of any tool); repeatable
    #[arg(long, value_name = "FILE")]
    pub(crate) merge: Vec<PathBuf>,
    /// Leave out the weight of the output
    #[arg(long)]
    pub(crate) no_output_weight: bool,
    /// Draw further text until experts have seen enough: what --chunks leaves of the texts, and --pool
    #[arg(long)]
    pub(crate) balance: bool,
    /// Text to draw from for experts, as --text; repeatable
    #[arg(long, value_name = "[NAME=]FILE", requires = "balance")]
    pub(crate) pool: Vec<String>,
    /// Tokens that an expert is to see
    #[arg(long, value_name = "TOKENS", default_value_t = 64)]
    pub(crate) need: u64,
    /// Share of experts that are to see so many
    #[arg(long, value_name = "SHARE", default_value_t = 0.99)]
    pub(crate) coverage: f64,
    /// Most windows to draw for experts
    #[arg(long, value_name = "N", default_value_t = 1024)]
    pub(crate) most_draws: usize,
    /// Tokens of its layer's mean row that are added to each expert, which gives those that saw little the layer's shape
    #[arg(long, value_name = "TOKENS", default_value_t = 64.0)]
    pub(crate) shrink: f32,
    #[command(flatten)]
    pub(crate) computing: Computing,
}

/// `iq generate-calibration`.
#[derive(Debug, Args)]
pub(crate) struct GenerateCalibration {
    /// Text to write; beside it go FILE.held-out.txt and FILE.json, which says what both are made of
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Characters of the text; a token is about four
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub(crate) characters: usize,
    /// Mix by name: even, experts, recurrent, reading [default: the family's of --model, else even]
    #[arg(long, value_name = "NAME", conflicts_with = "share")]
    pub(crate) mix: Option<String>,
    /// Share of a kind: general, code, maths, tools, summarising or long; repeatable, together 1
    #[arg(long, value_name = "KIND=SHARE")]
    pub(crate) share: Vec<String>,
    /// The model that it is for: bundle, GGUF file or config.json, whose family names the mix
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Draw a kind's documents from this text instead of the templates, e.g. code=sources.txt; repeatable
    #[arg(long, value_name = "KIND=FILE")]
    pub(crate) from: Vec<String>,
    /// Seed of the draw: the same seed, the same text
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Size of the held-out text, as a share of the text's
    #[arg(long, value_name = "SHARE", default_value_t = 0.1)]
    pub(crate) held_out: f64,
    #[command(flatten)]
    pub(crate) network: Network,
}
