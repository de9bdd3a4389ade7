//! A further variant made of a bundle's own parent variant on this device: in the background, at low priority, over as many
//! runs of the process as it takes.
//!
//! Owns the order of the steps: round, hold against the parent, publish. Nothing that the manifest lists changes before the new
//! variant has passed; then one rename of the manifest adds it and removes what it replaces. Must not know how rows are
//! quantized or how divergence is measured.

mod error;
mod gate;
mod keeper;
mod patience;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod priority_linux;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod priority_other;
mod request;

pub use error::{Error, Result};
pub use request::{Make, Outcome, Progress, Published, Request, Stage};

#[cfg(any(target_os = "linux", target_os = "android"))]
use priority_linux::lower_priority;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
use priority_other::lower_priority;

use crate::measured::{Circumstances, quality_of};
use crate::{Runtime, RuntimeSettings};
use bundle::{Bundle, BundleWriter, FileEntry, FileRole, Format, Presence, Variant, WorkFolder};
use gate::{Gate, Verdict};
use keeper::{Keeper, Shared};
use quantizer::recipe::{FileType, Recipe};
use quantizer::{BuildRequest, ProjectorWish, Remake};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use tuner::Signals;

/// Precisions that are fine enough to be a parent.
const PARENTS: [&str; 4] = ["F32", "BF16", "F16", "Q8_0"];
/// Of a variant's settings, what tells the work that made it.
const WORK: &str = "requantized";

/// Work under way on a thread of its own. Dropped, it is cancelled and waited for; what is finished stays for the next
/// [`Runtime::requantize`].
#[derive(Debug)]
pub struct Requantizing {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<Outcome>>>,
}

impl Runtime {
    /// Begins or goes on to make the variant that `request` describes, of the opened bundle's parent variant.
    ///
    /// # Errors
    /// No bundle, no parent that is here, a text or a limit that cannot be used, no thread. What goes wrong later is told by
    /// [`Requantizing::wait`].
    pub fn requantize(&self, request: Request) -> Result<Requantizing> {
        let shared = Arc::new(Shared::new());
        let job = Job::new(self, request, Arc::clone(&shared))?;
        let work = move || {
            lower_priority();
            job.run()
        };
        let thread = std::thread::Builder::new().name("llama-pajamas-requantize".into()).spawn(work);
        let thread =
            thread.map_err(|source| crate::Error::Io { path: "requantizing thread".into(), source })?;
        Ok(Requantizing { shared, thread: Some(thread) })
    }
}

impl Requantizing {
    /// Where the work stands.
    pub fn progress(&self) -> Progress {
        self.shared.progress()
    }

    /// Tells what only the app knows of the device, as [`crate::LoadedModel::report`] takes it. To be called on every change.
    pub fn report(&self, signals: &Signals) {
        self.shared.tell(signals);
    }

    /// Ends the work soon; what is finished stays.
    pub fn cancel(&self) {
        self.shared.cancel.cancel();
    }

    /// Whether [`Requantizing::wait`] would return at once.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// [`crate::Error::Cancelled`]; bad input, too little disk or memory, a bundle that another writer holds. The bundle is then as
    /// it was, and what is finished stays for the next time.
    pub fn wait(mut self) -> Result<Outcome> {
        let thread = self.thread.take().expect("only `wait` and `drop` take it, and both end the value");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Requantizing {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.cancel();
            // A panic has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

/// All that the thread needs.
struct Job {
    request: Request,
    shared: Arc<Shared>,
    root: PathBuf,
    parent: Variant,
    parent_file: PathBuf,
    settings: Arc<dyn Fn() -> RuntimeSettings + Send + Sync>,
    keeper: Keeper,
}

impl Job {
    fn new(runtime: &Runtime, request: Request, shared: Arc<Shared>) -> Result<Self> {
        request.check()?;
        let refused = |what, expected: &str, got: String| {
            Error::from(crate::Error::Request { what, expected: expected.into(), got })
        };
        let bundle =
            runtime.bundle().ok_or_else(|| refused("requantize", "a bundle", "a single file".into()))?;
        let parent = parent_of(bundle, request.parent.as_deref())?;
        let model = parent.files.iter().position(|file| file.role == FileRole::Model);
        let files = bundle.files(&parent.id)?;
        let parent_file = model
            .and_then(|at| files.get(at))
            .ok_or_else(|| refused("parent", "a variant with a model's file", parent.id.clone()))?;
        let (engine, host) = (runtime.shared_engine(), runtime.host().clone());
        let (is_here, caps) = (runtime.is_here(), runtime.caps());
        let budget = request.memory_budget_bytes;
        let settings = move || RuntimeSettings {
            host: (!is_here).then(|| host.clone()),
            engine: Some(Arc::clone(&engine)),
            memory_cap_bytes: caps.0.into_iter().chain(budget).min(),
            device_memory_cap_bytes: caps.1,
            ..RuntimeSettings::default()
        };
        let keeper = Keeper::new(Arc::clone(&shared), &request, is_here);
        Ok(Self {
            root: bundle.root().to_path_buf(),
            parent_file: parent_file.clone(),
            parent: parent.clone(),
            settings: Arc::new(settings),
            request,
            shared,
            keeper,
        })
    }

    fn run(mut self) -> Result<Outcome> {
        let outcome = self.steps();
        match outcome {
            // Both look alike to those who were broken off.
            Err(error) if error.is_cancelled() && self.keeper.out_of_time => {
                let Progress { stage, done, total, .. } = self.shared.progress();
                Ok(Outcome::OutOfTime { stage, done, total })
            }
            Err(error) if error.is_cancelled() => Err(crate::Error::Cancelled.into()),
            other => other,
        }
    }

    fn steps(&mut self) -> Result<Outcome> {
        let remake = Remake::plan(self.build_request())?;
        let source = self.parent_entry().map_or_else(String::new, |file| file.sha256.to_string());
        let (id, identity) = (remake.report().id.clone(), remake.identity(&source)?);
        let bundle = Bundle::open(&self.root)?;
        let folder = bundle.work_folder(&id.replace('/', "-"))?;
        // A run that ended between publication and tidying up.
        if let Some(there) = bundle.manifest().variant(&id).filter(|there| made_by(there, &identity)) {
            let published = Published {
                id,
                file_bytes: remake.report().file_bytes,
                kld_mean: there.quality.as_ref().and_then(|quality| quality.kld_mean).unwrap_or(0.0),
                n_tokens: there.quality.as_ref().and_then(|quality| quality.how.n_tokens).unwrap_or(0),
                resumed_tensors: remake.report().types.iter().map(|ty| ty.1).sum(),
                was_there: true,
            };
            folder.remove()?;
            // A writer tidies up after one that crashed; where another is at work, it has.
            drop(BundleWriter::open(&self.root));
            return Ok(Outcome::Published(published));
        }
        bundle::ensure_space(&self.root, remake.report().file_bytes.saturating_sub(begun_bytes(&folder)))?;
        let keeper = &mut self.keeper;
        let remade = remake.write(folder.path(), &identity, &mut |step| {
            keeper.heed(Stage::Rounding, step.done_bytes, step.total_bytes, step.eta)
        })?;
        let verdict = self.judge(&folder, &id, &remade.file)?;
        let Verdict { validation, build } = verdict;
        let kld_mean = validation.overall.kld.mean;
        if kld_mean.is_nan() || kld_mean > self.request.max_kld {
            folder.remove()?;
            return Ok(Outcome::NotGoodEnough { id, kld_mean, max_kld: self.request.max_kld });
        }
        self.keeper.mark(Stage::Publishing);
        let mut writer = BundleWriter::open(&self.root)?;
        let mut files = vec![writer.adopt(&remade.file, format!("{id}/model.gguf"))?];
        files.extend(self.parent.files.iter().filter(|file| file.role != FileRole::Model).cloned());
        let mut variant = remake.variant(files)?;
        variant.quality =
            Some(quality_of(&validation, &Circumstances { device: build, date: String::new() }));
        variant.settings.other.insert(WORK.into(), identity.into());
        if let Some(replaced) = self.request.replaces.as_deref().filter(|replaced| **replaced != *id) {
            writer.remove_variant(replaced);
        }
        writer.put_variant(variant);
        writer.publish()?;
        folder.remove()?;
        Ok(Outcome::Published(Published {
            id,
            file_bytes: remade.file_bytes,
            kld_mean,
            n_tokens: validation.overall.n_tokens,
            resumed_tensors: remade.resumed_tensors,
            was_there: false,
        }))
    }

    fn judge(&mut self, folder: &WorkFolder, id: &str, file: &std::path::Path) -> Result<Verdict> {
        let gate = Gate {
            request: &self.request,
            settings: &*self.settings,
            folder: folder.path(),
            cancel: &self.shared.cancel,
        };
        let of_parent = self.parent_entry().map_or_else(String::new, |file| file.sha256.to_string());
        let parent = (self.parent.precision.as_str(), of_parent.as_str(), self.parent_file.as_path());
        gate.judge(parent, (id, file), &mut self.keeper)
    }

    fn parent_entry(&self) -> Option<&FileEntry> {
        self.parent.files.iter().find(|file| file.role == FileRole::Model)
    }

    fn build_request(&self) -> BuildRequest {
        let request = &self.request;
        let (precisions, plans) = match &request.make {
            Make::Recipe(recipe) => (vec![*recipe], Vec::new()),
            Make::Plan(plan) => (Vec::new(), vec![plan.clone()]),
        };
        BuildRequest {
            model: self.parent_file.clone(),
            precisions,
            plans,
            imatrix: request.imatrix.clone(),
            moments: request.moments.clone(),
            // A parent is fine enough, whatever its type is called.
            allow_requantize: true,
            projector: ProjectorWish::None,
            threads: request.threads.max(1),
            memory_budget_bytes: request.memory_budget_bytes,
            ..BuildRequest::default()
        }
    }
}

/// The variant to make others of: the one that is wished for, else the finest.
fn parent_of<'a>(bundle: &'a Bundle, wished: Option<&str>) -> Result<&'a Variant> {
    let fine = |variant: &&Variant| {
        PARENTS.contains(&variant.precision.as_str())
            && variant.format == Format::Gguf
            && matches!(bundle.presence(variant), Presence::Complete)
    };
    let wished = wished.map(|id| bundle.variant(id)).transpose()?;
    let parent = match wished {
        Some(variant) => Some(variant).filter(fine),
        None => {
            let place = |variant: &&Variant| PARENTS.iter().position(|name| *name == variant.precision);
            bundle.variants().iter().filter(fine).min_by_key(place)
        }
    };
    parent.ok_or_else(|| {
        let got = match wished {
            Some(variant) => format!("{} ({})", variant.id, variant.precision),
            None => {
                bundle.variants().iter().map(|variant| variant.id.as_str()).collect::<Vec<_>>().join(", ")
            }
        };
        let expected = format!("a GGUF variant that is here, of {}", PARENTS.join(", "));
        crate::Error::Request { what: "parent", expected, got }.into()
    })
}

fn made_by(variant: &Variant, identity: &str) -> bool {
    variant.settings.other.get(WORK).and_then(|work| work.as_str()) == Some(identity)
}

/// Bytes of work that lie there already.
fn begun_bytes(folder: &WorkFolder) -> u64 {
    let entries = std::fs::read_dir(folder.path()).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|data| data.len()).sum()
}

impl Default for Make {
    fn default() -> Self {
        Self::Recipe(Recipe::Stock(FileType::Q4_K_M))
    }
}

#[cfg(test)]
mod tests;
