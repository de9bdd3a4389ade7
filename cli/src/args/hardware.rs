//! What `hardware` takes. Owns names and help; must not know what they do.

use super::Network;
use clap::Args;
use std::path::PathBuf;

/// `hardware`.
#[derive(Debug, Args)]
pub(crate) struct Hardware {
    /// Describe the machine below this folder, or the one that this file replays, instead of this one
    #[arg(long, value_name = "DIR|FILE", conflicts_with = "profiles")]
    pub(crate) root: Option<PathBuf>,
    /// Keep what was read in a file that replays this machine with `--root`
    #[arg(long, value_name = "FILE", conflicts_with = "profiles")]
    pub(crate) record: Option<PathBuf>,
    /// List the chips that are known
    #[arg(long)]
    pub(crate) profiles: bool,
    /// Describe a machine like this: PROFILE[:GB], e.g. raspberry-pi-5:8
    #[arg(long = "for", value_name = "PROFILE", conflicts_with_all = ["profiles", "root", "record"])]
    pub(crate) profile: Option<String>,
    /// Write settings for the machine: backend, gpu_layers, prompt_batch, decode_batch, threads, context
    #[arg(long, value_name = "FILE", conflicts_with = "profiles")]
    pub(crate) emit_config: Option<PathBuf>,
    /// Reject the settings of this file where they exceed the machine, warn of throttling, suggest others
    #[arg(long, value_name = "FILE", conflicts_with_all = ["profiles", "emit_config"])]
    pub(crate) check_config: Option<PathBuf>,
    /// The model that settings are for: bundle, GGUF file, config.json or hub id
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// Of a config.json: precisions to choose from
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "model")]
    pub(crate) precision: Vec<String>,
    #[command(flatten)]
    pub(crate) network: Network,
}
