//! The estimate of a configuration, part by part. Must not know budgets.

use super::cache::{self, CacheTypes};
use super::compute::{self, Compute};
use super::engine_graph::EngineGraph;
use super::shapes::Shapes;
use super::weights::{self, Piece, Repack, Weights, on_device};
use crate::memory::Residual;
use families::{Description, Form, Layer, Mixer};
use serde::Serialize;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What a process takes beside the engine's buffers, whatever the model: code, thread stacks, allocator. Measured on the command
/// itself, before a load and after an answer (`profile --json`, x86-64 Linux, release build).
const OVERHEAD_BYTES: u64 = 35 << 19;
/// And for each entry of the vocabulary: its text, where it stands, what it merges from. From vocabularies of 4,096 and 151,936.
const OVERHEAD_PER_TOKEN_BYTES: u64 = 80;
/// How far these may be off.
const OVERHEAD_UNCERTAINTY_BYTES: u64 = 16 << 20;
/// How far the computation's buffer in host memory may be off: this share of it, and this much.
const COMPUTE_UNCERTAINTY: f64 = 0.01;
const COMPUTE_UNCERTAINTY_BYTES: u64 = 1 << 20;
/// On devices backends lay out their buffers differently: these shares of the host's.
const DEVICE_COMPUTE: [f64; 2] = [0.6, 1.35];

/// How a model is to be loaded and a context opened, as far as memory depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Setup {
    /// Tokens of the context.
    pub context_tokens: u64,
    /// Tokens computed at a time.
    pub n_ubatch: u64,
    /// Tokens of one batch whose logits are kept.
    pub n_outputs: u64,
    /// Types of the cache.
    pub cache: CacheTypes,
    /// Fused attention.
    pub flash_attention: bool,
    /// Layers on a device, counted from the last; the output is one.
    pub gpu_layers: u32,
    /// Which weights are rearranged.
    pub repack: Repack,
    /// Weights are mapped from the file, not read.
    pub mapped: bool,
    /// How the engine's version computes.
    pub engine_graph: EngineGraph,
}

impl Setup {
    /// One answer at a time with fused attention on the processor, weights mapped and as they are.
    pub fn new(context_tokens: u64, cache: CacheTypes, n_ubatch: u64) -> Self {
        Self {
            context_tokens,
            n_ubatch,
            n_outputs: 1,
            cache,
            flash_attention: true,
            gpu_layers: 0,
            repack: Repack::Never,
            mapped: true,
            engine_graph: EngineGraph::default(),
        }
    }
}

/// Memory by part, in bytes. Parts on a device are `device_…`; all others lie in the host's memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct MemoryEstimate {
    /// Weights, wherever they lie: exact where the model's tensors are known.
    pub weights_bytes: u64,
    /// Of these, what is used as it lies in the mapped file, which the system can evict.
    pub mapped_bytes: u64,
    /// Of these, what is rearranged for the processor. It was read from the file once, and takes room there no more.
    pub repacked_bytes: u64,
    /// Experts that stay in the file until they are chosen: not among the weights above.
    pub paged_bytes: u64,
    /// Caches and recurrent states, wherever they lie: exact.
    pub kv_bytes: u64,
    /// Buffers for computing and for logits, as expected, wherever they lie.
    pub compute_bytes: u64,
    /// The same as the formula alone has them, before what earlier loads taught.
    pub formula_compute_bytes: u64,
    /// Where those may lie.
    pub compute_interval_bytes: [u64; 2],
    /// Everything else in the process, as expected.
    pub overhead_bytes: u64,
    /// The projector and the computation of one image, where images are asked for.
    pub projector_bytes: u64,
    /// A draft model's weights, cache and computation, where one is to be loaded beside it.
    pub draft_bytes: u64,
    /// What may come on top, all in all. Admission counts all of it.
    pub uncertainty_bytes: u64,
    /// What of all this lies in a device's own memory instead of the host's.
    pub device_bytes: u64,
    /// Of this, weights.
    pub device_weights_bytes: u64,
    /// Of this, caches and states.
    pub device_kv_bytes: u64,
    /// Of this, buffers for computing, and what may come on top of them.
    pub device_compute_bytes: u64,
    /// The largest single allocation on the device.
    pub largest_allocation_bytes: u64,
}

impl MemoryEstimate {
    /// All of it, the uncertainty included.
    pub fn total_bytes(&self) -> u64 {
        self.expected_bytes().saturating_add(self.uncertainty_bytes)
    }

    /// All of it, the uncertainty left out.
    pub fn expected_bytes(&self) -> u64 {
        let model = [self.weights_bytes, self.kv_bytes, self.compute_bytes, self.overhead_bytes];
        let beside = [self.projector_bytes, self.draft_bytes];
        model.into_iter().chain(beside).fold(0, u64::saturating_add)
    }

    /// Leaves so many bytes of mapped weights in the file.
    pub(crate) fn page(&mut self, bytes: u64) {
        let bytes = bytes.min(self.mapped_bytes);
        self.mapped_bytes -= bytes;
        self.weights_bytes = self.weights_bytes.saturating_sub(bytes);
        self.paged_bytes = self.paged_bytes.saturating_add(bytes);
    }

    /// What the host's memory must hold, the uncertainty included.
    pub fn host_bytes(&self) -> u64 {
        self.total_bytes().saturating_sub(self.device_bytes)
    }

    /// What of it cannot be evicted.
    pub fn hard_bytes(&self) -> u64 {
        self.host_bytes().saturating_sub(self.mapped_bytes)
    }

    /// What of it is mapped from files: the system can evict it and read it again, slowly.
    pub fn soft_bytes(&self) -> u64 {
        self.mapped_bytes.min(self.host_bytes())
    }

    /// What the process is expected to show as resident after a load and an answer on the processor, with memory to spare:
    /// weights that were rearranged are there twice until the system wants the file's pages back.
    pub fn resident_bytes(&self) -> u64 {
        let host = self.expected_bytes().saturating_sub(self.device_bytes);
        host.saturating_add(self.repacked_bytes)
    }
}

/// A model whose memory can be estimated for any number of configurations.
#[derive(Debug)]
pub struct MemoryModel<'a> {
    description: &'a Description,
    weights: Weights<'a>,
    pieces: Vec<Piece>,
    laid_out: Arc<LaidOut>,
}

/// A description's tensors, and what was laid out of them already: neither weights nor devices change it, and all
/// variants of a model share it.
#[derive(Debug)]
struct LaidOut {
    description: Description,
    shapes: Shapes,
    computed: Mutex<HashMap<Setup, Compute>>,
}

/// Descriptions whose tensors are remembered, the latest first: those of the models that are compared.
static LATEST: Mutex<Vec<Arc<LaidOut>>> = Mutex::new(Vec::new());
const MOST_REMEMBERED: usize = 32;

impl LaidOut {
    fn of(description: &Description) -> Arc<Self> {
        let mut latest = LATEST.lock().unwrap_or_else(PoisonError::into_inner);
        let known = latest.iter().position(|known| known.description == *description);
        let laid_out = match known {
            Some(place) => latest.remove(place),
            None => Arc::new(Self {
                description: description.clone(),
                shapes: Shapes::of(description),
                computed: Mutex::default(),
            }),
        };
        latest.truncate(MOST_REMEMBERED - 1);
        latest.insert(0, Arc::clone(&laid_out));
        laid_out
    }
}

impl<'a> MemoryModel<'a> {
    /// Of a description and what is known of the weights.
    pub fn new(description: &'a Description, weights: Weights<'a>) -> Self {
        let pieces = weights::pieces(description, weights.tensors);
        Self { description, weights, pieces, laid_out: LaidOut::of(description) }
    }

    /// What `setup` takes; `residual` is what was learned of such models.
    pub fn estimate(&self, setup: &Setup, residual: Option<&Residual>) -> MemoryEstimate {
        let description = self.description;
        // What nothing can lay out fits nowhere.
        const NOWHERE: u64 = u64::MAX / 8;
        let n_layers = u64::from(description.n_layers);
        let gpu_layers = u64::from(setup.gpu_layers);
        let fits = setup.cache.fit(description, setup.flash_attention);
        let cells = cache::cells(description, setup.context_tokens, setup.n_ubatch).filter(|_| fits);
        let layers =
            cells.and_then(|cells| cache::layers(description, setup.cache, cells, setup.flash_attention));
        let Some((cells, layers)) = cells.zip(layers) else {
            return MemoryEstimate { kv_bytes: NOWHERE, ..MemoryEstimate::default() };
        };
        let on_host = |bytes: &[u64]| bytes.iter().copied().fold(0, u64::saturating_add);
        let kv = on_host(&layers);
        let device_layers = layers.iter().enumerate();
        let device_kv = device_layers
            .filter(|(layer, _)| on_device(*layer as u64, n_layers, gpu_layers))
            .fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes));
        let placed = {
            let (bytes, pieces) = (self.weights.bytes, &self.pieces);
            weights::placed(description, bytes, pieces, setup.gpu_layers, setup.repack)
        };
        let compute = self.compute(setup, cells).largest;
        let logits = description.vocab_size.saturating_mul(setup.n_outputs).saturating_mul(4);
        let share = |bytes: u64, share: f64| (bytes as f64 * share) as u64;

        // With layers on a device most of the computation is there, and what the caller fills in here.
        let everywhere = gpu_layers > n_layers;
        let device_compute = if gpu_layers == 0 { 0 } else { compute };
        let host_compute = if everywhere { self.inputs_bytes(setup, cells) } else { compute };
        let mut interval = [host_compute, host_compute].map(|bytes| bytes.saturating_add(logits));
        interval[0] = interval[0].saturating_sub(share(host_compute, COMPUTE_UNCERTAINTY));
        interval[1] =
            interval[1].saturating_add(share(host_compute, COMPUTE_UNCERTAINTY) + COMPUTE_UNCERTAINTY_BYTES);
        if self.has_unknown_parts() {
            // Two times what is known, and an embedding.
            let embedding = description.vocab_size.saturating_mul(description.hidden_size).saturating_mul(2);
            interval[1] =
                interval[1].saturating_add(host_compute.saturating_mul(2)).saturating_add(embedding);
        }
        let device_most = share(device_compute, DEVICE_COMPUTE[1]);
        interval[0] = interval[0].saturating_add(share(device_compute, DEVICE_COMPUTE[0]));
        interval[1] = interval[1].saturating_add(device_most);
        let expected = host_compute.saturating_add(device_compute).saturating_add(logits);

        let overhead = OVERHEAD_BYTES + description.vocab_size.saturating_mul(OVERHEAD_PER_TOKEN_BYTES);
        let mut estimate = MemoryEstimate {
            weights_bytes: placed.plain.saturating_add(placed.repacked).saturating_add(placed.device),
            mapped_bytes: if setup.mapped { placed.plain } else { 0 },
            repacked_bytes: placed.repacked,
            paged_bytes: 0,
            kv_bytes: kv,
            compute_bytes: expected,
            formula_compute_bytes: expected,
            compute_interval_bytes: interval,
            overhead_bytes: overhead,
            projector_bytes: 0,
            draft_bytes: 0,
            uncertainty_bytes: (interval[1] - expected).saturating_add(OVERHEAD_UNCERTAINTY_BYTES),
            device_weights_bytes: placed.device,
            device_kv_bytes: device_kv,
            device_compute_bytes: device_most,
            device_bytes: placed.device.saturating_add(device_kv).saturating_add(device_most),
            largest_allocation_bytes: placed.device.max(device_kv).max(device_most),
        };
        if let Some(residual) = residual {
            residual.correct(&mut estimate);
        }
        estimate
    }

    /// The engine's buffer for computing as a context opens with it on the processor, without logits: what a dry run
    /// measures.
    pub fn opened_compute_bytes(&self, setup: &Setup) -> Option<u64> {
        let cells = cache::cells(self.description, setup.context_tokens, setup.n_ubatch)?;
        Some(self.compute(setup, cells).opened)
    }

    /// Indexers in front of attention and an embedding for each layer are not laid out: what they take is allowed for.
    fn has_unknown_parts(&self) -> bool {
        let indexed = |layer: &Layer| matches!(layer.mixer, Mixer::Latent(latent) if latent.indexer_dim > 0);
        self.description.layers.iter().any(indexed)
            || self.description.quantities.contains_key("per_layer_input")
    }

    fn compute(&self, setup: &Setup, cells: [u64; 2]) -> Compute {
        let alone = Setup { gpu_layers: 0, repack: Repack::Never, mapped: false, ..*setup };
        let mut computed = self.laid_out.computed.lock().unwrap_or_else(PoisonError::into_inner);
        let shapes = &self.laid_out.shapes;
        *computed.entry(alone).or_insert_with(|| compute::bytes(self.description, shapes, &alone, cells))
    }

    /// What the caller fills in for one batch: vectors, masks.
    fn inputs_bytes(&self, setup: &Setup, cells: [u64; 2]) -> u64 {
        let mask = if setup.flash_attention { 2 } else { 4 };
        let cells = match self.description.form {
            Form::Decoder | Form::EncoderDecoder => cells[0].saturating_add(cells[1]),
            Form::Encoder => setup.n_ubatch,
        };
        let vectors = self.description.hidden_size.saturating_mul(4 * 3);
        vectors.saturating_add(cells.saturating_mul(mask)).saturating_mul(setup.n_ubatch)
    }
}
