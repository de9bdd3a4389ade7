//! A file that is written over several runs: what a run finished, the next one keeps.
//!
//! Owns the partial file and the journal beside it: one line per finished tensor with the digest of its bytes. Must not know
//! why a run ended or where the file goes. Whatever a crash leaves is judged by digests: what does not match is made again, so
//! that the file ends as an uninterrupted run would have made it.

use crate::execute::{Summary, write_rest};
use crate::plan::Job;
use crate::source::TensorSource;
use crate::{Error, Result, Watch};
use bundle::Sha256Digest;
use bundle::atomic::AtomicFile;
use bundle::digest::HashingWriter;
use formats::gguf::Writer;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// Bytes collected before they go to the system.
const BUFFER_BYTES: usize = 1 << 20;

/// Where the file and its journal lie.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) file: PathBuf,
    pub(crate) journal: PathBuf,
}

/// Writes the file that `job` describes, after what an earlier run of the same `identity` finished. Returns also how many
/// tensors that were.
///
/// # Errors
/// As [`crate::write_file`]; what is finished by then stays for the next run.
pub(crate) fn write_resumable(
    job: &Job,
    source: &dyn TensorSource,
    places: &Places,
    identity: &str,
    threads: usize,
    watch: &mut Watch<'_>,
) -> Result<(Summary, usize)> {
    let specs = job.specs();
    let gguf = |source| Error::Gguf { path: places.file.clone(), source };
    let (header, ends) = Writer::<Vec<u8>>::layout(&job.metadata, &specs).map_err(gguf)?;
    let io = |source| Error::io(&places.file, source);
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).open(&places.file).map_err(io)?;
    let claimed = read_journal(&places.journal, identity);
    let begins = [header.len() as u64].into_iter().chain(ends.iter().copied());
    let finished = confirm(&mut file, &header, begins.clone(), &ends, &claimed).map_err(io)?;
    let begin = begins.clone().nth(finished).unwrap_or(0);
    file.set_len(if finished == 0 { 0 } else { begin }).map_err(io)?;
    // Written anew, so that no torn line is left in it.
    let lines: String = claimed[..finished].iter().map(|digest| format!("{digest}\n")).collect();
    AtomicFile::write_all_to(&places.journal, format!("{identity}\n{lines}").as_bytes())?;
    let at = |source| Error::io(&places.journal, source);
    let journal = File::options().append(true).open(&places.journal).map_err(at)?;
    let mut kept = Kept {
        hashing: HashingWriter::new(io::sink()),
        file: io::BufWriter::with_capacity(BUFFER_BYTES, file),
        journal,
        ends: ends.iter().skip(finished).copied().collect::<VecDeque<u64>>(),
        end: header.len() as u64,
        at: 0,
        of_tensor: false,
    };
    let summary = match finished {
        0 => {
            kept.file.rewind().map_err(io)?;
            let writer = Writer::new(&mut kept, &job.metadata, &specs).map_err(gguf)?;
            write_rest(job, source, writer, 0, threads, watch)?
        }
        _ => {
            kept.file.seek(SeekFrom::Start(begin)).map_err(io)?;
            (kept.at, kept.end) = (begin, begin);
            kept.next_region();
            let writer = Writer::resume(&mut kept, &job.metadata, &specs, finished).map_err(gguf)?;
            write_rest(job, source, writer, finished, threads, watch)?
        }
    };
    let file = kept.file.into_inner().map_err(|error| io(error.into_error()))?;
    file.sync_all().map_err(io)?;
    Ok((summary, finished))
}

/// Digests that the journal of the same work holds, in the order of the file's tensors.
fn read_journal(path: &Path, identity: &str) -> Vec<Sha256Digest> {
    let Ok(text) = std::fs::read_to_string(path) else { return Vec::new() };
    let mut lines = text.lines();
    if lines.next() != Some(identity) {
        return Vec::new();
    }
    lines.map_while(|line| line.parse().ok()).collect()
}

/// How many of the `claimed` tensors the file holds as the journal says.
fn confirm(
    file: &mut File,
    header: &[u8],
    begins: impl Iterator<Item = u64>,
    ends: &[u64],
    claimed: &[Sha256Digest],
) -> io::Result<usize> {
    let length = file.metadata()?.len();
    if claimed.is_empty() || length < header.len() as u64 {
        return Ok(0);
    }
    file.rewind()?;
    let mut input = io::BufReader::with_capacity(BUFFER_BYTES, file);
    let mut found = vec![0; header.len()];
    input.read_exact(&mut found)?;
    if found != header {
        return Ok(0);
    }
    let mut finished = 0;
    for ((begin, end), digest) in begins.zip(ends).zip(claimed) {
        if *end > length {
            break;
        }
        let mut hashing = HashingWriter::new(io::sink());
        io::copy(&mut (&mut input).take(end - begin), &mut hashing)?;
        if hashing.finish().1 != *digest {
            break;
        }
        finished += 1;
    }
    Ok(finished)
}

/// The file as it grows: at the end of each tensor the journal hears of it.
struct Kept {
    file: io::BufWriter<File>,
    journal: File,
    hashing: HashingWriter<io::Sink>,
    /// Ends of the tensors that are not begun.
    ends: VecDeque<u64>,
    /// Where the header or tensor ends that is being written.
    end: u64,
    at: u64,
    /// Whether it is a tensor.
    of_tensor: bool,
}

impl Kept {
    fn next_region(&mut self) {
        self.of_tensor = true;
        self.hashing = HashingWriter::new(io::sink());
        self.end = self.ends.pop_front().unwrap_or(u64::MAX);
    }

    /// Ends regions that are full, also empty ones that follow.
    fn settle(&mut self) -> io::Result<()> {
        while self.at == self.end {
            if self.of_tensor {
                self.file.flush()?;
                let hashing = std::mem::replace(&mut self.hashing, HashingWriter::new(io::sink()));
                let line = format!("{}\n", hashing.finish().1);
                self.journal.write_all(line.as_bytes())?;
            }
            self.next_region();
        }
        Ok(())
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
        let n = self.file.write(&bytes[..bytes.len().min(room)])?;
        self.hashing.write_all(&bytes[..n])?;
        self.at += n as u64;
        self.settle()?;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests;
