//! A file that is partly there: its bytes, which of them are valid, and the version of the source they belong to.
//!
//! Owns `KEY.part` and `KEY.json` in the directory of partial files. Must not know the network.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use super::ranges::Ranges;
use super::{ContentDigest, Job};
use crate::atomic::AtomicFile;
use crate::digest::Sha256Digest;
use crate::error::{IoContext, Result};
use crate::platform;

/// A partial file, open for writing at any place by several threads.
#[derive(Debug)]
pub(super) struct Partial {
    file: File,
    path: PathBuf,
    state_path: PathBuf,
}

/// What `KEY.json` holds.
#[derive(Serialize, Deserialize)]
struct State {
    bytes: u64,
    etag: Option<String>,
    done: Vec<(u64, u64)>,
}

/// What is there of a file.
#[derive(Debug, Default)]
pub(super) struct Resumed {
    pub(super) done: Ranges,
    pub(super) etag: Option<String>,
}

impl Partial {
    /// Opens the partial file of `job` in `directory`, with what an earlier run left of it. Bytes of a file without a
    /// digest cannot be checked later and are not taken over. `key` is [`Partial::key`], made unique.
    pub(super) fn open(directory: &Path, key: &str, job: &Job) -> Result<(Partial, Resumed)> {
        let (path, state_path) =
            (directory.join(format!("{key}.part")), directory.join(format!("{key}.json")));
        let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let file = file.at("create", &path)?;
        let length = file.metadata().at("read the size of", &path)?.len();
        let partial = Partial { file, path, state_path };
        let resumed = partial.read_state(job, length);
        if resumed.done.end() == 0 {
            partial.file.set_len(0).at("truncate", &partial.path)?;
        }
        Ok((partial, resumed))
    }

    /// Name of a job's partial file: the same content from another address continues it.
    pub(super) fn key(job: &Job) -> String {
        match &job.digest {
            Some(ContentDigest::Sha256(digest)) => digest.to_string(),
            Some(digest) => Sha256Digest::of(format!("{digest} {}", job.bytes).as_bytes()).to_string(),
            None => {
                Sha256Digest::of(format!("{} {}", job.target.display(), job.bytes).as_bytes()).to_string()
            }
        }
    }

    fn read_state(&self, job: &Job, length: u64) -> Resumed {
        let Ok(bytes) = fs::read(&self.state_path) else { return Resumed::default() };
        let Ok(state) = serde_json::from_slice::<State>(&bytes) else { return Resumed::default() };
        let done = Ranges::from_pairs(&state.done, job.bytes);
        if job.digest.is_none() || state.bytes != job.bytes || done.end() > length {
            return Resumed::default();
        }
        Resumed { done, etag: state.etag }
    }

    /// Notes what is there, for a later run.
    pub(super) fn save(&self, bytes: u64, etag: Option<&str>, done: &Ranges) -> Result<()> {
        let state = State { bytes, etag: etag.map(str::to_owned), done: done.pairs() };
        let json = serde_json::to_vec(&state).expect("numbers and a string are JSON");
        AtomicFile::write_all_to(&self.state_path, &json)
    }

    /// Where the bytes are.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Forgets all bytes.
    pub(super) fn reset(&self) -> Result<()> {
        self.remove_state();
        self.file.set_len(0).at("truncate", &self.path)
    }

    /// Removes both files.
    pub(super) fn discard(&self) {
        self.remove_state();
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "cannot remove partial file");
            }
            _ => {}
        }
    }

    /// Gives the complete and verified file its name.
    pub(super) fn publish(&self, target: &Path) -> Result<()> {
        self.file.sync_all().at("write", &self.path)?;
        if let Some(directory) = target.parent() {
            fs::create_dir_all(directory).at("create directory", directory)?;
        }
        fs::rename(&self.path, target).at("publish", target)?;
        self.remove_state();
        match target.parent() {
            Some(directory) => platform::sync_directory(directory).at("make durable", directory),
            None => Ok(()),
        }
    }

    fn remove_state(&self) {
        match fs::remove_file(&self.state_path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.state_path.display(), %error, "cannot remove download state");
            }
            _ => {}
        }
    }
}

/// The right of one attempt to write, which can be withdrawn while its thread hangs in a read.
#[derive(Debug)]
pub(super) struct Gate {
    is_open: Mutex<bool>,
    partial: std::sync::Arc<Partial>,
}

impl Gate {
    pub(super) fn new(partial: std::sync::Arc<Partial>) -> Gate {
        Gate { is_open: Mutex::new(true), partial }
    }

    /// Withdraws the right. When this returns, no write is under way and none will follow.
    pub(super) fn close(&self) {
        *self.is_open.lock().expect("no holder of the gate panics") = false;
    }

    /// Writes at `offset`. `false` when the right was withdrawn.
    pub(super) fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<bool> {
        let is_open = self.is_open.lock().expect("no holder of the gate panics");
        if *is_open {
            platform::write_all_at(&self.partial.file, bytes, offset)?;
        }
        Ok(*is_open)
    }
}
