//! `--isolate`: the engine in a child of this process, and that child. Owns how this binary starts itself.

use crate::interrupt;
use anyhow::{Context, Result};
use llama_pajamas::engine::Engine;
use llama_pajamas::engine::gguf::{EngineOptions, GgufEngine};
use llama_pajamas::engine::isolate::{IsolatedEngine, Launch, serve as answer};
use std::io::{BufWriter, stdin, stdout};
use std::sync::Arc;

/// An engine in processes of this binary.
pub(crate) fn engine(cpu_variant: Option<&str>) -> Result<Arc<dyn Engine>> {
    let program = std::env::current_exe().context("finding this program")?;
    let mut arguments = vec!["serve-engine".into()];
    if let Some(variant) = cpu_variant {
        arguments.extend(["--cpu-variant".into(), variant.into()]);
    }
    Ok(Arc::new(IsolatedEngine::start(Launch { program, arguments })?))
}

/// The child. An interrupt of the terminal reaches it too, and is the parent's to act upon.
pub(crate) fn serve(cpu_variant: Option<String>) -> Result<()> {
    let _ignored = interrupt::token();
    let engine = GgufEngine::start(EngineOptions { cpu_variant, log: None })?;
    Ok(answer(&engine, stdin(), BufWriter::new(stdout().lock()))?)
}
