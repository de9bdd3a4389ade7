//! What loads took beside what was predicted, in a file beside the tuned settings; the next plan learns from it.
//! Owns what is kept and for which machine; must not know how memory is predicted.

use bundle::atomic::AtomicFile;
use planner::{Choice, MemoryAudit, Residuals};
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Name of the file in the tuning folder.
pub(super) const MEMORY_FILE: &str = "memory-1.json";
/// Longest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Loads that are kept, the latest last.
const MAX_KEPT: usize = 64;

#[derive(Default, Serialize, Deserialize)]
struct Document {
    /// Host and engine that the audits hold for.
    machine: String,
    loads: Vec<Load>,
}

/// One model with one configuration, as it was loaded last. Loading the same again shows nothing new.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Load {
    /// Digest of the file.
    model: String,
    context_tokens: u64,
    n_ubatch: u32,
    gpu_layers: u32,
    type_k: String,
    type_v: String,
    audit: MemoryAudit,
}

impl Load {
    fn of(model: &str, choice: &Choice, audit: MemoryAudit) -> Self {
        Self {
            model: model.to_owned(),
            context_tokens: choice.context_tokens,
            n_ubatch: choice.n_ubatch,
            gpu_layers: choice.gpu_layers,
            type_k: choice.type_k.to_owned(),
            type_v: choice.type_v.to_owned(),
            audit,
        }
    }

    fn is_like(&self, other: &Self) -> bool {
        let shape = |load: &Self| (load.context_tokens, load.n_ubatch, load.gpu_layers);
        (&self.model, &self.type_k, &self.type_v) == (&other.model, &other.type_k, &other.type_v)
            && shape(self) == shape(other)
            && self.audit.backend == other.audit.backend
    }
}

/// What loads on `machine` taught; nothing where the file is absent, broken or another machine's.
pub(super) fn residuals(folder: &Path, machine: &str) -> Residuals {
    let mut residuals = Residuals::default();
    read(folder, machine).iter().for_each(|load| residuals.learn(&load.audit));
    residuals
}

fn read(folder: &Path, machine: &str) -> Vec<Load> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(folder.join(MEMORY_FILE));
    if file.and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes)).is_err() {
        return Vec::new();
    }
    let document: Document = serde_json::from_slice(&bytes).unwrap_or_default();
    if document.machine == machine { document.loads } else { Vec::new() }
}

/// Keeps the audits of one loaded model.
pub(super) struct Audits {
    pub(super) folder: PathBuf,
    pub(super) machine: String,
    /// Digest of its file.
    pub(super) model: String,
}

impl Audits {
    /// Takes the place of what the same configuration showed before; an equal audit is not written again.
    pub(super) fn keep(&self, choice: &Choice, audit: &MemoryAudit) -> bundle::Result<()> {
        let load = Load::of(&self.model, choice, audit.clone());
        let mut loads = read(&self.folder, &self.machine);
        if loads.contains(&load) {
            return Ok(());
        }
        loads.retain(|other| !other.is_like(&load));
        loads.push(load);
        loads.drain(..loads.len().saturating_sub(MAX_KEPT));
        let bytes = serde_json::to_vec(&Document { machine: self.machine.clone(), loads })
            .expect("numbers and texts become JSON");
        // Where it cannot be made, writing says so.
        let _ = std::fs::create_dir_all(&self.folder);
        AtomicFile::write_all_to(&self.folder.join(MEMORY_FILE), &bytes)
    }
}
