//! Energy that a stretch of work took, where the machine reports it.
//! Owns the sum over readings; must not read anything itself.

use serde::Serialize;
use std::time::Duration;

/// What the machine reports at one moment: counters that run, or a power.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EnergyReading {
    /// What is measured: `processor packages (powercap)`, `rail VDD_IN`, `battery BAT0`.
    pub source: String,
    /// Counters, which begin again at 0 behind their range.
    pub counters: Vec<EnergyCounter>,
    /// Power in watts, where the machine counts nothing.
    pub watts: Option<f64>,
    /// Whether that is all of the machine, devices included.
    pub is_whole: bool,
}

/// What a device's driver states of one device, as NVIDIA's counts: millijoules since the driver was loaded, and milliwatts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceEnergy {
    /// Counted energy; older devices count none.
    pub millijoules: Option<u64>,
    /// Power now.
    pub milliwatts: Option<u32>,
}

impl EnergyReading {
    /// Of devices: counters where each has one, else the sum of their powers; `None` where they state neither.
    pub fn of_devices(source: &str, devices: &[DeviceEnergy]) -> Option<Self> {
        let counted: Option<Vec<u64>> = devices.iter().map(|device| device.millijoules).collect();
        let counters = counted.unwrap_or_default().into_iter().map(|millijoules| EnergyCounter {
            microjoules: millijoules.saturating_mul(1000),
            range_microjoules: u64::MAX,
        });
        let counters: Vec<EnergyCounter> = counters.collect();
        let powers: Option<Vec<u32>> = devices.iter().map(|device| device.milliwatts).collect();
        let watts = powers.filter(|powers| counters.is_empty() && !powers.is_empty());
        let watts = watts.map(|powers| powers.into_iter().map(f64::from).sum::<f64>() / 1e3);
        let states = !counters.is_empty() || watts.is_some();
        states.then(|| Self { source: source.into(), counters, watts, is_whole: false })
    }

    /// With what another source states beside it, unless this is the whole machine already.
    pub fn beside(mut self, other: Option<Self>) -> Self {
        if let Some(other) = other.filter(|_| !self.is_whole) {
            self.source = format!("{} and {}", self.source, other.source);
            self.counters.extend(other.counters);
            self.watts = self.watts.into_iter().chain(other.watts).reduce(|one, other| one + other);
            self.is_whole = other.is_whole;
        }
        self
    }
}

/// A counter of energy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct EnergyCounter {
    /// Where it stands.
    pub microjoules: u64,
    /// Where it begins again.
    pub range_microjoules: u64,
}

/// Adds up the energy between readings. Read at least once a minute: a counter that went round twice looks as if it
/// had gone round once; a power is taken to change evenly between two readings.
#[derive(Debug, Clone)]
pub struct EnergyMeter {
    last: EnergyReading,
    last_at: Duration,
    joules: f64,
}

impl EnergyMeter {
    /// Starts with a reading. `at` is the time since any fixed moment.
    pub fn start(reading: EnergyReading, at: Duration) -> Self {
        Self { last: reading, last_at: at, joules: 0.0 }
    }

    /// Adds what was spent since the last reading. One of another source is left out.
    pub fn add(&mut self, reading: EnergyReading, at: Duration) {
        if reading.source != self.last.source || reading.counters.len() != self.last.counters.len() {
            return;
        }
        for (now, before) in reading.counters.iter().zip(&self.last.counters) {
            let spent = match now.microjoules.checked_sub(before.microjoules) {
                Some(spent) => spent,
                None => now
                    .microjoules
                    .saturating_add(before.range_microjoules.saturating_sub(before.microjoules)),
            };
            self.joules += spent as f64 / 1e6;
        }
        if let (Some(now), Some(before)) = (reading.watts, self.last.watts) {
            self.joules += (now + before) / 2.0 * at.saturating_sub(self.last_at).as_secs_f64();
        }
        (self.last, self.last_at) = (reading, at);
    }

    /// The sum so far, in joules.
    pub fn joules(&self) -> f64 {
        self.joules
    }

    /// What is measured.
    pub fn source(&self) -> &str {
        &self.last.source
    }
}
