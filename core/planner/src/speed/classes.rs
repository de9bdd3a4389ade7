//! Classes of processors: what each charges for a weight of which type, what it cannot hold or compute, and how far all that
//! is known (`data/cost_classes.toml`). Owns the table; must not know models.

use super::parameter::{Parameter, Phase};
use super::work::{Part, Weights, bytes_per_weight};
use crate::Backend;
use formats::gguf::GgmlType;
use hardware::Host;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

/// Spread of a logarithm of which next to nothing is known, and of what a type costs then.
const OPEN_SPREAD: f64 = 1.0;
const OPEN_TYPE_SPREAD: f64 = 1.5;

/// How many times what its bytes cost, or those of four bits where it has fewer, a weight of a slow type costs.
const SLOW: f64 = 2.0;

static ALL: LazyLock<Arc<Vec<CostClass>>> = LazyLock::new(|| {
    #[derive(Deserialize)]
    struct File {
        classes: Vec<CostClass>,
    }
    let file: File = serde_json::from_slice(include_bytes!(concat!(env!("OUT_DIR"), "/cost_classes.json")))
        .expect("the built-in table parses: a test reads it");
    let mut tables = Tables { classes: Arc::new(file.classes) };
    tables.prepare();
    tables.classes
});

/// Every class, with the sources that may be used.
#[derive(Debug, Clone)]
pub struct Tables {
    classes: Arc<Vec<CostClass>>,
}

/// Processors that are alike in what computation costs relative to one another.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostClass {
    /// Unique name.
    pub id: String,
    /// What computes.
    pub backend: Backend,
    /// Architecture of the host, where it matters.
    #[serde(default)]
    pub arch: Option<String>,
    /// Kinds of cores (`implementer/part`, a beginning is enough), where they matter.
    #[serde(default)]
    pub signatures: Vec<String>,
    /// Types that it holds; none: all. Other weights stay with the processor.
    #[serde(default)]
    pub holds: Vec<String>,
    /// Whether it holds the output matrix.
    #[serde(default = "yes")]
    pub holds_output: bool,
    /// Whether it computes recurrences.
    #[serde(default = "yes")]
    pub recurrences: bool,
    /// Matrices with a side shorter than this take a slow path when prompts are read.
    #[serde(default)]
    pub narrow_below: u64,
    /// What a prompt's speed grows with.
    pub prefill_per: PrefillScale,
    /// Numbers of writing.
    pub decode: Figures,
    /// Numbers of reading.
    pub prefill: Figures,
    /// Measurements that stand above the numbers of the class.
    #[serde(default)]
    pub sources: Vec<Source>,
    /// Costs by phase and the type's number, made of all that.
    #[serde(skip)]
    relative: [Vec<f64>; 2],
}

/// What the speed of reading is a multiple of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrefillScale {
    /// Threads.
    Thread,
    /// GB/s of peak bandwidth: devices with more of it have more of everything.
    Gbs,
}

/// Numbers of a phase: `[value, spread]`, the spread being the standard deviation of the logarithm.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figures {
    /// Writing: share of the peak bandwidth at which Q4_0 weights go by. Reading: billions of Q4_0 weights times tokens per
    /// second and unit of [`PrefillScale`].
    pub speed: [f64; 2],
    /// See [`Parameter::Layer`].
    pub layer: [f64; 2],
    /// See [`Parameter::Crossing`].
    pub crossing: [f64; 2],
    /// See [`Parameter::Recurrence`].
    #[serde(default = "one")]
    pub recurrence: [f64; 2],
    /// See [`Parameter::State`].
    pub state: [f64; 2],
    /// See [`Parameter::Narrow`].
    pub narrow: [f64; 2],
    /// See [`Parameter::HalfLength`].
    pub half_length: [f64; 2],
    /// Spread of what a type costs beyond the table, of models beyond their work, and of one measurement.
    pub spread_type: f64,
    /// See above.
    pub spread_model: f64,
    /// See above.
    pub spread_noise: f64,
    /// Cost of a weight relative to Q4_0's, by type. Types that are missing cost as much as their bytes.
    #[serde(default)]
    pub types: BTreeMap<String, f64>,
}

/// What one device was measured to charge.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The device, as files of measurements name it.
    pub device: String,
    /// What was measured, when, and how to repeat it.
    pub provenance: String,
    /// Figures of writing by parameter, and of types.
    #[serde(default)]
    pub decode: SourceFigures,
    /// The same of reading.
    #[serde(default)]
    pub prefill: SourceFigures,
}

/// Figures of one source and phase, in the units of [`Figures`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "as in Figures")]
pub struct SourceFigures {
    pub speed: Option<f64>,
    pub layer: Option<f64>,
    pub crossing: Option<f64>,
    pub recurrence: Option<f64>,
    pub state: Option<f64>,
    pub narrow: Option<f64>,
    pub spread_model: Option<f64>,
    pub spread_noise: Option<f64>,
    #[serde(default)]
    pub types: BTreeMap<String, f64>,
}

fn quadratic_mean(one: f64, other: f64) -> f64 {
    one.hypot(other) / std::f64::consts::SQRT_2
}

fn yes() -> bool {
    true
}

fn one() -> [f64; 2] {
    [1.0, 0.1]
}

impl Default for Tables {
    fn default() -> Self {
        Self { classes: ALL.clone() }
    }
}

impl Tables {
    /// The tables without what was measured on `device`: to judge predictions by that device's measurements.
    pub fn without(device: &str) -> Self {
        let mut tables = Self::default();
        for class in Arc::make_mut(&mut tables.classes) {
            class.sources.retain(|source| source.device != device);
        }
        tables.prepare();
        tables
    }

    /// The tables without any source, with types and devices left open: to fit a new source.
    pub fn open() -> Self {
        let mut tables = Self::default();
        for class in Arc::make_mut(&mut tables.classes) {
            class.sources.clear();
            for figures in [&mut class.decode, &mut class.prefill] {
                figures.spread_type = OPEN_TYPE_SPREAD;
                let numbers =
                    [&mut figures.speed, &mut figures.layer, &mut figures.state, &mut figures.narrow];
                for number in numbers.into_iter().chain([&mut figures.crossing, &mut figures.recurrence]) {
                    number[1] = number[1].max(OPEN_SPREAD);
                }
            }
        }
        tables.prepare();
        tables
    }

    /// Makes the costs of every type from what the classes and their sources say.
    fn prepare(&mut self) {
        for class in Arc::make_mut(&mut self.classes) {
            let most = GgmlType::ALL.iter().map(|ty| ty.id()).max().unwrap_or(0);
            class.relative = Phase::ALL.map(|phase| {
                let cost = |id| GgmlType::from_id(id).map_or(1.0, |ty| class.made_cost(phase, ty));
                (0..=most).map(cost).collect()
            });
        }
    }

    /// The class of a backend on a host of this architecture and these kinds of cores: of those that fit, the one that asks for
    /// most. Every backend has one that fits all.
    pub fn class(&self, backend: Backend, arch: &str, signatures: &[String]) -> &CostClass {
        let fits = |class: &&CostClass| {
            let wanted = &class.signatures;
            let listed =
                wanted.iter().any(|wanted| signatures.iter().any(|core| core.starts_with(wanted.as_str())));
            class.backend == backend
                && class.arch.as_deref().is_none_or(|wanted| wanted == arch)
                && (wanted.is_empty() || listed)
        };
        let asks = |class: &&CostClass| (!class.signatures.is_empty(), class.arch.is_some());
        let found = self.classes.iter().filter(fits).max_by_key(asks);
        found.expect("a class for every backend: a test asks for each")
    }

    /// Types that a backend of `host` computes slowly, as the tables have it ([`CostClass::is_slow`]).
    pub fn slow_types(&self, backend: Backend, host: &Host) -> Vec<GgmlType> {
        let class = self.class(backend, &host.arch, &host.cpu.signatures);
        GgmlType::ALL.iter().copied().filter(|ty| class.is_slow(*ty)).collect()
    }

    /// Devices whose measurements the tables rest on, by class.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &Source)> {
        self.classes
            .iter()
            .flat_map(|class| class.sources.iter().map(move |source| (class.id.as_str(), source)))
    }
}

impl CostClass {
    /// Whether it computes these matrices itself.
    pub fn holds(&self, weights: &Weights) -> bool {
        self.holds_type(weights.ty) && (self.holds_output || weights.part != Part::Output)
    }

    fn holds_type(&self, ty: GgmlType) -> bool {
        self.holds.is_empty() || self.holds.iter().any(|name| name == ty.name())
    }

    pub(super) fn figures(&self, phase: Phase) -> &Figures {
        match phase {
            Phase::Decode => &self.decode,
            Phase::Prefill => &self.prefill,
        }
    }

    /// The number of a parameter and the spread of its logarithm: the sources' geometric mean where there are any.
    pub(super) fn figure(&self, phase: Phase, name: &Parameter) -> [f64; 2] {
        let figures = self.figures(phase);
        let [own, spread] = match name {
            Parameter::Speed => figures.speed,
            Parameter::Layer => figures.layer,
            Parameter::Crossing => figures.crossing,
            Parameter::Recurrence => figures.recurrence,
            Parameter::State => figures.state,
            Parameter::Narrow => figures.narrow,
            Parameter::HalfLength => figures.half_length,
            Parameter::Type(_) => [1.0, figures.spread_type],
            Parameter::Model(_) => {
                let measured = self.mean(phase, |source| source.spread_model);
                // Few models and devices tell a spread badly: the class's own counts as one more source.
                let own = figures.spread_model;
                [1.0, measured.map_or(own, |measured| quadratic_mean(measured, own))]
            }
        };
        let stated = |source: &SourceFigures| match name {
            Parameter::Speed => source.speed,
            Parameter::Layer => source.layer,
            Parameter::Crossing => source.crossing,
            Parameter::Recurrence => source.recurrence,
            Parameter::State => source.state,
            Parameter::Narrow => source.narrow,
            Parameter::HalfLength | Parameter::Type(_) | Parameter::Model(_) => None,
        };
        [self.mean(phase, stated).unwrap_or(own), spread]
    }

    /// Spread of one measurement about what the numbers say.
    pub(super) fn noise(&self, phase: Phase) -> f64 {
        let own = self.figures(phase).spread_noise;
        self.mean(phase, |source| source.spread_noise).map_or(own, |measured| quadratic_mean(measured, own))
    }

    /// What a weight costs relative to one of Q4_0.
    pub fn relative_cost(&self, phase: Phase, ty: GgmlType) -> f64 {
        let costs = &self.relative[usize::from(phase == Phase::Prefill)];
        costs.get(ty.id() as usize).copied().unwrap_or(1.0)
    }

    /// Whether weights of this type slow writing down: they are not computed here, or unpacking one takes more than twice as
    /// long as reading it (or one of Q4_0, which is larger).
    pub fn is_slow(&self, ty: GgmlType) -> bool {
        let by_bytes = (bytes_per_weight(ty) / bytes_per_weight(GgmlType::Q4_0)).max(1.0);
        !self.holds_type(ty) || self.relative_cost(Phase::Decode, ty) > SLOW * by_bytes
    }

    fn made_cost(&self, phase: Phase, ty: GgmlType) -> f64 {
        let measured = self.mean(phase, |source| source.types.get(ty.name()).copied());
        let own = || self.figures(phase).types.get(ty.name()).copied();
        measured.or_else(own).unwrap_or_else(|| {
            let bytes = bytes_per_weight(ty) / bytes_per_weight(GgmlType::Q4_0);
            match phase {
                Phase::Decode => bytes,
                // A prompt's weights are read once for many tokens: what counts is unpacking and multiplying.
                Phase::Prefill => bytes.clamp(1.0, 2.0),
            }
        })
    }

    fn mean(&self, phase: Phase, stated: impl Fn(&SourceFigures) -> Option<f64>) -> Option<f64> {
        let figures = self.sources.iter().filter_map(|source| {
            stated(match phase {
                Phase::Decode => &source.decode,
                Phase::Prefill => &source.prefill,
            })
        });
        let logs: Vec<f64> = figures.map(f64::ln).collect();
        (!logs.is_empty()).then(|| (logs.iter().sum::<f64>() / logs.len() as f64).exp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_of_few_bits_are_slow_where_unpacking_takes_long() {
        let slow = |backend, arch: &str| {
            let host = Host { arch: arch.into(), ..Host::default() };
            Tables::default().slow_types(backend, &host)
        };
        let on_arm = slow(Backend::Cpu, "aarch64");
        for ty in [GgmlType::IQ2_XS, GgmlType::IQ2_S, GgmlType::IQ3_XXS, GgmlType::IQ3_S] {
            assert!(on_arm.contains(&ty), "{ty}");
        }
        for ty in
            [GgmlType::Q2_K, GgmlType::Q3_K, GgmlType::IQ4_XS, GgmlType::Q4_K, GgmlType::Q6_K, GgmlType::F16]
        {
            assert!(!on_arm.contains(&ty), "{ty}");
        }
        let on_x86 = slow(Backend::Cpu, "x86_64");
        assert!(on_x86.contains(&GgmlType::IQ3_S) && !on_x86.contains(&GgmlType::Q3_K), "{on_x86:?}");
        // What a backend does not hold at all is slow there.
        assert!(slow(Backend::Hexagon, "aarch64").contains(&GgmlType::Q4_K));
        assert!(!slow(Backend::Hexagon, "aarch64").contains(&GgmlType::Q4_0));
        assert_eq!(slow(Backend::Cuda, "x86_64"), []);
    }

    #[test]
    fn every_backend_has_a_class_and_every_type_a_name() {
        let tables = Tables::default();
        for backend in Backend::ALL {
            for arch in ["aarch64", "x86_64", "riscv64"] {
                let class = tables.class(backend, arch, &[]);
                assert_eq!(class.backend, backend);
                for phase in Phase::ALL {
                    let cost = |ty| class.relative_cost(phase, ty);
                    assert!(GgmlType::ALL.iter().all(|ty| cost(*ty) > 0.0));
                }
            }
        }
        for class in tables.classes.iter() {
            let named = class.sources.iter().flat_map(|source| [&source.decode.types, &source.prefill.types]);
            let named = named.chain([&class.decode.types, &class.prefill.types]).flat_map(BTreeMap::keys);
            for name in named.chain(&class.holds) {
                assert!(GgmlType::from_name(name).is_some(), "{}: {name}", class.id);
            }
        }
    }

    #[test]
    fn a_source_can_be_left_out() {
        let devices = |tables: &Tables| tables.sources().map(|(_, s)| s.device.clone()).collect::<Vec<_>>();
        let all = devices(&Tables::default());
        assert!(!all.is_empty());
        assert!(all.iter().all(|device| !devices(&Tables::without(device)).contains(device)));
    }
}
