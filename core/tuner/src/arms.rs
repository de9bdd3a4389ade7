//! Which values of a knob are worth a race, from the processor's shape alone. At most six: every further one takes time
//! from those that matter.

/// Most arms of one race, the start among them.
pub const MAX_ARMS: usize = 6;

/// The processor as far as threads are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Topology {
    /// Hardware threads that the process may use, affinity and quota considered.
    pub usable_cpus: u32,
    /// Cores that it may use.
    pub usable_cores: u32,
    /// Those of the fastest kind.
    pub fast_cores: u32,
}

/// Decode threads to race: the start, its neighbours, half of it, and the natural sizes of the processor. Never more than
/// the hardware threads that the process may use: threads wait for each other at every operation, and one without a
/// processor of its own holds up all.
#[must_use]
pub fn thread_arms(start: u32, topology: Topology) -> Vec<u32> {
    let below = start.saturating_sub(1);
    pick(
        start,
        topology,
        [below, topology.fast_cores, start + 1, start.div_ceil(2), topology.usable_cores, 1],
    )
}

/// Batch threads to race: prompts are bound by arithmetic, so more threads help more often.
#[must_use]
pub fn batch_arms(start: u32, topology: Topology) -> Vec<u32> {
    let Topology { usable_cpus, usable_cores, fast_cores } = topology;
    pick(start, topology, [usable_cores, usable_cpus, start.saturating_sub(1), fast_cores, start + 1, 1])
}

/// Tokens at a time to race: the start, half and a quarter of it, which fit wherever the start does. Even smaller ones have
/// not been seen to win, and would take time from these.
#[must_use]
pub fn ubatch_arms(start: u32) -> Vec<u32> {
    let smaller = (1..3).map(|halvings| start >> halvings).filter(|n| *n >= 32);
    std::iter::once(start).chain(smaller).collect()
}

/// Layers on a device to race, of `all` with the output: the start, the processor alone, everything, half, and a layer or two
/// less, which leaves the device more room to compute.
#[must_use]
pub fn placement_arms(start: u32, all: u32) -> Vec<u32> {
    let mut arms = vec![start];
    for n in [0, all, all / 2, start.saturating_sub(2)] {
        if !arms.contains(&n) && arms.len() < MAX_ARMS {
            arms.push(n);
        }
    }
    arms
}

fn pick(start: u32, topology: Topology, others: [u32; 6]) -> Vec<u32> {
    let mut arms = vec![start];
    for n in others {
        let n = n.min(topology.usable_cpus.max(1));
        if n > 0 && !arms.contains(&n) && arms.len() < MAX_ARMS {
            arms.push(n);
        }
    }
    arms
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(usable_cpus: u32, usable_cores: u32, fast_cores: u32) -> Topology {
        Topology { usable_cpus, usable_cores, fast_cores }
    }

    #[test]
    fn arms_stay_within_the_processor_and_begin_with_the_start() {
        assert_eq!(thread_arms(1, of(1, 1, 1)), [1]);
        assert_eq!(thread_arms(2, of(2, 2, 2)), [2, 1]);
        // A phone: one prime core, three large, four small.
        assert_eq!(thread_arms(4, of(8, 8, 1)), [4, 3, 1, 5, 2, 8]);
        // A hybrid desktop: 8 fast cores of two threads, 12 slow ones.
        assert_eq!(thread_arms(8, of(28, 20, 8)), [8, 7, 9, 4, 20, 1]);
        assert_eq!(batch_arms(8, of(28, 20, 8)), [8, 20, 28, 7, 9, 1]);
        // A start above what is left of the processor is raced against what is.
        assert_eq!(thread_arms(8, of(2, 2, 2)), [8, 2, 1]);
    }

    #[test]
    fn layers_go_to_either_side_and_between() {
        assert_eq!(placement_arms(0, 37), [0, 37, 18]);
        assert_eq!(placement_arms(37, 37), [37, 0, 18, 35]);
        assert_eq!(placement_arms(12, 37), [12, 0, 37, 18, 10]);
        assert_eq!(placement_arms(0, 1), [0, 1]);
    }

    #[test]
    fn ubatch_only_shrinks() {
        assert_eq!(ubatch_arms(512), [512, 256, 128]);
        assert_eq!(ubatch_arms(48), [48]);
    }
}
