//! Settings in a file: written for a machine (`hardware --emit-config`), and checked on one (`--check-config`).
//! Owns the file and the verdict; must not estimate anything itself.

use super::foresee::{Seen, candidates};
use crate::args::Hardware;
use crate::screen::{Screen, bytes};
use anyhow::{Context, Result, bail};
use llama_pajamas::PlanRequest;
use llama_pajamas::hardware::{Host, PowerSource};
use llama_pajamas::planner::{self, Backend, Candidate, Choice, prior_threads};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Stands for all layers of whatever model.
const ALL_LAYERS: u32 = 999;
const USUAL_CONTEXT: u64 = 4096;
/// Below this share of the first minute's speed a user notices.
const STEADY: f64 = 0.85;

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// The profile of the machine that it was written for.
    profile: Option<String>,
    /// The variant it was written for.
    variant: Option<String>,
    backend: Backend,
    /// 999: all of them.
    gpu_layers: u32,
    /// Tokens of a prompt that are computed at a time.
    prompt_batch: u32,
    /// Sequences that are written at a time.
    decode_batch: u32,
    threads: u32,
    prompt_threads: u32,
    context: u64,
    /// Memory of the host that this takes, in bytes, where a model was named.
    memory_bytes: Option<u64>,
    /// The same of the device's own memory.
    device_memory_bytes: Option<u64>,
}

/// What a check says.
#[derive(Debug, Default, Serialize)]
struct Verdict {
    errors: Vec<String>,
    warnings: Vec<String>,
    /// What to write instead.
    suggestion: Option<Settings>,
}

pub(crate) fn emit(args: &Hardware, path: &Path, seen: &Seen, screen: &Screen) -> Result<()> {
    let settings = match models(args, screen)? {
        Some(candidates) => {
            let plan = planner::plan(&seen.host, &candidates, &request(seen));
            let choice = plan.chosen.as_ref();
            let refusal = || plan.refusal().unwrap_or_default();
            of_choice(&seen.host, choice.with_context(|| format!("no settings fit: {}", refusal()))?)
        }
        None => of_host(seen),
    };
    let text = serde_json::to_string_pretty(&settings)? + "\n";
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

pub(crate) fn check(args: &Hardware, path: &Path, seen: &Seen, screen: &Screen) -> Result<()> {
    let place = || path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(place)?;
    let settings: Settings = serde_json::from_str(&text).with_context(place)?;
    let models = models(args, screen)?;
    let mut verdict = Verdict { warnings: warnings(&seen.host), ..Verdict::default() };
    machine_errors(&settings, seen, &mut verdict.errors);
    memory_errors(&settings, seen, models.as_deref(), &mut verdict.errors);
    if !verdict.errors.is_empty() {
        let plan = models.map(|models| planner::plan(&seen.host, &models, &request(seen)));
        verdict.suggestion = match plan {
            Some(plan) => plan.chosen.map(|choice| of_choice(&seen.host, &choice)),
            None => Some(of_host(seen)),
        };
    }
    if screen.json {
        screen.print_json(&verdict)?;
    } else {
        print(&verdict, screen)?;
    }
    match verdict.errors.first() {
        Some(first) => bail!("{}: {first}", place()),
        None => Ok(()),
    }
}

fn print(verdict: &Verdict, screen: &Screen) -> Result<()> {
    if verdict.errors.is_empty() {
        println!("{}", screen.green("these settings suit this machine"));
    }
    verdict.errors.iter().for_each(|error| println!("{} {error}", screen.bold("rejected")));
    verdict.warnings.iter().for_each(|warning| println!("{} {warning}", screen.bold("warning ")));
    if let Some(suggestion) = &verdict.suggestion {
        println!("{}\n{}", screen.bold("instead"), serde_json::to_string_pretty(suggestion)?);
    }
    Ok(())
}

/// The candidates of `--model`, where it is given.
fn models(args: &Hardware, screen: &Screen) -> Result<Option<Vec<Candidate>>> {
    let Some(model) = &args.model else { return Ok(None) };
    candidates(model, &args.precision, &args.network, None, screen).map(Some)
}

fn request(seen: &Seen) -> PlanRequest {
    PlanRequest { devices: seen.devices.clone(), ..PlanRequest::default() }
}

fn of_choice(host: &Host, choice: &Choice) -> Settings {
    let memory = &choice.memory;
    Settings {
        profile: host.profile.as_ref().map(|profile| profile.id.clone()),
        variant: Some(choice.id.clone()),
        backend: choice.backend,
        gpu_layers: choice.gpu_layers,
        prompt_batch: choice.n_ubatch,
        decode_batch: 1,
        threads: choice.n_threads,
        prompt_threads: choice.n_threads_batch,
        context: choice.context_tokens,
        memory_bytes: Some(memory.total_bytes().saturating_sub(memory.device_bytes)),
        device_memory_bytes: Some(memory.device_bytes),
    }
}

/// Where no model is named: what the profile's preset says.
fn of_host(seen: &Seen) -> Settings {
    let host = &seen.host;
    let device = seen.devices.first();
    let own = host.gpus.iter().find_map(|gpu| gpu.profile.as_ref());
    let preset = own.or(host.profile.as_ref()).map(|found| &found.preset);
    let [threads, prompt_threads] = prior_threads(host);
    Settings {
        profile: host.profile.as_ref().map(|profile| profile.id.clone()),
        variant: None,
        backend: device.map_or(Backend::Cpu, |device| device.backend),
        gpu_layers: if device.is_some() { ALL_LAYERS } else { 0 },
        prompt_batch: preset.map_or(512, |preset| preset.n_ubatch),
        decode_batch: 1,
        threads,
        prompt_threads,
        context: USUAL_CONTEXT,
        memory_bytes: None,
        device_memory_bytes: None,
    }
}

/// What the machine does not have, whatever the model.
fn machine_errors(settings: &Settings, seen: &Seen, errors: &mut Vec<String>) {
    let usable = seen.host.cpu.usable_cpus;
    for (name, threads) in [("threads", settings.threads), ("prompt_threads", settings.prompt_threads)] {
        if threads == 0 || threads > usable {
            errors.push(format!("{name}: expected 1 to {usable}, the processors usable here, got {threads}"));
        }
    }
    for (name, count) in [
        ("prompt_batch", u64::from(settings.prompt_batch)),
        ("decode_batch", u64::from(settings.decode_batch)),
        ("context", settings.context),
    ] {
        if count == 0 {
            errors.push(format!("{name}: expected at least 1, got 0"));
        }
    }
    let offered: Vec<&str> = seen.devices.iter().map(|device| device.backend.name()).collect();
    if settings.backend != Backend::Cpu && !offered.contains(&settings.backend.name()) {
        let there = if offered.is_empty() { "cpu".into() } else { format!("cpu, {}", offered.join(", ")) };
        errors.push(format!("backend: expected one of {there}, got {}", settings.backend.name()));
    } else if settings.backend == Backend::Cpu && settings.gpu_layers > 0 {
        errors.push(format!("gpu_layers: expected 0 on cpu, got {}", settings.gpu_layers));
    }
}

/// What exceeds the memory: by the model where one is named, else by what the file says that it takes.
fn memory_errors(settings: &Settings, seen: &Seen, models: Option<&[Candidate]>, errors: &mut Vec<String>) {
    let have = seen.host.memory.budget_bytes;
    let Some(models) = models else {
        let device =
            seen.devices.iter().filter(|device| !device.unified).map(|device| device.free_bytes).max();
        let parts = [
            ("memory_bytes", settings.memory_bytes, have, "RAM"),
            ("device_memory_bytes", settings.device_memory_bytes, device.unwrap_or(0), "VRAM"),
        ];
        for (name, need, have, kind) in parts {
            let unified = name.starts_with("device") && seen.devices.iter().any(|device| device.unified);
            if let Some(need) = need.filter(|need| *need > have && !unified) {
                let short = bytes(need - have);
                errors.push(format!(
                    "{name}: needs {}, has {} of {kind}, lacks {short}",
                    bytes(need),
                    bytes(have)
                ));
            }
        }
        return;
    };
    let wish = PlanRequest {
        context_tokens: Some(settings.context),
        variant: settings.variant.clone(),
        gpu_layers: Some(settings.gpu_layers),
        n_threads: Some(settings.threads),
        ..request(seen)
    };
    let plan = planner::plan(&seen.host, models, &wish);
    match plan.chosen {
        None => errors.push(format!("memory: {}", plan.refusal().unwrap_or_default())),
        Some(choice) => {
            let free = seen.devices.iter().find(|device| device.backend == choice.backend);
            let free = free.map_or(0, |device| device.free_bytes);
            if choice.memory.device_bytes > free {
                errors.push(format!(
                    "gpu_layers: {} layers need {} of VRAM, has {}, lacks {}",
                    choice.gpu_layers,
                    bytes(choice.memory.device_bytes),
                    bytes(free),
                    bytes(choice.memory.device_bytes - free)
                ));
            }
        }
    }
}

/// Heat and power: what slows the machine down now, or will.
fn warnings(host: &Host) -> Vec<String> {
    let mut told = Vec::new();
    if host.thermal.throttled == Some(true) {
        told.push("the machine is slowed down for heat now: use fewer threads or wait".into());
    }
    if let Some(share) = host.thermal.clock_share.filter(|share| *share < 0.95) {
        told.push(format!("clocks are limited to {:.0} % now", share * 100.0));
    }
    if host.power.source == Some(PowerSource::Battery) {
        told.push("it runs on battery: expect lower clocks, and use fewer threads to save it".into());
    }
    let device = host.gpus.iter().find_map(|gpu| gpu.priors.sustained.as_ref());
    if let Some(fact) = device.or(host.priors.sustained.as_ref()).filter(|fact| fact.range[0] < STEADY) {
        let [low, high] = fact.range.map(|share| share * 100.0);
        told.push(format!("after minutes of work {low:.0} to {high:.0} % of the speed remain: it throttles"));
    }
    let profiles = host.profile.iter().chain(host.gpus.iter().filter_map(|gpu| gpu.profile.as_ref()));
    told.extend(profiles.flat_map(|profile| profile.warnings.iter().cloned()));
    told
}
