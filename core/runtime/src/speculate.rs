//! Guesses of the next tokens by what stood there before: where the last tokens occurred earlier, what followed them then
//! is likely to follow again, and is computed together with the next token.
//!
//! Owns when to guess and how much, by what it brought; each guess is checked, so answers never depend on it. After Saxena
//! 2023 (prompt lookup decoding). Must not know who computes.

use ahash::AHashMap;
use engine::Token;
use std::time::Duration;

/// Most tokens of a guess.
pub(crate) const MAX_GUESS: usize = 15;
/// Lengths that are chosen between.
const LENGTHS: [usize; 4] = [2, 4, 8, MAX_GUESS];
/// Tokens that must have occurred before.
const LEAST_MATCH: usize = 3;
/// Matches of so many are surer than shorter ones, and surest.
const SURE_MATCHES: [usize; 2] = [5, 12];
/// Most tokens of a match that are compared, and most places that are.
const LONGEST_MATCH: usize = 32;
const MOST_PLACES: usize = 32;
/// Tokens back that are searched.
const WINDOW: usize = 16 << 10;
/// How often a guessed token is right, before anything is known, behind short, sure and surest matches.
const FIRST_RIGHT: [f64; 3] = [0.5, 0.85, 0.95];
/// What a token of a guess is taken to cost before it was measured, in single tokens.
const FIRST_COST: f64 = 0.3;
/// So much faster than one by one a guess must promise to be.
const LEAST_GAIN: f64 = 1.15;
/// After a guess that lost no other is made for so many tokens, doubled each time in a row.
const FIRST_REST: u32 = 8;
const LONGEST_REST: u32 = 256;
/// How much of the newest measurement goes into an average.
const SHARE: f64 = 0.2;
/// The same of how often guesses are right.
const SHARE_RIGHT: f64 = 0.05;
/// What is known fades so much whenever it kept a guess from being made: things may have changed.
const FADE: f64 = 0.002;

/// Guesses for one answer.
#[derive(Debug)]
pub(crate) struct Guesser {
    is_on: bool,
    rest: u32,
    next_rest: u32,
    index: Index,
    /// How sure the match of the last guess was.
    sureness: usize,
    /// How often a guessed token is right, by how sure the match is.
    right: [f64; FIRST_RIGHT.len()],
    /// Seconds that a single token takes, and a token with a guess of each length, on average.
    single_s: Option<f64>,
    guess_s: [Option<f64>; LENGTHS.len()],
    /// Seconds that the single token behind a guess takes more: an engine prepares anew for another count of tokens.
    after_s: f64,
    is_after: bool,
}

impl Guesser {
    pub(crate) fn new(is_on: bool) -> Self {
        Self {
            is_on,
            rest: 0,
            next_rest: FIRST_REST,
            index: Index::default(),
            sureness: 0,
            right: FIRST_RIGHT,
            single_s: None,
            guess_s: [None; LENGTHS.len()],
            after_s: 0.0,
            is_after: false,
        }
    }

    /// Nothing is guessed any more.
    pub(crate) fn turn_off(&mut self) {
        self.is_on = false;
    }

    /// What may follow `tokens` and the token `next`, at most `room` of them; often nothing.
    pub(crate) fn guess(&mut self, tokens: &[Token], next: Token, room: usize) -> Vec<Token> {
        // Without the time of a single token nothing can be compared.
        let Some(single_s) = self.single_s.filter(|_| self.is_on && room > 0) else { return Vec::new() };
        if self.rest > 0 {
            self.rest -= 1;
            return Vec::new();
        }
        let Some((from, matched)) = self.index.look_up(tokens, next) else { return Vec::new() };
        self.sureness = SURE_MATCHES.iter().filter(|least| matched >= **least).count();
        let Some(length) = self.best_length(single_s) else {
            self.right[self.sureness] += FADE * (FIRST_RIGHT[self.sureness] - self.right[self.sureness]);
            self.guess_s.iter_mut().flatten().for_each(|seconds| *seconds *= 1.0 - FADE);
            return Vec::new();
        };
        follow(tokens, next, from, length.min(room))
    }

    /// The length that promises most, where one promises more than single tokens.
    fn best_length(&self, single_s: f64) -> Option<usize> {
        let right = self.right[self.sureness];
        let speed = |at: usize| {
            let length = LENGTHS[at];
            let expected: f64 = (0..=length).map(|n| right.powi(i32::try_from(n).unwrap_or(i32::MAX))).sum();
            let cost =
                self.guess_s[at].unwrap_or_else(|| single_s + self.token_s(at, single_s) * length as f64);
            (expected * single_s / (cost + self.after_s), length)
        };
        let best = (0..LENGTHS.len()).map(speed).max_by(|a, b| a.0.total_cmp(&b.0));
        best.filter(|(gain, _)| *gain >= LEAST_GAIN).map(|(_, length)| length)
    }

    /// What a token more in a guess of another length than `at` took, of the nearest that was measured.
    fn token_s(&self, at: usize, single_s: f64) -> f64 {
        let of = |(other, seconds): (usize, &Option<f64>)| {
            Some((other.abs_diff(at), ((*seconds)? - single_s).max(0.0) / LENGTHS[other] as f64))
        };
        let measured = self.guess_s.iter().enumerate().filter_map(of);
        measured.min_by_key(|(far, _)| *far).map_or(single_s * FIRST_COST, |(_, token_s)| token_s)
    }

    /// A single token took so long.
    pub(crate) fn took_single(&mut self, time: Duration) {
        let seconds = time.as_secs_f64();
        match self.single_s {
            Some(single_s) if self.is_after => {
                let more = (seconds - single_s).clamp(0.0, single_s);
                self.after_s += SHARE * (more - self.after_s);
            }
            _ => average(&mut self.single_s, seconds),
        }
        self.is_after = false;
    }

    /// A guess of `guessed` tokens took so long with the token before it; `right` of them were right.
    pub(crate) fn took_guess(&mut self, guessed: usize, right: usize, time: Duration) {
        let at = LENGTHS.iter().position(|length| guessed <= *length).unwrap_or(LENGTHS.len() - 1);
        average(&mut self.guess_s[at], time.as_secs_f64());
        self.is_after = true;
        let share = &mut self.right[self.sureness];
        for _ in 0..right {
            *share += SHARE_RIGHT * (1.0 - *share);
        }
        if right < guessed {
            *share -= SHARE_RIGHT * *share;
        }
        let loses = self.single_s.is_some_and(|single| time.as_secs_f64() > single * (right + 1) as f64);
        if loses && right == 0 {
            self.rest = self.next_rest;
            self.next_rest = (self.next_rest * 2).min(LONGEST_REST);
        } else if !loses {
            self.next_rest = FIRST_REST;
        }
    }
}

fn average(value: &mut Option<f64>, new: f64) {
    *value = Some(value.map_or(new, |old| old + SHARE * (new - old)));
}

/// Where every few tokens in a row occurred.
#[derive(Debug, Default)]
struct Index {
    /// What lies behind their last occurrence, by themselves; two that fall together are told apart where they are looked up.
    behind: AHashMap<u64, usize>,
    /// The same of the occurrence before, by what lies behind each; 0 where there is none.
    earlier: Vec<usize>,
    /// Tokens that were entered.
    n_tokens: usize,
}

impl Index {
    /// What lies behind the longest match of the last tokens of `tokens` and `next`, the latest of equal ones, and its length.
    fn look_up(&mut self, tokens: &[Token], next: Token) -> Option<(usize, usize)> {
        // Some tokens were dropped: those that stayed are elsewhere.
        if self.n_tokens > tokens.len() {
            *self = Self::default();
        }
        self.n_tokens = self.n_tokens.max(tokens.len().saturating_sub(WINDOW));
        self.earlier.resize(tokens.len() + 1, 0);
        for end in (self.n_tokens + 1).max(LEAST_MATCH)..=tokens.len() {
            let before = self.behind.insert(key(&tokens[end - LEAST_MATCH..end]), end);
            self.earlier[end] = before.unwrap_or(0);
        }
        self.n_tokens = tokens.len();
        let before = tokens.len().checked_sub(LEAST_MATCH - 1)?;
        let mut last = [next; LEAST_MATCH];
        last[..LEAST_MATCH - 1].copy_from_slice(&tokens[before..]);
        let mut behind = self.behind.get(&key(&last)).copied().unwrap_or(0);
        let mut best = None;
        for _ in 0..MOST_PLACES {
            if behind == 0 {
                break;
            }
            let matched = matched(tokens, next, behind);
            if matched >= LEAST_MATCH && best.is_none_or(|(_, longest)| matched > longest) {
                best = Some((behind, matched));
            }
            behind = self.earlier[behind];
        }
        best
    }
}

/// How many of the last tokens stand in front of `behind` as well.
fn matched(tokens: &[Token], next: Token, behind: usize) -> usize {
    if tokens[behind - 1] != next {
        return 0;
    }
    let (earlier, now) = (tokens[..behind - 1].iter().rev(), tokens.iter().rev());
    1 + earlier.zip(now).take(LONGEST_MATCH).take_while(|(a, b)| a == b).count()
}

/// Some tokens in a row as one number.
fn key(tokens: &[Token]) -> u64 {
    tokens
        .iter()
        .fold(0, |key: u64, token| key.wrapping_mul(0x10_0000_01b3) ^ u64::from(token.unsigned_abs()))
}

/// What followed from `from` on; where that is up to the end, it goes on from its beginning.
fn follow(tokens: &[Token], next: Token, from: usize, most: usize) -> Vec<Token> {
    let mut follows: Vec<Token> = Vec::with_capacity(most);
    for at in from..from + most {
        let token = match at.checked_sub(tokens.len()) {
            None => tokens[at],
            Some(0) => next,
            Some(behind) => follows[behind - 1],
        };
        // Pictures are not written.
        if token < 0 {
            break;
        }
        follows.push(token);
    }
    follows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_up(window: &[Token], most: usize) -> Vec<Token> {
        let (next, tokens) = window.split_last().expect("a token");
        let found = Index::default().look_up(tokens, *next);
        found.map_or_else(Vec::new, |(from, _)| follow(tokens, *next, from, most))
    }

    #[test]
    fn what_followed_last_time_is_guessed() {
        assert_eq!(look_up(&[1, 2, 3, 4, 5, 9, 1, 2, 3], 2), [4, 5]);
        // The latest place counts, and the longest match before it.
        assert_eq!(look_up(&[1, 2, 3, 7, 1, 2, 3, 8, 1, 2, 3], 1), [8]);
        assert_eq!(look_up(&[0, 1, 2, 3, 7, 9, 1, 2, 3, 8, 0, 1, 2, 3], 1), [7]);
        // What overlaps its own end goes on in circles.
        assert_eq!(look_up(&[5, 5, 5, 5], 3), [5, 5, 5]);
        assert_eq!(look_up(&[9, 1, 2, 3, 1, 2, 3], 7), [1, 2, 3, 1, 2, 3, 1]);
        assert_eq!(look_up(&[1, 2, 3, 4, -7, -7, 1, 2, 3], 5), [4]);
        assert_eq!(look_up(&[1, 2], 3), [0; 0]);
        assert_eq!(look_up(&[1, 2, 3, 4, 2, 3], 3), [0; 0]);
    }

    #[test]
    fn an_index_that_grows_finds_what_a_new_one_finds() {
        let text: Vec<Token> = (0..400).map(|i| (i * i + i / 7) % 5).collect();
        let mut index = Index::default();
        for end in 3..text.len() {
            let found = index.look_up(&text[..end], text[end]);
            assert_eq!(found, Index::default().look_up(&text[..end], text[end]), "{end}");
            let (_, matched) = found.unwrap_or_default();
            assert!(
                matched == 0
                    || text[..=end].windows(matched).filter(|w| text[..=end].ends_with(w)).count() > 1
            );
        }
        assert_eq!(index.look_up(&text[..50], text[50]), Index::default().look_up(&text[..50], text[50]));
    }

    #[test]
    fn guesses_that_lose_are_given_a_rest() {
        let text: Vec<Token> = [1, 2, 3, 4, 5].repeat(4)[..19].to_vec();
        let mut guesser = Guesser::new(true);
        assert_eq!(guesser.guess(&text, 5, 8), [0; 0], "nothing to compare with");
        guesser.took_single(Duration::from_millis(10));
        assert_eq!(guesser.guess(&text, 5, 1), [1]);
        assert_eq!(guesser.guess(&text, 5, 2), [1, 2]);
        for _ in 0..20 {
            let n = guesser.guess(&text, 5, 99).len();
            guesser.took_guess(n, n, Duration::from_millis(20));
        }
        assert_eq!(guesser.guess(&text, 5, 99).len(), MAX_GUESS, "right ones grow");
        guesser.took_guess(MAX_GUESS, 0, Duration::from_millis(20));
        for _ in 0..FIRST_REST {
            assert_eq!(guesser.guess(&text, 5, 99), [0; 0]);
        }
        assert!(!guesser.guess(&text, 5, 99).is_empty());
        // Right, and slower than one by one all the same.
        for _ in 0..60 {
            guesser.took_guess(MAX_GUESS, MAX_GUESS, Duration::from_millis(900));
            guesser.took_guess(8, 8, Duration::from_millis(900));
            guesser.took_guess(4, 4, Duration::from_millis(900));
            guesser.took_guess(2, 2, Duration::from_millis(900));
        }
        for _ in 0..8 {
            assert_eq!(guesser.guess(&text, 5, 99), [0; 0]);
        }
        assert!((0..1000).any(|_| !guesser.guess(&text, 5, 99).is_empty()), "what is known fades");
        guesser.turn_off();
        assert_eq!(guesser.guess(&text, 5, 99), [0; 0]);
    }
}
