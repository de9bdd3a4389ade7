//! Systems without inodes in `std`, directory fsync or madvise: the neutral answers.
//!
//! Owns nothing. An open file cannot be unlinked under its name there, so that a lock file stays the same file.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::Mutex;

use memmap2::Mmap;

use crate::mapped_file::Access;

/// Keeps a seek and its write together.
static POSITION: Mutex<()> = Mutex::new(());

/// Whether `path` still leads to the open `file`.
pub(crate) fn same_file(_file: &File, path: &Path) -> io::Result<bool> {
    path.try_exists()
}

/// Makes the entries of a directory survive a power cut, as far as the system offers it.
pub(crate) fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Writes a new file; who may read it follows from its directory.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Writes all of `bytes` at `offset`; several threads may do so at once.
pub(crate) fn write_all_at(mut file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let _held = POSITION.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    file.seek(SeekFrom::Start(offset))?;
    file.write_all(bytes)
}

/// Tells the system how a mapping will be read.
pub(crate) fn advise(_map: &Mmap, _access: Access) -> io::Result<()> {
    Ok(())
}
