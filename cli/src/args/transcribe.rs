//! `transcribe`: what is said in a recording.

use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(crate) struct Transcribe {
    /// Directory that `export` wrote for a Whisper model
    pub(crate) model: PathBuf,
    /// The recording: a WAV file of any rate
    pub(crate) audio: PathBuf,
    /// Code of the language that is spoken, e.g. en [default: detected]
    #[arg(long, value_name = "CODE")]
    pub(crate) language: Option<String>,
    /// Translate to English
    #[arg(long)]
    pub(crate) translate: bool,
    /// Print a line for each segment, with its times
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// What stands behind the graphs' names, e.g. _fp16
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub(crate) graphs: String,
    /// Another graph of the encoder, e.g. one that `quantize speech` made
    #[arg(long, value_name = "FILE")]
    pub(crate) encoder: Option<PathBuf>,
    /// Another graph of the decoder
    #[arg(long, value_name = "FILE")]
    pub(crate) decoder: Option<PathBuf>,
    /// Most tokens of a window of sound [default: what the model says]
    #[arg(long, value_name = "TOKENS")]
    pub(crate) max_tokens: Option<usize>,
    /// Threads [default: 2]
    #[arg(long, default_value_t = 2, hide_default_value = true)]
    pub(crate) threads: usize,
    /// ONNX Runtime's library, or a folder that has it [default: beside the command, then the system's library folders]
    #[arg(long, value_name = "PATH", env = "LLAMA_PAJAMAS_ONNXRUNTIME")]
    pub(crate) onnx_library: Option<PathBuf>,
}
