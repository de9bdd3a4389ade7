//! What the commands that measure models take. Owns names and help; must not know what they do.

use super::Network;
use clap::Args;
use std::path::PathBuf;

/// Texts to read; shared by the commands that read them.
#[derive(Debug, Clone, Args)]
pub(crate) struct Texts {
    /// Text to read, with a name of its own or the file's: [NAME=]FILE; repeatable
    #[arg(long, value_name = "[NAME=]FILE")]
    pub(crate) text: Vec<String>,
    /// Tokens of a window, e.g. 512 or 8k
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', default_value = "512", value_parser = parse_tokens)]
    pub(crate) contexts: Vec<usize>,
    /// Take control tokens that texts spell out, such as <|im_start|>, for those tokens
    #[arg(long)]
    pub(crate) parse_special: bool,
    /// Read at most so many windows of each text
    #[arg(long, value_name = "N")]
    pub(crate) chunks: Option<usize>,
}

/// How to compute; shared by the commands that measure.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Computing")]
pub(crate) struct Computing {
    /// Threads; figures are the same to the digit with the same number [default: the plan's]
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<u32>,
    /// Layers to put on a GPU [default: the plan's]
    #[arg(long, value_name = "N")]
    pub(crate) gpu_layers: Option<u32>,
    #[command(flatten)]
    pub(crate) network: Network,
}

/// `validate`.
#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// The model that the others are held against: GGUF file (F16, BF16, Q8_0), checkpoint directory, or a variant of the
    /// bundle [default: the bundle's variant with the most bits]
    #[arg(long, value_name = "MODEL|ID")]
    pub(crate) original: Option<String>,
    /// Bundle or GGUF file to judge
    #[arg(long, value_name = "BUNDLE|GGUF")]
    pub(crate) quantized: String,
    /// Judge these variants of the bundle only; repeatable [default: all but the original]
    #[arg(long, value_name = "ID")]
    pub(crate) variant: Vec<String>,
    #[command(flatten)]
    pub(crate) texts: Texts,
    /// Keep the original's logits in this file; where it is there already, with the same texts, they are not computed again
    #[arg(long, value_name = "FILE")]
    pub(crate) reference: Option<PathBuf>,
    /// Hold the original against itself too: what the method shows where there is nothing to show
    #[arg(long)]
    pub(crate) floor: bool,
    /// Compare what recurrent layers hold too, after each quarter of the first two windows of each text
    #[arg(long)]
    pub(crate) drift: bool,
    /// Search too for sentences hidden at several depths of texts of so many tokens [default length: 2k]
    #[arg(long, value_name = "TOKENS", value_delimiter = ',', num_args = 0..=1, require_equals = true, default_missing_value = "2k", value_parser = parse_tokens)]
    pub(crate) needle: Vec<usize>,
    /// Hide them in this text [default: sentences that come with the product]
    #[arg(long, value_name = "FILE", requires = "needle")]
    pub(crate) haystack: Option<PathBuf>,
    /// Sentences searched for at each depth of each length
    #[arg(long, value_name = "N", default_value_t = 10, requires = "needle")]
    pub(crate) needle_trials: usize,
    /// Search in texts longer than the original was trained for too
    #[arg(long, requires = "needle")]
    pub(crate) beyond_trained: bool,
    /// Print the figures, leave the bundle's manifest as it is
    #[arg(long)]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) computing: Computing,
}

/// Questions to ask; shared by the commands that ask them.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Tasks")]
pub(crate) struct Suite {
    /// Questions: JSON lines or an MMLU table, or a folder of them as one task; repeatable
    #[arg(long = "suite", value_name = "[NAME=]FILE|DIR")]
    pub(crate) files: Vec<String>,
    /// How many of each task: 10, 50, 120, any other number, or full
    #[arg(long, value_name = "N|full", default_value = "50", value_parser = parse_questions)]
    pub(crate) questions: Questions,
    /// Seed of the choice of questions
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// Run programs that the model writes, where a task asks for such: without network, under limits (Linux)
    #[arg(long)]
    pub(crate) allow_code: bool,
    /// Run the solutions that files of code state instead of asking the model: tells whether their tests pass here
    #[arg(long, requires = "allow_code")]
    pub(crate) solutions: bool,
    /// Measure the speed of writing too
    #[arg(long)]
    pub(crate) benchmark: bool,
}

/// How many questions of each task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Questions {
    Some(usize),
    All,
}

/// `evaluate`.
#[derive(Debug, Args)]
pub(crate) struct Evaluate {
    /// Bundle or GGUF file
    pub(crate) model: String,
    /// Ask these variants of the bundle only; repeatable [default: all]
    #[arg(long, value_name = "ID")]
    pub(crate) variant: Vec<String>,
    /// Context in tokens
    #[arg(long, value_name = "TOKENS", default_value = "2k", value_parser = parse_tokens)]
    pub(crate) context: usize,
    #[command(flatten)]
    pub(crate) suite: Suite,
    #[command(flatten)]
    pub(crate) computing: Computing,
}

/// `compare`.
#[derive(Debug, Args)]
pub(crate) struct Compare {
    #[command(flatten)]
    pub(crate) validate: Validate,
    /// What to measure: kld, perplexity (one reading gives both), tasks (all of --suite) or those of these names, e.g.
    /// mmlu,humaneval
    #[arg(long, value_delimiter = ',', default_value = "kld,perplexity,tasks")]
    pub(crate) metrics: Vec<String>,
    #[command(flatten)]
    pub(crate) suite: Suite,
}

fn parse_questions(text: &str) -> Result<Questions, String> {
    match text.parse() {
        Ok(n) if n > 0 => Ok(Questions::Some(n)),
        _ if text == "full" => Ok(Questions::All),
        _ => Err(format!("expected a number of questions or full, got `{text}`")),
    }
}

/// `512`, `2k`, `32K` → tokens; k is 1024.
fn parse_tokens(text: &str) -> Result<usize, String> {
    let (number, scale) = match text.strip_suffix(['k', 'K']) {
        Some(number) => (number, 1024),
        None => (text, 1),
    };
    let tokens = number.parse::<usize>().ok().and_then(|number| number.checked_mul(scale));
    tokens
        .filter(|tokens| *tokens >= 4)
        .ok_or_else(|| format!("expected at least 4 tokens, e.g. 512 or 8k, got `{text}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_read_with_their_k() {
        assert_eq!(["512", "8k", "32K"].map(parse_tokens), [Ok(512), Ok(8192), Ok(32768)]);
        assert_eq!(["10", "full"].map(parse_questions), [Ok(Questions::Some(10)), Ok(Questions::All)]);
        assert!(parse_questions("0").is_err() && parse_questions("many").is_err());
        assert!(["", "k", "3", "-5", "2M"].iter().all(|text| parse_tokens(text).is_err()));
    }
}
