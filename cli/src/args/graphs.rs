//! `quantize vision` and `quantize speech`: graphs of ONNX in fewer bits.

use super::{Quantize, parse_bytes};
use clap::{ArgMatches, Args, Command, FromArgMatches, Subcommand, ValueEnum};
use std::path::PathBuf;

/// A language model into a bundle, or a graph of vision or speech into a file.
#[derive(Debug)]
pub(crate) enum QuantizeWhat {
    Model(Box<Quantize>),
    Graph(Box<GraphKind>),
}

// By hand: the environment may give an option of language models where a graph was asked for, and must not be read as one.
impl Args for QuantizeWhat {
    fn augment_args(command: Command) -> Command {
        let command = GraphKind::augment_subcommands(Quantize::augment_args(command));
        command.subcommand_required(false).args_conflicts_with_subcommands(true).subcommand_negates_reqs(true)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for QuantizeWhat {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        if matches.subcommand_name().is_some() {
            Ok(Self::Graph(Box::new(GraphKind::from_arg_matches(matches)?)))
        } else {
            Ok(Self::Model(Box::new(Quantize::from_arg_matches(matches)?)))
        }
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum GraphKind {
    /// An ONNX model that takes pictures: a classifier, a detector, an encoder
    Vision(Vision),
    /// An ONNX model that takes sound, step by step or at once
    Speech(Speech),
}

#[derive(Debug, Args)]
pub(crate) struct Graph {
    /// The ONNX file
    pub(crate) model: PathBuf,
    /// Where the result goes [default: beside the model, with the precision in its name]
    #[arg(short, long)]
    pub(crate) output: Option<PathBuf>,
    /// int8 = ranges learned from samples, dynamic = ranges found while running (matrices and LSTMs), fp16, fp32 = made plain only
    #[arg(long, value_enum, default_value_t = GraphPrecision::Int8)]
    pub(crate) precision: GraphPrecision,
    /// Folder with samples (pictures: jpeg, png; sound: wav), or one such file; repeatable. Every fourth is held out to compare on
    #[arg(long, value_name = "PATH")]
    pub(crate) calibration: Vec<PathBuf>,
    /// Folder with samples to compare on; repeatable
    #[arg(long, value_name = "PATH")]
    pub(crate) held_out: Vec<PathBuf>,
    /// At most so many samples
    #[arg(long, default_value_t = 200)]
    pub(crate) max_samples: usize,
    /// What will compute the result: cpu, tensorrt, qnn, nnapi, xnnpack or coreml
    #[arg(long, default_value = "cpu")]
    pub(crate) target: String,
    /// How ranges of int8 are chosen
    #[arg(long, value_enum, default_value_t = Ranges::Mse)]
    pub(crate) ranges: Ranges,
    /// Part of what was seen that lies outside the ranges of --ranges percentile
    #[arg(long, default_value_t = 0.0001)]
    pub(crate) outside: f64,
    /// balanced = never slower than 0.9 of the float model here, size = fewest bytes
    #[arg(long, value_enum, default_value_t = GraphGoal::Balanced)]
    pub(crate) goal: GraphGoal,
    /// The most bytes of the result (e.g. 360kB, 5MiB); what is left goes to the nodes that lose most
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) max_size: Option<u64>,
    /// Leave extents open that the model leaves open, instead of making them those of the samples
    #[arg(long)]
    pub(crate) keep_open: bool,
    /// Follow a plan that --write-plan wrote
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,
    /// Write down what every node became
    #[arg(long, value_name = "FILE")]
    pub(crate) write_plan: Option<PathBuf>,
    /// Threads
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// ONNX Runtime's library, or a folder that has it [default: beside the command, then the system's library folders]
    #[arg(long, value_name = "PATH", env = "LLAMA_PAJAMAS_ONNXRUNTIME")]
    pub(crate) onnx_library: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Vision {
    #[command(flatten)]
    pub(crate) graph: Graph,
    /// What bytes of a picture become: 0 to 1, -1 to 1, ImageNet's means and deviations, or 0 to 255
    #[arg(long, value_enum, default_value_t = PixelScale::Unit)]
    pub(crate) scale: PixelScale,
    /// What is taken off bytes, instead of --scale: one number or three
    #[arg(long, value_delimiter = ',', requires = "deviation", num_args = 1..)]
    pub(crate) mean: Vec<f32>,
    /// What the rest is divided by: one number or three
    #[arg(long, value_delimiter = ',', requires = "mean", num_args = 1..)]
    pub(crate) deviation: Vec<f32>,
    /// Blue comes first
    #[arg(long)]
    pub(crate) bgr: bool,
    /// Width and height where the model leaves them open
    #[arg(long, value_names = ["WIDTH", "HEIGHT"], num_args = 2, default_values_t = [224, 224])]
    pub(crate) size: Vec<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Speech {
    #[command(flatten)]
    pub(crate) graph: Graph,
    /// New samples of a step [default: what such models have, or the model's own length]
    #[arg(long)]
    pub(crate) step: Option<usize>,
    /// Samples of the step before that each begins with
    #[arg(long)]
    pub(crate) context: Option<usize>,
    /// Samples per second of the recordings
    #[arg(long)]
    pub(crate) rate: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphPrecision {
    Int8,
    Dynamic,
    Fp16,
    Fp32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ranges {
    Mse,
    Minmax,
    Percentile,
    Entropy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GraphGoal {
    Balanced,
    Size,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PixelScale {
    Unit,
    Symmetric,
    Imagenet,
    Bytes,
}
