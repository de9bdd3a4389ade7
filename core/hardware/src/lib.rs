//! What the host is: processor, memory that a model may use, graphics devices, heat, power – and what is known of such
//! machines.
//!
//! Owns detection and the hardware profiles. Reads small files below a root (`/`, a fixture folder, or one text that
//! replays a machine); must not run programs, know models, or decide anything. A fact that cannot be read is listed as
//! unknown with its reason; it is neither guessed nor an error.

mod apple;
mod conditions;
mod energy;
mod error;
mod files;
mod host;
mod linux;
mod priors;
mod profiles;
mod replay;
mod root;
mod supplied;
mod typical;
mod windows;

// This machine: each system's own way to the same root.
#[cfg(target_os = "android")]
#[path = "native_android.rs"]
mod native;
#[cfg(any(target_os = "macos", target_os = "ios"))]
#[path = "native_apple.rs"]
mod native;
#[cfg(target_os = "linux")]
#[path = "native_linux.rs"]
mod native;
#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "macos",
    target_os = "ios",
    target_os = "windows"
)))]
#[path = "native_other.rs"]
mod native;
#[cfg(target_os = "windows")]
#[path = "native_windows.rs"]
mod native;
#[cfg(target_os = "ios")]
#[path = "native_memory_ios.rs"]
mod native_memory;
#[cfg(target_os = "macos")]
#[path = "native_memory_macos.rs"]
mod native_memory;

// The driver's library, or an empty list with a reason.
#[cfg(feature = "nvml")]
mod nvml;
#[cfg(not(feature = "nvml"))]
#[path = "nvml_disabled.rs"]
mod nvml;

#[cfg(all(target_os = "windows", target_arch = "aarch64"))]
#[path = "isa_aarch64.rs"]
mod isa;
#[cfg(all(target_os = "windows", not(any(target_arch = "aarch64", target_arch = "x86_64"))))]
#[path = "isa_unknown.rs"]
mod isa;
#[cfg(all(target_os = "windows", target_arch = "x86_64"))]
#[path = "isa_x86_64.rs"]
mod isa;

pub use conditions::Conditions;
pub use energy::{DeviceEnergy, EnergyCounter, EnergyMeter, EnergyReading};
pub use error::{Error, Result};
pub use files::FILES;
pub use host::{
    CoreClass, Cpu, Disk, DiskKind, Gpu, Host, Level, Limit, Memory, Place, Power, PowerSource, Pressure,
    Thermal, Unknown,
};
pub use nvml::nvidia_devices;
pub use priors::{Fact, Origin, Priors};
pub use profiles::{
    Match, Matched, Preference, Preset, Profile, ProfileClass, SharedGpu, Subject, System, TypicalMachine,
    classes, profile, profiles, strongest,
};
pub use supplied::{Supplied, SuppliedDevice};
pub use typical::typical;

pub use linux::process::ProcessMemory;

pub(crate) use linux::budget as memory_budget;

use root::Root;
use std::path::Path;

/// What this process holds in memory now; `None` on systems whose files do not say.
pub fn process_memory() -> Option<ProcessMemory> {
    linux::process::read(&native::root())
}

/// What this machine reports of its energy now; `None` where it reports nothing, or not to this process. With
/// `uses_devices` NVIDIA's are included where the feature `nvml` is on: what idle devices draw is no work's energy.
pub fn energy(uses_devices: bool) -> Option<EnergyReading> {
    let machine = linux::energy::read(&native::root());
    if !uses_devices || machine.as_ref().is_some_and(|reading| reading.is_whole) {
        return machine;
    }
    let devices = EnergyReading::of_devices("NVIDIA devices (NVML)", &nvml::energies());
    match machine {
        Some(machine) => Some(machine.beside(devices)),
        None => devices,
    }
}

/// The same of files handed over: paths relative to the root, and what stands in them.
pub fn energy_in<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Option<EnergyReading> {
    let table = files.into_iter().map(|(path, bytes)| (path.into(), Ok(bytes.to_vec())));
    linux::energy::read(&Root::table(table.collect()))
}

/// Describes this machine.
///
/// # Errors
/// None today: what cannot be read is listed in [`Host::unknown`].
pub fn detect() -> Result<Host> {
    Ok(with_profiles(&native::root(), native::read))
}

/// What changes on this machine while a program runs: a few files on Linux and Android, in some milliseconds; elsewhere the
/// whole description is read.
pub fn conditions() -> Conditions {
    native::conditions(&native::root())
}

/// The same of the machine below `root`, as [`detect_at`] takes it.
///
/// # Errors
/// As [`detect_at`].
pub fn conditions_at(root: &Path) -> Result<Conditions> {
    let root = Root::open(root)?;
    let foreign = root.exists(apple::TABLE) || root.exists(windows::TABLE);
    Ok(if foreign { Conditions::of(&replayed(&root)) } else { linux::conditions(&root) })
}

/// Describes the machine below `root`: a folder that stands for `/` (or holds `sysctl.txt` of a Mac or `windows.json`),
/// or one file that replays a machine (as [`record`] writes it).
///
/// # Errors
/// A `root` that cannot be read, or a file that replays nothing.
pub fn detect_at(root: &Path) -> Result<Host> {
    Ok(with_profiles(&Root::open(root)?, replayed))
}

/// Describes the machine of files handed over: paths relative to the root, and what stands in them.
pub fn detect_in<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Host {
    let table =
        files.into_iter().map(|(path, bytes)| (path.trim_start_matches('/').into(), Ok(bytes.to_vec())));
    with_profiles(&Root::table(table.collect()), replayed)
}

/// Describes the machine below `root` (this one without it) and keeps what was read for it, as a text that
/// [`detect_at`] replays.
///
/// # Errors
/// As [`detect_at`].
pub fn record(root: Option<&Path>) -> Result<(Host, String)> {
    let (root, read): (Root, fn(&Root) -> Host) = match root {
        Some(path) => (Root::open(path)?, replayed),
        None => (native::root(), native::read),
    };
    let root = root.recording();
    let host = with_profiles(&root, read);
    Ok((host, replay::write(&root.recorded())))
}

/// Reads whichever system a root shows. Apart from this machine's own reader, so that an app that replays nothing does
/// not carry the others.
fn replayed(root: &Root) -> Host {
    if root.exists(apple::TABLE) {
        apple::read(root)
    } else if root.exists(windows::TABLE) {
        windows::read(root)
    } else {
        linux::read(root)
    }
}

fn with_profiles(root: &Root, read: fn(&Root) -> Host) -> Host {
    let mut host = read(root);
    host.unknown = root.take_unknown();
    profiles::apply(&mut host);
    host
}
