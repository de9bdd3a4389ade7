//! `hardware`: what this machine is, how much memory a model may use, and what is known of such machines.

use super::config;
use super::foresee::{Seen, ask_driver, supply};
use crate::args::Hardware;
use crate::screen::{Screen, bytes};
use anyhow::{Context, Result};
use llama_pajamas::backend_devices;
use llama_pajamas::engine::gguf::GgufEngine;
use llama_pajamas::hardware::{self, Fact, Host, Subject};
use llama_pajamas::planner::BackendDevice;

pub(crate) fn run(args: &Hardware, screen: &Screen) -> Result<()> {
    if args.profiles {
        return list(screen);
    }
    let here = args.root.is_none() && args.profile.is_none();
    let asked = here.then(ask_driver);
    let (mut host, record) = match &args.profile {
        Some(profile) => (hardware::typical(profile).context("--for")?, String::new()),
        None => hardware::record(args.root.as_deref())?,
    };
    if let Some(path) = &args.record {
        std::fs::write(path, record).with_context(|| format!("writing {}", path.display()))?;
    }
    let engine = asked.map(|asked| supply(&mut host, asked)).transpose()?;
    if args.emit_config.is_some() || args.check_config.is_some() {
        let devices = match &engine {
            Some(engine) => backend_devices(engine, &host),
            None => BackendDevice::of_host(&host),
        };
        let seen = Seen { host, devices };
        if let Some(path) = &args.emit_config {
            return config::emit(args, path, &seen, screen);
        }
        return args.check_config.iter().try_for_each(|path| config::check(args, path, &seen, screen));
    }
    let variants = here.then(GgufEngine::cpu_variants);
    if screen.json {
        return screen.print_json(&serde_json::json!({"host": host, "cpu_variants": variants}));
    }
    print(&host, screen);
    if let Some(variants) = variants {
        let names: Vec<String> = variants
            .all
            .iter()
            .map(|variant| match (variant.name == variants.best, variant.usable) {
                (true, _) => screen.green(&format!("{} (used)", variant.name)),
                (false, true) => variant.name.to_string(),
                (false, false) => screen.dim(&format!("{} (not on this processor)", variant.name)),
            })
            .collect();
        line(screen, "kernels", &names.join(", "));
    }
    for warning in host.profile.iter().flat_map(|profile| &profile.warnings) {
        line(screen, "note", warning);
    }
    for unknown in &host.unknown {
        line(screen, "unknown", &screen.dim(&format!("{}: {}", unknown.fact, unknown.reason)));
    }
    Ok(())
}

/// One row: its name on the first line alone.
fn line(screen: &Screen, name: &str, text: &str) {
    println!("{}{}{text}", screen.bold(name), " ".repeat(10usize.saturating_sub(name.len())));
}

fn print(host: &Host, screen: &Screen) {
    let row = |name: &str, text: String| line(screen, name, &text);
    let version = host.os_version.as_ref().map(|version| format!(", {version}")).unwrap_or_default();
    row("system", format!("{} on {}{version}", host.os, host.arch));
    if let Some(model) = &host.model {
        row("model", model.clone() + &host.soc.as_ref().map(|soc| format!(" ({soc})")).unwrap_or_default());
    }
    let place = &host.place;
    if let Some(container) = &place.container {
        row("inside", container.clone() + if place.virtual_machine { " in a virtual machine" } else { "" });
    } else if place.virtual_machine {
        row("inside", "a virtual machine".into());
    }
    cpu(host, screen);
    memory(host, screen);
    for gpu in &host.gpus {
        let memory = match (gpu.unified, gpu.memory_bytes) {
            (true, _) => "shares the memory".to_string(),
            (false, Some(total)) => bytes(total),
            (false, None) => "memory unknown".into(),
        };
        let free = gpu.free_bytes.map(|free| format!(", {} free", bytes(free))).unwrap_or_default();
        let profile = gpu.profile.as_ref().map(|found| format!(", {} ({})", found.id, found.origin.name()));
        row("gpu", format!("{} {}, {memory}{free}{}", gpu.vendor, gpu.name, profile.unwrap_or_default()));
        speed(screen, gpu.priors.bandwidth_gbs.as_ref(), gpu.priors.eta_decode.as_ref());
    }
    state(host, screen);
    match &host.profile {
        Some(found) => row("profile", format!("{}: {} ({})", found.id, found.title, found.origin.name())),
        None => row("profile", "none matches".into()),
    }
    speed(screen, host.priors.bandwidth_gbs.as_ref(), host.priors.eta_decode.as_ref());
}

fn cpu(host: &Host, screen: &Screen) {
    let cpu = &host.cpu;
    line(screen, "cpu", &cpu.brand);
    let quota = cpu.quota_cpus.map(|quota| format!(" (quota {quota})")).unwrap_or_default();
    let nodes = if host.numa_nodes > 1 { format!(", {} NUMA nodes", host.numa_nodes) } else { String::new() };
    let (cores, threads, usable) = (cpu.physical_cores, cpu.logical_cpus, cpu.usable_cpus);
    line(screen, "", &format!("{cores} cores, {threads} threads, {usable} usable here{quota}{nodes}"));
    for class in cpu.core_classes.iter().filter(|_| cpu.core_classes.len() > 1) {
        let name = class.name.as_deref().unwrap_or("cores");
        let clock = class.max_mhz.map(|mhz| format!(" up to {:.1} GHz", f64::from(mhz) / 1000.0));
        line(screen, "", &format!("{} × {name}{}", class.n_cores, clock.unwrap_or_default()));
    }
    line(screen, "", &cpu.isa.join(" "));
}

fn memory(host: &Host, screen: &Screen) {
    let memory = &host.memory;
    let (total, available) = (bytes(memory.total_bytes), bytes(memory.available_bytes));
    let shared = if memory.unified { ", shared with graphics" } else { "" };
    line(screen, "memory", &format!("{total} installed, {available} available{shared}"));
    for limit in memory.limits.iter().filter(|_| memory.limits.len() > 1) {
        line(screen, "", &screen.dim(&format!("{} by {}", bytes(limit.headroom_bytes), limit.source)));
    }
    let bound = memory.limits.first().map_or("nothing known", |limit| &limit.source);
    line(screen, "budget", &format!("{} for a model, bounded by {bound}", bytes(memory.budget_bytes)));
}

/// Heat, power, pressure and disk, as far as they are known.
fn state(host: &Host, screen: &Screen) {
    let heat = &host.thermal;
    let mut parts = Vec::new();
    if let Some((celsius, zone)) = heat.hottest_celsius.zip(heat.hottest_zone.as_ref()) {
        parts.push(format!("{celsius:.0} °C at {zone}"));
    }
    if heat.throttled == Some(true) {
        parts.push("slowed down now".into());
    }
    if let Some(share) = heat.clock_share.filter(|share| *share < 0.995) {
        parts.push(format!("clocks limited to {:.0} %", share * 100.0));
    }
    if let Some(count) = heat.throttle_count.filter(|count| *count > 0) {
        parts.push(format!("slowed down {count} times since the start"));
    }
    if !parts.is_empty() {
        line(screen, "heat", &parts.join(", "));
    }
    let power = &host.power;
    let source = power.source.map(|source| format!("{source:?}").to_lowercase());
    let battery = power.battery_percent.map(|percent| format!("battery at {percent} %"));
    let mode = power.mode.as_ref().map(|mode| format!("mode {mode}"));
    let parts: Vec<String> = [source, battery, mode, power.governor.clone()].into_iter().flatten().collect();
    if !parts.is_empty() {
        line(screen, "power", &parts.join(", "));
    }
    if let Some(percent) = host.pressure.memory_some_percent.filter(|percent| *percent > 0.0) {
        line(screen, "pressure", &format!("{percent:.1} % of the time something waits for memory"));
    }
    if let Some(kind) = host.disk.kind {
        let [low, high] = kind.read_gbs();
        let device = host.disk.device.as_deref().unwrap_or("disk");
        let name = format!("{kind:?}").to_lowercase();
        line(screen, "disk", &format!("{device}, {name}: {low} to {high} GB/s (class default)"));
    }
}

fn speed(screen: &Screen, bandwidth: Option<&Fact>, eta: Option<&Fact>) {
    let range = |fact: &Fact| match fact.range {
        [low, high] if low == high => format!("{low}"),
        [low, high] => format!("{low} to {high}"),
    };
    let Some(bandwidth) = bandwidth else { return };
    let share = eta.map(|eta| format!("; decoding reaches {} of it ({})", range(eta), eta.origin.name()));
    let text = format!("{} GB/s ({})", range(bandwidth), bandwidth.origin.name());
    line(screen, "", &format!("{text}{}", share.unwrap_or_default()));
}

/// Every chip that the profiles name.
fn list(screen: &Screen) -> Result<()> {
    if screen.json {
        return screen.print_json(&hardware::classes());
    }
    for class in hardware::classes() {
        let kind = if class.subject == Subject::Gpu { "graphics devices" } else { "machines" };
        println!("{}  {} ({kind})", screen.bold(&class.id), class.title);
        for chip in &class.chips {
            let [low, high] = chip.bw_gbs;
            let range = if low == high { format!("{low}") } else { format!("{low} to {high}") };
            println!("  {:32} {:44} {range} GB/s ({})", chip.id, chip.title, chip.confidence);
        }
    }
    Ok(())
}
