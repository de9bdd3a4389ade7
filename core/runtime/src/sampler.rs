//! Choosing tokens from logits: penalties, then top-k, top-p, min-p, then temperature, as llama.cpp orders them.
//! One sampler serves every engine; the same seed and logits give the same tokens on every machine of one float width.

use crate::{Error, Result};
use engine::Token;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};

/// How tokens are chosen.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest token. Default 0.8.
    pub temperature: f32,
    /// Keep the K likeliest, 0 = all. Default 40.
    pub top_k: u32,
    /// Keep the likeliest that make up this probability, 1 = all. Default 0.95.
    pub top_p: f32,
    /// Drop tokens below this share of the likeliest one's probability, 0 = none. Default 0.05.
    pub min_p: f32,
    /// Divides positive and multiplies negative logits of recent tokens, 1 = off. Default 1.
    pub repeat_penalty: f32,
    /// Subtracted per occurrence among recent tokens. Default 0.
    pub frequency_penalty: f32,
    /// Subtracted once from recent tokens. Default 0.
    pub presence_penalty: f32,
    /// How many tokens count as recent. Default 64.
    pub penalty_window: usize,
    /// Added to the logits of single tokens.
    pub logit_bias: Vec<(Token, f32)>,
    /// Same seed, same answer; `None` takes a fresh one.
    pub seed: Option<u64>,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            penalty_window: 64,
            logit_bias: Vec::new(),
            seed: None,
        }
    }
}

impl Sampling {
    /// The likeliest token every time.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, ..Self::default() }
    }

    /// Refuses numbers that no distribution can be drawn with.
    ///
    /// # Errors
    /// [`Error::Request`] with the field.
    pub fn check(&self) -> Result<()> {
        let in_range = |what, value: f32, low: f32, high: f32, expected: &str| match value {
            value if value >= low && value <= high => Ok(()),
            value => Err(Error::Request { what, expected: expected.into(), got: value.to_string() }),
        };
        in_range("temperature", self.temperature, 0.0, f32::MAX, "a number from 0")?;
        in_range("top_p", self.top_p, 0.0, 1.0, "a share from 0 to 1")?;
        in_range("min_p", self.min_p, 0.0, 1.0, "a share from 0 to 1")?;
        in_range("repeat_penalty", self.repeat_penalty, f32::MIN_POSITIVE, f32::MAX, "a number above 0")?;
        let (low, high) = (f32::MIN, f32::MAX);
        in_range("frequency_penalty", self.frequency_penalty, low, high, "a finite number")?;
        in_range("presence_penalty", self.presence_penalty, low, high, "a finite number")?;
        let odd = self.logit_bias.iter().find(|(_, bias)| bias.is_nan());
        odd.map_or(Ok(()), |(_, bias)| in_range("logit_bias", *bias, low, high, "a number"))
    }
}

/// Chooses token after token.
#[derive(Debug)]
pub struct Sampler {
    settings: Sampling,
    recent: std::collections::VecDeque<Token>,
    state: u64,
    candidates: Vec<(Token, f32)>,
}

impl Sampler {
    /// A sampler at the start of an answer.
    pub fn new(settings: Sampling) -> Self {
        // The standard library seeds its hashers from the system: the one source of chance that needs no I/O of ours.
        let fresh = || std::collections::hash_map::RandomState::new().build_hasher().finish();
        let state = settings.seed.unwrap_or_else(fresh);
        Self { settings, recent: Default::default(), state, candidates: Vec::new() }
    }

    /// Counts tokens as recent without choosing them.
    pub fn remember(&mut self, tokens: &[Token]) {
        for &token in tokens.iter().rev().take(self.settings.penalty_window).rev() {
            self.push_recent(token);
        }
    }

    /// Chooses from `logits`, one per token of the vocabulary.
    pub fn choose(&mut self, logits: &[f32]) -> Token {
        let changed = self.changed_logits(logits);
        let logit = |token: usize| changed.get(&(token as Token)).copied().unwrap_or(logits[token]);
        let token = if self.settings.temperature <= 0.0 && changed.is_empty() {
            argmax(logits.iter().copied())
        } else if self.settings.temperature <= 0.0 {
            argmax((0..logits.len()).map(logit))
        } else {
            self.candidates.clear();
            self.candidates.extend((0..logits.len()).map(|token| (token as Token, logit(token))));
            self.draw()
        };
        self.push_recent(token);
        token
    }

    fn push_recent(&mut self, token: Token) {
        if self.recent.len() >= self.settings.penalty_window.max(1) {
            self.recent.pop_front();
        }
        self.recent.push_back(token);
    }

    /// Logits that bias and penalties change.
    fn changed_logits(&self, logits: &[f32]) -> HashMap<Token, f32> {
        let mut changed = HashMap::new();
        let at = |token: Token| usize::try_from(token).ok().and_then(|token| logits.get(token).copied());
        for &(token, bias) in &self.settings.logit_bias {
            if let Some(logit) = at(token) {
                changed.insert(token, logit + bias);
            }
        }
        let s = &self.settings;
        if s.repeat_penalty == 1.0 && s.frequency_penalty == 0.0 && s.presence_penalty == 0.0 {
            return changed;
        }
        let mut counts: HashMap<Token, u32> = HashMap::new();
        self.recent.iter().for_each(|token| *counts.entry(*token).or_default() += 1);
        for (token, count) in counts {
            let Some(mut logit) = changed.get(&token).copied().or_else(|| at(token)) else { continue };
            logit = if logit > 0.0 { logit / s.repeat_penalty } else { logit * s.repeat_penalty };
            logit -= count as f32 * s.frequency_penalty + s.presence_penalty;
            changed.insert(token, logit);
        }
        changed
    }

    fn draw(&mut self) -> Token {
        let by_logit = |a: &(Token, f32), b: &(Token, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        let candidates = &mut self.candidates;
        let k = match self.settings.top_k as usize {
            0 => candidates.len(),
            k => k.min(candidates.len()),
        };
        if k < candidates.len() {
            candidates.select_nth_unstable_by(k - 1, by_logit);
            candidates.truncate(k);
        }
        candidates.sort_unstable_by(by_logit);
        let top = candidates[0].1;
        let weight = |logit: f32| f64::from(logit - top).exp();
        let total: f64 = candidates.iter().map(|(_, logit)| weight(*logit)).sum();
        let mut sum = 0.0;
        let within = candidates.iter().position(|(_, logit)| {
            sum += weight(*logit) / total;
            sum >= f64::from(self.settings.top_p)
        });
        candidates.truncate(within.map_or(candidates.len(), |last| last + 1));
        let min_p = f64::from(self.settings.min_p);
        let likely = candidates.iter().take_while(|(_, logit)| weight(*logit) >= min_p).count();
        candidates.truncate(likely.max(1));
        let temperature = f64::from(self.settings.temperature);
        let weights: Vec<f64> =
            candidates.iter().map(|(_, logit)| (f64::from(logit - top) / temperature).exp()).collect();
        let mut at = next_unit(&mut self.state) * weights.iter().sum::<f64>();
        for ((token, _), weight) in candidates.iter().zip(&weights) {
            at -= weight;
            if at < 0.0 {
                return *token;
            }
        }
        candidates[candidates.len() - 1].0
    }
}

/// The first of the largest.
fn argmax(logits: impl Iterator<Item = f32>) -> Token {
    let best = logits.enumerate().reduce(|best, other| if other.1 > best.1 { other } else { best });
    best.map_or(0, |(token, _)| token as Token)
}

/// SplitMix64 (Steele, Lea, Flood 2014), its upper 53 bits as a number from 0 to 1.
fn next_unit(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampler(change: impl FnOnce(&mut Sampling)) -> Sampler {
        let mut settings = Sampling { seed: Some(1), ..Sampling::default() };
        change(&mut settings);
        Sampler::new(settings)
    }

    #[test]
    fn greedy_takes_the_first_of_the_likeliest() {
        assert_eq!(Sampler::new(Sampling::greedy()).choose(&[1.0, 3.0, 3.0, f32::NAN]), 1);
    }

    #[test]
    fn numbers_without_a_distribution_are_refused() {
        Sampling::default().check().unwrap();
        let message = |change: &dyn Fn(&mut Sampling)| {
            let mut settings = Sampling::greedy();
            change(&mut settings);
            settings.check().unwrap_err().to_string()
        };
        assert_eq!(message(&|s| s.temperature = -1.0), "temperature: expected a number from 0, got -1");
        assert_eq!(message(&|s| s.top_p = 1.5), "top_p: expected a share from 0 to 1, got 1.5");
        assert_eq!(message(&|s| s.min_p = f32::NAN), "min_p: expected a share from 0 to 1, got NaN");
        assert_eq!(message(&|s| s.repeat_penalty = 0.0), "repeat_penalty: expected a number above 0, got 0");
        assert!(message(&|s| s.presence_penalty = f32::INFINITY).starts_with("presence_penalty"));
        assert!(message(&|s| s.logit_bias = vec![(7, f32::NAN)]).starts_with("logit_bias"));
    }

    #[test]
    fn one_seed_gives_one_answer() {
        let logits: Vec<f32> = (0..100).map(|i| (i % 7) as f32).collect();
        let draw = |seed| {
            let mut sampler = sampler(|s| s.seed = Some(seed));
            (0..50).map(|_| sampler.choose(&logits)).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn frequencies_follow_the_probabilities() {
        let mut sampler = sampler(|s| (s.temperature, s.top_k, s.top_p, s.min_p) = (1.0, 0, 1.0, 0.0));
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.2f32.ln()];
        let mut counts = [0i32; 3];
        (0..30_000).for_each(|_| counts[sampler.choose(&logits) as usize] += 1);
        for (count, expected) in counts.iter().zip([15_000, 9_000, 6_000]) {
            assert!((count - expected).abs() < 450, "{counts:?}");
        }
    }

    #[test]
    fn each_filter_keeps_what_it_should() {
        let logits = [0.5f32.ln(), 0.3f32.ln(), 0.15f32.ln(), 0.05f32.ln()];
        let seen = |change: &dyn Fn(&mut Sampling)| {
            let mut sampler = sampler(|s| {
                (s.temperature, s.top_k, s.top_p, s.min_p) = (1.0, 0, 1.0, 0.0);
                change(s);
            });
            let mut seen: Vec<Token> = (0..2000).map(|_| sampler.choose(&logits)).collect();
            seen.sort();
            seen.dedup();
            seen
        };
        assert_eq!(seen(&|_| {}), [0, 1, 2, 3]);
        assert_eq!(seen(&|s| s.top_k = 2), [0, 1]);
        assert_eq!(seen(&|s| s.top_p = 0.79), [0, 1]);
        assert_eq!(seen(&|s| s.min_p = 0.25), [0, 1, 2]);
        assert_eq!(seen(&|s| s.logit_bias = vec![(0, -50.0)]), [1, 2, 3]);
    }

    #[test]
    fn penalties_push_recent_tokens_down() {
        let mut sampler = sampler(|s| (s.temperature, s.presence_penalty) = (0.0, 2.0));
        assert_eq!([sampler.choose(&[2.0, 1.0]), sampler.choose(&[2.0, 1.0])], [0, 1]);
    }
}
