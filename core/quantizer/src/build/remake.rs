//! One variant made over several runs: planned, written into a work folder, and described for the manifest.
//! Knows requests and the resumable file; must not know bundles on disk, nor when it is good enough to be published.

use super::{
    BuildRequest, Inputs, VariantReport, Way, describe, memory_inputs, method, open_inputs, plan, settings,
    ways,
};
use crate::plan::Job;
use crate::resume::{Places, write_resumable};
use crate::source::TensorSource;
use crate::{Error, Importance, Result, Watch, execute};
use bundle::mapped_file::MappedFile;
use bundle::{FileEntry, Format, Needs, Sha256Digest, Variant};
use formats::gguf::Writer;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The file while it is written, inside its work folder, and its journal.
const FILE: &str = "model.gguf.part";
const JOURNAL: &str = "journal";

/// A variant that is planned and not yet written.
pub struct Remake {
    request: BuildRequest,
    source: Box<dyn TensorSource>,
    importance: Option<Arc<Importance>>,
    way: Way,
    job: Job,
    report: VariantReport,
}

/// What was written.
#[derive(Debug, Clone)]
pub struct Remade {
    /// The finished file.
    pub file: PathBuf,
    /// Its length.
    pub file_bytes: u64,
    /// Tensors that earlier runs had finished.
    pub resumed_tensors: usize,
    /// Tensors of the file.
    pub n_tensors: usize,
}

impl Remake {
    /// Plans the one variant that `request` asks for. Its output is not looked at; of its threads, as many are used as the
    /// memory budget lets work at a time.
    ///
    /// # Errors
    /// None or several variants, bad input, [`Error::Memory`] where one thread takes more than the budget.
    pub fn plan(mut request: BuildRequest) -> Result<Self> {
        let Inputs { source, importance, moments, sensitivity, .. } = open_inputs(&request)?;
        let mut ways = ways(source.as_ref(), &request, importance.as_ref(), sensitivity.as_ref())?;
        let (Some(way), true) = (ways.pop(), ways.is_empty()) else {
            let (wish, expected) = ("variants".into(), "one".into());
            return Err(Error::Request { wish, expected, got: "none or several".into() });
        };
        let job = plan(source.as_ref(), &way, &request, importance.as_ref(), moments.as_ref())?;
        request.threads = execute::n_workers(request.threads);
        if let Some(have_bytes) = request.memory_budget_bytes {
            while request.threads > 1 && execute::work_bytes(&job, request.threads) > have_bytes {
                request.threads -= 1;
            }
            let need_bytes = execute::work_bytes(&job, request.threads);
            if need_bytes > have_bytes {
                return Err(Error::Memory { need_bytes, have_bytes });
            }
        }
        let report = describe(&job, &way, request.threads)?;
        Ok(Self { request, source, importance, way, job, report })
    }

    /// Id, exact size, work memory and types.
    pub fn report(&self) -> &VariantReport {
        &self.report
    }

    /// Things to know.
    pub fn warnings(&self) -> &[String] {
        &self.job.warnings
    }

    /// Tells this work from all other: what the file will be is a function of it. `source` identifies the model's bytes.
    ///
    /// # Errors
    /// Files of importance or moments that cannot be read.
    pub fn identity(&self, source: &str) -> Result<String> {
        let gguf = |error| Error::Gguf { path: self.job.label.clone().into(), source: error };
        let (header, _) = Writer::<Vec<u8>>::layout(&self.job.metadata, &self.job.specs()).map_err(gguf)?;
        let mut text = format!("{} {source} {}", env!("CARGO_PKG_VERSION"), Sha256Digest::of(&header));
        for file in [&self.request.imatrix, &self.request.moments] {
            let digest = file.as_deref().map(MappedFile::open).transpose()?.map(|map| Sha256Digest::of(&map));
            // A String takes everything.
            let _ = write!(text, " {}", digest.map_or("-".into(), |digest| digest.to_string()));
        }
        Ok(Sha256Digest::of(text.as_bytes()).to_string())
    }

    /// Writes the file into `folder`, after what earlier runs of the same identity left there. A watch that waits makes the
    /// work wait; one that breaks ends it, and what is finished stays.
    ///
    /// # Errors
    /// As [`crate::write_file`].
    pub fn write(&self, folder: &Path, identity: &str, watch: &mut Watch<'_>) -> Result<Remade> {
        let places = Places { file: folder.join(FILE), journal: folder.join(JOURNAL) };
        let (job, source) = (&self.job, self.source.as_ref());
        let (summary, resumed_tensors) =
            write_resumable(job, source, &places, identity, self.request.threads, watch)?;
        let (file, file_bytes) = (places.file, summary.file_bytes);
        Ok(Remade { file, file_bytes, resumed_tensors, n_tensors: job.tensors.len() })
    }

    /// The manifest's entry, with `files` that were adopted or are there already.
    ///
    /// # Errors
    /// A model that cannot be described.
    pub fn variant(&self, files: Vec<FileEntry>) -> Result<Variant> {
        let source = self.source.as_ref();
        Ok(Variant {
            id: self.report.id.clone(),
            format: Format::Gguf,
            precision: self.way.nearest_recipe()?.name().into(),
            method: method(&self.way, &self.request).into(),
            settings: settings(source, &self.way, &self.request, self.importance.as_ref()),
            compatible_backends: ["cpu", "vulkan", "cuda", "metal"].map(String::from).to_vec(),
            min_runtime: env!("CARGO_PKG_VERSION").into(),
            files,
            needs: Needs::default(),
            memory: memory_inputs(source, &self.job)?,
            quality: None,
            other: Default::default(),
        })
    }
}
