//! The command line's grammar: commands, options, their help texts and defaults.
//! Knows words only; must not do the work.

mod adapters;
mod answer;
mod by_hand;
mod calibrate;
#[cfg(feature = "onnx")]
mod export;
mod fitting;
mod formats;
#[cfg(feature = "onnx")]
mod graphs;
#[cfg(not(feature = "onnx"))]
#[path = "args/graphs_disabled.rs"]
mod graphs;
mod guessing;
mod hardware;
mod iq;
mod measure;
mod plan;
mod requantize;
mod sampling;
#[cfg(feature = "serve")]
mod serve;
#[cfg(feature = "onnx")]
mod transcribe;
mod tune;

pub(crate) use adapters::{AdapterFile, Adapters};
pub(crate) use answer::{Chat, Run};
pub(crate) use by_hand::ByHand;
pub(crate) use calibrate::{Moments, Reading, Sensitivity};
#[cfg(feature = "onnx")]
pub(crate) use export::{Export, ExportPrecision};
pub(crate) use fitting::{Fitting, JudgingText};
pub(crate) use formats::ModelFormat;
pub(crate) use graphs::QuantizeWhat;
#[cfg(feature = "onnx")]
pub(crate) use graphs::{Graph, GraphGoal, GraphKind, GraphPrecision, PixelScale, Ranges, Speech, Vision};
pub(crate) use guessing::Guessing;
pub(crate) use hardware::Hardware;
pub(crate) use iq::{GenerateCalibration, Imatrix, Iq};
pub(crate) use measure::{Compare, Computing, Evaluate, Questions, Suite, Texts, Validate};
pub(crate) use plan::{Caps, Plan, Profile, Target};
pub(crate) use requantize::Requantize;
pub(crate) use sampling::Sampling;
#[cfg(feature = "serve")]
pub(crate) use serve::Serve;
#[cfg(feature = "onnx")]
pub(crate) use transcribe::Transcribe;
pub(crate) use tune::Tune;

use clap::{Args, Parser, Subcommand, ValueEnum};
use llama_pajamas::bundle::hub::DEFAULT_ENDPOINT;
use std::path::PathBuf;

/// On-device models: make bundles, plan, run, chat.
#[derive(Debug, Parser)]
#[command(name = "llama-pajamas", version, about, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options that every command takes.
#[derive(Debug, Clone, Args)]
pub(crate) struct Global {
    /// Print one JSON document on stdout instead of text
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Colours and bars: on a terminal only, always or never
    #[arg(long, global = true, value_enum, default_value_t = Colour::Auto)]
    pub(crate) color: Colour,
    /// More detail on stderr (-v: what happens, -vv: the engine's own log too)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// When to use colours and progress bars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Colour {
    Auto,
    Always,
    Never,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a bundle from a checkpoint directory or a GGUF file; `vision` and `speech` make ONNX models smaller
    Quantize(QuantizeWhat),
    /// Write a vision or speech model's checkpoint as graphs of ONNX
    #[cfg(feature = "onnx")]
    Export(Export),
    /// Make a further variant of a bundle out of its own parent variant, in the background
    Requantize(Box<Requantize>),
    /// Measure what flows into a model's weights, for rounding with error feedback
    Moments(Moments),
    /// Measure how much each tensor suffers under each type, and the model with it
    Sensitivity(Sensitivity),
    /// What a model, bundle or GGUF file is
    Info(Info),
    /// What this machine is and how much memory a model may use
    Hardware(Hardware),
    /// Which variant serves best here, and why
    Plan(Plan),
    /// Measure which threads and batches are fastest here, and remember them
    Tune(Tune),
    /// What a model takes in memory, predicted and measured
    Profile(Profile),
    /// Generate from one prompt
    Run(Run),
    /// Talk to the model
    Chat(Chat),
    /// Answer OpenAI's interface over HTTP
    #[cfg(feature = "serve")]
    Serve(Box<Serve>),
    /// Turn texts into vectors, or score them for a query
    Embed(Embed),
    /// Write down what is said in a recording, with a Whisper model that `export` wrote
    #[cfg(feature = "onnx")]
    Transcribe(Transcribe),
    /// Measure how far variants are from the original, and write it into the bundle
    Validate(Box<Validate>),
    /// Put tasks to variants, keep the scores in the bundle and write its report
    Evaluate(Evaluate),
    /// Validate and evaluate at once, and write the bundle's report
    Compare(Box<Compare>),
    /// Calibration texts and importance matrices
    #[command(subcommand)]
    Iq(Iq),
    /// Get, check and sign bundles
    #[command(subcommand)]
    Bundle(Bundle),
    /// Be the other half of `--isolate`: an engine that answers on standard input and output
    #[command(hide = true)]
    ServeEngine {
        /// The CPU kernel variant to use
        #[arg(long)]
        cpu_variant: Option<String>,
    },
    /// Print a completion script for your shell
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
}

/// How models are fetched that are not here; shared by all commands that take a model.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Getting models")]
pub(crate) struct Network {
    /// Use what is here or in the cache, fetch nothing
    #[arg(long)]
    pub(crate) offline: bool,
    /// Where downloads are kept [default: llama-pajamas in the user's cache folder]
    #[arg(long, value_name = "DIR", env = "LLAMA_PAJAMAS_CACHE", hide_env_values = true)]
    pub(crate) cache: Option<PathBuf>,
    /// Most bytes that the cache may hold, e.g. 40GiB: what was not used longest goes first
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) cache_cap: Option<u64>,
    /// Address of the hub
    #[arg(long, value_name = "URL", env = "HF_ENDPOINT", default_value = DEFAULT_ENDPOINT, hide_env_values = true)]
    pub(crate) endpoint: String,
    /// File with the hub's access token [default: the environment's HF_TOKEN]
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Files to take from the hub's repository, e.g. '*Q4_K_M.gguf'; repeatable
    #[arg(long, value_name = "PATTERN")]
    pub(crate) file: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Quantize {
    /// Checkpoint directory, GGUF file or hub id (organisation/name[@revision])
    pub(crate) model: String,
    /// Formats to write
    #[arg(long, value_delimiter = ',', value_enum, default_value = "gguf")]
    pub(crate) formats: Vec<ModelFormat>,
    /// Variants to write: high, balanced or extreme (types by role), llama.cpp's, e.g. Q8_0,Q4_K_M,IQ4_XS,F16, MLX's, e.g.
    /// 4bit, 3bit-g32, 4bit-mixed, mxfp4, nvfp4, or ONNX's: int4, int8, fp16, fp32 (-exact, -fp16, -portable), int8-qdq; each goes to the formats that know it
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "balanced",
        default_value_if("target_size", clap::builder::ArgPredicate::IsPresent, None),
        default_value_if("target_bpw", clap::builder::ArgPredicate::IsPresent, None),
        default_value_if("fit_device", clap::builder::ArgPredicate::IsPresent, None),
        default_value_if("plan", clap::builder::ArgPredicate::IsPresent, None)
    )]
    pub(crate) precision: Vec<String>,
    /// Choose types by the model's architecture: `balanced`, which is what happens where nothing is asked for
    #[arg(long, conflicts_with_all = ["precision", "target_size", "target_bpw", "fit_device", "plan", "copy"])]
    pub(crate) auto: bool,
    #[command(flatten)]
    pub(crate) fitting: Fitting,
    /// Bundle directory to create or to add variants to
    #[arg(short, long)]
    pub(crate) output: PathBuf,
    /// How types are chosen where a precision is llama.cpp's: stock = its own recipes
    #[arg(long, default_value = "stock", value_parser = ["stock"])]
    pub(crate) recipe: String,
    /// Low-rank adapter to merge first (directory as peft writes it); repeatable, merged in order
    #[arg(long, value_name = "DIR", conflicts_with = "copy")]
    pub(crate) lora: Vec<PathBuf>,
    /// Importance matrix (GGUF or legacy .dat)
    #[arg(long, value_name = "FILE")]
    pub(crate) imatrix: Option<PathBuf>,
    /// Take the tensors as they are: puts a GGUF file into a bundle
    #[arg(long, conflicts_with_all = ["precision", "pure", "imatrix"])]
    pub(crate) copy: bool,
    #[command(flatten)]
    pub(crate) by_hand: ByHand,
    /// What the projector of a model that takes images is stored as: F32, BF16, F16, Q8_0 or none [default: F16, with
    /// balanced and extreme Q8_0]
    #[arg(long, value_name = "TYPE")]
    pub(crate) mmproj: Option<String>,
    /// Accept an already quantized GGUF as the source
    #[arg(long)]
    pub(crate) allow_requantize: bool,
    /// Worker threads [default: all usable cores]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// Memory the work may take, e.g. 200MiB [default: what the system can spare]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) memory_budget: Option<u64>,
    /// Print the plan and the predicted sizes, write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Read this text with the model and what was made of it, and write how far they are apart into the bundle (as
    /// `validate` does, in windows of 512 tokens); repeatable
    #[arg(long, value_name = "[NAME=]FILE", conflicts_with_all = ["dry_run", "copy", "lora"])]
    pub(crate) validate: Vec<String>,
    #[command(flatten)]
    pub(crate) network: Network,
}

#[derive(Debug, Args)]
pub(crate) struct Info {
    /// Bundle, checkpoint directory, config.json, GGUF file or hub id (organisation/name[@revision])
    pub(crate) target: String,
    /// Layers, roles with counts and bytes, and sizes per precision
    #[arg(long)]
    pub(crate) architecture: bool,
    #[command(flatten)]
    pub(crate) network: Network,
}

/// What to plan for; shared by plan, run and chat.
#[derive(Debug, Clone, Args)]
pub(crate) struct Wishes {
    /// Context length in tokens [default: what fits, up to 4096]
    #[arg(long, value_name = "TOKENS")]
    pub(crate) context: Option<u64>,
    /// Use this variant and no other
    #[arg(long, value_name = "ID")]
    pub(crate) variant: Option<String>,
    /// Decode threads [default: the plan's]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<u32>,
    /// Memory the model may use, e.g. 2GiB [default: what the system can spare]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) memory_budget: Option<u64>,
    #[command(flatten)]
    pub(crate) caps: Caps,
    /// Layers to put on a GPU [default: the plan's]
    #[arg(long, value_name = "N")]
    pub(crate) gpu_layers: Option<u32>,
    /// Projector of a single GGUF file, which reads pictures and sound; bundles have their own
    #[arg(long, value_name = "FILE")]
    pub(crate) mmproj: Option<PathBuf>,
    /// ONNX Runtime's library, or a folder that has it, for variants that are graphs of ONNX [default: beside the command, then
    /// the system's library folders]
    #[arg(long, value_name = "PATH", env = "LLAMA_PAJAMAS_ONNXRUNTIME")]
    pub(crate) onnx_library: Option<PathBuf>,
    /// Compute in a process of its own: a GPU driver that ends its process does not end this one
    #[arg(long)]
    pub(crate) isolate: bool,
    /// Refuse bundles that no key of this folder has signed
    #[arg(long, value_name = "DIR")]
    pub(crate) trust: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) network: Network,
}

#[derive(Debug, Args)]
pub(crate) struct Embed {
    /// Bundle directory, GGUF file or hub id of GGUF files (organisation/name[@revision])
    pub(crate) model: String,
    /// The texts; `-` reads one per line from standard input
    #[arg(required = true)]
    pub(crate) texts: Vec<String>,
    /// Score the texts for this query with the model's classifier, best first
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["pooling", "keep_length"])]
    pub(crate) query: Option<String>,
    /// How the vectors of tokens become one [default: as the model says, else mean]
    #[arg(long, value_enum)]
    pub(crate) pooling: Option<Pooling>,
    /// Leave vectors as long as they are, instead of making their length 1
    #[arg(long)]
    pub(crate) keep_length: bool,
    /// Read the beginning of texts that are too long, instead of refusing them
    #[arg(long)]
    pub(crate) truncate: bool,
    #[command(flatten)]
    pub(crate) wishes: Wishes,
}

/// How the vectors of tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Pooling {
    /// One vector per token
    None,
    /// Their mean
    Mean,
    /// The first token's
    Cls,
    /// The last token's
    Last,
}

/// What to pull; the files of the chosen variants and the manifest.
#[derive(Debug, Args)]
pub(crate) struct Pull {
    /// Address of a manifest or of the folder that holds it, or hub id (organisation/name[@revision])
    pub(crate) source: String,
    /// Bundle directory to create or to update
    #[arg(short, long)]
    pub(crate) output: PathBuf,
    /// Variant to pull; repeatable [default: the only one there is]
    #[arg(long, value_name = "ID")]
    pub(crate) variant: Vec<String>,
    /// Pull every variant
    #[arg(long, conflicts_with = "variant")]
    pub(crate) all: bool,
    /// Refuse a bundle that no key of this folder has signed
    #[arg(long, value_name = "DIR")]
    pub(crate) trust: Option<PathBuf>,
    /// Most bytes for this bundle and the pulled bundles beside it: what was not used longest goes first
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes)]
    pub(crate) storage_cap: Option<u64>,
    #[command(flatten)]
    pub(crate) network: Network,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Bundle {
    /// Fetch variants of a bundle from a web server or a hub
    Pull(Box<Pull>),
    /// Check every file's size and hash, and the signature
    Verify {
        bundle: PathBuf,
        /// Folder of trusted public keys (*.pem, *.pub): the bundle must be signed by one
        #[arg(long, value_name = "DIR")]
        trust: Option<PathBuf>,
    },
    /// Sign the manifest with an ed25519 key
    Sign {
        bundle: PathBuf,
        /// Private key (PEM, PKCS#8)
        #[arg(long, value_name = "FILE", required_unless_present = "generate")]
        key: Option<PathBuf>,
        /// Make a new key pair NAME.key and NAME.pub and sign with it
        #[arg(long, value_name = "NAME", conflicts_with = "key")]
        generate: Option<PathBuf>,
    },
}

/// `4096`, `512MiB`, `4GiB`, `1.5GB` → bytes.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kib" | "k" => 1024.0,
        "mib" | "m" => 1024.0 * 1024.0,
        "gib" | "g" => 1024.0 * 1024.0 * 1024.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        other => return Err(format!("unknown unit `{other}`, expected KiB, MiB, GiB, KB, MB or GB")),
    };
    let number: f64 = number.parse().map_err(|_| format!("expected a number like 512MiB, got `{text}`"))?;
    Ok((number * scale) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn byte_sizes_are_read_with_their_units() {
        assert_eq!(parse_bytes("4096"), Ok(4096));
        assert_eq!(parse_bytes("1.5GiB"), Ok(3 << 29));
        assert_eq!(parse_bytes("2MB"), Ok(2_000_000));
        assert!(parse_bytes("2 parsecs").is_err());
        assert!(parse_bytes("GiB").is_err());
    }
}
