//! Speeds of normal use as the planner learns from them: one number per variant, backend and phase, in a file beside the tuned
//! settings. Owns what is kept and for which machine; must not know how speeds are predicted.

use crate::Usage;
use bundle::atomic::AtomicFile;
use planner::speed::{Observation, Phase};
use planner::{Backend, Candidate, Choice};
use serde::{Deserialize, Serialize};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Name of the file in the tuning folder.
pub(super) const SPEEDS_FILE: &str = "speeds-1.json";
/// Longest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Numbers that are kept, the latest changed last: a plan learns from all of them.
const MAX_KEPT: usize = 24;
/// Weight of a new speed beside what was seen before, in the logarithm.
const NEWEST: f64 = 0.25;
/// Fewer tokens say nothing of a speed.
const LEAST_WRITTEN: usize = 16;
const LEAST_READ: usize = 32;

#[derive(Default, Serialize, Deserialize)]
struct Document {
    /// What the speeds hold for.
    machine: String,
    observations: Vec<Observation>,
}

/// What was seen on `machine`; nothing where the file is absent, broken or another machine's.
pub(crate) fn read(folder: &Path, machine: &str) -> Vec<Observation> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(folder.join(SPEEDS_FILE));
    if file.and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes)).is_err() {
        return Vec::new();
    }
    let document: Document = serde_json::from_slice(&bytes).unwrap_or_default();
    if document.machine == machine { document.observations } else { Vec::new() }
}

/// Speeds of one loaded model.
pub(super) struct Speeds {
    folder: PathBuf,
    machine: String,
    /// What every observation has in common; its phase and numbers are replaced.
    about: Observation,
    /// What is new, at most one a phase.
    news: Vec<Observation>,
}

impl Speeds {
    /// `None` where a speed would tell of no one backend: layers or phases in two places, or a file of unknown types.
    pub(super) fn of(folder: &Path, machine: String, candidate: &Candidate, choice: &Choice) -> Option<Self> {
        let placed = choice.backend == Backend::Cpu || choice.gpu_layers > candidate.description.n_layers;
        let whole = placed && !choice.copies_weights;
        let work = candidate.work.clone().filter(|_| whole)?;
        let about = Observation {
            backend: choice.backend,
            phase: Phase::Decode,
            model: candidate.model_name().to_string(),
            variant: candidate.id.clone(),
            work,
            n_tokens: 0.0,
            milliseconds: 0.0,
        };
        Some(Self { folder: folder.into(), machine, about, news: Vec::new() })
    }

    /// Takes in an answer.
    pub(super) fn observe(&mut self, usage: &Usage) {
        let read = usage.prompt_tokens.saturating_sub(usage.reused_tokens);
        // Behind a long reused beginning, attention costs more than the prompt's length says.
        if read >= LEAST_READ && usage.reused_tokens < read {
            let milliseconds = usage.timings.prompt.as_secs_f64() * 1e3;
            self.take(Phase::Prefill, read as f64, milliseconds);
        }
        if usage.completion_tokens > LEAST_WRITTEN {
            let depth = usage.prompt_tokens as f64 + usage.completion_tokens as f64 / 2.0;
            self.take(Phase::Decode, depth, 1e3 / usage.decode_tokens_per_s());
        }
    }

    fn take(&mut self, phase: Phase, n_tokens: f64, milliseconds: f64) {
        if milliseconds.is_finite() && milliseconds > 0.0 {
            let observation = Observation { phase, n_tokens, milliseconds, ..self.about.clone() };
            merge(&mut self.news, observation);
        }
    }

    /// Merges what is new into the file, as other processes left it meanwhile.
    pub(super) fn write(&mut self) -> bundle::Result<()> {
        if self.news.is_empty() {
            return Ok(());
        }
        let mut observations = read(&self.folder, &self.machine);
        for observation in self.news.drain(..) {
            merge(&mut observations, observation);
        }
        let excess = observations.len().saturating_sub(MAX_KEPT);
        let document =
            Document { machine: self.machine.clone(), observations: observations.split_off(excess) };
        let bytes = serde_json::to_vec(&document).expect("numbers and texts become JSON");
        AtomicFile::write_all_to(&self.folder.join(SPEEDS_FILE), &bytes)
    }
}

/// Puts an observation behind the others; one of the same variant, backend and phase becomes a part of it.
fn merge(observations: &mut Vec<Observation>, mut new: Observation) {
    let same = |other: &Observation| {
        (other.backend, other.phase, &other.model, &other.variant)
            == (new.backend, new.phase, &new.model, &new.variant)
    };
    if let Some(place) = observations.iter().position(same) {
        let old = observations.remove(place);
        let mean = |old: f64, new: f64| (old.ln() * (1.0 - NEWEST) + new.ln() * NEWEST).exp();
        if old.milliseconds > 0.0 && old.n_tokens > 0.0 {
            new.milliseconds = mean(old.milliseconds, new.milliseconds);
            new.n_tokens = mean(old.n_tokens, new.n_tokens);
        }
    }
    observations.push(new);
}

#[cfg(test)]
mod tests {
    use super::*;
    use planner::speed::Work;

    fn observation(variant: &str, milliseconds: f64) -> Observation {
        Observation {
            backend: Backend::Cpu,
            phase: Phase::Decode,
            model: "model".into(),
            variant: variant.into(),
            work: Work::default(),
            n_tokens: 100.0,
            milliseconds,
        }
    }

    #[test]
    fn the_same_is_averaged_and_the_oldest_forgotten() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let mut speeds = Speeds {
            folder: folder.path().into(),
            machine: "here".into(),
            about: observation("a", 0.0),
            news: vec![observation("a", 100.0)],
        };
        speeds.write().expect("it can be written");
        speeds.news = vec![observation("a", 50.0)];
        speeds.write().expect("it can be written");
        let kept = read(folder.path(), "here");
        assert_eq!(kept.len(), 1);
        assert!((kept[0].milliseconds - 100f64.powf(0.75) * 50f64.powf(0.25)).abs() < 1e-9);
        assert!(read(folder.path(), "elsewhere").is_empty());
        speeds.news = (0..40).map(|n| observation(&n.to_string(), 1.0)).collect();
        speeds.write().expect("it can be written");
        let kept = read(folder.path(), "here");
        assert_eq!((kept.len(), kept[0].variant.as_str()), (MAX_KEPT, "16"));
    }

    #[test]
    fn a_broken_file_says_nothing() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        assert!(read(folder.path(), "here").is_empty());
        std::fs::write(folder.path().join(SPEEDS_FILE), b"{\"machine\": 1").expect("it can be written");
        assert!(read(folder.path(), "here").is_empty());
    }
}
