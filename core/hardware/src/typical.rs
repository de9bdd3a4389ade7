//! A typical machine of a profile, for plans that are made on another machine.
//! Owns how the tables become a [`Host`]; must not read this machine. The same name gives the same host.

use crate::host::{CoreClass, Cpu, Gpu, Host, Limit, Memory, Place, Unknown};
use crate::profiles::{self, Facts, Found, Match, Subject, System, TypicalMachine};
use crate::{Error, Result, memory_budget};

const GIB: f64 = (1u64 << 30) as f64;
/// Most memory that a machine may be said to have, in GB.
const MOST_GB: u32 = 65_536;

/// A typical machine by `PROFILE[:MEMORY]`: a chip's or class's id, and its memory in GB where it comes with several
/// sizes (of a graphics device: the device's own). Without one, the smallest it is sold with.
/// Figures of the system and of other programs are estimates (`hardware-profiles/systems.toml`).
///
/// # Errors
/// No such profile, or not with that memory.
pub fn typical(wish: &str) -> Result<Host> {
    let refuse =
        |expected: String, got: &str| Error::Profile { wish: wish.into(), expected, got: got.into() };
    let (id, memory) = match wish.split_once(':') {
        Some((id, memory)) => (id, Some(memory)),
        None => (wish, None),
    };
    let found = find(id).ok_or_else(|| refuse(near(id), id))?;
    let machine = machine_of(&found)
        .ok_or_else(|| refuse("a class that says what its machines look like".into(), id))?;
    let asked = match memory {
        Some(text) => {
            let number = text.trim_end_matches("GB").parse().ok().filter(|gb| (1..=MOST_GB).contains(gb));
            Some(number.ok_or_else(|| refuse("a size in GB like 8".into(), text))?)
        }
        None => None,
    };
    let sold = found.chip.map(|chip| chip.ram_gb.as_slice()).filter(|sizes| !sizes.is_empty());
    let sold = match (found.class.subject, machine.any_ram) {
        // Chips for sockets list the most that they take.
        (Subject::Machine, true) => &machine.ram_gb,
        _ => sold.unwrap_or(&machine.ram_gb),
    };
    let free_choice = found.class.subject == Subject::Machine && machine.any_ram;
    let smallest = sold.iter().min().copied().unwrap_or(8);
    let gb = match asked {
        Some(gb) if !free_choice && !sold.contains(&gb) => {
            let sizes: Vec<String> = sold.iter().map(u32::to_string).collect();
            return Err(refuse(format!("one of {} GB", sizes.join(", ")), &format!("{gb} GB")));
        }
        Some(gb) => gb,
        None => smallest,
    };
    let system = profiles::system(&machine.system)
        .ok_or_else(|| refuse("a system of systems.toml".into(), &machine.system))?;
    Ok(build(&found, machine, system, gb))
}

fn find(id: &str) -> Option<Found> {
    if let Some((class, chip)) = profiles::profile(id) {
        return Some(Found { class, chip: Some(chip) });
    }
    let class = profiles::classes().iter().find(|class| class.id == id)?;
    Some(Found { class, chip: None })
}

fn machine_of(found: &Found) -> Option<&'static TypicalMachine> {
    found.class.machine.as_ref()
}

/// What to type instead of an unknown id: those that share its longest beginning.
fn near(id: &str) -> String {
    let ids = profiles::profiles().map(|(_, chip)| chip.id.as_str());
    let ids = ids.chain(profiles::classes().iter().map(|class| class.id.as_str()));
    let shared = |other: &str| other.bytes().zip(id.bytes()).take_while(|(a, b)| a == b).count();
    let mut ranked: Vec<(usize, &str)> = ids.map(|other| (shared(other), other)).collect();
    ranked.sort_by_key(|(shared, other)| (std::cmp::Reverse(*shared), *other));
    let names: Vec<&str> = ranked.iter().take(4).map(|(_, other)| *other).collect();
    format!("a profile like {} (`hardware --profiles` lists all)", names.join(", "))
}

fn build(found: &Found, machine: &TypicalMachine, system: &System, gb: u32) -> Host {
    let device = found.class.subject == Subject::Gpu;
    let rule = found.chip.map_or(&found.class.r#match, |chip| &chip.r#match);
    let of_machine = (!device).then_some(rule);
    let first = |list: fn(&Match) -> &Vec<String>| of_machine.and_then(|rule| list(rule).first().cloned());
    let ram_gb = if device { machine.ram_gb.first().copied().unwrap_or(16) } else { gb };
    let mut isa = machine.isa.clone();
    isa.extend(of_machine.into_iter().flat_map(|rule| rule.isa.iter().cloned()));
    let mut host = Host {
        os: system.os.clone(),
        arch: machine.arch.clone(),
        cpu: cpu(found, machine, !device),
        memory: memory(machine, system, ram_gb, found.class.unified),
        numa_nodes: 1,
        model: first(|rule| &rule.model),
        soc: first(|rule| &rule.soc),
        place: Place { container: system.container.then(|| "container".into()), virtual_machine: false },
        ..Host::default()
    };
    let title = found.chip.map_or(&found.class.title, |chip| &chip.title);
    host.cpu.isa = isa;
    host.cpu.brand = match device {
        true => "typical processor".into(),
        false => first(|rule| &rule.brand).unwrap_or_else(|| title.clone()),
    };
    host.cpu.signatures = of_machine.map(|rule| rule.signature.clone()).unwrap_or_default();
    host.power.mode = first(|rule| &rule.power_mode);
    if device {
        host.gpus.push(device_of(found, rule, system, gb));
    } else if let Some(shared) = &machine.gpu {
        let total = host.memory.total_bytes as f64;
        let share = system.gpu_share.iter().rev().find(|[from, _]| total >= from * GIB);
        host.gpus.push(Gpu {
            name: shared.name.clone(),
            vendor: shared.vendor.clone(),
            memory_bytes: share.map(|[_, share]| (total * share) as u64),
            unified: true,
            ..Gpu::default()
        });
    }
    profiles::apply(&mut host);
    // The rules find the same entry but for machines that no rule recognises.
    if device {
        if let Some(gpu) = host.gpus.first_mut() {
            (gpu.profile, gpu.unified) = (Some(found.matched(&Facts::of_gpu(gpu))), false);
            gpu.priors.prefer(found.priors());
        }
    } else {
        host.profile = Some(found.matched(&Facts::of_host(&host)));
        host.priors.prefer(found.priors());
        host.unknown.retain(|unknown| unknown.fact != "profile");
    }
    for fact in ["thermal", "power.source", "pressure", "disk.kind"] {
        let reason = format!("a typical machine of profile {}, not a real one", found.id());
        host.unknown.push(Unknown { fact: fact.into(), reason });
    }
    host
}

fn cpu(found: &Found, machine: &TypicalMachine, own: bool) -> Cpu {
    let chip = found.chip.filter(|_| own);
    let cores = chip.map(|chip| chip.cores.as_slice()).filter(|cores| !cores.is_empty());
    let cores: Vec<u32> = cores.unwrap_or(&machine.cores).iter().copied().filter(|n| *n > 0).collect();
    let slowest = chip.and_then(|chip| chip.slowest_core).unwrap_or(machine.slowest_core);
    let steps = cores.len().saturating_sub(1).max(1) as f64;
    let class = |(kind, n_cores): (usize, &u32)| CoreClass {
        name: None,
        n_cores: *n_cores,
        n_usable_cores: *n_cores,
        n_usable_cpus: n_cores * machine.threads_per_core,
        max_mhz: None,
        speed: (1000.0 * (1.0 - (1.0 - slowest) * kind as f64 / steps)) as u64,
    };
    let core_classes: Vec<CoreClass> = cores.iter().enumerate().map(class).collect();
    let total: u32 = cores.iter().sum();
    Cpu {
        physical_cores: total,
        logical_cpus: total * machine.threads_per_core,
        usable_cpus: (total * machine.threads_per_core).max(1),
        usable_cores: total.max(1),
        fast_cores: cores.first().copied().unwrap_or(1),
        core_classes,
        ..Cpu::default()
    }
}

fn memory(machine: &TypicalMachine, system: &System, gb: u32, unified: bool) -> Memory {
    let total = f64::from(gb) * GIB * system.seen_share;
    let used = system.used_gb * GIB + system.used_share * total;
    let available_bytes = (total - used).max(0.0) as u64;
    let source = format!("{gb} GB, less what {} and other programs hold (estimate)", system.title);
    Memory {
        total_bytes: total as u64,
        available_bytes,
        budget_bytes: memory_budget(available_bytes),
        limits: vec![Limit { source, headroom_bytes: available_bytes }],
        unified: unified || machine.gpu.is_some(),
        ..Memory::default()
    }
}

fn device_of(found: &Found, rule: &Match, system: &System, gb: u32) -> Gpu {
    let of_class = &found.class.r#match;
    let vendor = rule.vendor.first().or(of_class.vendor.first()).cloned().unwrap_or_default();
    let memory_bytes = u64::from(gb) << 30;
    let title = found.chip.map_or(&found.class.title, |chip| &chip.title);
    Gpu {
        name: rule.gpu.first().unwrap_or(title).clone(),
        vendor,
        memory_bytes: Some(memory_bytes),
        free_bytes: Some(memory_bytes.saturating_sub((system.gpu_used_gb * GIB) as u64)),
        architecture: rule.generation.first().cloned(),
        ..Gpu::default()
    }
}
