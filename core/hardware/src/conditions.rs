//! What of a machine changes while a program runs on it, read in a moment and again and again; and the numbers in which other
//! systems state such things.
//! Owns the public shape and the meaning of those numbers; must not react.

use crate::host::{Host, Level, Memory, Power, Pressure, Thermal};

/// The state of a machine at a moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Conditions {
    /// Hardware threads that this process may use; 0 where unknown.
    pub usable_cpus: u32,
    /// What is left of the memory.
    pub memory: Memory,
    /// How long work waits.
    pub pressure: Pressure,
    /// Temperatures and what they have slowed down.
    pub thermal: Thermal,
    /// Where the energy comes from.
    pub power: Power,
}

impl Conditions {
    /// Those of a whole description.
    pub fn of(host: &Host) -> Self {
        Self {
            usable_cpus: host.cpu.usable_cpus,
            memory: host.memory.clone(),
            pressure: host.pressure.clone(),
            thermal: host.thermal.clone(),
            power: host.power.clone(),
        }
    }
}

impl Level {
    /// Of Android's thermal status, which `AThermal_getCurrentThermalStatus` gives and a listener hears: 0 none and 1 light,
    /// with which work goes on as before; 2 moderate and 3 severe; from 4 on critical, emergency, shutdown. `None` for the
    /// negative number that says that it is not known.
    pub fn of_android_thermal(status: i32) -> Option<Self> {
        match status {
            ..0 => None,
            0..=1 => Some(Self::Normal),
            2..=3 => Some(Self::Warning),
            4.. => Some(Self::Critical),
        }
    }

    /// Of the level that `onTrimMemory` hears: 5 and 10, running moderate and low; 15, running critical; 20, hidden, says
    /// nothing of memory; 40 to 80, in the background and next to be ended, are critical from 80 on.
    pub fn of_android_trim(level: i32) -> Self {
        match level {
            5..15 | 40..80 => Self::Warning,
            15..20 | 80.. => Self::Critical,
            _ => Self::Normal,
        }
    }

    /// Of `NSProcessInfo.thermalState`: 0 nominal and 1 fair, 2 serious, 3 critical.
    pub fn of_apple_thermal(state: i64) -> Option<Self> {
        match state {
            0..=1 => Some(Self::Normal),
            2 => Some(Self::Warning),
            3 => Some(Self::Critical),
            _ => None,
        }
    }

    /// Of the event of a memory-pressure source of Apple's systems: 1 normal, 2 warning, 4 critical.
    pub fn of_apple_pressure(event: u64) -> Option<Self> {
        match event {
            1 => Some(Self::Normal),
            2 => Some(Self::Warning),
            4 => Some(Self::Critical),
            _ => None,
        }
    }

    /// Of the two notifications that Windows signals: memory is low, memory is high again.
    pub fn of_windows_memory(low: bool) -> Self {
        if low { Self::Warning } else { Self::Normal }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systems_numbers_mean_what_their_manuals_say() {
        let thermal = [-1, 0, 1, 2, 3, 4, 6].map(Level::of_android_thermal);
        let [normal, warning, critical] = [Level::Normal, Level::Warning, Level::Critical].map(Some);
        assert_eq!(thermal, [None, normal, normal, warning, warning, critical, critical]);
        let trim = [0, 5, 10, 15, 20, 40, 60, 80].map(Level::of_android_trim).map(Some);
        assert_eq!(trim, [normal, warning, warning, critical, normal, warning, warning, critical]);
        assert_eq!([0, 1, 2, 3, 9].map(Level::of_apple_thermal), [normal, normal, warning, critical, None]);
        assert_eq!([1, 2, 4, 3].map(Level::of_apple_pressure), [normal, warning, critical, None]);
        assert_eq!([false, true].map(Level::of_windows_memory), [Level::Normal, Level::Warning]);
    }
}
