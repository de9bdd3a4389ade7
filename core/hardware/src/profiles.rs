//! What is known of chips and classes of machines: priors, presets and warnings (`hardware-profiles/`).
//! Owns their shape and which one a host matches; must not know where facts come from.

mod chip;
mod machine;
mod table;

pub use chip::{Match, Matched, Preset, Profile, ProfileClass, Subject};
pub use machine::{Preference, SharedGpu, System, TypicalMachine};
pub use table::{classes, profile, profiles};

pub(crate) use table::{arm_part, system};

use crate::host::{Host, Unknown};
use crate::priors::{Fact, Origin, Priors};
pub(crate) use chip::Facts;

/// Devices of a chip whose memory is shared keep at most this much of it for themselves, in bytes.
const CARVED_OUT_BYTES: u64 = 2 << 30;

/// Finds the profiles of a machine and its devices, and adds what they say below what is known already. A device that
/// uses the host's memory has none: the machine's speaks for it.
pub(crate) fn apply(host: &mut Host) {
    host.unknown.retain(|unknown| unknown.fact != "profile");
    let facts = Facts::of_host(host);
    match best(Subject::Machine, &facts) {
        Some(found) => {
            host.priors.prefer(found.priors());
            host.profile = Some(found.matched(&facts));
            host.memory.unified |= found.class.unified;
        }
        None => {
            let reason = "no profile matches this processor or machine".into();
            host.unknown.push(Unknown { fact: "profile".into(), reason });
        }
    }
    for gpu in &mut host.gpus {
        gpu.unified |= host.memory.unified && gpu.memory_bytes.is_none_or(|bytes| bytes <= CARVED_OUT_BYTES);
        let facts = Facts::of_gpu(gpu);
        if let Some(found) = best(Subject::Gpu, &facts).filter(|_| !gpu.unified) {
            gpu.priors.prefer(found.priors());
            gpu.profile = Some(found.matched(&facts));
        }
    }
}

/// A chip of a class, or the class alone.
#[derive(Clone, Copy)]
pub(crate) struct Found {
    pub(crate) class: &'static ProfileClass,
    pub(crate) chip: Option<&'static Profile>,
}

/// The strongest chip that matches; where none does, the strongest class.
fn best(subject: Subject, facts: &Facts) -> Option<Found> {
    equally_good(subject, facts).into_iter().next()
}

/// What matches most strongly: chips before classes, then by priority, then by how much of a name matched. More than one
/// where they match alike.
fn equally_good(subject: Subject, facts: &Facts) -> Vec<Found> {
    let mut found: Vec<((bool, i32, usize), Found)> = Vec::new();
    for class in classes().iter().filter(|class| class.subject == subject) {
        for chip in &class.chips {
            if let Some(strength) = chip.r#match.strength(facts) {
                let rank = (true, chip.priority.unwrap_or(class.priority), strength);
                found.push((rank, Found { class, chip: Some(chip) }));
            }
        }
        if let Some(strength) = class.r#match.strength(facts) {
            found.push(((false, class.priority, strength), Found { class, chip: None }));
        }
    }
    let top = found.iter().map(|(rank, _)| *rank).max();
    found.into_iter().filter(|(rank, _)| Some(*rank) == top).map(|(_, found)| found).collect()
}

impl Found {
    /// The chip's id, or the class's.
    pub(crate) fn id(&self) -> &'static str {
        self.chip.map_or(&self.class.id, |chip| &chip.id)
    }

    pub(crate) fn matched(&self, facts: &Facts) -> Matched {
        let holds = |when: &Match| *when == Match::default() || when.strength(facts).is_some();
        Matched {
            id: self.id().into(),
            prefer: self.class.prefer.iter().filter(|prefer| holds(&prefer.when)).cloned().collect(),
            title: self.chip.map_or(&self.class.title, |chip| &chip.title).clone(),
            class: self.class.id.clone(),
            origin: if self.chip.is_some() { Origin::Profile } else { Origin::ClassDefault },
            confidence: self.chip.map_or("estimate", |chip| chip.confidence.as_str()).into(),
            preset: self.preset(),
            warnings: self
                .chip
                .and_then(|chip| chip.warn.clone())
                .into_iter()
                .chain(self.class.warn.clone())
                .collect(),
        }
    }

    fn preset(&self) -> Preset {
        let mut preset = self.class.preset.clone();
        if let Some(margin_mib) = self.chip.and_then(|chip| chip.margin_mib) {
            preset.margin_mib = margin_mib;
        }
        preset
    }

    pub(crate) fn priors(&self) -> Priors {
        let class = &self.class.prior;
        let of_class = |range: Option<[f64; 2]>| {
            range.map(|range| Fact {
                range,
                origin: Origin::ClassDefault,
                source: format!("class {}", self.class.id),
            })
        };
        let mut priors = Priors {
            bandwidth_gbs: of_class(class.bw_gbs),
            core_bandwidth_gbs: of_class(class.core_gbs),
            eta_decode: of_class(class.eta_decode),
            layer_us: of_class(class.layer_us),
            sustained: of_class(class.sustained),
        };
        if let Some(chip) = self.chip {
            let of_chip = |range: Option<[f64; 2]>| {
                let source = format!("profile {} ({})", chip.id, chip.confidence);
                range.map(|range| Fact { range, origin: Origin::Profile, source })
            };
            priors.prefer(Priors {
                bandwidth_gbs: of_chip(Some(chip.bw_gbs)),
                core_bandwidth_gbs: of_chip(chip.core_gbs),
                eta_decode: of_chip(chip.eta_decode),
                layer_us: None,
                sustained: of_chip(chip.sustained),
            });
        }
        priors
    }
}

/// Ids of everything that a host or a device named like this matches equally well, for the table's own test.
#[doc(hidden)]
pub fn strongest(sample: &Match) -> Vec<String> {
    let facts = Facts::of_sample(sample);
    let mut ids = Vec::new();
    for subject in [Subject::Machine, Subject::Gpu] {
        ids.extend(equally_good(subject, &facts).iter().map(|found| found.id().to_string()));
    }
    ids
}
