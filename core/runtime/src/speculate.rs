//! Guesses of the next tokens by what stood there before: where the last tokens occurred earlier, what followed them then
//! is likely to follow again, and is computed together with the next token. Where nothing is found a small model may guess, or
//! the model's own prediction layers.
//!
//! Owns when to guess and how much, by what it brought; each guess is checked, so answers never depend on it. After Saxena
//! 2023 (prompt lookup decoding). Must not know who computes.

mod draft;
mod odds;

pub(crate) use draft::{Drafter, Drafts, OwnLayers, whoever};

use draft::Drafted;
use engine::Token;
use odds::{Origin, Worth};
use std::time::Duration;

/// Most tokens of a guess: with the token before it as many as the engine's processor kernels compute as one by one, bit by bit
/// (`engine::gguf::ROWS_AS_ONE`).
pub(crate) const MAX_GUESS: usize = 7;
/// Tokens that must have occurred before, and most that are compared.
const LEAST_MATCH: usize = 3;
const MOST_MATCH: usize = 32;
/// Tokens back that are searched.
const WINDOW: usize = 4096;

/// Guesses for one answer.
#[derive(Debug)]
pub(crate) struct Guesser {
    is_on: bool,
    worth: Worth,
    /// Tokens before the answer.
    n_read: Option<usize>,
    /// What would be guessed first after the last token, and how many tokens before it say so.
    foretold: Option<(Token, usize)>,
    /// Where the last guess came from, and how long that took.
    origin: Origin,
    drafting: Duration,
}

impl Guesser {
    pub(crate) fn new(is_on: bool) -> Self {
        Self {
            is_on,
            worth: Worth::new(),
            n_read: None,
            foretold: None,
            origin: Origin::Draft,
            drafting: Duration::ZERO,
        }
    }

    /// Nothing is guessed any more.
    pub(crate) fn turn_off(&mut self) {
        self.is_on = false;
    }

    /// What may follow `tokens` and the token `next`, at most `room` of them; often nothing, unless there is a drafter.
    pub(crate) fn guess(
        &mut self,
        tokens: &[Token],
        next: Token,
        room: usize,
        drafter: Option<&mut dyn Drafts>,
    ) -> Vec<Token> {
        self.drafting = Duration::ZERO;
        if !self.is_on || room == 0 {
            return Vec::new();
        }
        let n_written = tokens.len() + 1 - *self.n_read.get_or_insert(tokens.len());
        // What was foretold teaches, computed or not.
        if let Some((foretold, matched)) = self.foretold.take() {
            self.worth.saw(Origin::Text { matched }, 0, foretold == next);
        }
        let window = &tokens[tokens.len().saturating_sub(WINDOW)..];
        let (follows, matched) = look_up(window, next, room.min(MAX_GUESS));
        // That a prompt repeats itself does not say that the answer does.
        let matched = matched.min(n_written);
        // Pictures are not written.
        let mut follows: Vec<Token> = follows.into_iter().take_while(|token| *token >= 0).collect();
        self.foretold = follows.first().map(|token| (*token, matched));
        match drafter.filter(|_| follows.is_empty()) {
            None => {
                self.origin = Origin::Text { matched };
                let length = self.worth.best_length(self.origin, follows.len());
                follows.truncate(length);
                follows
            }
            Some(drafter) => {
                self.origin = Origin::Draft;
                let length = self.worth.best_length(self.origin, room.min(MAX_GUESS));
                if length == 0 {
                    self.worth.passed_without_draft();
                    return Vec::new();
                }
                let Drafted { tokens, took } = drafter.draft(tokens, next, length);
                if tokens.is_empty() {
                    // It doubts, and that took time too.
                    self.worth.saw(self.origin, 0, false);
                }
                self.drafting = took;
                tokens
            }
        }
    }

    /// A single token took so long.
    pub(crate) fn took_single(&mut self, time: Duration) {
        self.worth.took_single(time.as_secs_f64());
    }

    /// A guess of `guessed` tokens took so long to check with the token before it; `right` of them were right.
    pub(crate) fn took_guess(&mut self, guessed: usize, right: usize, time: Duration) {
        let time = time + std::mem::take(&mut self.drafting);
        self.worth.took_guess(self.origin, guessed, time.as_secs_f64());
        for at in 0..guessed.min(right + 1) {
            self.worth.saw(self.origin, at, at < right);
        }
        // What was foretold first has been counted.
        self.foretold = None;
    }
}

/// What followed the last tokens of `window` and `next` where most of them occurred before, the last such place, and how many they
/// are. Where that reaches the end, it goes on with itself.
fn look_up(window: &[Token], next: Token, most: usize) -> (Vec<Token>, usize) {
    let n = window.len();
    let (mut longest, mut found) = (LEAST_MATCH - 1, None);
    for end in (LEAST_MATCH..=n).rev().filter(|end| window[end - 1] == next) {
        let before = (1..end.min(MOST_MATCH)).take_while(|&back| window[end - 1 - back] == window[n - back]);
        let matched = 1 + before.count();
        if matched > longest {
            (longest, found) = (matched, Some(end));
        }
        // None is longer.
        if longest == MOST_MATCH {
            break;
        }
    }
    let mut follows = Vec::new();
    while let Some(begin) = found.filter(|_| follows.len() < most) {
        let at = begin + follows.len();
        follows.push(if at < n {
            window[at]
        } else if at == n {
            next
        } else {
            follows[at - n - 1]
        });
    }
    (follows, longest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_last_time_is_guessed() {
        assert_eq!(look_up(&[1, 2, 3, 4, 5, 9, 1, 2], 3, 2), (vec![4, 5], 3));
        // The latest place counts, and the longer match before it.
        assert_eq!(look_up(&[1, 2, 3, 7, 1, 2, 3, 8, 1, 2], 3, 1), (vec![8], 3));
        assert_eq!(look_up(&[0, 1, 2, 3, 7, 9, 1, 2, 3, 8, 0, 1, 2], 3, 1), (vec![7], 4));
        assert_eq!(look_up(&[5, 5, 5], 5, 3), (vec![5, 5, 5], 3));
        assert_eq!(look_up(&[6, 5, 6, 5, 6, 5], 6, 5), (vec![5, 6, 5, 6, 5], 5));
        assert_eq!(look_up(&[1], 2, 3).0, [0; 0]);
        assert_eq!(look_up(&[], 2, 3).0, [0; 0]);
    }

    /// Has `guesser` see the tokens of `text` from `begin` on, one by one; the guess behind all of them.
    fn read(guesser: &mut Guesser, text: &[Token], begin: usize) -> Vec<Token> {
        (begin..text.len()).map(|at| guesser.guess(&text[..at], text[at], 8, None)).last().unwrap_or_default()
    }

    #[test]
    fn what_repeats_is_guessed_and_what_fails_is_left() {
        let text: Vec<Token> = [1, 2, 3, 4, 5, 6, 7, 8].repeat(6);
        let mut guesser = Guesser::new(true);
        assert_eq!(read(&mut guesser, &text, 0), [0; 0], "nothing to compare with");
        let mut guesser = Guesser::new(true);
        guesser.took_single(Duration::from_millis(10));
        let first = (0..text.len()).find(|&at| !guesser.guess(&text[..at], text[at], 8, None).is_empty());
        // Three tokens of the second round are found again, and some more must come.
        let first = first.expect("what repeats is guessed");
        assert!((10..18).contains(&first), "{first}");
        guesser.took_guess(3, 3, Duration::from_millis(20));
        // Right, and cheap: soon all that kernels compute together.
        assert_eq!(guesser.guess(&text[..first + 4], text[first + 4], 3, None).len(), 3);
        guesser.took_guess(7, 7, Duration::from_millis(30));
        assert_eq!(guesser.guess(&text[..first + 12], text[first + 12], 8, None).len(), MAX_GUESS);
        for _ in 0..6 {
            guesser.took_guess(7, 0, Duration::from_millis(30));
        }
        assert_eq!(guesser.guess(&text[..first + 12], text[first + 12], 8, None), [0; 0]);
        guesser.turn_off();
        assert_eq!(read(&mut guesser, &text, 0), [0; 0]);
    }
}
