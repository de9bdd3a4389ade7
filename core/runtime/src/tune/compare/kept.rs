//! Speeds of variants that were compared, in a file beside the tuned settings. Owns what is kept, for which machine and which
//! files; must not know how speeds are measured.

use super::super::{MAX_AGE_S, key, now_unix_s};
use crate::Runtime;
use bundle::atomic::AtomicFile;
use bundle::{Bundle, Sha256Digest};
use planner::MeasuredSpeed;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

/// Name of the file in the tuning folder.
const FILE: &str = "variants-1.json";
/// Longest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Variants that are kept, the latest last.
const MAX_KEPT: usize = 64;

#[derive(Default, Serialize, Deserialize)]
struct Document {
    /// Host and engines that the speeds hold for.
    machine: String,
    variants: Vec<Kept>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    /// Digest of the variant's files.
    files: String,
    /// When it was measured.
    at_unix_s: u64,
    speed: MeasuredSpeed,
}

/// By variant of a bundle: a digest of what its manifest says of its files.
pub(crate) fn of_bundle(bundle: &Bundle) -> BTreeMap<String, String> {
    let of = |variant: &bundle::Variant| {
        let lines = variant.files.iter().map(|file| format!("{} {}\n", file.path.as_str(), file.sha256));
        Sha256Digest::of(lines.collect::<String>().as_bytes()).to_string()
    };
    bundle.variants().iter().map(|variant| (variant.id.clone(), of(variant))).collect()
}

/// What is kept of variants whose files are these; nothing where the file is absent, broken, another machine's or too old.
pub(crate) fn recall(folder: &Path, machine: &str, files: &BTreeMap<String, String>) -> Vec<MeasuredSpeed> {
    let now = now_unix_s();
    let holds = |kept: &Kept| {
        let age = now.saturating_sub(kept.at_unix_s);
        files.get(&kept.speed.id) == Some(&kept.files) && age <= MAX_AGE_S
    };
    read(folder, machine).into_iter().filter(holds).map(|kept| kept.speed).collect()
}

fn read(folder: &Path, machine: &str) -> Vec<Kept> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(folder.join(FILE));
    if file.and_then(|file| file.take(MAX_BYTES).read_to_end(&mut bytes)).is_err() {
        return Vec::new();
    }
    let document: Document = serde_json::from_slice(&bytes).unwrap_or_default();
    if document.machine == machine { document.variants } else { Vec::new() }
}

/// Takes the place of what was kept of the same files.
fn write(folder: &Path, machine: &str, new: Kept) -> bundle::Result<()> {
    let mut variants = read(folder, machine);
    variants.retain(|kept| (&kept.files, &kept.speed.id) != (&new.files, &new.speed.id));
    variants.push(new);
    variants.drain(..variants.len().saturating_sub(MAX_KEPT));
    let bytes = serde_json::to_vec(&Document { machine: machine.into(), variants })
        .expect("numbers and texts become JSON");
    // Where it cannot be made, writing says so.
    let _ = std::fs::create_dir_all(folder);
    AtomicFile::write_all_to(&folder.join(FILE), &bytes)
}

impl Runtime {
    /// Keeps a speed, where there is a folder for it.
    pub(super) fn keep(&self, speed: &MeasuredSpeed) {
        let Some((folder, bundle)) = self.tuning_folder().zip(self.bundle()) else { return };
        let Some(files) = of_bundle(bundle).remove(&speed.id) else { return };
        let kept = Kept { files, at_unix_s: now_unix_s(), speed: speed.clone() };
        if let Err(error) = write(folder, &key::machine(self.host(), self.engine()), kept) {
            tracing::warn!(%error, "nothing is remembered of this comparison");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use planner::Backend;

    fn kept(id: &str, files: &str, at_unix_s: u64, decode_tokens_per_s: f64) -> Kept {
        let (backend, gpu_layers, prefill_tokens_per_s) = (Backend::Cpu, 0, 900.0);
        let speed =
            MeasuredSpeed { id: id.into(), backend, gpu_layers, decode_tokens_per_s, prefill_tokens_per_s };
        Kept { files: files.into(), at_unix_s, speed }
    }

    #[test]
    fn speeds_hold_for_their_files_their_machine_and_a_while() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let folder = folder.path().join("new");
        let now = now_unix_s();
        write(&folder, "here", kept("a", "1", now, 10.0)).expect("it can be written");
        write(&folder, "here", kept("b", "2", now - MAX_AGE_S - 5, 20.0)).expect("it can be written");
        write(&folder, "here", kept("a", "1", now, 30.0)).expect("it can be written");
        let files = |a: &str| BTreeMap::from([("a".into(), a.into()), ("b".into(), "2".to_string())]);
        let speeds = |machine: &str, a: &str| -> Vec<f64> {
            recall(&folder, machine, &files(a)).iter().map(|one| one.decode_tokens_per_s).collect()
        };
        assert_eq!(speeds("here", "1"), [30.0]);
        assert!(speeds("here", "other files").is_empty() && speeds("elsewhere", "1").is_empty());
        std::fs::write(folder.join(FILE), b"{\"machine\": \"here\", \"variants\": [{}]}").expect("writable");
        assert!(speeds("here", "1").is_empty());
    }
}
