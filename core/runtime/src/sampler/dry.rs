//! DRY: tokens that would go on repeating an earlier passage become less likely, the longer the repeat the more, as
//! llama.cpp computes it. Owns the breakers' token sequences; must not know candidates.

use crate::Tokenizer;
use crate::sampling::Dry;
use engine::Token;
use std::collections::HashMap;

/// Longest breaker, in bytes, and longest rest of one behind its first token, in tokens.
const MAX_BREAKER_BYTES: usize = 40;
const MAX_TAIL_TOKENS: usize = 20;

/// Token sequences that no repeat reaches across: by first token, what follows it.
#[derive(Debug, Default)]
pub(super) struct Breakers(HashMap<Token, Vec<Vec<Token>>>);

impl Breakers {
    /// Every way in which `texts` can appear among tokens: inside one, or beginning at the end of one.
    pub(super) fn new(texts: &[String], tokenizer: &Tokenizer) -> Self {
        let mut found = Self::default();
        for text in texts.iter().filter(|text| !text.is_empty()) {
            let ends = text.char_indices().map(|(at, character)| at + character.len_utf8());
            let text = &text[..ends.take_while(|end| *end <= MAX_BREAKER_BYTES).last().unwrap_or(0)];
            for token in 0..tokenizer.n_vocab() as Token {
                found.add_overlaps(text, token, tokenizer);
            }
        }
        found
    }

    fn add_overlaps(&mut self, text: &str, token: Token, tokenizer: &Tokenizer) {
        let word = tokenizer.decode(&[token]);
        if word.contains(text) {
            return self.add(token, Vec::new());
        }
        for (at, _) in text.char_indices().skip(1).filter(|(at, _)| word.ends_with(&text[..*at])) {
            let Ok(mut tail) = tokenizer.encode(&text[at..], false) else { continue };
            tail.truncate(MAX_TAIL_TOKENS);
            self.add(token, tail);
        }
    }

    fn add(&mut self, first: Token, tail: Vec<Token>) {
        let tails = self.0.entry(first).or_default();
        if !tails.contains(&tail) {
            tails.push(tail);
        }
    }

    /// Tokens since the last breaker in `backwards`, the newest token first.
    fn tokens_since(&self, backwards: &[Token]) -> Option<usize> {
        backwards.iter().enumerate().find_map(|(index, token)| {
            let follows = |tail: &&Vec<Token>| {
                tail.len() <= index
                    && tail.iter().enumerate().all(|(i, token)| backwards[index - i - 1] == *token)
            };
            let longest = self.0.get(token)?.iter().filter(follows).map(Vec::len).max()?;
            Some(index - longest)
        })
    }

    fn is_single(&self, token: Token) -> bool {
        self.0.get(&token).is_some_and(|tails| tails.iter().any(Vec::is_empty))
    }
}

/// What tokens lose after `recent`, the newest token last.
pub(super) fn penalties(recent: &[Token], settings: &Dry, breakers: &Breakers) -> Vec<(Token, f32)> {
    let backwards: Vec<Token> = recent.iter().rev().take(settings.window).copied().collect();
    let most = breakers.tokens_since(&backwards).unwrap_or(backwards.len());
    if backwards.len() <= settings.allowed_length || most < settings.allowed_length {
        return Vec::new();
    }
    let mut longest: HashMap<Token, usize> = HashMap::new();
    for (distance, repeated) in common_with_beginning(&backwards).into_iter().enumerate().skip(1) {
        let repeated = repeated.min(most);
        if repeated >= settings.allowed_length {
            // What stood behind the earlier passage would make the repeat longer.
            let next = longest.entry(backwards[distance - 1]).or_default();
            *next = repeated.max(*next);
        }
    }
    let most_exponent = if settings.base > 1.000_001 { f32::MAX.ln() / settings.base.ln() } else { f32::MAX };
    let penalty = |repeated: usize| {
        let exponent = ((repeated - settings.allowed_length) as f32).min(most_exponent.floor());
        settings.multiplier * settings.base.powf(exponent)
    };
    let next = longest.into_iter().filter(|(token, _)| !breakers.is_single(*token));
    next.map(|(token, repeated)| (token, penalty(repeated))).collect()
}

/// For every index, how many tokens from there on equal those from the beginning on (the Z function, in linear time).
fn common_with_beginning(tokens: &[Token]) -> Vec<usize> {
    let mut common = vec![0; tokens.len()];
    let (mut from, mut to) = (0, 0);
    for index in 1..tokens.len() {
        let known = if index < to { common[index - from].min(to - index) } else { 0 };
        let more = tokens[index + known..].iter().zip(&tokens[known..]).take_while(|(a, b)| a == b).count();
        common[index] = known + more;
        if index + common[index] > to {
            (from, to) = (index, index + common[index]);
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dry(change: impl FnOnce(&mut Dry)) -> Dry {
        let mut settings = Dry { multiplier: 1.0, base: 1.1, ..Dry::default() };
        change(&mut settings);
        settings
    }

    fn breakers(sequences: &[&[Token]]) -> Breakers {
        let mut breakers = Breakers::default();
        sequences.iter().for_each(|sequence| breakers.add(sequence[0], sequence[1..].to_vec()));
        breakers
    }

    #[test]
    fn only_what_would_lengthen_a_repeat_is_penalised() {
        let none = Breakers::default();
        assert_eq!(penalties(&[0, 1], &dry(|_| {}), &none), []);
        assert_eq!(penalties(&[0, 1, 2, 0, 1], &dry(|_| {}), &none), [(2, 1.0)]);
        assert_eq!(penalties(&[0, 1, 2, 0, 1], &dry(|d| d.multiplier = 2.0), &none), [(2, 2.0)]);
        assert_eq!(penalties(&[0, 1, 2, 3, 4, 0, 1], &dry(|d| d.allowed_length = 4), &none), []);
        assert_eq!(penalties(&[0, 1, 2, 0, 1], &dry(|d| d.window = 4), &none), []);
        // Three tokens repeated, one more than is free.
        assert_eq!(penalties(&[5, 6, 7, 8, 5, 6, 7], &dry(|_| {}), &none), [(8, 1.1)]);
    }

    #[test]
    fn repeats_do_not_reach_across_breakers() {
        let line = breakers(&[&[3]]);
        assert_eq!(penalties(&[0, 1, 3, 4, 0, 1], &dry(|_| {}), &line), []); // 3 itself would be next
        assert_eq!(penalties(&[9, 3, 0, 5, 9, 3, 0], &dry(|_| {}), &line), []); // one token since
        let pair = breakers(&[&[3, 4]]);
        assert_eq!(penalties(&[9, 3, 0, 1, 5, 9, 3, 0, 1], &dry(|_| {}), &pair), [(5, 1.1f32.powi(2))]);
        assert_eq!(penalties(&[9, 3, 4, 0, 1, 5, 9, 3, 4, 0, 1], &dry(|_| {}), &pair), [(5, 1.0)]);
    }

    #[test]
    fn penalties_stay_finite() {
        let recent = vec![1; 4000];
        let found = penalties(&recent, &dry(|d| (d.base, d.window) = (10.0, 4000)), &Breakers::default());
        assert!(found.len() == 1 && found[0].1.is_finite(), "{found:?}");
    }

    proptest::proptest! {
        #[test]
        fn the_fast_comparison_equals_the_plain_one(tokens in proptest::collection::vec(0i32..3, 0..60)) {
            let plain = |from: usize| tokens[from..].iter().zip(&tokens).take_while(|(a, b)| a == b).count();
            let expected: Vec<usize> = (0..tokens.len()).map(|from| if from == 0 { 0 } else { plain(from) }).collect();
            proptest::prop_assert_eq!(common_with_beginning(&tokens), expected);
        }
    }
}
