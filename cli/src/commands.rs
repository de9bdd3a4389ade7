//! One module per command: turn arguments into calls of the runtime, and answers into text or JSON.

pub(crate) mod bundle;
pub(crate) mod chat;
pub(crate) mod hardware;
pub(crate) mod info;
pub(crate) mod plan;
pub(crate) mod quantize;
pub(crate) mod run;

use crate::args::{Sampling, Wishes};
use anyhow::{Context, Result};
use llama_pajamas::bundle::{Bundle, SignaturePolicy, TrustStore};
use llama_pajamas::{GenerateSettings, PlanRequest, Runtime, RuntimeSettings};
use std::path::Path;

/// Opens what `path` names, after the signature check that `wishes` ask for.
fn open(path: &Path, wishes: &Wishes, cpu_variant: Option<String>) -> Result<Runtime> {
    if let Some(trust) = &wishes.trust {
        check_signature(path, trust)?;
    }
    Ok(Runtime::open(path, RuntimeSettings { cpu_variant, ..RuntimeSettings::default() })?)
}

fn check_signature(path: &Path, trust: &Path) -> Result<()> {
    let keys = TrustStore::read(trust)?;
    let bundle = Bundle::open(path).context("only bundles can be signed")?;
    bundle.verify_signature(&keys, SignaturePolicy::Require)?;
    Ok(())
}

fn request(wishes: &Wishes) -> PlanRequest {
    PlanRequest {
        context_tokens: wishes.context,
        variant: wishes.variant.clone(),
        memory_budget_bytes: wishes.memory_budget,
        n_threads: wishes.threads,
        gpu_layers: wishes.gpu_layers,
        ..PlanRequest::default()
    }
}

fn generate_settings(sampling: &Sampling) -> GenerateSettings {
    GenerateSettings {
        sampling: llama_pajamas::Sampling {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            repeat_penalty: sampling.repeat_penalty,
            seed: sampling.seed,
            ..llama_pajamas::Sampling::default()
        },
        max_tokens: sampling.max_tokens,
        stop: sampling.stop.clone(),
        ..GenerateSettings::default()
    }
}
