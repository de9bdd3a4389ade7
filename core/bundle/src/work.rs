//! A folder inside a bundle for work that takes several runs of a process, with one holder at a time.
//!
//! Owns its place, its lock and its removal. No manifest lists what lies there; a bundle is valid with and without it. Must not
//! know what the work is.

use std::fs;
use std::path::{Path, PathBuf};

use crate::bundle::Bundle;
use crate::error::{IoContext, Result};
use crate::lock::LockFile;
use crate::path::RelativePath;

/// Directory of such folders inside a bundle.
const WORK: &str = ".work";

/// The folder, kept from one run to the next until [`WorkFolder::remove`].
#[derive(Debug)]
pub struct WorkFolder {
    path: PathBuf,
    _lock: LockFile,
}

impl Bundle {
    /// The work folder `name` of this bundle, made where it is not there.
    ///
    /// # Errors
    /// [`crate::Error::Locked`] while another holds it, [`crate::Error::Path`] for a bad name, [`crate::Error::Io`].
    pub fn work_folder(&self, name: &str) -> Result<WorkFolder> {
        let path = self.root().join(WORK).join(RelativePath::new(name)?);
        let lock = LockFile::exclusive(&path.join("lock"), &path)?;
        Ok(WorkFolder { path, _lock: lock })
    }
}

impl WorkFolder {
    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it and, where it was the last one, the directory of such folders.
    ///
    /// # Errors
    /// [`crate::Error::Io`].
    pub fn remove(self) -> Result<()> {
        // The lock file goes with the folder while the lock is held.
        fs::remove_dir_all(&self.path).at("remove", &self.path)?;
        let mut directory = self.path.parent();
        while let Some(empty) = directory.filter(|directory| directory.ends_with(WORK) || inside(directory)) {
            if fs::remove_dir(empty).is_err() {
                break;
            }
            directory = empty.parent();
        }
        Ok(())
    }
}

/// Whether `directory` is inside a directory of work folders.
fn inside(directory: &Path) -> bool {
    directory.parent().is_some_and(|above| above.ends_with(WORK))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BundleWriter, Error, ModelCard};

    #[test]
    fn one_holder_at_a_time_and_nothing_left() {
        let root = tempfile::tempdir().unwrap();
        let card = ModelCard { id: "m".into(), ..ModelCard::default() };
        let bundle = BundleWriter::create_or_open(root.path(), card).unwrap().publish().unwrap();
        let held = bundle.work_folder("gguf_Q4_K_M").unwrap();
        assert!(matches!(bundle.work_folder("gguf_Q4_K_M"), Err(Error::Locked { .. })));
        fs::write(held.path().join("part"), b"x").unwrap();
        drop(held);
        // What lies there outlives its holder and other writers.
        BundleWriter::open(root.path()).unwrap().publish().unwrap();
        let held = bundle.work_folder("gguf_Q4_K_M").unwrap();
        assert_eq!(fs::read(held.path().join("part")).unwrap(), b"x");
        held.remove().unwrap();
        assert!(!root.path().join(WORK).exists());
        assert!(bundle.work_folder("../out").is_err());
    }
}
