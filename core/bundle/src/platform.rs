//! What differs between operating systems: identity of an open file, durable directories, positioned writes, files that
//! only their owner may read, advice on mapped memory.
//!
//! Owns the choice at compile time. Must not hold policy.

#[cfg(unix)]
#[path = "platform/unix.rs"]
mod system;
#[cfg(not(unix))]
#[path = "platform/other.rs"]
mod system;

pub(crate) use system::{advise, same_file, sync_directory, write_all_at, write_private};
