//! Facts that only the app or an engine can ask the system for, laid over a description.
//! Knows the public shape; must not ask anything itself.

use crate::host::{Gpu, Host, Level, Limit, PowerSource};
use crate::priors::{Fact, Origin, Priors};
use crate::{memory_budget, profiles};

/// What the app or an engine knows. Everything is optional; what is given stands above what was detected.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Supplied {
    /// Memory that the system says this app may still take, in bytes: `os_proc_available_memory` on iOS,
    /// `MemoryInfo.availMem − threshold` on Android, a job's or a game's own cap.
    pub available_memory_bytes: Option<u64>,
    /// Graphics devices as a driver or an engine lists them.
    pub devices: Vec<SuppliedDevice>,
    /// Thermal state: `NSProcessInfo.thermalState`, `AThermal_getCurrentThermalStatus`.
    pub thermal_level: Option<Level>,
    /// The system's word on memory: a pressure source, `onTrimMemory`, a memory notification.
    pub memory_level: Option<Level>,
    /// Mains or battery.
    pub power_source: Option<PowerSource>,
    /// Whether the user asked to save energy.
    pub power_saver: Option<bool>,
    /// Figures that were measured on this machine, for its memory.
    pub measured: Priors,
}

/// A graphics device.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SuppliedDevice {
    /// The maker's name, e.g. `NVIDIA GeForce RTX 3060`.
    pub name: String,
    /// Its memory in bytes; 0 where unknown.
    pub memory_bytes: u64,
    /// What is free of it in bytes; 0 where unknown.
    pub free_bytes: u64,
    /// Whether it uses the host's memory.
    pub unified: bool,
    /// Its generation, e.g. `sm_86`.
    pub architecture: Option<String>,
    /// Highest clock of its memory in MHz, and the width of its bus in bits: both together state its bandwidth.
    pub memory_clock_mhz: Option<u32>,
    /// See above.
    pub memory_bus_bits: Option<u32>,
}

impl SuppliedDevice {
    /// Peak bandwidth in GB/s: two transfers per clock, as drivers count clocks of GDDR and HBM memory alike.
    fn bandwidth_gbs(&self) -> Option<f64> {
        let (clock, bits) = self.memory_clock_mhz.zip(self.memory_bus_bits)?;
        let gbs = 2.0 * f64::from(clock) * 1e6 * f64::from(bits) / 8.0 / 1e9;
        (gbs > 0.0).then_some(gbs)
    }
}

/// Words of makers' names.
const VENDORS: [(&str, &str); 9] = [
    ("nvidia", "nvidia"),
    ("amd", "amd"),
    ("radeon", "amd"),
    ("intel", "intel"),
    ("apple", "apple"),
    ("adreno", "qualcomm"),
    ("mali", "arm"),
    ("immortalis", "arm"),
    ("llvmpipe", "software"),
];

impl Host {
    /// Lays what is known elsewhere over this description, and finds profiles anew.
    pub fn supply(&mut self, supplied: &Supplied) {
        if let Some(headroom_bytes) = supplied.available_memory_bytes {
            let limits = &mut self.memory.limits;
            let place = limits.partition_point(|limit| limit.headroom_bytes <= headroom_bytes);
            limits.insert(place, Limit { source: "what the app was told".into(), headroom_bytes });
            self.memory.budget_bytes = memory_budget(limits[0].headroom_bytes);
            self.unknown.retain(|unknown| unknown.fact != "memory.budget_bytes");
        }
        let mut claimed = Vec::new();
        for device in &supplied.devices {
            self.supply_device(device, &mut claimed);
        }
        self.thermal.level = supplied.thermal_level.or(self.thermal.level);
        self.pressure.memory_level = supplied.memory_level.or(self.pressure.memory_level);
        self.power.saver = supplied.power_saver.or(self.power.saver);
        if let Some(source) = supplied.power_source {
            self.power.source = Some(source);
            self.unknown.retain(|unknown| unknown.fact != "power.source");
        }
        profiles::apply(self);
        self.priors.prefer(supplied.measured.clone());
    }

    /// A device of the same name, or one of the same vendor under a name of the kernel's, is the same device; else it is a
    /// new one. Each is claimed once, so that two equal devices stay two.
    fn supply_device(&mut self, device: &SuppliedDevice, claimed: &mut Vec<usize>) {
        let lower = device.name.to_lowercase();
        let vendor =
            VENDORS.iter().find(|(word, _)| lower.contains(word)).map_or("unknown", |(_, vendor)| vendor);
        let kernels = ["card", "integrated", "Adreno"];
        let unnamed = |gpu: &Gpu| kernels.iter().any(|name| gpu.name.starts_with(name));
        let free = |place: &usize| !claimed.contains(place);
        let find =
            |same: &dyn Fn(&Gpu) -> bool| (0..self.gpus.len()).filter(free).find(|at| same(&self.gpus[*at]));
        let place = find(&|gpu| gpu.name == device.name)
            .or_else(|| find(&|gpu| gpu.vendor == vendor && unnamed(gpu)));
        let place = place.unwrap_or_else(|| {
            self.gpus.push(Gpu { vendor: vendor.into(), ..Gpu::default() });
            self.gpus.len() - 1
        });
        claimed.push(place);
        let gpu = &mut self.gpus[place];
        gpu.name.clone_from(&device.name);
        gpu.unified |= device.unified;
        let stated = |bytes: u64| (bytes > 0).then_some(bytes);
        gpu.memory_bytes = stated(device.memory_bytes).or(gpu.memory_bytes);
        gpu.free_bytes = stated(device.free_bytes).or(gpu.free_bytes);
        gpu.architecture = device.architecture.clone().or_else(|| gpu.architecture.take());
        if let Some(gbs) = device.bandwidth_gbs() {
            let source = "memory clock and bus width of the driver".to_string();
            let fact = Fact { range: [gbs, gbs], origin: Origin::Detected, source };
            gpu.priors.prefer(Priors { bandwidth_gbs: Some(fact), ..Priors::default() });
        }
    }
}
