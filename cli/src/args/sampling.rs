//! Arguments that say how tokens are chosen. Knows words only; must not sample.

use clap::Args;
use llama_pajamas::Step;

/// How tokens are chosen; shared by run and chat.
#[derive(Debug, Clone, Args)]
pub(crate) struct Sampling {
    /// Stop after this many tokens
    #[arg(long, short = 'n', value_name = "N", default_value_t = 512)]
    pub(crate) max_tokens: u32,
    /// 0 takes the likeliest token every time
    #[arg(long, default_value_t = 0.8)]
    pub(crate) temperature: f32,
    /// Keep the K likeliest tokens, 0 = all
    #[arg(long, default_value_t = 40)]
    pub(crate) top_k: u32,
    /// Keep the likeliest tokens that make up this probability
    #[arg(long, default_value_t = 0.95)]
    pub(crate) top_p: f32,
    /// Drop tokens below this share of the likeliest one's probability
    #[arg(long, default_value_t = 0.05)]
    pub(crate) min_p: f32,
    /// Keep the tokens nearest to the expected surprise that make up this probability, 1 = all
    #[arg(long, default_value_t = 1.0, hide_short_help = true)]
    pub(crate) typical_p: f32,
    /// Drop logits more than this many standard deviations below the highest, 0 = none
    #[arg(long, default_value_t = 0.0, hide_short_help = true)]
    pub(crate) top_n_sigma: f32,
    /// How often the likeliest tokens are left out, 0 = never
    #[arg(long, default_value_t = 0.0, hide_short_help = true)]
    pub(crate) xtc_probability: f32,
    /// Of the tokens at least this likely, only the least likely stays then
    #[arg(long, default_value_t = 0.1, hide_short_help = true)]
    pub(crate) xtc_threshold: f32,
    /// Let the temperature move this much with the model's unsureness, 0 = off
    #[arg(long, default_value_t = 0.0, hide_short_help = true)]
    pub(crate) temperature_range: f32,
    /// Divide the logits of recent tokens by this, 1 = off
    #[arg(long, default_value_t = 1.0)]
    pub(crate) repeat_penalty: f32,
    /// Subtract this from the logits of recent tokens for each time they occur
    #[arg(long, default_value_t = 0.0, hide_short_help = true, allow_negative_numbers = true)]
    pub(crate) frequency_penalty: f32,
    /// Subtract this from the logits of recent tokens
    #[arg(long, default_value_t = 0.0, hide_short_help = true, allow_negative_numbers = true)]
    pub(crate) presence_penalty: f32,
    /// How many tokens count as recent
    #[arg(long, value_name = "TOKENS", default_value_t = 64, hide_short_help = true)]
    pub(crate) penalty_window: usize,
    /// Push down tokens that would go on repeating an earlier passage (DRY), 0 = off
    #[arg(long, default_value_t = 0.0, hide_short_help = true)]
    pub(crate) dry_multiplier: f32,
    /// Steer towards a surprise of this many bits per token instead of filtering (mirostat 2)
    #[arg(long, value_name = "BITS", hide_short_help = true)]
    pub(crate) mirostat: Option<f32>,
    /// The steps of sampling and their order [default: all that are switched on, as llama.cpp orders them]
    #[arg(long, value_name = "STEPS", value_delimiter = ',', value_parser = parse_step, hide_short_help = true)]
    pub(crate) sampling_steps: Option<Vec<Step>>,
    /// Same seed, same answer [default: a fresh one each time]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Stop before this text; repeatable
    #[arg(long, value_name = "TEXT")]
    pub(crate) stop: Vec<String>,
}

fn parse_step(name: &str) -> Result<Step, String> {
    Step::from_name(name).map_err(|error| error.to_string())
}
