//! Options of `run` and `chat`.
//! Knows words only; must not do the work.

use super::{Adapters, Guessing, Sampling, Wishes};
use clap::Args;
use std::path::PathBuf;

/// How answers are made; shared by run and chat.
#[derive(Debug, Args)]
pub(crate) struct Answering {
    #[command(flatten)]
    pub(crate) sampling: Sampling,
    #[command(flatten)]
    pub(crate) adapters: Adapters,
    #[command(flatten)]
    pub(crate) guessing: Guessing,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Bundle directory, GGUF file or hub id of GGUF files (organisation/name[@revision])
    pub(crate) model: String,
    /// The prompt; `-` reads it from standard input
    #[arg(short, long)]
    pub(crate) prompt: String,
    #[command(flatten)]
    pub(crate) wishes: Wishes,
    #[command(flatten)]
    pub(crate) answering: Answering,
    /// Picture or sound that the prompt is about, repeatable; stands in front, or where the prompt has <__media__>
    #[arg(long, visible_alias = "audio", value_name = "FILE")]
    pub(crate) image: Vec<PathBuf>,
    /// Apply the chat template to the prompt
    #[arg(long)]
    pub(crate) chat_template: bool,
    /// Print load time, time to first token and tokens per second
    #[arg(long)]
    pub(crate) benchmark: bool,
    /// Force a CPU kernel variant (see `hardware`)
    #[arg(long, value_name = "NAME")]
    pub(crate) cpu_variant: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Chat {
    /// Bundle directory, GGUF file or hub id of GGUF files (organisation/name[@revision])
    pub(crate) model: String,
    /// System message
    #[arg(long)]
    pub(crate) system: Option<String>,
    #[command(flatten)]
    pub(crate) wishes: Wishes,
    #[command(flatten)]
    pub(crate) answering: Answering,
    /// Read pictures and sound: `/image FILE` puts one into the next message
    #[arg(long)]
    pub(crate) images: bool,
}
