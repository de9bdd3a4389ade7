//! NVIDIA's devices by the driver's own library, which is opened at run time and may be absent.
//! Knows that library; what is made of its answers stands in `supplied`.

use crate::{DeviceEnergy, SuppliedDevice};
use nvml_wrapper::enum_wrappers::device::Clock;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::{Device, Nvml};
use std::ffi::OsStr;
use std::sync::LazyLock;

/// The library's name where the driver installs it without the files for developers.
const LIBRARIES: [&str; 3] = ["libnvidia-ml.so.1", "nvml.dll", "libnvidia-ml.so"];

/// NVIDIA's devices by the driver's own library.
///
/// # Errors
/// In the library's words: none installed, no driver, no permission.
pub fn nvidia_devices() -> std::result::Result<Vec<SuppliedDevice>, String> {
    let nvml = LIBRARY.as_ref().map_err(String::clone)?;
    list(nvml).map_err(|error| error.to_string())
}

/// What each of NVIDIA's devices states of its energy; none where the library is not there or does not answer.
pub(crate) fn energies() -> Vec<DeviceEnergy> {
    let Ok(nvml) = LIBRARY.as_ref() else { return Vec::new() };
    let of = |index| {
        let device = nvml.device_by_index(index).ok()?;
        let (millijoules, milliwatts) = (device.total_energy_consumption().ok(), device.power_usage().ok());
        Some(DeviceEnergy { millijoules, milliwatts })
    };
    (0..nvml.device_count().unwrap_or(0)).filter_map(of).collect()
}

/// Opened once: opening takes longer than any question. A driver that comes later is found by the next process.
static LIBRARY: LazyLock<std::result::Result<Nvml, String>> = LazyLock::new(|| {
    let mut failed = String::new();
    for library in LIBRARIES {
        match Nvml::builder().lib_path(OsStr::new(library)).init() {
            Ok(nvml) => return Ok(nvml),
            Err(error) if failed.is_empty() => failed = format!("{library}: {error}"),
            Err(_) => {}
        }
    }
    Err(failed)
});

fn list(nvml: &Nvml) -> Result<Vec<SuppliedDevice>, NvmlError> {
    (0..nvml.device_count()?).map(|index| describe(&nvml.device_by_index(index)?)).collect()
}

/// A fact that a device does not state stays open; only its name must be there.
fn describe(device: &Device<'_>) -> Result<SuppliedDevice, NvmlError> {
    let memory = device.memory_info().ok();
    let clock = device.max_clock_info(Clock::Memory).ok();
    let capability = device.cuda_compute_capability().ok();
    Ok(SuppliedDevice {
        name: device.name()?,
        memory_bytes: memory.as_ref().map_or(0, |memory| memory.total),
        free_bytes: memory.as_ref().map_or(0, |memory| memory.free),
        unified: false,
        architecture: capability.map(|version| format!("sm_{}{}", version.major, version.minor)),
        memory_clock_mhz: clock,
        memory_bus_bits: device.memory_bus_width().ok(),
    })
}
