//! Guesses of the next tokens by what stood there before: where the last tokens occurred earlier, what followed them then
//! is likely to follow again, and is computed together with the next token. Where nothing is found a small model may guess.
//!
//! Owns when to guess and how much, by what it brought; each guess is checked, so answers never depend on it. After Saxena
//! 2023 (prompt lookup decoding). Must not know who computes.

mod draft;

pub(crate) use draft::Drafter;

use draft::Drafted;
use engine::Token;
use std::time::Duration;

/// Most tokens of a guess: with the token before it as many as the engine's processor kernels compute as one by one, bit by bit
/// (`engine::gguf::ROWS_AS_ONE`).
pub(crate) const MAX_GUESS: usize = 7;
/// Tokens that must have occurred before, from the surest on.
const NGRAMS: [usize; 3] = [6, 4, 3];
/// So many tokens in a row must have been what a guess would have said before one is computed: where text repeats itself that is soon so,
/// elsewhere hardly ever, and to know it costs no computation.
const SURE_AFTER: usize = 3;
/// Tokens back that are searched.
const WINDOW: usize = 4096;
/// After a guess that failed altogether no other is made for so many tokens, doubled each time in a row.
const FIRST_REST: u32 = 8;
const LONGEST_REST: u32 = 256;
/// How much of the newest measurement goes into an average.
const SHARE: f64 = 0.2;

/// Guesses for one answer.
#[derive(Debug)]
pub(crate) struct Guesser {
    is_on: bool,
    rest: u32,
    next_rest: u32,
    length: usize,
    /// What would be guessed first after the last token, and how many such tokens in a row came.
    foretold: Option<Token>,
    streak: usize,
    /// Seconds that a single token and that a token of a guess took, on average.
    single_s: Option<f64>,
    guessed_s: Option<f64>,
    /// How long the last guess took before it was checked.
    drafting: Duration,
}

impl Guesser {
    pub(crate) fn new(is_on: bool) -> Self {
        Self {
            is_on,
            rest: 0,
            next_rest: FIRST_REST,
            length: 3,
            foretold: None,
            streak: 0,
            single_s: None,
            guessed_s: None,
            drafting: Duration::ZERO,
        }
    }

    /// Nothing is guessed any more.
    pub(crate) fn turn_off(&mut self) {
        self.is_on = false;
    }

    /// What may follow `tokens` and the token `next`, at most `room` of them; often nothing, unless there is a small model.
    pub(crate) fn guess(
        &mut self,
        tokens: &[Token],
        next: Token,
        room: usize,
        drafter: Option<&mut Drafter>,
    ) -> Vec<Token> {
        self.drafting = Duration::ZERO;
        // Without the time of a single token nothing can be compared.
        if !self.is_on || room == 0 || self.single_s.is_none() {
            return Vec::new();
        }
        if self.rest > 0 {
            self.rest -= 1;
            return Vec::new();
        }
        let most = self.length.min(room).min(MAX_GUESS);
        let mut window = tokens[tokens.len().saturating_sub(WINDOW)..].to_vec();
        window.push(next);
        // Pictures are not written.
        let follows = look_up(&window, most);
        let follows: Vec<Token> = follows.iter().copied().take_while(|token| *token >= 0).collect();
        if let Some(foretold) = self.foretold.take() {
            self.streak = if foretold == next { self.streak + 1 } else { 0 };
        }
        self.foretold = follows.first().copied();
        if follows.is_empty() {
            self.streak = 0;
        }
        match drafter.filter(|_| follows.is_empty()) {
            None if self.streak < SURE_AFTER => Vec::new(),
            None => follows,
            Some(drafter) => {
                let Drafted { tokens, took } = drafter.draft(tokens, next, most);
                self.drafting = took;
                tokens
            }
        }
    }

    /// A single token took so long.
    pub(crate) fn took_single(&mut self, time: Duration) {
        average(&mut self.single_s, time.as_secs_f64());
    }

    /// A guess of `guessed` tokens took so long to check with the token before it; `right` of them were right.
    pub(crate) fn took_guess(&mut self, guessed: usize, right: usize, time: Duration) {
        let time = time + std::mem::take(&mut self.drafting);
        average(&mut self.guessed_s, time.as_secs_f64() / (right + 1) as f64);
        self.length = match right == guessed {
            true => (self.length * 2).min(MAX_GUESS),
            false => (right + 1).min(MAX_GUESS),
        };
        // What comes next was not foretold: after a guess that was right the row goes on all the same.
        self.foretold = None;
        self.streak = if right == guessed { SURE_AFTER } else { 0 };
        let loses = match (self.single_s, self.guessed_s) {
            (Some(single), Some(guessed)) => guessed > single,
            _ => false,
        };
        if loses || right == 0 {
            self.rest = self.next_rest;
            self.next_rest = (self.next_rest * 2).min(LONGEST_REST);
            // What is measured after the rest counts anew.
            self.guessed_s = None;
        } else {
            self.next_rest = FIRST_REST;
        }
    }
}

fn average(value: &mut Option<f64>, new: f64) {
    *value = Some(value.map_or(new, |old| old + SHARE * (new - old)));
}

/// What followed the last tokens where they occurred last.
fn look_up(window: &[Token], most: usize) -> &[Token] {
    for n in NGRAMS {
        let Some(at) = window.len().checked_sub(n) else { continue };
        let (before, last) = (&window[..window.len() - 1], &window[at..]);
        if let Some(found) = before.windows(n).rposition(|earlier| earlier == last) {
            let follows = &window[found + n..];
            return &follows[..follows.len().min(most)];
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_followed_last_time_is_guessed() {
        assert_eq!(look_up(&[1, 2, 3, 4, 5, 9, 1, 2, 3], 2), [4, 5]);
        // The latest place counts, and the longer match before it.
        assert_eq!(look_up(&[1, 2, 3, 7, 1, 2, 3, 8, 1, 2, 3], 1), [8]);
        assert_eq!(look_up(&[0, 1, 2, 3, 7, 9, 1, 2, 3, 8, 0, 1, 2, 3], 1), [7]);
        assert_eq!(look_up(&[5, 5, 5, 5], 3), [5]);
        assert_eq!(look_up(&[1, 2], 3), [0; 0]);
    }

    /// Has `guesser` see the tokens of `text` from `begin` on, one by one; the guess behind all of them.
    fn read(guesser: &mut Guesser, text: &[Token], begin: usize) -> Vec<Token> {
        (begin..text.len()).map(|at| guesser.guess(&text[..at], text[at], 8, None)).last().unwrap_or_default()
    }

    #[test]
    fn what_repeats_is_guessed_once_it_was_foretold() {
        let text: Vec<Token> = [1, 2, 3, 4, 5, 6, 7, 8].repeat(3);
        let mut guesser = Guesser::new(true);
        assert_eq!(read(&mut guesser, &text, 0), [0; 0], "nothing to compare with");
        guesser.took_single(Duration::from_millis(10));
        // Three tokens of the second round are found again, and three more were foretold.
        assert_eq!(read(&mut guesser, &text[..13], 0), [0; 0]);
        assert_eq!(guesser.guess(&text[..13], text[13], 8, None), [7, 8, 1]);
        assert_eq!(guesser.guess(&text[..13], 9, 8, None), [0; 0], "another token came");
    }

    #[test]
    fn guesses_that_lose_are_given_a_rest() {
        let text: Vec<Token> = [1, 2, 3, 4, 5].repeat(6);
        let mut guesser = Guesser::new(true);
        guesser.took_single(Duration::from_millis(10));
        assert_eq!(read(&mut guesser, &text[..15], 0), [1, 2, 3]);
        guesser.took_guess(3, 3, Duration::from_millis(20));
        assert_eq!(
            guesser.guess(&text[..18], text[18], 8, None).len(),
            5,
            "right ones grow, here up to the text's end"
        );
        guesser.took_guess(5, 0, Duration::from_millis(20));
        for _ in 0..FIRST_REST {
            assert_eq!(guesser.guess(&text[..18], text[18], 8, None), [0; 0]);
        }
        assert_eq!(read(&mut guesser, &text[..25], 18), [1]);
        // Right, and slower than one by one all the same.
        guesser.took_guess(1, 1, Duration::from_millis(50));
        for _ in 0..2 * FIRST_REST {
            assert_eq!(guesser.guess(&text, 5, 8, None), [0; 0]);
        }
        guesser.turn_off();
        assert_eq!(read(&mut guesser, &text, 0), [0; 0]);
    }
}
