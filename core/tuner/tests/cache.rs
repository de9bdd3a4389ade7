//! The cache's document: what is found, what is void, what is survived.
//! Knows the public API only.

#![allow(missing_docs, reason = "tests")]

use llama_pajamas_tuner::{Cache, Conditions, Heat, Key, Lookup, Miss, PowerFrom, SCHEMA, Setting, Tuned};
use proptest::prelude::*;
use std::collections::BTreeMap;

const START: Setting = Setting { n_threads: 4, n_threads_batch: 4, n_ubatch: 512, gpu_layers: 0 };
const DAY: u64 = 86_400;
const MAINS: Conditions = Conditions { power: PowerFrom::Mains, heat: Heat::Cool };

fn key() -> Key {
    Key {
        topology: "8 cores".into(),
        quota: "8".into(),
        devices: String::new(),
        power_mode: "balanced".into(),
        engine: "gguf 1".into(),
        model: "abc".into(),
        context_bucket: 4096,
        start: START,
    }
}

fn tuned(at_unix_s: u64) -> Tuned {
    let setting = Setting { n_threads: 3, ..START };
    Tuned { setting, decode_tokens_per_s: Some(20.0), prompt_tokens_per_s: None, at_unix_s }
}

fn filled() -> Cache {
    let mut cache = Cache::default();
    cache.remember(&key(), MAINS, tuned(100));
    cache
}

fn lookup(cache: &Cache, change: impl FnOnce(&mut Key)) -> Lookup {
    let mut key = key();
    change(&mut key);
    cache.lookup(&key, MAINS, 100 + DAY, 30 * DAY)
}

#[test]
fn what_was_tuned_is_found_again_after_reading() {
    let (cache, problem) = Cache::parse(&filled().to_bytes());
    assert_eq!((lookup(&cache, |_| ()), problem), (Lookup::Hit(tuned(100)), None));
}

#[test]
fn every_part_of_the_key_counts_and_is_named() {
    let cache = filled();
    let changed = |name, change: fn(&mut Key)| {
        assert_eq!(lookup(&cache, change), Lookup::Miss(Miss::Changed(vec![name])));
    };
    changed("topology", |key| key.topology.push('x'));
    changed("quota", |key| key.quota.push('x'));
    changed("devices", |key| key.devices.push('x'));
    changed("power mode", |key| key.power_mode.push('x'));
    changed("engine", |key| key.engine.push('x'));
    changed("model", |key| key.model.push('x'));
    changed("context length", |key| key.context_bucket = 8192);
    changed("start setting", |key| key.start.n_threads = 2);
    let other = lookup(&cache, |key| (key.topology, key.model, key.engine) = Default::default());
    assert_eq!(other, Lookup::Miss(Miss::Unknown));
    assert_eq!(lookup(&Cache::default(), |_| ()), Lookup::Miss(Miss::Unknown));
}

#[test]
fn conditions_and_age_count() {
    let cache = filled();
    let battery = Conditions { power: PowerFrom::Battery, ..MAINS };
    assert_eq!(cache.lookup(&key(), battery, 100, DAY), Lookup::Miss(Miss::OtherConditions));
    let old = cache.lookup(&key(), MAINS, 100 + 31 * DAY, 30 * DAY);
    assert_eq!(old, Lookup::Miss(Miss::TooOld { age_s: 31 * DAY }));
    // A clock that went back makes nothing old.
    assert_eq!(cache.lookup(&key(), MAINS, 0, DAY), Lookup::Hit(tuned(100)));
}

#[test]
fn normal_use_speaks_against_an_entry_once_there_is_enough_of_it() {
    let mut cache = filled();
    let mut observe = |times: usize, speed: f64| {
        for _ in 0..times {
            cache.observe(&key(), MAINS, (3, 4), Some(speed), Some(f64::NAN), 200);
        }
        lookup(&cache, |_| ())
    };
    assert_eq!(observe(3, 9.0), Lookup::Hit(tuned(100)));
    assert_eq!(observe(1, 9.0), Lookup::Miss(Miss::Drifted { percent: 45 }));
    assert_eq!(observe(12, 18.0), Lookup::Hit(tuned(100)));
    let seen = &cache.get(&key(), MAINS).expect("is there").observed;
    assert_eq!((seen.len(), seen[0].decode_tokens_per_s.len()), (1, 16));
    assert!(seen[0].prompt_tokens_per_s.is_empty());
    // With other threads it is no witness, and after tuning again it begins anew.
    cache.observe(&key(), MAINS, (1, 1), Some(1.0), None, 200);
    cache.remember(&key(), MAINS, tuned(300));
    assert!(cache.get(&key(), MAINS).expect("is there").observed.is_empty());
    assert!(cache.forget(&key()) && !cache.forget(&key()));
}

#[test]
fn what_cannot_be_read_is_empty_and_told() {
    let problem = |text: &str| {
        let (cache, problem) = Cache::parse(text.as_bytes());
        assert_eq!(cache, Cache::default());
        problem.expect("a problem")
    };
    assert_eq!(problem(r#"{"schema": 99, "anything": []}"#), format!("schema 99, expected {SCHEMA}"));
    assert!(problem("").contains("EOF"));
    assert!(problem(r#"{"schema": 1, "entries": [{}]}"#).contains("missing field `key`"));
    let whole = filled().to_bytes();
    assert!(problem(&String::from_utf8_lossy(&whole[..whole.len() / 2])).contains("EOF"));
}

#[test]
fn two_writers_lose_nothing_and_the_document_stays_small() {
    let mut cache = filled();
    let mut other = filled();
    other.remember(&key(), MAINS, tuned(50));
    let battery = Conditions { power: PowerFrom::Battery, ..MAINS };
    other.remember(&key(), battery, tuned(60));
    other.set_section("calibration", &BTreeMap::from([("cpu", 1.5)])).expect("JSON");
    cache.merge(other);
    assert!(cache.get(&key(), battery).is_some());
    assert_eq!(cache.section::<BTreeMap<String, f64>>("calibration").expect("is there")["cpu"], 1.5);
    assert!(cache.section::<Vec<u8>>("calibration").is_none() && cache.section::<u8>("residual").is_none());
    for context_bucket in 0..1000 {
        let key = Key { context_bucket, ..key() };
        cache.remember(&key, MAINS, tuned(1000 + u64::from(context_bucket)));
    }
    assert!(cache.to_bytes().len() < 200_000);
    assert!(cache.get(&key(), battery).is_none(), "the oldest went");
    assert!(cache.get(&Key { context_bucket: 999, ..key() }, MAINS).is_some());
}

proptest! {
    #[test]
    fn no_bytes_make_reading_fail(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Cache::parse(&bytes);
    }

    #[test]
    fn no_damage_makes_reading_fail(place in 0_usize..400, byte in any::<u8>()) {
        let mut bytes = filled().to_bytes();
        let place = place % bytes.len();
        bytes[place] = byte;
        let (cache, _) = Cache::parse(&bytes);
        let _ = lookup(&cache, |_| ());
    }
}
