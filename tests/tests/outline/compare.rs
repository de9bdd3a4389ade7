//! A planned configuration beside the engine's account of it.
//! Owns the comparison; must not know which models are compared.

use super::Outline;
use engine::{ContextSettings, DryModel, KvType, MemoryUse, Purpose};
use formats::gguf::GgmlType;
use planner::{CacheTypes, MemoryModel, Repack, Setup, Weights};
use std::sync::Arc;

const N_UBATCH: u32 = 512;
/// The same type, as the planner calls it.
pub fn of_planner(kv: KvType) -> GgmlType {
    GgmlType::from_name(match kv {
        KvType::F32 => "F32",
        KvType::F16 => "F16",
        KvType::Bf16 => "BF16",
        KvType::Q8_0 => "Q8_0",
        KvType::Q5_1 => "Q5_1",
        KvType::Q5_0 => "Q5_0",
        KvType::Q4_1 => "Q4_1",
        KvType::Q4_0 => "Q4_0",
        KvType::Iq4Nl => "IQ4_NL",
    })
    .unwrap()
}

/// One configuration as engine and planner take it.
#[derive(Clone, Copy, Debug)]
struct Case {
    n_ctx: u32,
    types: (KvType, KvType),
    flash_attention: bool,
}

fn dry_run(model: &Arc<dyn DryModel>, case: Case, reads: bool) -> Result<MemoryUse, engine::Error> {
    let n_ubatch = if reads { case.n_ctx } else { N_UBATCH };
    model.measure(&ContextSettings {
        purpose: if reads { Purpose::Vectors(Some(engine::Pooling::None)) } else { Purpose::Logits },
        n_ctx: case.n_ctx,
        n_batch: n_ubatch.max(512),
        n_ubatch,
        type_k: case.types.0,
        type_v: case.types.1,
        flash_attention: Some(case.flash_attention),
        ..ContextSettings::default()
    })
}

/// How far apart they are, as lines; none where every part is as it should be.
pub fn compare(
    outline: &Outline,
    repack: Repack,
    model: &Arc<dyn DryModel>,
    name: &str,
    contexts: &[u32],
    types: &[(KvType, KvType)],
) -> Vec<String> {
    let mut lines = Vec::new();
    let reads = outline.description.form == families::Form::Encoder;
    let weights = Weights { bytes: outline.bytes, tensors: &outline.tensors };
    let planned = MemoryModel::new(&outline.description, weights);
    for n_ctx in contexts.iter().copied() {
        for types in types.iter().copied() {
            for flash_attention in [true, false] {
                let case = Case { n_ctx, types, flash_attention };
                let cache = CacheTypes { k: of_planner(types.0), v: of_planner(types.1) };
                let n_ubatch = if reads { n_ctx } else { N_UBATCH };
                let setup =
                    Setup { flash_attention, repack, ..Setup::new(n_ctx.into(), cache, n_ubatch.into()) };
                let measured = match dry_run(model, case, reads) {
                    Ok(measured) => measured,
                    Err(error) => {
                        if cache.fit(&outline.description, flash_attention) {
                            lines.push(format!("{name} {case:?}: planned, and the engine says: {error}"));
                        }
                        continue;
                    }
                };
                if types.1.is_quantized() && !flash_attention {
                    lines.push(format!("{name} {case:?}: quantized values without fused attention opened"));
                }
                if !cache.fit(&outline.description, flash_attention) {
                    if !reads && outline.description.form != families::Form::EncoderDecoder {
                        lines.push(format!("{name} {case:?}: refused by the planner, opened by the engine"));
                    }
                    continue;
                }
                let estimate = planned.estimate(&setup, None);
                let part = |what: &str, ours: u64, theirs: u64, tolerance: u64| {
                    (ours.abs_diff(theirs) > tolerance)
                        .then(|| format!("{name} {case:?} {what}: planned {ours}, measured {theirs}"))
                };
                let compute = planned.opened_compute_bytes(&setup).unwrap();
                let tolerance = (measured.compute_bytes / 100).max(1 << 20);
                lines.extend(part("weights", estimate.weights_bytes, measured.model_bytes, 0));
                lines.extend(part("cache", estimate.kv_bytes, measured.context_bytes, 0));
                lines.extend(part("compute", compute, measured.compute_bytes, tolerance));
                let repacked = measured.buffers.iter().filter(|buffer| buffer.name.contains("REPACK"));
                let repacked = repacked.map(|buffer| buffer.model_bytes).sum();
                lines.extend(part("repacked", estimate.repacked_bytes, repacked, 0));
            }
        }
    }
    lines
}
