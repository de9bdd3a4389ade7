//! When background work waits and when it goes on. Pure: it is told the time and the signals.
//!
//! It waits at once and goes on only after signals were better for a while, so that a device at the edge does not swing.

use std::time::Duration;
use tuner::{Cause, Heat, MemoryLevel, PowerFrom, Signals};

#[derive(Debug)]
pub(super) struct Patience {
    wait_for_mains: bool,
    calm_for: Duration,
    heat: Heat,
    memory: MemoryLevel,
    battery: bool,
    saver: bool,
    paused: Option<Cause>,
    better_since: Option<Duration>,
}

impl Patience {
    pub(super) fn new(wait_for_mains: bool, calm_for: Duration) -> Self {
        Self {
            wait_for_mains,
            calm_for,
            heat: Heat::default(),
            memory: MemoryLevel::default(),
            battery: false,
            saver: false,
            paused: None,
            better_since: None,
        }
    }

    /// Takes in what is new, to be applied by the next [`Patience::step`].
    pub(super) fn hear(&mut self, news: &Signals) {
        self.heat = news.heat.unwrap_or(self.heat);
        self.memory = news.memory.unwrap_or(self.memory);
        self.saver = news.saver.unwrap_or(self.saver);
        match news.power {
            Some(PowerFrom::Battery) => self.battery = true,
            Some(PowerFrom::Mains) => self.battery = false,
            Some(PowerFrom::Unknown) | None => {}
        }
    }

    /// Why the work waits at `now`, any monotonic time.
    pub(super) fn step(&mut self, now: Duration) -> Option<Cause> {
        let reasons = [
            (self.memory >= MemoryLevel::Low, Cause::Memory),
            (self.heat >= Heat::Warm, Cause::Heat),
            (self.saver || self.battery && self.wait_for_mains, Cause::Energy),
        ];
        let reason = reasons.into_iter().find(|(holds, _)| *holds).map(|(_, cause)| cause);
        match (reason, self.paused) {
            (Some(_), _) => {
                self.better_since = None;
                self.paused = reason;
            }
            (None, Some(_)) => {
                let since = *self.better_since.get_or_insert(now);
                if now.saturating_sub(since) >= self.calm_for {
                    self.paused = None;
                }
            }
            (None, None) => {}
        }
        self.paused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_at_once_and_goes_on_after_a_calm_while() {
        let mut patience = Patience::new(true, Duration::from_secs(20));
        let mut at = |seconds: u64, news: Signals| {
            patience.hear(&news);
            patience.step(Duration::from_secs(seconds))
        };
        let none = Signals::default();
        let heat = |heat| Signals { heat: Some(heat), ..Signals::default() };
        assert_eq!(at(0, none), None);
        assert_eq!(at(1, heat(Heat::Warm)), Some(Cause::Heat));
        assert_eq!(at(2, heat(Heat::Cool)), Some(Cause::Heat));
        assert_eq!(at(15, heat(Heat::Hot)), Some(Cause::Heat));
        assert_eq!(at(16, heat(Heat::Cool)), Some(Cause::Heat));
        assert_eq!(at(35, none), Some(Cause::Heat));
        assert_eq!(at(36, none), None);
        let memory = Signals { memory: Some(MemoryLevel::Low), ..Signals::default() };
        assert_eq!(at(40, memory), Some(Cause::Memory));
    }

    #[test]
    fn the_battery_counts_where_it_is_to_be_spared() {
        let battery = Signals { power: Some(PowerFrom::Battery), ..Signals::default() };
        let saver = Signals { saver: Some(true), ..Signals::default() };
        for (wait_for_mains, expected) in [(true, Some(Cause::Energy)), (false, None)] {
            let mut patience = Patience::new(wait_for_mains, Duration::ZERO);
            patience.hear(&battery);
            assert_eq!(patience.step(Duration::ZERO), expected);
            patience.hear(&saver);
            assert_eq!(patience.step(Duration::ZERO), Some(Cause::Energy));
            // What is not known stays as it was; the mains alone do not end the user's wish.
            patience.hear(&Signals { power: Some(PowerFrom::Mains), ..Signals::default() });
            assert_eq!(patience.step(Duration::ZERO), Some(Cause::Energy));
            patience.hear(&Signals { saver: Some(false), ..Signals::default() });
            assert_eq!(patience.step(Duration::ZERO), None);
        }
    }
}
