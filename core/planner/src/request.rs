//! What a plan is made from: candidates, devices and wishes, with the caps that an app sets.
//! Owns how caps bound what the host offers; must not choose.

use crate::speed::{Calibration, Observation, Work};
use crate::{Allowance, Draft, MeasuredSpeed, OwnCache, Projector, QualityEstimate, Residuals};
use families::Description;
use formats::gguf::TensorSpec;
use hardware::{Gpu, Host};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What computes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Backend {
    #[default]
    Cpu,
    Vulkan,
    Cuda,
    Metal,
    Opencl,
    Hexagon,
}

impl Backend {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Cpu, Self::Vulkan, Self::Cuda, Self::Metal, Self::Opencl, Self::Hexagon];

    /// The backend of a name in manifests; `None` where none is called so.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|backend| backend.name() == name)
    }

    /// The name in manifests.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Vulkan => "vulkan",
            Self::Cuda => "cuda",
            Self::Metal => "metal",
            Self::Opencl => "opencl",
            Self::Hexagon => "hexagon",
        }
    }
}

/// A device that an engine offers beside the processor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BackendDevice {
    /// Its backend.
    pub backend: Backend,
    /// Name in the engine.
    pub name: String,
    /// Memory that is free on it, in bytes. Where the memory is the host's: what the device may take of it.
    pub free_bytes: u64,
    /// Whether its memory is the host's: what lies on it counts against the host's budget as well.
    pub unified: bool,
    /// Largest single allocation that its driver allows, in bytes, where the engine states it.
    pub max_allocation_bytes: Option<u64>,
}

/// Backends of devices that builds of the engine have.
const BUILT_IN: [Backend; 3] = [Backend::Vulkan, Backend::Cuda, Backend::Metal];

impl BackendDevice {
    /// The devices that a host's description names, with the first backend of its profile's preset that engines here
    /// have: for plans made without an engine on that host.
    pub fn of_host(host: &Host) -> Vec<Self> {
        let device = |gpu: &Gpu| {
            let found = if gpu.unified { host.profile.as_ref() } else { gpu.profile.as_ref() };
            let preset = &found?.preset;
            let names = preset.backends.iter().filter_map(|name| Backend::from_name(name));
            let backend = names.into_iter().find(|backend| BUILT_IN.contains(backend))?;
            let shared = || gpu.unified.then_some(host.memory.available_bytes);
            let free_bytes = gpu.free_bytes.or(gpu.memory_bytes).or_else(shared)?;
            (preset.gpu_layers != "none").then(|| Self {
                backend,
                name: gpu.name.clone(),
                free_bytes,
                unified: gpu.unified,
                max_allocation_bytes: None,
            })
        };
        host.gpus.iter().filter_map(device).collect()
    }
}

/// One variant that could be loaded.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// Id in the manifest.
    pub id: String,
    /// Precision, e.g. `Q4_K_M`.
    pub precision: String,
    /// What the model is.
    pub description: Description,
    /// Bytes of the weights.
    pub weights_bytes: u64,
    /// Each of the weights, from a file's header; empty where only their sum is known.
    pub tensors: Vec<TensorSpec>,
    /// Bytes of the weights that one token reads.
    pub active_weights_bytes: u64,
    /// What one token costs, from the file's header; `None`: taken from the bytes above and the precision.
    pub work: Option<Work>,
    /// Measured quality, where the manifest has it.
    pub quality: Option<QualityEstimate>,
    /// Backends it runs on, by manifest name.
    pub compatible_backends: Vec<String>,
    /// Whether its files are on this machine.
    pub present: bool,
    /// What it reads images with, where it has that.
    pub projector: Option<Projector>,
    /// How its engine keeps keys and values, where nobody can choose their types.
    pub cache: Option<OwnCache>,
    /// Why it cannot be used whatever the memory, where that is so.
    pub blocked: Option<(crate::Code, String)>,
}

impl Candidate {
    /// Whether `asked` is its id, `gguf/Q4_K_M`, or what stands behind the format there, `Q4_K_M`.
    pub fn is_called(&self, asked: &str) -> bool {
        asked == self.id || self.id.split_once('/').is_some_and(|(_, name)| name == asked)
    }

    /// What measurements call the model: its name, else its family.
    pub fn model_name(&self) -> &str {
        self.description.name.as_deref().unwrap_or(&self.description.family)
    }
}

/// What the best variant is best in.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Objective {
    /// Quality, among those that are fast enough.
    #[default]
    Quality,
    /// Speed, among those that are good enough.
    Speed {
        /// Most mean KL divergence from the unquantized model, in nats.
        max_kld: f64,
    },
}

/// What is wished for.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Context in tokens; `None`: what fits, up to 4,096.
    pub context_tokens: Option<u64>,
    /// Slowest writing that will do, in tokens per second; the low end of the expected range must reach it.
    pub min_decode_tokens_per_s: Option<f64>,
    /// Most seconds to the first token of an answer, the model being loaded; the high end of the expected range must keep it.
    pub max_first_token_s: Option<f64>,
    /// Tokens of the prompt that this speaks of; `None`: 512.
    pub prompt_tokens: Option<u32>,
    /// What the best variant is best in.
    pub objective: Objective,
    /// What was measured on this machine before, without models.
    pub calibrations: Vec<Calibration>,
    /// What was measured on this machine with variants of this and other models: `model` is [`Candidate::model_name`],
    /// `variant` the candidate's id.
    pub observations: Vec<Observation>,
    /// What was measured on this machine to compare these variants: decides between those of like quality, where two or more
    /// were measured.
    pub measured: Vec<MeasuredSpeed>,
    /// Images are to be read: the projector is counted, and variants without one are out.
    pub images: bool,
    /// A draft model to be loaded beside the chosen variant, with a context as long.
    pub draft: Option<Arc<Draft>>,
    /// Only this variant: its identifier, or what stands behind the format (`Q4_K_M` of `gguf/Q4_K_M`).
    pub variant: Option<String>,
    /// Memory that may be used instead of the host's budget, in bytes.
    pub memory_budget_bytes: Option<u64>,
    /// Most memory of the host that may be used, in bytes, whatever the budget: for apps that need the rest.
    pub memory_cap_bytes: Option<u64>,
    /// Most memory that may be used on a device, in bytes, whatever is free: for apps that draw with the rest.
    pub device_memory_cap_bytes: Option<u64>,
    /// Where no variant fits, experts of a mixture may stay in the file and be read as they are chosen: slow, and better than
    /// nothing. On the processor alone.
    pub page_experts: bool,
    /// Decode threads instead of the plan's.
    pub n_threads: Option<u32>,
    /// Layers on the GPU instead of the plan's.
    pub gpu_layers: Option<u32>,
    /// Devices beside the processor.
    pub devices: Vec<BackendDevice>,
    /// What earlier loads taught about the memory of such models.
    pub residuals: Residuals,
}

impl Request {
    /// Memory of the host that a plan may use, in bytes: the budget, bounded by the cap.
    pub fn memory_bytes(&self, host: &Host) -> u64 {
        let budget = self.memory_budget_bytes.unwrap_or(host.memory.budget_bytes);
        self.memory_cap_bytes.map_or(budget, |cap| budget.min(cap))
    }

    /// What a load of the plan holds to.
    pub(crate) fn allowance(&self, host: &Host) -> Allowance {
        Allowance {
            host_bytes: self.memory_bytes(host),
            asked: self.memory_budget_bytes.is_some(),
            cap_bytes: self.memory_cap_bytes,
            device_cap_bytes: self.device_memory_cap_bytes,
        }
    }

    /// The same request with every device's free memory bounded by the cap.
    pub(crate) fn with_capped_devices(&self) -> Self {
        let mut capped = self.clone();
        if let Some(cap) = self.device_memory_cap_bytes {
            capped.devices.iter_mut().for_each(|device| device.free_bytes = device.free_bytes.min(cap));
        }
        capped
    }
}
