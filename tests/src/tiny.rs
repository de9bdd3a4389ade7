//! Tiny checkpoints of every family, and what transformers computes with them.
//! Knows the scripts that make them; must not know our side of a comparison.

use crate::{oracle, repository, run, shared};
use formats::safetensors::Header;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes the tiny checkpoints in `work`, those whose name has `LLAMA_PAJAMAS_ONLY`'s value where it is set; sorted.
pub fn tiny_models(work: &Path) -> Vec<PathBuf> {
    let tiny = work.join("tiny");
    let script = repository().join("scripts/oracles/tiny_models.py");
    let tokenizers =
        [repository().join("models/pajama-7m"), shared("models/tinystories-656k"), shared("data/tokenizers")];
    let only = std::env::var("LLAMA_PAJAMAS_ONLY").unwrap_or_default();
    run(Command::new(oracle("venv/bin/python")).arg(script).arg(&tiny).args(tokenizers).arg(only));
    let entries = std::fs::read_dir(&tiny).unwrap_or_else(|error| panic!("{}: {error}", tiny.display()));
    let mut models: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    models.sort();
    models
}

/// Tokens and the logits that transformers computes after each, in 32-bit floats.
pub struct Reference {
    /// Token ids.
    pub tokens: Vec<i32>,
    /// One row per token, as long as the vocabulary.
    pub logits: Vec<Vec<f32>>,
    /// Largest difference that another order of summing explains, relative to the largest logit.
    pub max_error: f32,
}

impl Reference {
    /// Reads a `reference.st`.
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let header = Header::read(bytes.as_slice(), bytes.len() as u64)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let words = |name: &str| -> Vec<[u8; 4]> {
            let info = header.tensors.iter().find(|info| info.name == name).expect("a reference holds it");
            bytes[info.range.start as usize..info.range.end as usize].as_chunks().0.to_vec()
        };
        let tokens: Vec<i32> = words("tokens").into_iter().map(i32::from_le_bytes).collect();
        let logits: Vec<f32> = words("logits").into_iter().map(f32::from_le_bytes).collect();
        let logits = logits.chunks(logits.len() / tokens.len()).map(<[f32]>::to_vec).collect();
        let max_error = f32::from_le_bytes(words("max_error")[0]);
        Self { tokens, logits, max_error }
    }
}
