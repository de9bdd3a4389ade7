//! A candidate held against its parent on a text. Knows how both are loaded, one at a time; must not decide what is good enough.
//!
//! The parent's distributions stay in the work folder, so that an interrupted comparison does not compute them again.

use super::keeper::Keeper;
use super::request::{Request, Stage};
use super::{Error, Result};
use crate::{LoadedModel, PlanRequest, Runtime, RuntimeSettings};
use bundle::Sha256Digest;
use bundle::atomic::AtomicFile;
use engine::CancelToken;
use evaluator::divergence::{self, Computing};
use evaluator::reference::{self, Keep, Reader};
use evaluator::text::{Pass, Text};
use evaluator::{Validation, Vocabulary};
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

/// The parent's distributions.
const REFERENCE: &str = "reference";

pub(super) struct Gate<'a> {
    pub(super) request: &'a Request,
    pub(super) settings: &'a dyn Fn() -> RuntimeSettings,
    pub(super) folder: &'a Path,
    pub(super) cancel: &'a CancelToken,
}

/// What came out.
pub(super) struct Verdict {
    pub(super) validation: Validation,
    /// What computed.
    pub(super) build: String,
}

impl Gate<'_> {
    /// Holds the candidate (id, file) against the parent (precision, digest, file).
    pub(super) fn judge(
        &self,
        parent: (&str, &str, &Path),
        candidate: (&str, &Path),
        keeper: &mut Keeper,
    ) -> Result<Verdict> {
        let path = self.folder.join(REFERENCE);
        let io = |source| Error::from(crate::Error::Io { path: path.clone(), source });
        let identity = self.identity(parent.1);
        let kept = File::open(&path).ok().and_then(|file| Reader::open(BufReader::new(file)).ok());
        if kept.is_none_or(|kept| kept.header().identity != identity) {
            let (_, model) = self.load(parent.2)?;
            self.collect(&model, (parent.0, &identity), &path, keeper)?;
        }
        let (build, model) = self.load(candidate.1)?;
        let mut reader = Reader::open(BufReader::with_capacity(1 << 20, File::open(&path).map_err(io)?))?;
        let mut watch =
            |step: evaluator::Progress<'_>| keeper.heed(Stage::Comparing, step.done, step.total, step.eta);
        let (model, computing) = (model.engine_model(), self.computing());
        let samples =
            divergence::compare(model, &mut reader, &computing, candidate.0, self.cancel, &mut watch)?
                .samples;
        let validation = Validation::of(reader.header(), candidate.0, &samples)?;
        Ok(Verdict { validation, build })
    }

    fn collect(&self, model: &LoadedModel, of: (&str, &str), path: &Path, keeper: &mut Keeper) -> Result<()> {
        let vocabulary = model.tokenizer();
        let mut tokens = Vocabulary::encode(vocabulary, &self.request.text, false)?;
        let first = Vocabulary::first(vocabulary);
        if let Some(first) = first {
            tokens.insert(0, first);
        }
        let text = Text { name: "text".into(), tokens };
        let pass = Pass::cut(&text, self.request.n_ctx, Some(self.request.max_windows), first)?;
        let mut watch =
            |step: evaluator::Progress<'_>| keeper.heed(Stage::Reference, step.done, step.total, step.eta);
        let mut file = AtomicFile::create(path)?;
        let (model, passes, out) = (model.engine_model(), [pass], BufWriter::new(&mut file));
        let (keep, computing) = (Keep::default(), self.computing());
        reference::collect(model, of, &passes, keep, &computing, out, self.cancel, &mut watch)?;
        Ok(file.commit()?)
    }

    /// Tells these distributions from all others.
    fn identity(&self, parent_digest: &str) -> String {
        let Request { text, n_ctx, max_windows, .. } = self.request;
        let text = format!("{parent_digest} {n_ctx} {max_windows} {}", Sha256Digest::of(text.as_bytes()));
        Sha256Digest::of(text.as_bytes()).to_string()
    }

    fn computing(&self) -> Computing {
        Computing { n_threads: u32::try_from(self.request.threads.max(1)).unwrap_or(1) }
    }

    fn load(&self, path: &Path) -> Result<(String, LoadedModel)> {
        let runtime = Runtime::open(path, (self.settings)())?;
        let plan = PlanRequest {
            context_tokens: Some(self.request.n_ctx as u64),
            n_threads: Some(self.computing().n_threads),
            ..PlanRequest::default()
        };
        let (_, model) = runtime.plan_and_load(&plan, &mut |_| {}, self.cancel)?;
        Ok((runtime.engine_build(), model))
    }
}
