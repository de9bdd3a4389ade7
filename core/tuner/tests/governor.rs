//! The governor under simulated signals: what it does at once, what it takes its time for, what it tells.
//! Knows the public API only.

#![allow(missing_docs, reason = "tests")]

use llama_pajamas_tuner::{Cause, Governor, GovernorSettings, Heat, MemoryLevel, Reaction, Signals, Stance};
use proptest::prelude::*;
use std::time::Duration;

const FULL: Stance = Stance {
    max_threads: 6,
    speculation: true,
    prompt_chunk_tokens: 512,
    keep_prefixes: true,
    refused: None,
};

fn governor() -> Governor {
    Governor::new(GovernorSettings::new(6, 512))
}

fn heat(heat: Heat) -> Signals {
    Signals { heat: Some(heat), ..Signals::default() }
}

fn memory(memory: MemoryLevel) -> Signals {
    Signals { memory: Some(memory), ..Signals::default() }
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Steps once a second over a span and returns the reactions with their seconds.
fn watch(governor: &mut Governor, seconds: std::ops::Range<u64>, signals: &Signals) -> Vec<(u64, Reaction)> {
    let step =
        |second| governor.step(at(second), signals).into_iter().map(move |reaction| (second, reaction));
    seconds.flat_map(step).collect()
}

#[test]
fn nothing_amiss_nothing_done() {
    let mut governor = governor();
    assert!(watch(&mut governor, 0..100, &Signals::default()).is_empty());
    assert_eq!(governor.stance(), FULL);
}

#[test]
fn a_warm_device_loses_threads_one_by_one_down_to_half() {
    let mut governor = governor();
    let because = Cause::Heat;
    let told = watch(&mut governor, 0..60, &heat(Heat::Warm));
    let threads = |from, to| Reaction::Threads { from, to, because };
    assert_eq!(
        told,
        [
            (0, threads(6, 5)),
            (0, Reaction::Speculation { allowed: false, because }),
            (0, Reaction::PromptChunk { from_tokens: 512, to_tokens: 256, because }),
            (5, threads(5, 4)),
            (10, threads(4, 3)),
        ]
    );
    // Twenty calm seconds, then one by one.
    let told = watch(&mut governor, 60..120, &heat(Heat::Cool));
    let because = Cause::Calm;
    let threads = |from, to| Reaction::Threads { from, to, because };
    assert_eq!(
        told,
        [
            (80, threads(3, 4)),
            (80, Reaction::Speculation { allowed: true, because }),
            (80, Reaction::PromptChunk { from_tokens: 256, to_tokens: 512, because }),
            (85, threads(4, 5)),
            (90, threads(5, 6)),
        ]
    );
    assert_eq!(governor.stance(), FULL);
}

#[test]
fn a_device_at_the_edge_does_not_swing() {
    let mut governor = governor();
    let mut told = Vec::new();
    for second in 0..300 {
        let level = if second % 10 < 3 { Heat::Warm } else { Heat::Cool };
        told.extend(governor.step(at(second), &heat(level)));
    }
    let upwards = |reaction: &&Reaction| matches!(reaction, Reaction::Threads { from, to, .. } if to > from);
    assert_eq!(told.iter().filter(upwards).count(), 0, "{told:?}");
}

#[test]
fn a_hot_device_takes_no_new_work_until_it_has_cooled() {
    let mut governor = governor();
    governor.step(at(0), &heat(Heat::Hot));
    let stance = governor.stance();
    assert_eq!((stance.max_threads, stance.prompt_chunk_tokens), (1, 128));
    assert_eq!(stance.refused, Some(Cause::Heat));
    let told = watch(&mut governor, 1..60, &heat(Heat::Cool));
    assert!(told.contains(&(21, Reaction::AcceptWork)), "{told:?}");
}

#[test]
fn short_memory_drops_prefixes_and_then_refuses_work() {
    let mut governor = governor();
    let because = Cause::Memory;
    assert_eq!(
        governor.step(at(0), &memory(MemoryLevel::Low)),
        [
            Reaction::Speculation { allowed: false, because },
            Reaction::PromptChunk { from_tokens: 512, to_tokens: 128, because },
            Reaction::DropPrefixes { because },
        ]
    );
    assert_eq!(governor.step(at(1), &memory(MemoryLevel::Critical)), [Reaction::RefuseWork { because }]);
    assert_eq!(governor.stance().max_threads, 6);
    let told = watch(&mut governor, 2..30, &memory(MemoryLevel::Enough));
    assert_eq!(
        told.iter().map(|(second, _)| *second).collect::<Vec<_>>(),
        [22; 4],
        "speculation, chunks, prefixes and work: {told:?}"
    );
    assert_eq!(governor.stance(), FULL);
}

#[test]
fn a_smaller_mask_of_processors_holds_at_once() {
    let mut governor = governor();
    let mask = |n| Signals { usable_cpus: Some(n), ..Signals::default() };
    let told = governor.step(at(0), &mask(2));
    assert_eq!(told, [Reaction::Threads { from: 6, to: 2, because: Cause::Affinity }]);
    assert!(governor.step(at(1), &mask(64)).is_empty());
    assert_eq!(watch(&mut governor, 2..60, &mask(64)).len(), 4);
    let background = Signals { background: Some(true), ..Signals::default() };
    let told = governor.step(at(61), &background);
    assert_eq!(told[0], Reaction::Threads { from: 6, to: 3, because: Cause::Background });
    let saver = Signals { background: Some(false), saver: Some(true), ..Signals::default() };
    governor.step(at(62), &saver);
    assert_eq!(governor.stance().max_threads, 3);
}

#[test]
fn tuning_changes_what_full_strength_is() {
    let mut governor = governor();
    governor.set_threads(4);
    assert_eq!(governor.stance().max_threads, 4);
    governor.step(at(0), &Signals { usable_cpus: Some(2), ..Signals::default() });
    governor.set_threads(3);
    assert_eq!(governor.stance().max_threads, 2);
}

proptest! {
    /// Whatever is signalled: at least a thread, at most all, chunks within bounds, and an end of all trouble ends all.
    #[test]
    fn every_stance_is_sound(news in proptest::collection::vec((0..4_u8, 0..4_u8, 0..10_u32, 0..3_u8), 0..60)) {
        let mut governor = governor();
        let mut second = 0;
        for (h, m, cpus, b) in news {
            let signals = Signals {
                heat: [None, Some(Heat::Cool), Some(Heat::Warm), Some(Heat::Hot)][h as usize],
                memory: [None, Some(MemoryLevel::Enough), Some(MemoryLevel::Low), Some(MemoryLevel::Critical)][m as usize],
                usable_cpus: Some(cpus).filter(|n| *n > 0),
                background: [None, Some(false), Some(true)][b as usize],
                ..Signals::default()
            };
            second += 1;
            governor.step(at(second), &signals);
            let stance = governor.stance();
            prop_assert!((1..=6).contains(&stance.max_threads));
            prop_assert!((32..=512).contains(&stance.prompt_chunk_tokens));
        }
        let fine = Signals {
            heat: Some(Heat::Cool),
            memory: Some(MemoryLevel::Enough),
            usable_cpus: Some(8),
            background: Some(false),
            ..Signals::default()
        };
        watch(&mut governor, second + 1..second + 100, &fine);
        prop_assert_eq!(governor.stance(), FULL);
    }
}
