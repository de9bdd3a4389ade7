//! What the host is: processor, memory that a model may use, graphics devices.
//!
//! Owns detection. Reads text files below a root (`/` or a fixture) on Linux and Android; must not run programs, know
//! models, or decide anything.

mod cgroup;
mod cpu;
mod error;
mod gpu;
mod host;
mod memory;
mod root;
mod topology;

// This machine: files on Linux and Android, the system's own interfaces elsewhere.
#[cfg(all(target_arch = "aarch64", not(any(target_os = "linux", target_os = "android"))))]
#[path = "isa_aarch64.rs"]
mod isa;
#[cfg(all(
    not(any(target_arch = "aarch64", target_arch = "x86_64")),
    not(any(target_os = "linux", target_os = "android"))
))]
#[path = "isa_unknown.rs"]
mod isa;
#[cfg(all(target_arch = "x86_64", not(any(target_os = "linux", target_os = "android"))))]
#[path = "isa_x86_64.rs"]
mod isa;
#[cfg(any(target_os = "linux", target_os = "android"))]
#[path = "linux.rs"]
mod this_machine;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[path = "other.rs"]
mod this_machine;

pub use error::Error;
pub use host::{CoreClass, Cpu, Gpu, Host, Limit, Memory};

use std::path::Path;

/// Describes this machine.
///
/// # Errors
/// A file of the system that is missing or does not parse, by name.
pub fn detect() -> Result<Host, Error> {
    this_machine::detect()
}

/// Describes the Linux machine whose `/proc` and `/sys` lie below `root`.
///
/// # Errors
/// As [`detect`].
pub fn detect_at(root: &Path) -> Result<Host, Error> {
    host::read(&root::Root::new(root))
}
