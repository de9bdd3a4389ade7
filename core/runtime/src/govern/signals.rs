//! The governor's signals out of a host's description. Owns the thresholds; must not react.

use hardware::{Host, Level, PowerSource};
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

/// What a description says of the moment it was made at.
pub(crate) fn signals_of(host: &Host) -> Signals {
    Signals {
        heat: heat(host),
        memory: memory(host),
        usable_cpus: (host.cpu.usable_cpus > 0).then_some(host.cpu.usable_cpus),
        power: host.power.source.map(|source| match source {
            PowerSource::Mains => PowerFrom::Mains,
            PowerSource::Battery => PowerFrom::Battery,
        }),
        saver: host.power.saver,
        background: None,
    }
}

fn heat(host: &Host) -> Option<Heat> {
    let thermal = &host.thermal;
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

fn memory(host: &Host) -> Option<MemoryLevel> {
    let judged = host.pressure.memory_level.map(|level| match level {
        Level::Critical => MemoryLevel::Critical,
        Level::Warning => MemoryLevel::Low,
        _ => MemoryLevel::Enough,
    });
    let stalled = host.pressure.memory_some_percent.map(|some| {
        let all = host.pressure.memory_full_percent.unwrap_or(0.0);
        match () {
            () if all >= CRITICAL_STALL_PERCENT => MemoryLevel::Critical,
            () if some >= LOW_STALL_PERCENT => MemoryLevel::Low,
            () => MemoryLevel::Enough,
        }
    });
    let (left, all) = (host.memory.available_bytes as f64, host.memory.total_bytes as f64);
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
        assert_eq!(signals_of(&Host::default()), Signals::default());
    }

    #[test]
    fn a_system_that_judges_for_itself_is_believed() {
        let mut host = Host::default();
        host.thermal.hottest_celsius = Some(105.0);
        assert_eq!(signals_of(&host).heat, Some(Heat::Hot));
        host.thermal.level = Some(Level::Normal);
        assert_eq!(signals_of(&host).heat, Some(Heat::Cool));
    }

    #[test]
    fn the_worst_word_on_memory_counts() {
        let mut host = Host::default();
        (host.memory.total_bytes, host.memory.available_bytes) = (8 << 30, 4 << 30);
        assert_eq!(signals_of(&host).memory, Some(MemoryLevel::Enough));
        host.pressure.memory_some_percent = Some(12.0);
        assert_eq!(signals_of(&host).memory, Some(MemoryLevel::Low));
        host.memory.available_bytes = 1 << 20;
        assert_eq!(signals_of(&host).memory, Some(MemoryLevel::Critical));
    }
}
