//! One profile: the rule by which it matches, and what it says.
//! Owns the shape of the tables and the matching of one rule; must not know the tables.

use super::machine::{Preference, TypicalMachine};
use crate::host::{Gpu, Host};
use crate::priors::Origin;
use serde::{Deserialize, Serialize};

/// What a profile speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A whole machine: its processor and the memory beside it.
    Machine,
    /// A graphics device with memory of its own.
    Gpu,
}

/// A family of chips that share what follows from their build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileClass {
    /// Id, the file's name.
    pub id: String,
    /// Name for people.
    pub title: String,
    /// What its chips are.
    pub subject: Subject,
    /// Which of two matching entries holds: the higher one.
    pub priority: i32,
    /// Whether the graphics device has no memory of its own.
    #[serde(default)]
    pub unified: bool,
    /// What any member looks like, for chips that no entry names.
    #[serde(default)]
    pub r#match: Match,
    /// A typical member, or the machine around a device, for plans made elsewhere.
    #[serde(default)]
    pub machine: Option<TypicalMachine>,
    /// Figures for members that say nothing of their own.
    pub prior: Prior,
    /// Settings to start from.
    pub preset: Preset,
    /// Formats that suit it.
    #[serde(default)]
    pub prefer: Vec<Preference>,
    /// What to say of heat and power.
    #[serde(default)]
    pub warn: Option<String>,
    /// The chips.
    #[serde(default)]
    pub chips: Vec<Profile>,
}

/// One chip or machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Id, unique over all classes.
    pub id: String,
    /// Name for people.
    pub title: String,
    /// Instead of the class's.
    #[serde(default)]
    pub priority: Option<i32>,
    /// What it looks like.
    pub r#match: Match,
    /// Peak memory bandwidth in GB/s.
    pub bw_gbs: [f64; 2],
    /// Instead of the class's.
    #[serde(default)]
    pub core_gbs: Option<[f64; 2]>,
    /// Instead of the class's.
    #[serde(default)]
    pub eta_decode: Option<[f64; 2]>,
    /// Instead of the class's.
    #[serde(default)]
    pub sustained: Option<[f64; 2]>,
    /// Sizes of memory it is sold with, in GB.
    #[serde(default)]
    pub ram_gb: Vec<u32>,
    /// Cores by kind, the fastest first.
    #[serde(default)]
    pub cores: Vec<u32>,
    /// Instead of the class's.
    #[serde(default)]
    pub slowest_core: Option<f64>,
    /// How sure the bandwidth is: `published`, `derived` from bus and clock, `recalled`.
    pub confidence: String,
    /// Instead of the class's.
    #[serde(default)]
    pub margin_mib: Option<u32>,
    /// In addition to the class's.
    #[serde(default)]
    pub warn: Option<String>,
}

/// Figures of a class.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "as in `Priors`")]
pub struct Prior {
    #[serde(default)]
    pub bw_gbs: Option<[f64; 2]>,
    #[serde(default)]
    pub core_gbs: Option<[f64; 2]>,
    #[serde(default)]
    pub eta_decode: Option<[f64; 2]>,
    #[serde(default)]
    pub layer_us: Option<[f64; 2]>,
    #[serde(default)]
    pub sustained: Option<[f64; 2]>,
}

/// Settings to start from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preset {
    /// Backends in the order in which to try them.
    pub backends: Vec<String>,
    /// `fit`: as many layers as the device holds; `none`.
    pub gpu_layers: String,
    /// Tokens of a prompt computed at once.
    pub n_ubatch: u32,
    /// `auto`: by context.
    pub kv: String,
    /// Memory to leave free on top of the estimate, in MiB.
    pub margin_mib: u32,
}

/// What matched.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Matched {
    /// The profile's id, or the class's.
    pub id: String,
    /// Name for people.
    pub title: String,
    /// The class's id.
    pub class: String,
    /// `profile` where the chip is known, else `class_default`.
    pub origin: Origin,
    /// How sure its bandwidth is.
    pub confidence: String,
    /// Settings to start from.
    pub preset: Preset,
    /// Formats that suit it.
    pub prefer: Vec<Preference>,
    /// What to say of heat and power.
    pub warnings: Vec<String>,
}

/// A rule: every key that is given must hold; within a list one entry is enough. A rule without keys matches nothing.
/// Names match as whole words, whatever their case.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Match {
    /// Operating system.
    pub os: Vec<String>,
    /// Architecture.
    pub arch: Vec<String>,
    /// Words of the processor's name.
    pub brand: Vec<String>,
    /// A kind of core: `GenuineIntel 6/143`, `0x41/0xd4e`; a beginning is enough (`AuthenticAMD 25/`).
    pub signature: Vec<String>,
    /// Words of the system on chip.
    pub soc: Vec<String>,
    /// Words of the machine's name.
    pub model: Vec<String>,
    /// Instruction sets that all must be there.
    pub isa: Vec<String>,
    /// Instruction sets of which none may be there; holds only where the processor's are known.
    pub not_isa: Vec<String>,
    /// Words of the graphics device's name.
    pub gpu: Vec<String>,
    /// Its vendor.
    pub vendor: Vec<String>,
    /// Its generation.
    pub generation: Vec<String>,
    /// Words of the power mode.
    pub power_mode: Vec<String>,
    /// Installed memory (or the device's own) in GB, from and to.
    pub memory_gb: Option<[f64; 2]>,
    /// Cores, from and to.
    pub n_cores: Option<[u32; 2]>,
}

/// What rules look at.
#[derive(Default)]
pub(crate) struct Facts {
    os: String,
    arch: String,
    brand: String,
    signatures: Vec<String>,
    soc: String,
    model: String,
    isa: Vec<String>,
    isa_unknown: bool,
    gpus: Vec<String>,
    vendors: Vec<String>,
    generations: Vec<String>,
    power_mode: String,
    memory_gb: Option<f64>,
    n_cores: Option<u32>,
}

impl Facts {
    pub(crate) fn of_host(host: &Host) -> Self {
        Self {
            os: host.os.clone(),
            arch: host.arch.clone(),
            brand: host.cpu.brand.clone(),
            signatures: host.cpu.signatures.clone(),
            soc: host.soc.clone().unwrap_or_default(),
            model: host.model.clone().unwrap_or_default(),
            isa: host.cpu.isa.clone(),
            isa_unknown: host.unknown.iter().any(|unknown| unknown.fact == "cpu.isa"),
            gpus: host.gpus.iter().map(|gpu| gpu.name.clone()).collect(),
            power_mode: host.power.mode.clone().unwrap_or_default(),
            memory_gb: gigabytes(host.memory.total_bytes),
            n_cores: Some(host.cpu.physical_cores),
            ..Self::default()
        }
    }

    pub(crate) fn of_gpu(gpu: &Gpu) -> Self {
        Self {
            gpus: vec![gpu.name.clone()],
            vendors: vec![gpu.vendor.clone()],
            generations: gpu.architecture.iter().cloned().collect(),
            memory_gb: gigabytes(gpu.memory_bytes.unwrap_or(0)),
            ..Self::default()
        }
    }

    /// What a rule's first entries describe.
    pub(crate) fn of_sample(sample: &Match) -> Self {
        let first = |list: &Vec<String>| list.first().cloned().unwrap_or_default();
        Self {
            os: first(&sample.os),
            arch: first(&sample.arch),
            brand: first(&sample.brand),
            signatures: sample.signature.clone(),
            soc: first(&sample.soc),
            model: first(&sample.model),
            isa: sample.isa.clone(),
            isa_unknown: false,
            gpus: sample.gpu.clone(),
            vendors: sample.vendor.clone(),
            generations: sample.generation.clone(),
            power_mode: first(&sample.power_mode),
            memory_gb: sample.memory_gb.map(|[low, high]| (low + high) / 2.0),
            n_cores: sample.n_cores.map(|[low, _]| low),
        }
    }
}

/// `None` where unknown.
fn gigabytes(bytes: u64) -> Option<f64> {
    (bytes > 0).then_some(bytes as f64 / (1u64 << 30) as f64)
}

impl Match {
    /// How much of the facts' names the rule matched, in letters; `None` where it does not match.
    pub(crate) fn strength(&self, facts: &Facts) -> Option<usize> {
        if *self == Self::default() {
            return None;
        }
        let mut strength = 0;
        for (patterns, names) in [
            (&self.os, std::slice::from_ref(&facts.os)),
            (&self.arch, std::slice::from_ref(&facts.arch)),
            (&self.brand, std::slice::from_ref(&facts.brand)),
            (&self.soc, std::slice::from_ref(&facts.soc)),
            (&self.model, std::slice::from_ref(&facts.model)),
            (&self.gpu, &facts.gpus),
            (&self.vendor, &facts.vendors),
            (&self.generation, &facts.generations),
            (&self.power_mode, std::slice::from_ref(&facts.power_mode)),
        ] {
            strength += longest(patterns, names)?;
        }
        let signed =
            |wanted: &String| facts.signatures.iter().any(|found| found.starts_with(wanted.as_str()));
        let signature = self.signature.iter().filter(|wanted| signed(wanted)).map(String::len).max();
        strength += if self.signature.is_empty() { 0 } else { signature? };
        let here = |wanted: &String| facts.isa.contains(wanted);
        let excluded = self.not_isa.iter().any(here) || (!self.not_isa.is_empty() && facts.isa_unknown);
        if !self.isa.iter().all(here) || excluded {
            return None;
        }
        strength += self.isa.len() + self.not_isa.len();
        strength += within(self.memory_gb, facts.memory_gb)? + within(self.n_cores, facts.n_cores)?;
        Some(strength)
    }
}

/// One, where a range is asked for and holds.
fn within<T: PartialOrd>(range: Option<[T; 2]>, value: Option<T>) -> Option<usize> {
    let Some([low, high]) = range else { return Some(0) };
    value.filter(|value| low <= *value && *value <= high).map(|_| 1)
}

/// Letters of the longest pattern that stands in a name as whole words; 0 where none is asked for.
fn longest(patterns: &[String], names: &[String]) -> Option<usize> {
    if patterns.is_empty() {
        return Some(0);
    }
    let stands = |pattern: &&String| names.iter().any(|name| has_words(name, pattern));
    patterns.iter().filter(stands).map(String::len).max()
}

/// Compares without regard to the case of ASCII letters, which chips' names are written in.
fn has_words(name: &str, words: &str) -> bool {
    let (name, words) = (name.as_bytes(), words.as_bytes());
    let inside = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'+');
    let starts = name.windows(words.len().max(1)).enumerate();
    starts.filter(|(_, window)| window.eq_ignore_ascii_case(words)).any(|(at, _)| {
        !inside(at.checked_sub(1).and_then(|before| name.get(before))) && !inside(name.get(at + words.len()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_whole_words() {
        for (name, words, expected) in [
            ("NVIDIA GeForce RTX 3060", "rtx 3060", true),
            ("NVIDIA A100-SXM4-80GB", "A10", false),
            ("NVIDIA A100-SXM4-80GB", "A100", true),
            ("Snapdragon 8+ Gen 1", "Snapdragon 8", false),
            ("", "x", false),
        ] {
            assert_eq!(has_words(name, words), expected, "{words} in {name}");
        }
    }

    #[test]
    fn a_rule_holds_where_every_key_holds() {
        let facts = Facts { brand: "Apple M3 Max".into(), memory_gb: Some(36.0), ..Facts::default() };
        let rule =
            |brand: &str, memory_gb| Match { brand: vec![brand.into()], memory_gb, ..Match::default() };
        assert!(rule("Apple M3 Max", None).strength(&facts) > rule("Apple M3", None).strength(&facts));
        assert!(rule("Apple M3 Max", Some([30.0, 40.0])).strength(&facts).is_some());
        assert_eq!(rule("Apple M3 Max", Some([60.0, 70.0])).strength(&facts), None);
        assert_eq!(Match::default().strength(&facts), None);
    }
}
