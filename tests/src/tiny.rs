//! Tiny checkpoints of every family, and what transformers computes with them.
//! Knows the scripts that make them; must not know our side of a comparison.

use crate::{oracle, repository, run, shared};
use formats::safetensors::Header;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes the tiny checkpoints in `work`, those whose name has `LLAMA_PAJAMAS_ONLY`'s value where it is set; sorted.
pub fn tiny_models(work: &Path) -> Vec<PathBuf> {
    models_with(work, &std::env::var("LLAMA_PAJAMAS_ONLY").unwrap_or_default())
}

/// Makes the tiny checkpoint called `name`.
pub fn tiny_model(work: &Path, name: &str) -> PathBuf {
    let mut models = models_with(&work.join(name), name).into_iter();
    models.find(|model| model.ends_with(name)).unwrap_or_else(|| panic!("no tiny model {name}"))
}

/// Makes the tiny checkpoints called `names`, in one run.
pub fn tiny_models_called(work: &Path, names: &[&str]) -> Vec<PathBuf> {
    let models = models_with(work, &names.join(","));
    let find = |name: &&str| models.iter().find(|model| model.ends_with(name)).cloned();
    names.iter().map(|name| find(name).unwrap_or_else(|| panic!("no tiny model {name}"))).collect()
}

fn models_with(work: &Path, only: &str) -> Vec<PathBuf> {
    let tiny = work.join("tiny");
    let script = repository().join("scripts/oracles/tiny_models.py");
    let tokenizers =
        [repository().join("models/pajama-7m"), shared("models/tinystories-656k"), shared("data/tokenizers")];
    run(Command::new(oracle("venv/bin/python")).arg(script).arg(&tiny).args(tokenizers).arg(only));
    let entries = std::fs::read_dir(&tiny).unwrap_or_else(|error| panic!("{}: {error}", tiny.display()));
    let mut models: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    models.sort();
    models
}

/// Tokens and what transformers computes of them, in 32-bit floats.
pub struct Reference {
    /// What an encoder in front of the decoder reads.
    pub prompt: Vec<i32>,
    /// Token ids.
    pub tokens: Vec<i32>,
    /// Logits after each token, as many as the vocabulary has; none of what only reads.
    pub logits: Vec<Vec<f32>>,
    /// A vector for each token, of what only reads.
    pub vectors: Vec<Vec<f32>>,
    /// Scores of the whole, of what has a classifier.
    pub scores: Vec<f32>,
    /// Largest difference that another order of summing explains, relative to the largest number.
    pub max_error: f32,
}

impl Reference {
    /// Reads a `reference.st`.
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let header = Header::read(bytes.as_slice(), bytes.len() as u64)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let words = |name: &str| -> Vec<[u8; 4]> {
            let info = header.tensors.iter().find(|info| info.name == name);
            let bytes =
                info.map_or(&[][..], |info| &bytes[info.range.start as usize..info.range.end as usize]);
            bytes.as_chunks().0.to_vec()
        };
        let floats = |name: &str| -> Vec<f32> { words(name).into_iter().map(f32::from_le_bytes).collect() };
        let ids = |name: &str| -> Vec<i32> { words(name).into_iter().map(i32::from_le_bytes).collect() };
        let (prompt, tokens) = (ids("prompt"), ids("tokens"));
        let rows = |name: &str| {
            let values = floats(name);
            values.chunks((values.len() / tokens.len()).max(1)).map(<[f32]>::to_vec).collect()
        };
        let (logits, vectors) = (rows("logits"), rows("vectors"));
        Self { prompt, tokens, logits, vectors, scores: floats("scores"), max_error: floats("max_error")[0] }
    }
}
