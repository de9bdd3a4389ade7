//! Options of guessed tokens. Knows words only; must not load anything.

use clap::Args;

/// Tokens that are guessed and checked together: the same answer, sooner where guesses are right.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Guessing")]
pub(crate) struct Guessing {
    /// Guess tokens that stood there before, or that the model's own prediction layers expect, and compute them together, as
    /// long as that is faster
    #[arg(long)]
    pub(crate) speculate: bool,
    /// A small model of the same vocabulary that guesses where nothing stood there before: GGUF file, bundle (its first
    /// variant) or hub id; implies --speculate
    #[arg(long, value_name = "MODEL")]
    pub(crate) draft: Option<String>,
}
