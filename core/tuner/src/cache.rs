//! What was measured, kept between starts.
//!
//! Owns: the document, its keys, what makes an entry void, and sections that others keep in it. Must not know where the
//! document is stored, nor what stands in the sections.
//!
//! A document that cannot be read is an empty one with a reason; what is lost is a few seconds of measuring.

mod key;

pub use key::{Conditions, Heat, Key, PowerFrom};

use crate::setting::Setting;
use crate::statistics::median;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;

/// Version of the document's shape. Another one is not read.
pub const SCHEMA: u32 = 1;
/// Entries that are kept; those that were used longest ago go.
const MAX_ENTRIES: usize = 256;
/// Speeds of normal use that are kept of each kind.
const MAX_OBSERVED: usize = 16;
/// As many are needed before they speak against an entry.
const MIN_OBSERVED: usize = 4;
/// Normal use that is slower or faster than what was measured by more than this: something changed that no key names.
/// Answers get slower with the length of what is read, so the slow side is generous.
const PLAUSIBLE: std::ops::RangeInclusive<f64> = 0.5..=1.6;

/// Everything that was measured on this device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cache {
    schema: u32,
    #[serde(default)]
    entries: Vec<Entry>,
    /// Others' measurements by name, in shapes of their own.
    #[serde(default)]
    sections: BTreeMap<String, Value>,
}

impl Default for Cache {
    fn default() -> Self {
        Self { schema: SCHEMA, entries: Vec::new(), sections: BTreeMap::new() }
    }
}

/// What is known of one model on one machine under one kind of conditions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// For what it holds.
    pub key: Key,
    /// Under which conditions.
    pub conditions: Conditions,
    /// What tuning found, where it ran.
    #[serde(default)]
    pub tuned: Option<Tuned>,
    /// Speeds of normal use.
    #[serde(default)]
    pub observed: Vec<Observed>,
    /// Last change, in seconds since 1970.
    pub at_unix_s: u64,
}

/// A setting that was found.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Tuned {
    /// The setting.
    pub setting: Setting,
    /// Tokens per second when writing, where that was raced.
    pub decode_tokens_per_s: Option<f64>,
    /// Tokens per second when reading, where that was raced.
    pub prompt_tokens_per_s: Option<f64>,
    /// When, in seconds since 1970.
    pub at_unix_s: u64,
}

/// Speeds of normal use with one setting of threads, the latest last.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// Threads for single tokens.
    pub n_threads: u32,
    /// Threads for prompts.
    pub n_threads_batch: u32,
    /// Tokens per second when writing.
    #[serde(default)]
    pub decode_tokens_per_s: Vec<f64>,
    /// Tokens per second when reading.
    #[serde(default)]
    pub prompt_tokens_per_s: Vec<f64>,
}

/// What the cache says of a key.
#[derive(Debug, Clone, PartialEq)]
pub enum Lookup {
    /// Use it.
    Hit(Tuned),
    /// Measure, because of this.
    Miss(Miss),
}

/// Why nothing of the cache holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Miss {
    /// Nothing like it was tuned.
    Unknown,
    /// It was, but these parts of the key have changed since.
    Changed(Vec<&'static str>),
    /// It was, under other conditions only.
    OtherConditions,
    /// It was, so long ago.
    TooOld {
        /// Seconds since.
        age_s: u64,
    },
    /// Normal use is not as fast, or faster, by far.
    Drifted {
        /// Normal use over what was measured, in percent.
        percent: u32,
    },
}

impl Cache {
    /// Reads a document. What cannot be read is told and left out.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> (Self, Option<String>) {
        #[derive(Deserialize)]
        struct Version {
            schema: u32,
        }
        match serde_json::from_slice::<Version>(bytes) {
            Ok(Version { schema: SCHEMA }) => {}
            Ok(Version { schema }) => {
                return (Self::default(), Some(format!("schema {schema}, expected {SCHEMA}")));
            }
            Err(error) => return (Self::default(), Some(error.to_string())),
        }
        match serde_json::from_slice(bytes) {
            Ok(cache) => (cache, None),
            Err(error) => (Self::default(), Some(error.to_string())),
        }
    }

    /// The document.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("names and numbers are JSON")
    }

    /// What holds for `key` under `conditions` at `now_unix_s`, if it is not older than `max_age_s`.
    #[must_use]
    pub fn lookup(&self, key: &Key, conditions: Conditions, now_unix_s: u64, max_age_s: u64) -> Lookup {
        let tuned = |entry: &&Entry| entry.tuned.is_some();
        let same = self.entries.iter().filter(tuned).filter(|entry| entry.key == *key);
        let Some(entry) = same.clone().find(|entry| entry.conditions == conditions) else {
            if same.clone().next().is_some() {
                return Lookup::Miss(Miss::OtherConditions);
            }
            let near = self.entries.iter().filter(tuned).map(|entry| entry.key.differences(key));
            return Lookup::Miss(match near.min_by_key(Vec::len) {
                Some(differences) if differences.len() <= 2 => Miss::Changed(differences),
                _ => Miss::Unknown,
            });
        };
        let Some(tuned) = entry.tuned else { return Lookup::Miss(Miss::Unknown) };
        let age_s = now_unix_s.saturating_sub(tuned.at_unix_s);
        if age_s > max_age_s {
            return Lookup::Miss(Miss::TooOld { age_s });
        }
        if let Some(ratio) = entry.drift() {
            return Lookup::Miss(Miss::Drifted { percent: (ratio * 100.0).round() as u32 });
        }
        Lookup::Hit(tuned)
    }

    /// Keeps what tuning found. Earlier observations were made of the machine as it was before.
    pub fn remember(&mut self, key: &Key, conditions: Conditions, tuned: Tuned) {
        let entry = self.entry(key, conditions, tuned.at_unix_s);
        entry.tuned = Some(tuned);
        entry.observed.clear();
    }

    /// Keeps speeds of normal use; figures that are `None`, zero or no numbers are left out.
    pub fn observe(
        &mut self,
        key: &Key,
        conditions: Conditions,
        threads: (u32, u32),
        decode_tokens_per_s: Option<f64>,
        prompt_tokens_per_s: Option<f64>,
        now_unix_s: u64,
    ) {
        let entry = self.entry(key, conditions, now_unix_s);
        let (n_threads, n_threads_batch) = threads;
        let same = |seen: &Observed| (seen.n_threads, seen.n_threads_batch) == threads;
        let place = entry.observed.iter().position(same).unwrap_or_else(|| {
            entry.observed.push(Observed { n_threads, n_threads_batch, ..Observed::default() });
            entry.observed.len() - 1
        });
        let seen = &mut entry.observed[place];
        let push = |figures: &mut Vec<f64>, figure: Option<f64>| {
            figures.extend(figure.filter(|figure| figure.is_finite() && *figure > 0.0));
            figures.drain(..figures.len().saturating_sub(MAX_OBSERVED));
        };
        push(&mut seen.decode_tokens_per_s, decode_tokens_per_s);
        push(&mut seen.prompt_tokens_per_s, prompt_tokens_per_s);
    }

    /// What is kept for `key` under `conditions`.
    #[must_use]
    pub fn get(&self, key: &Key, conditions: Conditions) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == *key && entry.conditions == conditions)
    }

    /// Forgets everything that was tuned and observed for `key`; whether there was anything.
    pub fn forget(&mut self, key: &Key) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.key != *key);
        self.entries.len() < before
    }

    /// Others' measurements of this name, where there are any of this shape.
    #[must_use]
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        T::deserialize(self.sections.get(name)?).ok()
    }

    /// Keeps others' measurements under this name.
    ///
    /// # Errors
    /// What cannot be written as JSON.
    pub fn set_section(&mut self, name: &str, value: &impl Serialize) -> Result<(), serde_json::Error> {
        self.sections.insert(name.to_owned(), serde_json::to_value(value)?);
        Ok(())
    }

    /// Takes over what `newer` has changed: another process may have written meanwhile. Entries are compared by their last
    /// change; sections of `newer` replace those of the same name.
    pub fn merge(&mut self, newer: Self) {
        for entry in newer.entries {
            match self.entries.iter_mut().find(|e| e.key == entry.key && e.conditions == entry.conditions) {
                Some(old) if old.at_unix_s <= entry.at_unix_s => *old = entry,
                Some(_) => {}
                None => self.entries.push(entry),
            }
        }
        self.sections.extend(newer.sections);
        self.bound();
    }

    fn entry(&mut self, key: &Key, conditions: Conditions, now_unix_s: u64) -> &mut Entry {
        let same = |entry: &Entry| entry.key == *key && entry.conditions == conditions;
        if !self.entries.iter().any(same) {
            let (key, observed) = (key.clone(), Vec::new());
            self.entries.push(Entry { key, conditions, tuned: None, observed, at_unix_s: now_unix_s });
            self.bound();
        }
        let place = self.entries.iter().position(same).expect("the newest entry is kept");
        let entry = &mut self.entries[place];
        entry.at_unix_s = now_unix_s.max(entry.at_unix_s);
        entry
    }

    /// At most `MAX_ENTRIES`: drops the oldest, of equal ones what was added first.
    fn bound(&mut self) {
        while self.entries.len() > MAX_ENTRIES {
            let ages = self.entries.iter().enumerate();
            let (oldest, _) = ages.min_by_key(|(_, entry)| entry.at_unix_s).expect("there are entries");
            self.entries.remove(oldest);
        }
    }
}

impl Entry {
    /// Normal use over what was measured, where it is not plausible any more.
    fn drift(&self) -> Option<f64> {
        let tuned = self.tuned?;
        let measured = tuned.decode_tokens_per_s?;
        let same = |seen: &&Observed| seen.n_threads == tuned.setting.n_threads;
        let seen = &self.observed.iter().find(same)?.decode_tokens_per_s;
        if seen.len() < MIN_OBSERVED {
            return None;
        }
        let ratio = median(seen) / measured;
        (!PLAUSIBLE.contains(&ratio)).then_some(ratio)
    }
}
