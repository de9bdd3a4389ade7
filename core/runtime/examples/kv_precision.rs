//! Measures what types of the key-value cache cost: `kv_precision MODEL.gguf TEXT [CONTEXT] [CHUNKS]` prints the table of
//! `core/planner/data/kv_precision.toml`. Owns the measurement; must not know the planner.
//!
//! The text is cut into chunks of CONTEXT tokens. Each is read once per pair of types; behind the first half of a chunk the
//! next token's distribution is compared with that of a cache of halves: mean KL divergence in nats, with its standard
//! error over chunks.

#![allow(clippy::print_stdout, reason = "an example prints")]

use engine::gguf::{EngineOptions, GgufEngine};
use engine::{CancelToken, ContextSettings, Engine, KvType, LoadSettings, Logits, Model, Token};
use llama_pajamas::{Tokenizer, engine, formats};
use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

const PAIRS: [(&str, KvType, &str, KvType); 10] = [
    ("F16", KvType::F16, "F16", KvType::F16),
    ("Q8_0", KvType::Q8_0, "Q8_0", KvType::Q8_0),
    ("Q8_0", KvType::Q8_0, "Q5_1", KvType::Q5_1),
    ("Q8_0", KvType::Q8_0, "Q5_0", KvType::Q5_0),
    ("Q8_0", KvType::Q8_0, "Q4_1", KvType::Q4_1),
    ("Q8_0", KvType::Q8_0, "Q4_0", KvType::Q4_0),
    ("Q8_0", KvType::Q8_0, "IQ4_NL", KvType::Iq4Nl),
    // For comparison; no plan uses these.
    ("F32", KvType::F32, "F32", KvType::F32),
    ("Q4_0", KvType::Q4_0, "Q8_0", KvType::Q8_0),
    ("Q4_0", KvType::Q4_0, "Q4_0", KvType::Q4_0),
];

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [model, text, rest @ ..] = words.as_slice() else {
        return Err("usage: kv_precision MODEL.gguf TEXT [CONTEXT] [CHUNKS]".into());
    };
    let number = |index: usize, usual: usize| rest.get(index).map_or(Ok(usual), |word| word.parse());
    let (n_ctx, n_chunks) = (number(0, 512)?, number(1, 64)?);
    let path = Path::new(model);
    let file = std::fs::read(path)?;
    let header = formats::gguf::Header::read(file.as_slice(), file.len() as u64)?;
    let tokens =
        Tokenizer::from_metadata(&header.metadata)?.encode(&std::fs::read_to_string(text)?, false)?;
    let engine = GgufEngine::start(EngineOptions::default())?;
    let model = engine.load(path, &LoadSettings::default(), &mut |_| ControlFlow::Continue(()))?;
    let chunks: Vec<&[Token]> = tokens.chunks_exact(n_ctx).take(n_chunks).collect();
    println!("# {} chunks of {n_ctx} tokens", chunks.len());
    let halves = distributions(&model, &chunks, KvType::F16, KvType::F16)?;
    for (k, type_k, v, type_v) in PAIRS {
        let theirs = distributions(&model, &chunks, type_k, type_v)?;
        let means: Vec<f64> =
            halves.iter().zip(&theirs).map(|(a, b)| divergence(a, b, model.n_vocab())).collect();
        let mean = means.iter().sum::<f64>() / means.len() as f64;
        let spread =
            means.iter().map(|kld| (kld - mean).powi(2)).sum::<f64>() / (means.len() as f64 - 1.0).max(1.0);
        let error = (spread / means.len() as f64).sqrt();
        println!("[[step]]\nk = \"{k}\"\nv = \"{v}\"\nkld_mean = {mean:.7} # ± {error:.7}");
    }
    Ok(())
}

/// Logarithms of the probabilities behind the second half of each chunk.
fn distributions(
    model: &Arc<dyn Model>,
    chunks: &[&[Token]],
    type_k: KvType,
    type_v: KvType,
) -> Result<Vec<Vec<f32>>, Box<dyn Error>> {
    let n_ctx = chunks.first().ok_or("the text is shorter than a chunk")?.len();
    let settings = ContextSettings {
        n_ctx: n_ctx as u32,
        n_batch: n_ctx as u32,
        n_outputs_max: n_ctx as u32,
        n_threads: 1,
        n_threads_batch: 1,
        type_k,
        type_v,
        flash_attention: Some(true),
        ..ContextSettings::default()
    };
    let mut context = Arc::clone(model).new_context(&settings)?;
    let mut all = Vec::new();
    for chunk in chunks {
        context.truncate(0)?;
        // In two parts: what the second half reads of the first comes out of the cache.
        let (first, second) = chunk.split_at(n_ctx / 2);
        context.decode(first, Logits::None, &CancelToken::new())?;
        context.decode(second, Logits::All, &CancelToken::new())?;
        let mut rows = Vec::with_capacity(second.len() * model.n_vocab());
        for row in 0..second.len() {
            rows.extend(log_softmax(context.logits(row)?));
        }
        all.push(rows);
    }
    Ok(all)
}

fn log_softmax(logits: &[f32]) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
    let norm = f64::from(most) + sum.ln();
    logits.iter().map(|logit| (f64::from(*logit) - norm) as f32).collect()
}

/// Mean over the rows of Σ p · (ln p − ln q).
fn divergence(ours: &[f32], theirs: &[f32], n_vocab: usize) -> f64 {
    let of_row = |(p, q): (&[f32], &[f32])| {
        let terms = p.iter().zip(q).map(|(p, q)| f64::from(*p).exp() * (f64::from(*p) - f64::from(*q)));
        terms.sum::<f64>()
    };
    let rows: Vec<f64> = ours.chunks_exact(n_vocab).zip(theirs.chunks_exact(n_vocab)).map(of_row).collect();
    rows.iter().sum::<f64>() / rows.len().max(1) as f64
}
