//! The speed of a whole configuration: layers on a device and on the processor, the usual prompt, heat, the disk.
//! Must not know how a configuration was found.

use super::estimate::{Prediction, SpeedEstimate};
use super::model::SpeedModel;
use super::parameter::Phase;
use super::work::Work;
use crate::{Backend, Candidate, Evidence};
use hardware::Host;

/// Tokens of a prompt to which the time to the first token speaks, where none is asked for.
pub(crate) const USUAL_PROMPT_TOKENS: u32 = 512;
/// Speed after minutes of work where no profile says more.
const SUSTAINED: [f64; 2] = [0.6, 1.0];

/// Bandwidth at which weights are copied to a device of its own memory, in GB/s: four lanes of PCIe 3 to sixteen of PCIe 4, less
/// what protocols take. Of a device that shares the host's memory: these shares of its bandwidth, which reads and writes.
const LINK_GBS: [f64; 2] = [3.0, 24.0];
const SHARED_LINK: [f64; 2] = [0.2, 0.45];
/// Bandwidth of shared memory where nothing states it, in GB/s.
const SHARED_GBS: f64 = 48.0;
/// Shortest batch whose weights the engine copies, in tokens.
const SHORTEST_BATCH: f64 = 32.0;
/// What the processor keeps of its speed with weights as they lie in the file: rearranged ones cannot be copied. Class defaults.
const AS_IN_FILE: [f64; 2] = [0.75, 1.0];

/// Prompts on a device, with weights that it does not hold copied to it for every so many tokens.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batches {
    pub(crate) backend: Backend,
    pub(crate) n_ubatch: u32,
    /// Whether it shares the host's memory.
    pub(crate) unified: bool,
}

/// What is run where.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Configuration {
    pub(crate) backend: Backend,
    /// Layers on the device, the output counting as one.
    pub(crate) gpu_layers: u32,
    pub(crate) batches: Option<Batches>,
    pub(crate) context_tokens: u64,
    pub(crate) prompt_tokens: u32,
}

impl SpeedModel {
    /// What to expect of `candidate` in this configuration. The cache is taken as half full when writing.
    pub(crate) fn estimate(
        &self,
        host: &Host,
        candidate: &Candidate,
        configuration: Configuration,
    ) -> SpeedEstimate {
        let nominal;
        let work = match &candidate.work {
            Some(work) => work,
            None => {
                let bytes = candidate.active_weights_bytes;
                nominal = Work::of_bytes(&candidate.description, &candidate.precision, bytes);
                &nominal
            }
        };
        let prompt = u64::from(configuration.prompt_tokens).min(configuration.context_tokens).max(1) as f64;
        let half = configuration.context_tokens as f64 / 2.0;
        let decode = self.split(candidate, work, configuration, Phase::Decode, half);
        let prefill = match configuration.batches.filter(|_| prompt >= SHORTEST_BATCH) {
            Some(batches) => self.copied(host, candidate, work, (configuration, batches), prompt),
            None => self.split(candidate, work, configuration, Phase::Prefill, prompt),
        };
        let [mut slow, _, fast] = decode.tokens_per_s(1.0);
        if configuration.batches.is_some() {
            slow *= AS_IN_FILE[0];
        }
        let [read_slow, _, read_fast] = prefill.tokens_per_s(prompt);
        let [low, high] = host.priors.sustained.as_ref().map_or(SUSTAINED, |fact| fact.range);
        let first = prefill.interval().map(|milliseconds| milliseconds / 1e3);
        let disk = host.disk.kind.map(|kind| kind.read_gbs());
        let load = disk.map_or([0.0, 0.0], |[slow, fast]| {
            let gigabytes = candidate.weights_bytes as f64 / 1e9;
            [gigabytes / fast, gigabytes / slow]
        });
        SpeedEstimate {
            decode_tokens_per_s: [slow, fast],
            sustained_tokens_per_s: [slow * low, fast * high],
            prefill_tokens_per_s: [read_slow, read_fast],
            first_token_s: first,
            first_token_cold_s: disk.map(|_| [first[0] + load[0], first[1] + load[1]]),
            prompt_tokens: prompt as u32,
            evidence: weaker(decode.evidence, prefill.evidence),
        }
    }

    /// A prediction for a prompt that a device computes with copies of what it does not hold.
    fn copied(
        &self,
        host: &Host,
        candidate: &Candidate,
        work: &Work,
        (configuration, batches): (Configuration, Batches),
        n_tokens: f64,
    ) -> Prediction {
        let name = (candidate.model_name(), candidate.id.as_str());
        let device = self.predict(batches.backend, Phase::Prefill, name, work, n_tokens);
        let all = candidate.description.n_layers.saturating_add(1);
        let elsewhere = 1.0 - f64::from(configuration.gpu_layers.min(all)) / f64::from(all);
        let n_copies = (n_tokens / f64::from(batches.n_ubatch.max(1))).ceil();
        let gigabytes = candidate.weights_bytes as f64 / 1e9 * elsewhere * n_copies;
        let [slow, fast] = match batches.unified {
            false => LINK_GBS,
            true => {
                let stated = host.priors.bandwidth_gbs.as_ref().map(|fact| fact.range);
                let [low, high] = stated.unwrap_or([SHARED_GBS; 2]);
                [low * SHARED_LINK[0], high * SHARED_LINK[1]]
            }
        };
        let milliseconds = gigabytes / (slow * fast).sqrt().max(1e-9) * 1e3;
        // Four of five copies lie between the ends.
        let deviation = (fast / slow).ln() / (2.0 * 1.2816);
        Prediction {
            milliseconds: device.milliseconds + milliseconds,
            deviation: device.deviation.max(deviation),
            shared_deviation: device.shared_deviation.min(deviation),
            evidence: Evidence::Guess,
        }
    }

    /// A prediction for layers in two places: times add up by their shares.
    fn split(
        &self,
        candidate: &Candidate,
        work: &Work,
        configuration: Configuration,
        phase: Phase,
        n_tokens: f64,
    ) -> Prediction {
        let name = (candidate.model_name(), candidate.id.as_str());
        let on = |backend| self.predict(backend, phase, name, work, n_tokens);
        let all = candidate.description.n_layers.saturating_add(1);
        let share = f64::from(configuration.gpu_layers.min(all)) / f64::from(all);
        if configuration.backend == Backend::Cpu || share == 0.0 {
            return on(Backend::Cpu);
        }
        let device = on(configuration.backend);
        if share == 1.0 {
            return device;
        }
        let processor = on(Backend::Cpu);
        let milliseconds = device.milliseconds * share + processor.milliseconds * (1.0 - share);
        Prediction {
            milliseconds,
            deviation: device.deviation.max(processor.deviation),
            shared_deviation: processor.shared_deviation,
            evidence: weaker(device.evidence, processor.evidence),
        }
    }
}

fn weaker(one: Evidence, other: Evidence) -> Evidence {
    if one.rank() > other.rank() { one } else { other }
}
