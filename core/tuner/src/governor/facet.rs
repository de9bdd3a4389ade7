//! One number of a stance: down at once, up after a calm while.

use std::time::Duration;

#[derive(Debug, Clone)]
pub(super) struct Facet {
    value: u32,
    /// Since when more would be possible.
    better_since: Option<Duration>,
    moved: Option<Duration>,
}

impl Facet {
    pub(super) fn new(value: u32) -> Self {
        Self { value, better_since: None, moved: None }
    }

    pub(super) fn value(&self) -> u32 {
        self.value
    }

    /// Goes to `target`, up only after `calm`, and by one every `step` where there is one. Returns the move.
    pub(super) fn settle(
        &mut self,
        target: u32,
        now: Duration,
        calm: Duration,
        step: Option<Duration>,
    ) -> Option<(u32, u32)> {
        let from = self.value;
        if target <= from {
            self.better_since = None;
            self.value = target;
        } else {
            let since = *self.better_since.get_or_insert(now);
            if now.saturating_sub(since) < calm {
                return None;
            }
            match step {
                Some(every) if self.moved.is_some_and(|moved| now.saturating_sub(moved) < every) => {
                    return None;
                }
                Some(_) => self.value += 1,
                None => self.value = target,
            }
        }
        if self.value == from {
            return None;
        }
        self.moved = Some(now);
        Some((from, self.value))
    }
}
