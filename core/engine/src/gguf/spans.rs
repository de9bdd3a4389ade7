//! Where pictures and sound lie in a sequence.
//!
//! Owns: [`Spans`]: places in a sequence and the positions that the model counts, which are fewer where a picture counts by
//! rows and columns. Must not know: what was read.

/// Those of one sequence, in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Spans(Vec<Span>);

#[derive(Clone, Copy, Debug)]
struct Span {
    begin: usize,
    n_tokens: usize,
    n_positions: usize,
}

impl Spans {
    /// The next one.
    pub(super) fn push(&mut self, begin: usize, n_tokens: usize, n_positions: usize) {
        self.0.push(Span { begin, n_tokens, n_positions });
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The model's position of what comes behind the first `n_past` of the sequence.
    pub(super) fn position(&self, n_past: usize) -> usize {
        let before = self.0.iter().filter(|span| span.begin < n_past);
        before.fold(n_past, |position, span| {
            position + span.n_positions - span.n_tokens.min(n_past - span.begin)
        })
    }

    /// Whether the sequence can be cut at `n_past`: not within one.
    pub(super) fn ends_at(&self, n_past: usize) -> bool {
        !self.0.iter().any(|span| span.begin < n_past && n_past < span.begin + span.n_tokens)
    }

    /// Forgets those from `n_past` on.
    pub(super) fn truncate(&mut self, n_past: usize) {
        self.0.retain(|span| span.begin < n_past);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_fewer_behind_a_picture() {
        let mut spans = Spans::default();
        assert_eq!(spans.position(7), 7);
        spans.push(3, 16, 4);
        spans.push(20, 8, 8);
        assert_eq!([3, 19, 20, 28, 30].map(|n_past| spans.position(n_past)), [3, 7, 8, 16, 18]);
        assert!(spans.ends_at(3) && !spans.ends_at(4) && !spans.ends_at(18) && spans.ends_at(19));
        spans.truncate(20);
        assert_eq!(spans.position(30), 18);
        spans.truncate(3);
        assert!(spans.is_empty());
    }
}
