//! One module per command: turn arguments into calls of the runtime, and answers into text or JSON.

pub(crate) mod bundle;
mod by_hand;
pub(crate) mod calibrate;
pub(crate) mod chat;
mod config;
mod contest;
mod drift;
pub(crate) mod embed;
pub(crate) mod evaluate;
#[cfg(feature = "onnx")]
pub(crate) mod export;
mod fit;
mod foresee;
#[cfg(feature = "onnx")]
pub(crate) mod graphs;
#[cfg(not(feature = "onnx"))]
#[path = "commands/graphs_disabled.rs"]
pub(crate) mod graphs;
pub(crate) mod hardware;
pub(crate) mod info;
pub(crate) mod iq;
pub(crate) mod isolate;
mod measure;
mod needle;
pub(crate) mod plan;
mod precisions;
pub(crate) mod profile;
mod prune;
pub(crate) mod quantize;
mod ranges;
mod report;
pub(crate) mod requantize;
pub(crate) mod run;
#[cfg(feature = "serve")]
pub(crate) mod serve;
mod small;
#[cfg(feature = "onnx")]
pub(crate) mod transcribe;
pub(crate) mod tune;
pub(crate) mod validate;

use crate::args::{AdapterFile, Adapters, Sampling, Wishes};
use crate::fetch::{Located, Take, locate};
use crate::screen::Screen;
use anyhow::{Context, Result, bail};
use llama_pajamas::bundle::{Bundle, SignaturePolicy, TrustStore};
use llama_pajamas::planner::ReasonCode;
use llama_pajamas::{
    Applied, CancelToken, Dry, GenerateSettings, LoadedModel, Mirostat, PlanRequest, Runtime,
    RuntimeSettings, Step,
};
use std::path::{Path, PathBuf};

/// Opens what `model` names, after the signature check that `wishes` ask for. What came from a hub stays in the cache
/// as long as the second part lives.
fn open(
    model: &str,
    wishes: &Wishes,
    cpu_variant: Option<String>,
    screen: &Screen,
) -> Result<(Runtime, Located)> {
    let located = locate(model, &wishes.network, Take::Model, screen)?;
    if let Some(trust) = &wishes.trust {
        check_signature(&located.path, trust)?;
    }
    // Without a folder nothing is remembered, and everything works.
    let tuning_folder = wishes.network.cache().ok();
    let engine = wishes.isolate.then(|| isolate::engine(cpu_variant.as_deref())).transpose()?;
    let projector = wishes.mmproj.clone();
    let onnx_libraries = onnx_libraries(wishes.onnx_library.as_deref());
    let settings = RuntimeSettings {
        cpu_variant,
        tuning_folder,
        engine,
        projector,
        onnx_libraries,
        ..RuntimeSettings::default()
    };
    Ok((Runtime::open(&located.path, settings)?, located))
}

/// Where ONNX Runtime's library may be: where it is named, else beside the command and in the system's folders.
fn onnx_libraries(named: Option<&Path>) -> Vec<PathBuf> {
    const FOLDERS: [&str; 4] =
        ["/usr/local/lib", "/usr/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu"];
    if let Some(named) = named {
        return vec![named.to_path_buf()];
    }
    let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.to_path_buf()));
    beside.into_iter().chain(FOLDERS.map(PathBuf::from)).collect()
}

/// Plans and loads, with what reads pictures where they are wished for; steps down the ladder are told on the error channel.
fn load(runtime: &Runtime, request: PlanRequest, cancel: &CancelToken) -> Result<LoadedModel> {
    let (plan, model) = runtime.plan_and_load(&request, &mut |_| {}, cancel)?;
    let stepped = plan.why.iter().filter(|reason| reason.code == ReasonCode::SteppedDown);
    stepped.for_each(|reason| eprintln!("note: {}", reason.text));
    Ok(model)
}

fn check_signature(path: &Path, trust: &Path) -> Result<()> {
    let keys = trusted_keys(trust)?;
    let bundle = Bundle::open(path).context("only bundles can be signed")?;
    bundle.verify_signature(&keys, SignaturePolicy::Require)?;
    Ok(())
}

/// The keys of the folder that `--trust` names; without one, nothing could be trusted.
fn trusted_keys(folder: &Path) -> Result<TrustStore> {
    let keys = TrustStore::read(folder)?;
    if keys.keys().next().is_none() {
        bail!("--trust: {}: expected public keys (*.pem, *.pub), found none", folder.display());
    }
    Ok(keys)
}

fn request(wishes: &Wishes) -> Result<PlanRequest> {
    if wishes.context == Some(0) {
        bail!("--context: expected at least 1 token, got 0");
    }
    Ok(PlanRequest {
        context_tokens: wishes.context,
        variant: wishes.variant.clone(),
        memory_budget_bytes: wishes.memory_budget,
        memory_cap_bytes: wishes.caps.memory_cap.into_iter().chain(wishes.caps.max_resident).min(),
        page_experts: wishes.caps.max_resident.is_some(),
        device_memory_cap_bytes: wishes.caps.device_memory_cap,
        n_threads: wishes.threads,
        gpu_layers: wishes.gpu_layers,
        ..PlanRequest::default()
    })
}

/// The bytes of a picture or sound.
fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

/// Loads the adapters of `--lora`.
fn adapters(model: &LoadedModel, adapters: &Adapters) -> Result<Vec<Applied>> {
    let load = |adapter: &AdapterFile| {
        let loaded = model.load_adapter(&adapter.path).context("--lora")?;
        Ok(Applied { adapter: loaded, scale: adapter.scale })
    };
    adapters.lora.iter().map(load).collect()
}

fn generate_settings(sampling: &Sampling) -> GenerateSettings {
    GenerateSettings {
        sampling: llama_pajamas::Sampling {
            temperature: sampling.temperature,
            top_k: sampling.top_k,
            top_p: sampling.top_p,
            min_p: sampling.min_p,
            typical_p: sampling.typical_p,
            top_n_sigma: sampling.top_n_sigma,
            xtc_probability: sampling.xtc_probability,
            xtc_threshold: sampling.xtc_threshold,
            temperature_range: sampling.temperature_range,
            repeat_penalty: sampling.repeat_penalty,
            frequency_penalty: sampling.frequency_penalty,
            presence_penalty: sampling.presence_penalty,
            penalty_window: sampling.penalty_window,
            dry: Dry { multiplier: sampling.dry_multiplier, ..Dry::default() },
            mirostat: sampling.mirostat.map(|target_bits| Mirostat { target_bits, ..Mirostat::default() }),
            order: sampling.sampling_steps.clone().unwrap_or_else(|| Step::ALL.to_vec()),
            seed: sampling.seed,
            ..llama_pajamas::Sampling::default()
        },
        max_tokens: sampling.max_tokens,
        stop: sampling.stop.clone(),
        ..GenerateSettings::default()
    }
}
