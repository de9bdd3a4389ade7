//! What the host is: processor, memory that a model may use, graphics devices.
//!
//! Owns detection. Reads text files below a root (`/` or a fixture) on Linux and Android; must not run programs, know
//! models, or decide anything.

mod cgroup;
mod cpu;
mod error;
mod gpu;
mod host;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod linux;
mod memory;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod other;
mod root;

pub use error::Error;
pub use host::{Cpu, Gpu, Host, Limit, Memory};

use std::path::Path;

/// Describes this machine.
///
/// # Errors
/// A file of the system that is missing or does not parse, by name.
pub fn detect() -> Result<Host, Error> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return linux::detect();
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    return other::detect();
}

/// Describes the Linux machine whose `/proc` and `/sys` lie below `root`.
///
/// # Errors
/// As [`detect`].
pub fn detect_at(root: &Path) -> Result<Host, Error> {
    host::read(&root::Root::new(root))
}
