//! How many threads to start with, from the host's cores. A prior that tuning replaces; must not know models.

use hardware::{Cpu, Host};

/// Slower cores join the fast ones while these are fewer than this and the slower reach `JOIN_SPEED` of their speed: a
/// phone's one prime core is not enough.
const FEW_CORES: u32 = 4;
const JOIN_SPEED: f64 = 0.6;
/// Cores below this share of the fastest one's speed hold up prompts more than they help.
const BATCH_SPEED: f64 = 0.5;

/// Threads to start with on a host: for single tokens, and for prompts.
pub fn prior_threads(host: &Host) -> [u32; 2] {
    [decode_threads(host).max(1), batch_threads(host).max(1)]
}

/// Threads for single tokens: a core each, of the fastest kind. Threads wait for each other at every layer, and one
/// that shares its core with anything else holds up all: so no hardware threads, and one fewer than the process may
/// use where that is more than two.
pub(crate) fn decode_threads(host: &Host) -> u32 {
    let classes = &host.cpu.core_classes;
    let fastest = classes.iter().find(|class| class.n_usable_cores > 0).map_or(1, |class| class.speed);
    let mut cores = 0;
    for class in classes {
        if cores == 0 || (cores < FEW_CORES && class.speed as f64 >= fastest as f64 * JOIN_SPEED) {
            cores += class.n_usable_cores;
        }
    }
    leave_one(if cores == 0 { host.cpu.fast_cores } else { cores }, &host.cpu)
}

/// Threads for prompts: every usable core that is not far slower than the fastest.
pub(crate) fn batch_threads(host: &Host) -> u32 {
    let classes = &host.cpu.core_classes;
    let fastest = classes.iter().find(|class| class.n_usable_cores > 0).map_or(1, |class| class.speed);
    let near = classes.iter().filter(|class| class.speed as f64 >= fastest as f64 * BATCH_SPEED);
    let cores: u32 = near.map(|class| class.n_usable_cores).sum();
    leave_one(if cores == 0 { host.cpu.usable_cores } else { cores }, &host.cpu)
}

fn leave_one(cores: u32, cpu: &Cpu) -> u32 {
    let most = if cpu.usable_cpus > 2 { cpu.usable_cpus - 1 } else { cpu.usable_cpus };
    cores.clamp(1, most.max(1))
}
