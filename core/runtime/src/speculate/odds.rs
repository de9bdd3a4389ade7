//! Whether a guess pays: how likely its tokens are right, and what computing them costs.
//!
//! Owns estimates from what was seen, and the length that pays most. Must not know where guesses come from.

/// Tokens of a guess: with the token before them as many as kernels compute together, four or eight. Fewer are computed by the
/// kernels of the next.
const LENGTHS: [usize; 2] = [3, super::MAX_GUESS];
/// Tokens that occurred in a row before, at least, and how likely what followed them follows again, before anything was seen.
const PRIORS: [(usize, f64); 5] = [(0, 0.25), (4, 0.35), (6, 0.5), (10, 0.65), (18, 0.8)];
/// How likely a token of a small model is right.
const DRAFT_PRIOR: f64 = 0.7;
/// Tokens that a prior counts as.
const PRIOR_WEIGHT: f64 = 4.0;
/// What an observation is worth after the next one of its kind.
const FADING: f64 = 0.95;
/// Measured times that count: the least of them, since other processes only make times longer.
const N_TIMES: usize = 6;
/// What a guessed token costs, in tokens by themselves, before it was measured: little, so that it is tried.
const UNMEASURED: f64 = 0.35;
/// How much faster text must be expected to come than without.
const MARGIN: f64 = 1.08;

/// How likely tokens are right.
#[derive(Debug)]
struct Odds {
    right: f64,
    seen: f64,
}

impl Odds {
    fn new(prior: f64) -> Self {
        Self { right: prior * PRIOR_WEIGHT, seen: PRIOR_WEIGHT }
    }

    fn saw(&mut self, is_right: bool) {
        self.right = self.right * FADING + f64::from(u8::from(is_right));
        self.seen = self.seen * FADING + 1.0;
    }

    fn probability(&self) -> f64 {
        self.right / self.seen
    }
}

/// The latest times of one kind of work, in seconds.
#[derive(Debug, Default)]
struct Times {
    latest: [f64; N_TIMES],
    n_seen: usize,
}

impl Times {
    fn took(&mut self, seconds: f64) {
        self.latest[self.n_seen % N_TIMES] = seconds;
        self.n_seen += 1;
    }

    fn least(&self) -> Option<f64> {
        self.latest[..self.n_seen.min(N_TIMES)].iter().copied().reduce(f64::min)
    }
}

/// Where a guess comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// What followed the same tokens before, so many in a row.
    Text { matched: usize },
    /// A small model.
    Draft,
}

/// What is known of guesses' worth.
#[derive(Debug)]
pub(super) struct Worth {
    of_text: [Odds; PRIORS.len()],
    of_draft: Odds,
    single: Times,
    /// By origin and length.
    guessed: [[Times; LENGTHS.len()]; 2],
}

impl Worth {
    pub(super) fn new() -> Self {
        Self {
            of_text: PRIORS.map(|(_, prior)| Odds::new(prior)),
            of_draft: Odds::new(DRAFT_PRIOR),
            single: Times::default(),
            guessed: Default::default(),
        }
    }

    fn odds(&mut self, origin: Origin, at: usize) -> &mut Odds {
        match origin {
            Origin::Draft => &mut self.of_draft,
            Origin::Text { matched } => {
                let place = PRIORS.iter().rposition(|(least, _)| *least <= matched + at).unwrap_or_default();
                &mut self.of_text[place]
            }
        }
    }

    /// A single token took so long.
    pub(super) fn took_single(&mut self, seconds: f64) {
        self.single.took(seconds);
    }

    /// The token at place `at` of a guess, computed or not, was right or wrong.
    pub(super) fn saw(&mut self, origin: Origin, at: usize, is_right: bool) {
        self.odds(origin, at).saw(is_right);
    }

    /// A guess of `length` tokens took so long with the token before it.
    pub(super) fn took_guess(&mut self, origin: Origin, length: usize, seconds: f64) {
        self.guessed[kind(origin)][of_length(length)].took(seconds);
    }

    /// How many of `most` tokens to guess; 0 where none pays.
    pub(super) fn best_length(&mut self, origin: Origin, most: usize) -> usize {
        // Without the time of a single token nothing can be compared.
        let Some(single) = self.single.least() else { return 0 };
        let (mut best, mut best_speed) = (0, MARGIN);
        for length in LENGTHS.map(|length| length.min(most)) {
            let (mut all_right, mut n_tokens) = (1.0, 1.0);
            for at in 0..length {
                all_right *= self.odds(origin, at).probability();
                n_tokens += all_right;
            }
            let cost = self.guessed[kind(origin)][of_length(length)]
                .least()
                .map_or(1.0 + UNMEASURED * length as f64, |seconds| seconds / single);
            if length > 0 && n_tokens / cost > best_speed {
                (best, best_speed) = (length, n_tokens / cost);
            }
        }
        best
    }

    /// A token passed without a small model's guess: what is known of these fades, so that they are tried again one day.
    pub(super) fn passed_without_draft(&mut self) {
        const FORGETTING: f64 = 0.99;
        let (prior, odds) = (Odds::new(DRAFT_PRIOR), &mut self.of_draft);
        odds.right = prior.right + (odds.right - prior.right) * FORGETTING;
        odds.seen = prior.seen + (odds.seen - prior.seen) * FORGETTING;
    }
}

fn kind(origin: Origin) -> usize {
    usize::from(origin == Origin::Draft)
}

fn of_length(length: usize) -> usize {
    LENGTHS.iter().position(|most| length <= *most).unwrap_or(LENGTHS.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SURE: Origin = Origin::Text { matched: 18 };

    #[test]
    fn what_is_guessed_is_worth_its_time() {
        let mut worth = Worth::new();
        assert_eq!(worth.best_length(SURE, 7), 0, "nothing to compare with");
        worth.took_single(1.0);
        // Not measured: 1 + 0.8 + 0.64 + 0.51 tokens are expected in the time of 2.05.
        assert_eq!(worth.best_length(SURE, 7), 3);
        assert_eq!(worth.best_length(SURE, 2), 2);
        assert_eq!(worth.best_length(Origin::Text { matched: 3 }, 7), 0);
        worth.took_guess(SURE, 7, 1.5);
        assert_eq!(worth.best_length(SURE, 7), 7);
        let mut worth = Worth::new();
        worth.took_single(1.0);
        worth.took_guess(SURE, 7, 6.0);
        worth.took_guess(SURE, 3, 3.5);
        assert_eq!(worth.best_length(SURE, 7), 0);
        // Others only make it longer.
        worth.took_guess(SURE, 3, 1.9);
        worth.took_guess(SURE, 3, 50.0);
        assert_eq!(worth.best_length(SURE, 7), 3);
    }

    #[test]
    fn what_fails_is_left_and_what_comes_true_is_taken_up() {
        let mut worth = Worth::new();
        worth.took_single(1.0);
        worth.took_guess(SURE, 7, 3.0);
        worth.took_guess(SURE, 3, 2.1);
        assert_eq!(worth.best_length(SURE, 7), 3);
        for _ in 0..3 {
            worth.saw(SURE, 0, false);
        }
        assert_eq!(worth.best_length(SURE, 7), 0);
        // Seen without being computed.
        let early = Origin::Text { matched: 4 };
        assert_eq!(worth.best_length(early, 3), 0);
        for at in [0, 2, 6, 14].repeat(20) {
            worth.saw(early, at, true);
        }
        assert_eq!(worth.best_length(early, 7), 7);
    }

    #[test]
    fn a_small_model_gets_another_chance() {
        let mut worth = Worth::new();
        worth.took_single(1.0);
        assert_eq!(worth.best_length(Origin::Draft, 7), 3);
        for _ in 0..8 {
            worth.saw(Origin::Draft, 0, false);
        }
        assert_eq!(worth.best_length(Origin::Draft, 7), 0);
        let passed = (0..1000).take_while(|_| {
            worth.passed_without_draft();
            worth.best_length(Origin::Draft, 7) == 0
        });
        let n_passed = passed.count();
        assert!((50..500).contains(&n_passed), "{n_passed}");
    }
}
