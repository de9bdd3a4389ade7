//! Directories that ONNX Runtime, onnxruntime-genai and transformers.js load: graphs built from what a model is, and weights
//! on ggml's grids of 4 and 8 bits or as floats.
//! Knows sources and what architectures compute (`data/onnx.toml`); must not know bundles.

mod coded;
mod codes;
mod conventions;
mod flavour;
mod graph;
mod network;
mod plan;
mod portable;
mod recipe;
mod rotary;
mod runtime;
mod statics;
mod stored;
mod texts;
mod write;

pub use plan::Plan;
pub(crate) use plan::{Known, plan};
pub use recipe::{Flavour, Precision, Products, Recipe};
pub use statics::{Learning, Reach, StaticInput, Statics, learn};

use crate::source::TensorSource;
use crate::source::smoothed::SmoothedSource;
use crate::{Result, Watch};
use std::io::Write;

/// Names of what goes in and comes out.
const TOKENS: &str = "input_ids";
const MASK: &str = "attention_mask";
const LOGITS: &str = "logits";

/// The cache before.
fn past(layer: usize, kind: &str) -> String {
    format!("past_key_values.{layer}.{kind}")
}

/// The cache after.
fn present(layer: usize, kind: &str) -> String {
    format!("present.{layer}.{kind}")
}

/// Writes the files of `plan` in order, the graph first: `open` gives what a file's bytes go into, `close` ends it.
///
/// # Errors
/// A weight that is no finite number or that its floats cannot hold, whatever writing reports, or [`crate::Error::Cancelled`].
pub(crate) fn write<W: Write>(
    plan: &Plan,
    source: &dyn TensorSource,
    threads: usize,
    watch: &mut Watch<'_>,
    open: &mut dyn FnMut(&str) -> Result<W>,
    close: &mut dyn FnMut(W) -> Result<()>,
) -> Result<()> {
    let failed = |name: &str, error| crate::Error::io(std::path::Path::new(name), error);
    let (name, graph) = &plan.graph;
    for (name, text) in
        std::iter::once((name, graph)).chain(plan.texts.iter().map(|(name, text)| (name, text)))
    {
        let mut out = open(name)?;
        out.write_all(text).map_err(|error| failed(name, error))?;
        close(out)?;
    }
    let mut out = open(&plan.data)?;
    match &plan.statics {
        Some(statics) => {
            let source = SmoothedSource::new(source, statics.factors());
            write::write_data(plan, &source, &mut out, threads, watch)?;
        }
        None => write::write_data(plan, source, &mut out, threads, watch)?,
    }
    close(out)?;
    for (name, path, _) in &plan.companions {
        let mut out = open(name)?;
        let mut file = std::fs::File::open(path).map_err(|error| crate::Error::io(path, error))?;
        std::io::copy(&mut file, &mut out).map_err(|error| failed(name, error))?;
        close(out)?;
    }
    Ok(())
}
