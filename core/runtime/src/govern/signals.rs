//! The governor's signals out of a machine's conditions. Owns the thresholds; must not react.

use hardware::{Conditions, Level, PowerSource};
use tuner::{Heat, MemoryLevel, PowerFrom, Signals};

/// Zones at which processors of desktops and boards begin to slow down, and at which little is left. Systems that judge
/// for themselves, as phones do, are believed instead.
const WARM_CELSIUS: f64 = 92.0;
const HOT_CELSIUS: f64 = 102.0;
/// Highest clock that is allowed now, as a share of the highest there is.
const WARM_CLOCK_SHARE: f64 = 0.6;
/// Share of the last ten seconds in which some or all work waited for memory, in percent.
const LOW_STALL_PERCENT: f64 = 10.0;
const CRITICAL_STALL_PERCENT: f64 = 20.0;
/// Share of the memory that is left.
const LOW_MEMORY: f64 = 0.04;
const CRITICAL_MEMORY: f64 = 0.015;

/// What conditions say.
pub(crate) fn signals_of(now: &Conditions) -> Signals {
    Signals {
        heat: heat(now),
        memory: memory(now),
        usable_cpus: (now.usable_cpus > 0).then_some(now.usable_cpus),
        power: now.power.source.map(|source| match source {
            PowerSource::Mains => PowerFrom::Mains,
            PowerSource::Battery => PowerFrom::Battery,
        }),
        saver: now.power.saver,
        background: None,
    }
}

fn heat(now: &Conditions) -> Option<Heat> {
    let thermal = &now.thermal;
    let judged = thermal.level.map(|level| match level {
        Level::Critical => Heat::Hot,
        Level::Warning => Heat::Warm,
        _ => Heat::Cool,
    });
    if judged.is_some() {
        return judged;
    }
    let measured = thermal.hottest_celsius.map(|celsius| match celsius {
        c if c >= HOT_CELSIUS => Heat::Hot,
        c if c >= WARM_CELSIUS => Heat::Warm,
        _ => Heat::Cool,
    });
    let slowed = |slowed: bool| if slowed { Heat::Warm } else { Heat::Cool };
    let throttled = thermal.throttled.map(slowed);
    let clocks = thermal.clock_share.map(|share| slowed(share < WARM_CLOCK_SHARE));
    [measured, throttled, clocks].into_iter().flatten().max()
}

fn memory(now: &Conditions) -> Option<MemoryLevel> {
    let judged = now.pressure.memory_level.map(|level| match level {
        Level::Critical => MemoryLevel::Critical,
        Level::Warning => MemoryLevel::Low,
        _ => MemoryLevel::Enough,
    });
    let stalled = now.pressure.memory_some_percent.map(|some| {
        let all = now.pressure.memory_full_percent.unwrap_or(0.0);
        match () {
            () if all >= CRITICAL_STALL_PERCENT => MemoryLevel::Critical,
            () if some >= LOW_STALL_PERCENT => MemoryLevel::Low,
            () => MemoryLevel::Enough,
        }
    });
    let (left, all) = (now.memory.available_bytes as f64, now.memory.total_bytes as f64);
    let left = (all > 0.0 && left > 0.0).then(|| match left / all {
        share if share < CRITICAL_MEMORY => MemoryLevel::Critical,
        share if share < LOW_MEMORY => MemoryLevel::Low,
        _ => MemoryLevel::Enough,
    });
    [judged, stalled, left].into_iter().flatten().max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_known_signals_nothing() {
        assert_eq!(signals_of(&Conditions::default()), Signals::default());
    }

    #[test]
    fn a_system_that_judges_for_itself_is_believed() {
        let mut now = Conditions::default();
        now.thermal.hottest_celsius = Some(105.0);
        assert_eq!(signals_of(&now).heat, Some(Heat::Hot));
        now.thermal.level = Some(Level::Normal);
        assert_eq!(signals_of(&now).heat, Some(Heat::Cool));
    }

    /// Recorded machines and what they signal.
    #[test]
    fn recorded_machines_signal_what_they_suffer_from() {
        let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../hardware/fixtures");
        let of = |name: &str| {
            let path = fixtures.join(name).with_extension("host");
            signals_of(&hardware::conditions_at(&path).expect("it replays"))
        };
        assert_eq!(of("raspberry-pi-4-throttled").heat, Some(Heat::Warm));
        assert_eq!(of("mac-m2-8gb-pressed").memory, Some(MemoryLevel::Low));
        assert_eq!(of("container-v2-nested").memory, Some(MemoryLevel::Enough));
        assert_eq!(of("nothing-readable").heat, None);
    }

    #[test]
    fn the_worst_word_on_memory_counts() {
        let mut now = Conditions::default();
        (now.memory.total_bytes, now.memory.available_bytes) = (8 << 30, 4 << 30);
        assert_eq!(signals_of(&now).memory, Some(MemoryLevel::Enough));
        now.pressure.memory_some_percent = Some(12.0);
        assert_eq!(signals_of(&now).memory, Some(MemoryLevel::Low));
        now.memory.available_bytes = 1 << 20;
        assert_eq!(signals_of(&now).memory, Some(MemoryLevel::Critical));
    }
}
