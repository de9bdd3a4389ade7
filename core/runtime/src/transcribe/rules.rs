//! Which token comes next: the likeliest of those that may come. Knows logits and the tokens so far; no graph.
//! Source: OpenAI's rules as transformers has them (`WhisperTimeStampLogitsProcessor`): times come in pairs but for the last, never
//! go back, stand at the beginning, and come where all of them together are likelier than any word.

use super::generation::Generation;

/// Rules of one window.
pub(super) struct Rules<'a> {
    generation: &'a Generation,
    /// The first mark of time, where times are told.
    times: Option<usize>,
}

const NEVER: f32 = f32::NEG_INFINITY;

impl<'a> Rules<'a> {
    pub(super) fn new(generation: &'a Generation, timestamps: bool) -> Self {
        let times = generation.first_time().filter(|_| timestamps);
        Self { generation, times: times.and_then(|first| usize::try_from(first).ok()) }
    }

    /// The token behind `tokens`, which the prefix is no part of. Of equal ones it is the first.
    pub(super) fn choose(&self, logits: &mut [f32], tokens: &[i64]) -> i64 {
        if tokens.is_empty() {
            forbid(logits, &self.generation.never_first);
        }
        forbid(logits, &self.generation.never);
        if let Some(first) = self.times.filter(|first| *first < logits.len()) {
            self.times(logits, tokens, first);
        }
        let mut best = 0;
        for (token, logit) in logits.iter().enumerate() {
            if *logit > logits[best] {
                best = token;
            }
        }
        best as i64
    }

    fn times(&self, logits: &mut [f32], tokens: &[i64], first: usize) {
        forbid(logits, self.generation.no_times().as_slice());
        let is_time = |token: &i64| *token >= first as i64;
        let last_is = tokens.last().is_some_and(is_time);
        let before_is = tokens.len() < 2 || is_time(&tokens[tokens.len() - 2]);
        if last_is && before_is {
            logits[first..].fill(NEVER);
        } else if last_is {
            let words = usize::try_from(self.generation.end()).unwrap_or(0).min(logits.len());
            logits[..words].fill(NEVER);
        }
        if let Some(last) = tokens.iter().rev().find(|token| is_time(token)) {
            // The end of a segment may be the beginning of the next; nothing else is told twice.
            let from = *last as usize + usize::from(!last_is || before_is);
            let from = from.min(logits.len());
            logits[first..from].fill(NEVER);
        }
        if tokens.is_empty() {
            logits[..first].fill(NEVER);
            if let Some(latest) = self.generation.latest_first_time.and_then(|at| usize::try_from(at).ok()) {
                let behind = (first + latest + 1).min(logits.len());
                logits[behind..].fill(NEVER);
            }
        }
        let (words, times) = logits.split_at(first);
        let most = |of: &[f32]| of.iter().copied().fold(NEVER, f32::max);
        let (word, time) = (most(words), most(times));
        let sum: f32 = times.iter().map(|logit| (logit - time).exp()).sum();
        if time > NEVER && time + sum.ln() > word {
            logits[..first].fill(NEVER);
        }
    }
}

fn forbid(logits: &mut [f32], tokens: &[i64]) {
    for token in tokens {
        if let Some(logit) = usize::try_from(*token).ok().and_then(|token| logits.get_mut(token)) {
            *logit = NEVER;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::generation::tests::small;
    use super::*;

    #[track_caller]
    fn check(timestamps: bool, likely: &[(usize, f32)], tokens: &[i64], expected: i64) {
        let generation = small();
        let mut logits = vec![0.0; 40];
        likely.iter().for_each(|(token, logit)| logits[*token] = *logit);
        assert_eq!(Rules::new(&generation, timestamps).choose(&mut logits, tokens), expected, "{likely:?}");
    }

    #[test]
    fn times_come_in_pairs_and_never_go_back() {
        // Without times, what never comes and what never comes first.
        check(false, &[(1, 9.0), (2, 8.0), (3, 7.0)], &[], 3);
        check(false, &[(1, 9.0), (2, 8.0)], &[5], 2);
        // A time is first, and not a late one.
        check(true, &[(3, 9.0), (35, 8.0), (29, 7.0)], &[], 29);
        // Behind the first time a word, behind a word and a time a time or the end.
        check(true, &[(30, 9.0), (3, 5.0)], &[27], 3);
        check(true, &[(3, 9.0), (30, 5.0)], &[27, 4, 30], 30);
        check(true, &[(3, 9.0), (20, 5.0)], &[27, 4, 30], 20);
        // Never back; the same again only as the beginning of the next.
        check(true, &[(28, 9.0), (30, 8.0), (31, 7.0)], &[27, 4, 30], 30);
        check(true, &[(30, 9.0), (31, 8.0)], &[27, 4, 30, 30, 5], 31);
        // All times together are likelier than the likeliest word, each alone is not.
        check(true, &[(3, 1.5)], &[27, 4], 28);
        check(true, &[(3, 4.0)], &[27, 4], 3);
    }
}
