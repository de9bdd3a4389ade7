//! How tokens are to be chosen: settings, their defaults (llama.cpp's) and the ranges they must lie in.
//! Owns the order of the steps as data; must not touch logits.

use crate::{Error, Result};
use engine::Token;

/// How tokens are chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest token. Default 0.8.
    pub temperature: f32,
    /// Lets the temperature move this much up where the model is unsure and down where it is sure, 0 = off. Default 0.
    pub temperature_range: f32,
    /// How unsureness (entropy as a share of the possible) becomes temperature: its power. Default 1.
    pub temperature_exponent: f32,
    /// Keep the K likeliest, 0 = all. Default 40.
    pub top_k: u32,
    /// Keep the likeliest that make up this probability, 1 = all. Default 0.95.
    pub top_p: f32,
    /// Drop tokens below this share of the likeliest one's probability, 0 = none. Default 0.05.
    pub min_p: f32,
    /// Keep the tokens nearest to the expected surprise that make up this probability, 1 = all. Default 1.
    pub typical_p: f32,
    /// Drop tokens whose logits lie more than this many standard deviations below the highest, 0 = none. Default 0.
    pub top_n_sigma: f32,
    /// How often the likeliest tokens are left out (XTC), 0 = never. Default 0.
    pub xtc_probability: f32,
    /// Of the tokens at least this likely, only the least likely stays then; above 0.5: off. Default 0.1.
    pub xtc_threshold: f32,
    /// Tokens that filters by probability keep at least. Default 0, and one always stays.
    pub min_keep: u32,
    /// Divides positive and multiplies negative logits of recent tokens, 1 = off. Default 1.
    pub repeat_penalty: f32,
    /// Subtracted per occurrence among recent tokens. Default 0.
    pub frequency_penalty: f32,
    /// Subtracted once from recent tokens. Default 0.
    pub presence_penalty: f32,
    /// How many tokens count as recent, those of the prompt among them; 0 turns the penalties off. Default 64.
    pub penalty_window: usize,
    /// Against going on as an earlier passage did (DRY).
    pub dry: Dry,
    /// Steers towards a surprise instead of filtering: only penalties and temperature apply beside it.
    pub mirostat: Option<Mirostat>,
    /// Added to the logits of single tokens, before every step.
    pub logit_bias: Vec<(Token, f32)>,
    /// The steps in the order they are taken; what is missing is not done.
    pub order: Vec<Step>,
    /// Same seed, same answer; `None` takes a fresh one.
    pub seed: Option<u64>,
}

/// Settings of [`Step::Dry`]: a token that would make a repeat longer loses
/// `multiplier · base ^ (repeated tokens - allowed_length)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Dry {
    /// 0 turns it off. Default 0.
    pub multiplier: f32,
    /// Default 1.75.
    pub base: f32,
    /// Repeats of fewer tokens are free. Default 2.
    pub allowed_length: usize,
    /// How many tokens back repeats are looked for, 0 = off. Default 64.
    pub window: usize,
    /// Texts that no repeat reaches across. Default end of line, colon, quotation mark, asterisk.
    pub breakers: Vec<String>,
}

/// Settings of mirostat (Basu et al. 2020, arXiv:2007.14966).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Mirostat {
    /// Which algorithm.
    pub version: MirostatVersion,
    /// The surprise to keep, in bits per token; llama.cpp's default is 5.
    pub target_bits: f32,
    /// How fast it is steered to; llama.cpp's default is 0.1.
    pub learning_rate: f32,
}

/// The two algorithms of mirostat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MirostatVersion {
    /// Estimates the distribution's slope and keeps K tokens.
    One,
    /// Keeps tokens below a surprise.
    Two,
}

/// A step between logits and the draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// `repeat_penalty`, `frequency_penalty`, `presence_penalty`.
    Penalties,
    /// [`Sampling::dry`].
    Dry,
    /// `top_n_sigma`.
    TopNSigma,
    /// `top_k`.
    TopK,
    /// `typical_p`.
    TypicalP,
    /// `top_p`.
    TopP,
    /// `min_p`.
    MinP,
    /// `xtc_probability`, `xtc_threshold`.
    Xtc,
    /// `temperature`, `temperature_range`, `temperature_exponent`.
    Temperature,
}

impl Step {
    /// Every step, in llama.cpp's order.
    pub const ALL: [Self; 9] = [
        Self::Penalties,
        Self::Dry,
        Self::TopNSigma,
        Self::TopK,
        Self::TypicalP,
        Self::TopP,
        Self::MinP,
        Self::Xtc,
        Self::Temperature,
    ];

    /// Its name in settings, e.g. `top_k`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Penalties => "penalties",
            Self::Dry => "dry",
            Self::TopNSigma => "top_n_sigma",
            Self::TopK => "top_k",
            Self::TypicalP => "typical_p",
            Self::TopP => "top_p",
            Self::MinP => "min_p",
            Self::Xtc => "xtc",
            Self::Temperature => "temperature",
        }
    }

    /// The step of that name.
    ///
    /// # Errors
    /// [`Error::Request`] with the names there are.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name).ok_or_else(|| Error::Request {
            what: "sampling step",
            expected: Self::ALL.map(Self::name).join(", "),
            got: name.into(),
        })
    }

    /// Whether it takes tokens out by their probability.
    pub(crate) fn filters(self) -> bool {
        !matches!(self, Self::Penalties | Self::Dry | Self::Temperature)
    }
}

impl Default for Dry {
    fn default() -> Self {
        let breakers = ["\n", ":", "\"", "*"].map(String::from).to_vec();
        Self { multiplier: 0.0, base: 1.75, allowed_length: 2, window: 64, breakers }
    }
}

impl Dry {
    pub(crate) fn is_on(&self) -> bool {
        self.multiplier != 0.0 && self.base >= 1.0 && self.window > 0
    }
}

impl Default for Mirostat {
    fn default() -> Self {
        Self { version: MirostatVersion::Two, target_bits: 5.0, learning_rate: 0.1 }
    }
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            temperature_range: 0.0,
            temperature_exponent: 1.0,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            typical_p: 1.0,
            top_n_sigma: 0.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            min_keep: 0,
            repeat_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            penalty_window: 64,
            dry: Dry::default(),
            mirostat: None,
            logit_bias: Vec::new(),
            order: Step::ALL.to_vec(),
            seed: None,
        }
    }
}

impl Sampling {
    /// The likeliest token every time.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Whether the same prompt may be answered otherwise the next time.
    pub(crate) fn is_random(&self) -> bool {
        self.temperature > 0.0 && self.seed.is_none()
    }

    /// Every number in its range.
    ///
    /// # Errors
    /// [`Error::Request`] with the first that is not.
    pub fn check(&self) -> Result<()> {
        let any = f32::MIN..=f32::MAX;
        let from_zero = 0.0..=f32::MAX;
        let share = 0.0..=1.0;
        let mirostat = self.mirostat.unwrap_or_default();
        let numbers = [
            ("temperature", self.temperature, &from_zero),
            ("temperature_range", self.temperature_range, &from_zero),
            ("temperature_exponent", self.temperature_exponent, &from_zero),
            ("top_p", self.top_p, &share),
            ("min_p", self.min_p, &share),
            ("typical_p", self.typical_p, &share),
            ("top_n_sigma", self.top_n_sigma, &from_zero),
            ("xtc_probability", self.xtc_probability, &share),
            ("xtc_threshold", self.xtc_threshold, &share),
            ("repeat_penalty", self.repeat_penalty, &(f32::MIN_POSITIVE..=f32::MAX)),
            ("frequency_penalty", self.frequency_penalty, &any),
            ("presence_penalty", self.presence_penalty, &any),
            ("dry.multiplier", self.dry.multiplier, &from_zero),
            ("dry.base", self.dry.base, &from_zero),
            ("mirostat.target_bits", mirostat.target_bits, &from_zero),
            ("mirostat.learning_rate", mirostat.learning_rate, &from_zero),
        ];
        for (what, number, range) in numbers {
            if !range.contains(&number) {
                let expected = match (*range.start(), *range.end()) {
                    (f32::MIN, _) => "a finite number".to_owned(),
                    (0.0, f32::MAX) => "a finite number from 0 on".to_owned(),
                    (_, f32::MAX) => "a finite number above 0".to_owned(),
                    (least, most) => format!("{least} to {most}"),
                };
                return Err(Error::Request { what, expected, got: number.to_string() });
            }
        }
        if let Some((token, bias)) = self.logit_bias.iter().find(|(_, bias)| bias.is_nan()) {
            let got = format!("{bias} for token {token}");
            return Err(Error::Request { what: "logit_bias", expected: "numbers".into(), got });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_names() {
        assert!(
            Step::ALL.into_iter().all(|step| Step::from_name(step.name()).is_ok_and(|named| named == step))
        );
        let error = Step::from_name("top_q").expect_err("no step").to_string();
        assert!(
            error.starts_with("sampling step: expected penalties, dry, ") && error.ends_with("got top_q"),
            "{error}"
        );
    }

    #[test]
    fn numbers_out_of_range_are_refused_with_their_name() {
        let refused = |change: fn(&mut Sampling)| {
            let mut settings = Sampling::default();
            change(&mut settings);
            settings.check().expect_err("out of range").to_string()
        };
        Sampling::default().check().expect("the defaults are in range");
        assert_eq!(
            refused(|s| s.temperature = -1.0),
            "temperature: expected a finite number from 0 on, got -1"
        );
        assert_eq!(refused(|s| s.top_p = 1.5), "top_p: expected 0 to 1, got 1.5");
        assert_eq!(refused(|s| s.min_p = f32::NAN), "min_p: expected 0 to 1, got NaN");
        assert_eq!(
            refused(|s| s.repeat_penalty = 0.0),
            "repeat_penalty: expected a finite number above 0, got 0"
        );
        assert_eq!(
            refused(|s| s.logit_bias = vec![(7, f32::NAN)]),
            "logit_bias: expected numbers, got NaN for token 7"
        );
    }
}
