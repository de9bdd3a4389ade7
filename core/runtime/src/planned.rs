//! A plan in the engine's words: how a model is loaded, how a context is opened.
//! Owns the translation; must not know what is done with either.

use engine::{ContextSettings, KvType, LoadSettings, Pooling};
use planner::Choice;

/// How a plan has a model loaded.
pub(crate) fn load_settings(choice: &Choice) -> LoadSettings {
    LoadSettings {
        gpu_layers: choice.gpu_layers,
        devices: choice.device.as_ref().map(|name| vec![name.clone()]),
        batches_on_gpus: choice.copies_weights,
        repack: !choice.copies_weights && choice.expert_memory_bytes.is_none(),
        expert_memory_bytes: choice.expert_memory_bytes,
        ..LoadSettings::default()
    }
}

/// How a plan has a context opened.
pub(crate) fn context_settings(choice: &Choice, n_ctx: u32, n_ubatch: u32) -> ContextSettings {
    ContextSettings {
        n_ctx,
        n_batch: 512.max(n_ubatch),
        n_ubatch,
        n_threads: choice.n_threads,
        n_threads_batch: choice.n_threads_batch,
        type_k: cache_type(choice.type_k),
        type_v: cache_type(choice.type_v),
        ..ContextSettings::default()
    }
}

/// A type of the cache, by its name in plans.
fn cache_type(name: &str) -> KvType {
    const NAMES: [(&str, KvType); 9] = [
        ("F32", KvType::F32),
        ("F16", KvType::F16),
        ("BF16", KvType::Bf16),
        ("Q8_0", KvType::Q8_0),
        ("Q5_1", KvType::Q5_1),
        ("Q5_0", KvType::Q5_0),
        ("Q4_1", KvType::Q4_1),
        ("Q4_0", KvType::Q4_0),
        ("IQ4_NL", KvType::Iq4Nl),
    ];
    NAMES.iter().find(|(known, _)| *known == name).map_or(KvType::F16, |(_, ty)| *ty)
}

/// The same kind, as the engine calls it.
pub(crate) fn of_engine(pooling: families::Pooling) -> Pooling {
    match pooling {
        families::Pooling::None => Pooling::None,
        families::Pooling::Mean => Pooling::Mean,
        families::Pooling::Cls => Pooling::Cls,
        families::Pooling::Last => Pooling::Last,
        families::Pooling::Rank => Pooling::Rank,
    }
}
