//! A Linux or Android machine from `/proc` and `/sys` below a root.
//! Owns how the parts come together; each part lives in its own file.

mod cgroup;
mod cpu;
mod disk;
pub(crate) mod energy;
mod gpu;
mod memory;
mod place;
mod power;
mod pressure;
pub(crate) mod process;
mod thermal;
mod topology;

pub(crate) use memory::budget;

use crate::root::Root;
use crate::{Conditions, Host};

/// The entry that carries Android's system properties, as `getprop` prints or `build.prop` writes them: apps may not
/// read the files, so the native reader asks the system and lays its answer here.
pub(crate) const PROPERTIES: &str = "android/properties";

/// What changes while a program runs; no other file is looked at.
pub(crate) fn conditions(root: &Root) -> Conditions {
    Conditions {
        usable_cpus: cpu::usable_now(root),
        memory: memory::read(root, None),
        pressure: pressure::read(root),
        thermal: thermal::read(root),
        power: power::read(root),
    }
}

pub(crate) fn read(root: &Root) -> Host {
    let android =
        ["system/build.prop", "system/bin/app_process64", PROPERTIES].iter().any(|f| root.exists(f));
    let properties = if android { place::properties(root) } else { place::Properties::default() };
    let (cpu, arch) = cpu::read(root, &properties);
    let soc = place::soc(root, &properties);
    Host {
        os: if android { "android" } else { "linux" }.into(),
        os_version: place::os_version(root, &properties),
        arch,
        memory: memory::read(root, soc.as_deref()),
        gpus: gpu::read(root, soc.as_deref()),
        numa_nodes: memory::numa_nodes(root),
        model: place::model(root, &properties),
        soc,
        page_bytes: memory::page_bytes(root),
        pressure: pressure::read(root),
        thermal: thermal::read(root),
        power: power::read(root),
        disk: disk::read(root, android),
        place: place::read(root, android),
        cpu,
        ..Host::default()
    }
}
