//! What a plan is made for without loading: the machine that `--for` names, and what could run on it.
//! Owns how words become a host, its devices and candidates; must not plan.

use crate::args::{Network, Target};
use crate::fetch::{Take, locate};
use crate::screen::Screen;
use anyhow::{Context, Result, bail};
use llama_pajamas::bundle::Bundle;
use llama_pajamas::engine::gguf::{EngineOptions, GgufEngine};
use llama_pajamas::families;
use llama_pajamas::hardware::{self, Host, Supplied, SuppliedDevice, Unknown};
use llama_pajamas::planner::{BackendDevice, Candidate};
use llama_pajamas::quantizer::recipe::Recipe;
use llama_pajamas::{SENSIBLE_PRECISIONS, backend_devices, candidates_at, described_candidates};
use std::path::Path;
use std::thread::JoinHandle;

/// A machine to plan for.
pub(crate) struct Seen {
    pub(crate) host: Host,
    /// What an engine has there, or is taken to have.
    pub(crate) devices: Vec<BackendDevice>,
}

/// The machine that `--for` names: a file that replays one, a profile, or this one.
pub(crate) fn machine(target: &Target) -> Result<Seen> {
    match &target.host {
        None => this_machine(),
        Some(word) => named(word).context("--for"),
    }
}

/// A machine by a file that replays it, or by a profile.
pub(crate) fn named(word: &str) -> Result<Seen> {
    let path = Path::new(word);
    let host = match path.exists() {
        true => hardware::detect_at(path)?,
        false => hardware::typical(word)?,
    };
    let devices = BackendDevice::of_host(&host);
    Ok(Seen { host, devices })
}

/// This one, with what its engine and drivers say of devices.
pub(crate) fn this_machine() -> Result<Seen> {
    let asked = ask_driver();
    let mut host = hardware::detect()?;
    let engine = supply(&mut host, asked)?;
    let devices = backend_devices(&engine, &host);
    Ok(Seen { host, devices })
}

/// What NVIDIA's library says of devices, or why it says nothing.
pub(crate) type Asked = JoinHandle<std::result::Result<Vec<SuppliedDevice>, String>>;

/// Asks NVIDIA's library, which takes tens of milliseconds to open: meanwhile the rest of the machine can be read.
pub(crate) fn ask_driver() -> Asked {
    std::thread::spawn(hardware::nvidia_devices)
}

/// Lays over the description what the driver's library and the engine say of devices.
pub(crate) fn supply(host: &mut Host, asked: Asked) -> Result<GgufEngine> {
    let engine = GgufEngine::start(EngineOptions::default())?;
    let told = asked.join().unwrap_or_else(|_| Err("the driver's library failed".into()));
    match told {
        Ok(devices) => host.supply(&Supplied { devices, ..Supplied::default() }),
        // Of interest only where there is such a device.
        Err(reason) if host.gpus.iter().any(|gpu| gpu.vendor == "nvidia" && !gpu.unified) => {
            host.unknown.push(Unknown { fact: "gpus[].memory_bytes".into(), reason });
        }
        Err(_) => {}
    }
    host.supply(&Supplied { devices: llama_pajamas::supplied_devices(&engine), ..Supplied::default() });
    Ok(engine)
}

/// Whether `model` is a description alone: nothing that could be loaded.
pub(crate) fn is_described(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "json")
        || (path.is_dir() && !Bundle::is_bundle(path) && path.join("config.json").exists())
}

/// What could run: the variants of a bundle, a GGUF file by its header, or what `precisions` would make of a
/// configuration.
pub(crate) fn candidates(
    model: &str,
    precisions: &[String],
    network: &Network,
    trust: Option<&Path>,
    screen: &Screen,
) -> Result<Vec<Candidate>> {
    let take = if precisions.is_empty() { Take::Model } else { Take::Config };
    let located = locate(model, network, take, screen)?;
    if let Some(trust) = trust {
        super::check_signature(&located.path, trust)?;
    }
    if !is_described(&located.path) {
        if !precisions.is_empty() {
            bail!("--precision: expected a config.json or a checkpoint, {model} states its own precisions");
        }
        return Ok(candidates_at(&located.path)?);
    }
    let config = match located.path.is_dir() {
        true => located.path.join("config.json"),
        false => located.path.clone(),
    };
    let place = || config.display().to_string();
    let json = families::parse_config(&std::fs::read(&config).with_context(place)?).with_context(place)?;
    let description = families::detect_config(&json).with_context(place)?;
    let recipes = recipes(precisions, description.moe.is_some())?;
    described_candidates(&description, &recipes).with_context(|| {
        format!(
            "{}: no family file gives the tensors of {}: sizes are unknown",
            place(),
            description.model_type
        )
    })
}

fn recipes(precisions: &[String], has_experts: bool) -> Result<Vec<Recipe>> {
    let recipe = |name: &str| {
        Recipe::from_name(name).with_context(|| {
            let known: Vec<&str> = Recipe::names().collect();
            format!("--precision: expected one of {}, got {name}", known.join(", "))
        })
    };
    if precisions.is_empty() {
        // A precision for experts alone.
        let suits = |name: &&&str| has_experts || **name != "MXFP4_MOE";
        return SENSIBLE_PRECISIONS.iter().filter(suits).map(|name| recipe(name)).collect();
    }
    precisions.iter().map(|name| recipe(name)).collect()
}
