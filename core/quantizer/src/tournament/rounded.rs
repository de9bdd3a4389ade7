//! Candidates' files, of tensors that are rounded once per type: what several plans share is made by the first.
//! Knows plans and files; must not know who wins.

use super::Contest;
use crate::execute::write_file;
use crate::judge::Judging;
use crate::plan::{Job, plan_types};
use crate::source::TensorSource;
use crate::{Error, Result, TypePlan};
use formats::gguf::{GgmlType, Header, Writer};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Bytes that are copied at a time.
const COPIED_BYTES: usize = 1 << 20;

pub(super) struct RoundedTensors<'a> {
    source: &'a dyn TensorSource,
    contest: &'a Contest<'a>,
    judging: &'a Judging<'a>,
    /// Where each tensor of a type lies: file, offset, bytes.
    places: BTreeMap<(String, GgmlType), (PathBuf, u64, u64)>,
    n_files: usize,
}

impl<'a> RoundedTensors<'a> {
    pub(super) fn new(
        source: &'a dyn TensorSource,
        contest: &'a Contest<'a>,
        judging: &'a Judging<'a>,
    ) -> Self {
        Self { source, contest, judging, places: BTreeMap::new(), n_files: 0 }
    }

    /// Writes the file of a plan, in place of the one before. `alive` is asked again and again whether to go on.
    pub(super) fn write(
        &mut self,
        plan: &TypePlan,
        alive: &mut dyn FnMut() -> Result<()>,
    ) -> Result<PathBuf> {
        let job = plan_types(self.source, plan, self.contest.importance, self.contest.moments)?;
        self.round(&job, alive)?;
        let path = self.judging.scratch.join("candidate.gguf");
        let io = |error| Error::io(&path, error);
        let gguf = |source| Error::Gguf { path: path.clone(), source };
        let file = BufWriter::new(File::create(&path).map_err(io)?);
        let mut writer = Writer::new(file, &job.metadata, &job.specs()).map_err(gguf)?;
        let mut buffer = vec![0; COPIED_BYTES];
        for tensor in &job.tensors {
            let (from, offset, bytes) = &self.places[&(tensor.name.clone(), tensor.to)];
            let mut file = File::open(from).map_err(|error| Error::io(from, error))?;
            file.seek(SeekFrom::Start(*offset)).map_err(|error| Error::io(from, error))?;
            let mut left = *bytes;
            while left > 0 {
                let n = left.min(COPIED_BYTES as u64) as usize;
                file.read_exact(&mut buffer[..n]).map_err(|error| Error::io(from, error))?;
                writer.write(&buffer[..n]).map_err(gguf)?;
                left -= n as u64;
            }
        }
        writer.finish().map_err(gguf)?;
        Ok(path)
    }

    /// Makes what no plan before has had.
    fn round(&mut self, job: &Job, alive: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        let mut missing = job.clone();
        missing.tensors.retain(|tensor| !self.places.contains_key(&(tensor.name.clone(), tensor.to)));
        if missing.tensors.is_empty() {
            return Ok(());
        }
        let path = self.judging.scratch.join(format!("rounded-{}.gguf", self.n_files));
        self.n_files += 1;
        let file = File::create(&path).map_err(|error| Error::io(&path, error))?;
        let mut ended = Ok(());
        let written = write_file(
            &missing,
            self.source,
            BufWriter::new(file),
            self.judging.threads,
            &mut |_| match alive() {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    ended = Err(error);
                    ControlFlow::Break(())
                }
            },
        );
        ended?;
        written?;
        let header = header_of(&path)?;
        for tensor in &header.tensors {
            let offset = header.data_offset + tensor.offset;
            self.places.insert((tensor.name.clone(), tensor.ty), (path.clone(), offset, tensor.bytes));
        }
        Ok(())
    }
}

fn header_of(path: &Path) -> Result<Header> {
    let file = File::open(path).map_err(|error| Error::io(path, error))?;
    let length = file.metadata().map_err(|error| Error::io(path, error))?.len();
    Header::read(BufReader::new(file), length).map_err(|source| Error::Gguf { path: path.into(), source })
}
