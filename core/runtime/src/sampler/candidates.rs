//! The tokens that may still be chosen, with their logits. Owns their order; must not know settings.

use engine::Token;

/// A token and its logit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Candidate {
    pub(super) token: Token,
    pub(super) logit: f32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Every token of the vocabulary, at the index of its id.
    ById,
    /// From the likeliest; equal ones by id.
    Descending,
    Any,
}

/// What may still be chosen; never empty.
#[derive(Debug)]
pub(super) struct Candidates {
    list: Vec<Candidate>,
    order: Order,
}

impl Candidates {
    pub(super) fn new() -> Self {
        Self { list: Vec::new(), order: Order::ById }
    }

    /// Every token again.
    pub(super) fn fill(&mut self, logits: &[f32]) {
        self.list.clear();
        let candidate = |(token, logit): (usize, &f32)| Candidate { token: token as Token, logit: *logit };
        self.list.extend(logits.iter().enumerate().map(candidate));
        self.order = Order::ById;
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Candidate> {
        self.list.iter()
    }

    pub(super) fn at(&self, index: usize) -> Candidate {
        self.list[index]
    }

    /// Changes the logit of `token`, where it is still there.
    pub(super) fn change(&mut self, token: Token, change: impl FnOnce(f32) -> f32) {
        let index = match self.order {
            Order::ById => usize::try_from(token).ok().filter(|index| *index < self.list.len()),
            _ => self.list.iter().position(|candidate| candidate.token == token),
        };
        if let Some(index) = index {
            self.list[index].logit = change(self.list[index].logit);
            if self.order == Order::Descending {
                self.order = Order::Any;
            }
        }
    }

    /// Changes every logit by a function that keeps their order.
    pub(super) fn scale(&mut self, change: impl Fn(f32) -> f32) {
        self.list.iter_mut().for_each(|candidate| candidate.logit = change(candidate.logit));
    }

    /// The highest logit.
    pub(super) fn top(&self) -> f32 {
        match self.order {
            Order::Descending => self.list[0].logit,
            _ => self.list.iter().map(|candidate| candidate.logit).fold(f32::NEG_INFINITY, f32::max),
        }
    }

    /// The likeliest, of equal ones the first.
    pub(super) fn likeliest(&self) -> Token {
        self.list.iter().copied().min_by(by_logit).map_or(0, |best| best.token)
    }

    /// Sorts all from the likeliest.
    pub(super) fn sort(&mut self) {
        self.sort_first(self.list.len());
        self.order = Order::Descending;
    }

    /// Brings the `count` likeliest to the front, sorted; the others follow in any order.
    pub(super) fn sort_first(&mut self, count: usize) {
        if self.order == Order::Descending {
            return;
        }
        self.order = Order::Any;
        if (1..self.list.len()).contains(&count) {
            self.list.select_nth_unstable_by(count - 1, by_logit);
        }
        self.list[..count].sort_unstable_by(by_logit);
    }

    /// Drops all but the `count` first, which are sorted.
    pub(super) fn keep_first(&mut self, count: usize) {
        self.list.truncate(count.max(1));
        self.order = Order::Descending;
    }

    /// Drops the `count` first; the others stay as they are.
    pub(super) fn drop_first(&mut self, count: usize) {
        self.list.drain(..count);
    }

    /// Keeps those that `keep` accepts, in their order.
    pub(super) fn retain(&mut self, keep: impl Fn(&Candidate) -> bool) {
        let before = self.list.len();
        self.list.retain(keep);
        if self.order == Order::ById && self.list.len() < before {
            self.order = Order::Any;
        }
    }

    /// Shares of the probability, in the order of the candidates; they add up to 1.
    pub(super) fn probabilities(&self) -> Vec<f64> {
        let top = self.top();
        let mut shares: Vec<f64> =
            self.list.iter().map(|candidate| f64::from(candidate.logit - top).exp()).collect();
        let total: f64 = shares.iter().sum();
        shares.iter_mut().for_each(|share| *share /= total);
        shares
    }
}

fn by_logit(a: &Candidate, b: &Candidate) -> std::cmp::Ordering {
    b.logit.total_cmp(&a.logit).then(a.token.cmp(&b.token))
}
