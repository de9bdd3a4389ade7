//! Without the feature `nvml`: engines list NVIDIA's devices.

use crate::{DeviceEnergy, SuppliedDevice};

/// NVIDIA's devices by the driver's own library.
///
/// # Errors
/// Always: this build has no feature `nvml`.
pub fn nvidia_devices() -> std::result::Result<Vec<SuppliedDevice>, String> {
    Err("built without the feature `nvml`".into())
}

/// None: this build cannot ask.
pub(crate) fn energies() -> Vec<DeviceEnergy> {
    Vec::new()
}
