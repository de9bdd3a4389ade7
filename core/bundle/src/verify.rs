//! Full verification: every byte of every file against the manifest.
//!
//! Owns the pass with progress and cancel, and its report. Must not change anything.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::bundle::{Bundle, Presence};
use crate::digest::{HashingWriter, Sha256Digest};
use crate::error::{Error, IoContext, Result};
use crate::path::RelativePath;

/// Bytes read at a time; also how often progress is reported.
const CHUNK_BYTES: usize = 1 << 20;

/// How far a long operation is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress<'a> {
    /// The file in work.
    pub file: &'a str,
    /// Bytes done, over all files.
    pub done_bytes: u64,
    /// Bytes to do, over all files.
    pub total_bytes: u64,
    /// Time to go at the mean rate so far; absent at the start.
    pub eta: Option<Duration>,
}

/// What verification found.
#[derive(Debug)]
pub struct VerifyReport {
    /// One entry per file of the variants on this disk, in manifest order.
    pub files: Vec<FileReport>,
    /// Ids of variants without any file on this disk.
    pub absent: Vec<String>,
}

/// What verification found about one file.
#[derive(Debug)]
pub struct FileReport {
    /// The variant that lists it.
    pub variant: String,
    /// The file.
    pub path: RelativePath,
    /// Its size according to the manifest.
    pub bytes: u64,
    /// The problem, if there is one.
    pub problem: Option<Error>,
}

impl VerifyReport {
    /// Whether every file on this disk is as the manifest says.
    pub fn is_intact(&self) -> bool {
        self.files.iter().all(|file| file.problem.is_none())
    }

    /// The first problem as an error.
    ///
    /// # Errors
    /// The problem of the first damaged file.
    pub fn into_result(self) -> Result<()> {
        self.files.into_iter().find_map(|file| file.problem).map_or(Ok(()), Err)
    }
}

impl Bundle {
    /// Reads every file of every variant on this disk and compares size and SHA-256 with the manifest. `progress` is
    /// called about once per MiB; `Break` stops.
    ///
    /// # Errors
    /// [`Error::Cancelled`] only: damage is in the report.
    pub fn verify(&self, progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>) -> Result<VerifyReport> {
        let mut absent = Vec::new();
        let mut work = Vec::new();
        for variant in self.variants() {
            match self.presence(variant) {
                Presence::Absent => absent.push(variant.id.clone()),
                Presence::Complete | Presence::Damaged(_) => {
                    work.extend(variant.files.iter().map(|file| (variant, file)));
                }
            }
        }
        let total_bytes = work.iter().fold(0u64, |sum, (_, file)| sum.saturating_add(file.bytes));
        let mut meter = Meter::new(0, total_bytes);
        let mut files = Vec::new();
        for (variant, file) in work {
            let end = meter.done_bytes.saturating_add(file.bytes);
            let checked = self.check_size(variant, file).and_then(|path| {
                let mut step = |n: u64| {
                    meter.done_bytes += n;
                    progress(meter.progress(&file.path))
                };
                let (got, bytes) = digest_file(&path, &mut step)?;
                if bytes != file.bytes {
                    return Err(Error::WrongSize { path, expected: file.bytes, got: bytes });
                }
                match got == file.sha256 {
                    true => Ok(()),
                    false => Err(Error::WrongDigest { path, expected: file.sha256, got }),
                }
            });
            let problem = match checked {
                Ok(()) => None,
                Err(Error::Cancelled) => return Err(Error::Cancelled),
                Err(error) => Some(error),
            };
            meter.done_bytes = end;
            let (variant, path) = (variant.id.clone(), file.path.clone());
            files.push(FileReport { variant, path, bytes: file.bytes, problem });
        }
        Ok(VerifyReport { files, absent })
    }
}

/// SHA-256 and length of the file at `path`; `step` is told the bytes of each chunk.
///
/// # Errors
/// [`Error::Io`], or [`Error::Cancelled`] when `step` breaks.
pub(crate) fn digest_file(
    path: &Path,
    step: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<(Sha256Digest, u64)> {
    let mut hash = HashingWriter::new(io::sink());
    read_chunks(path, &mut |chunk| {
        hash.write_all(chunk).expect("a sink takes everything");
        step(chunk.len() as u64)
    })?;
    let (_, digest, bytes) = hash.finish();
    Ok((digest, bytes))
}

/// Reads the file at `path` from the front in chunks of at most 1 MiB.
///
/// # Errors
/// [`Error::Io`], or [`Error::Cancelled`] when `chunk` breaks.
pub(crate) fn read_chunks(path: &Path, chunk: &mut dyn FnMut(&[u8]) -> ControlFlow<()>) -> Result<()> {
    let mut file = File::open(path).at("open", path)?;
    let mut buffer = vec![0u8; CHUNK_BYTES];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) if chunk(&buffer[..n]).is_break() => return Err(Error::Cancelled),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read", path, error)),
        }
    }
}

/// Bytes done against time, for the time to go.
#[derive(Debug)]
pub(crate) struct Meter {
    /// Bytes done so far, including those that were there at the start.
    pub(crate) done_bytes: u64,
    total_bytes: u64,
    start_bytes: u64,
    start: Instant,
}

impl Meter {
    /// Starts the clock.
    pub(crate) fn new(start_bytes: u64, total_bytes: u64) -> Meter {
        Meter { done_bytes: start_bytes, total_bytes, start_bytes, start: Instant::now() }
    }

    /// The state of things; `file` is the one in work.
    pub(crate) fn progress<'a>(&self, file: &'a str) -> Progress<'a> {
        let elapsed = self.start.elapsed().as_secs_f64();
        let left = self.total_bytes.saturating_sub(self.done_bytes) as f64;
        let new = self.done_bytes.saturating_sub(self.start_bytes) as f64;
        let eta =
            (new > 0.0 && elapsed > 0.1).then(|| Duration::from_secs_f64((elapsed * left / new).min(1e9)));
        Progress { file, done_bytes: self.done_bytes, total_bytes: self.total_bytes, eta }
    }
}
