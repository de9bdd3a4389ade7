//! `hardware`: what this machine is and how much memory a model may use.

use crate::screen::{Screen, bytes};
use anyhow::Result;
use llama_pajamas::engine::gguf::GgufEngine;

pub(crate) fn run(screen: &Screen) -> Result<()> {
    let host = llama_pajamas::hardware::detect()?;
    let variants = GgufEngine::cpu_variants();
    if screen.json {
        return screen.print_json(&serde_json::json!({"host": host, "cpu_variants": variants}));
    }
    let cpu = &host.cpu;
    println!("{}  {} on {}", screen.bold("system"), host.os, host.arch);
    println!("{}     {}", screen.bold("cpu"), cpu.brand);
    println!(
        "        {} cores ({} fast), {} threads, {} usable here",
        cpu.physical_cores, cpu.fast_cores, cpu.logical_cpus, cpu.usable_cpus
    );
    println!("        {}", cpu.isa.join(" "));
    let names: Vec<String> = variants
        .all
        .iter()
        .map(|variant| match (variant.name == variants.best, variant.usable) {
            (true, _) => screen.green(&format!("{} (used)", variant.name)),
            (false, true) => variant.name.to_string(),
            (false, false) => screen.dim(&format!("{} (not on this processor)", variant.name)),
        })
        .collect();
    println!("{} {}", screen.bold("kernels"), names.join(", "));
    let memory = &host.memory;
    println!(
        "{}  {} installed, {} available",
        screen.bold("memory"),
        bytes(memory.total_bytes),
        bytes(memory.available_bytes)
    );
    println!(
        "{}  {} for a model, bounded by {}",
        screen.bold("budget"),
        bytes(memory.budget_bytes),
        memory.limits.first().map_or("nothing known", |limit| &limit.source)
    );
    for gpu in &host.gpus {
        println!(
            "{}     {} {} {}",
            screen.bold("gpu"),
            gpu.vendor,
            gpu.name,
            gpu.memory_bytes.map(bytes).unwrap_or_default()
        );
    }
    Ok(())
}
