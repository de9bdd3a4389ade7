//! What `hardware` takes. Owns names and help; must not know what they do.

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
}
