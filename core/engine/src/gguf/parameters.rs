//! Settings of a context as llama.cpp takes them.
//!
//! Owns: the check of every value and the translation. May know: the model's shape. Must not know:
//! contexts.

use std::ffi::c_void;

use llama_cpp_sys_2::{
    GGML_TYPE_BF16, GGML_TYPE_F16, GGML_TYPE_F32, GGML_TYPE_IQ4_NL, GGML_TYPE_Q4_0, GGML_TYPE_Q4_1,
    GGML_TYPE_Q5_0, GGML_TYPE_Q5_1, GGML_TYPE_Q8_0, LLAMA_ATTENTION_TYPE_UNSPECIFIED,
    LLAMA_CONTEXT_TYPE_DEFAULT, LLAMA_FLASH_ATTN_TYPE_AUTO, LLAMA_FLASH_ATTN_TYPE_DISABLED,
    LLAMA_FLASH_ATTN_TYPE_ENABLED, LLAMA_POOLING_TYPE_CLS, LLAMA_POOLING_TYPE_LAST, LLAMA_POOLING_TYPE_MEAN,
    LLAMA_POOLING_TYPE_NONE, LLAMA_POOLING_TYPE_RANK, LLAMA_POOLING_TYPE_UNSPECIFIED,
    LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED, ggml_abort_callback, ggml_type, llama_context_params,
};

use super::model::Shape;
use super::threads::MAX_THREADS;
use crate::{ContextSettings, Error, Form, KvType, Pooling, Purpose};

/// llama.cpp rounds the context up to a multiple of this.
const CONTEXT_STEP: u32 = 256;

/// Most sequences of a context (`LLAMA_MAX_SEQ`).
const MAX_SEQUENCES: u32 = 256;

/// Refuses what llama.cpp would stop the process for, round or replace.
pub(super) fn check(settings: &ContextSettings, shape: &Shape) -> Result<(), Error> {
    let most = i32::MAX as u32 - CONTEXT_STEP;
    in_range("n_sequences", settings.n_sequences, MAX_SEQUENCES)?;
    in_range("n_ctx", settings.n_ctx, most / settings.n_sequences)?;
    in_range("n_batch", settings.n_batch, most)?;
    in_range("n_ubatch", settings.n_ubatch, settings.n_batch)?;
    in_range("n_outputs_max", settings.n_outputs_max, settings.n_batch)?;
    in_range("n_threads", settings.n_threads, MAX_THREADS)?;
    in_range("n_threads_batch", settings.n_threads_batch, MAX_THREADS)?;
    if settings.poll_percent > 100 {
        return Err(Error::setting("poll_percent", settings.poll_percent, "0 ..= 100"));
    }
    // Without fused attention llama.cpp stops the process where a head does not divide into blocks.
    for (name, kv) in [("type_k", settings.type_k), ("type_v", settings.type_v)] {
        if kv.is_quantized() && settings.flash_attention == Some(false) {
            let expected = "F32, F16 or BF16 where flash_attention is off";
            return Err(Error::setting(name, format!("{kv:?}"), expected));
        }
    }
    if shape.adds_behind_last && settings.n_outputs_max < settings.n_ubatch.min(settings.n_ctx) {
        let expected = "n_ubatch where pictures are added behind the last layer";
        return Err(Error::setting("n_outputs_max", settings.n_outputs_max, expected));
    }
    if shape.form == Form::Encoder && settings.purpose == Purpose::Logits {
        let reason = "the model reads texts and writes none: it gives vectors".to_owned();
        return Err(Error::Context { reason });
    }
    if shape.n_vocab == 0 {
        return Err(Error::Context { reason: "the model has no vocabulary, so no logits".to_owned() });
    }
    Ok(())
}

fn in_range(name: &'static str, value: u32, most: u32) -> Result<(), Error> {
    if (1..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::setting(name, value, format!("1 ..= {most}")))
}

/// Every parameter of a context. Zeros and negative numbers among them mean "as the model says".
pub(super) fn native(
    settings: &ContextSettings,
    abort_callback: ggml_abort_callback,
    abort_callback_data: *mut c_void,
) -> llama_context_params {
    llama_context_params {
        n_ctx: n_ctx_of_all(settings),
        n_batch: settings.n_batch,
        n_ubatch: settings.n_ubatch,
        n_seq_max: settings.n_sequences,
        n_rs_seq: 0,
        n_outputs_max: n_outputs(settings),
        n_outputs_max_per_seq: n_outputs_of_one(settings),
        n_threads: i32::try_from(settings.n_threads).expect("checked"),
        n_threads_batch: i32::try_from(settings.n_threads_batch).expect("checked"),
        ctx_type: LLAMA_CONTEXT_TYPE_DEFAULT,
        rope_scaling_type: LLAMA_ROPE_SCALING_TYPE_UNSPECIFIED,
        pooling_type: match settings.purpose {
            Purpose::Logits | Purpose::Vectors(Some(Pooling::None)) => LLAMA_POOLING_TYPE_NONE,
            Purpose::Vectors(None) => LLAMA_POOLING_TYPE_UNSPECIFIED,
            Purpose::Vectors(Some(Pooling::Mean)) => LLAMA_POOLING_TYPE_MEAN,
            Purpose::Vectors(Some(Pooling::Cls)) => LLAMA_POOLING_TYPE_CLS,
            Purpose::Vectors(Some(Pooling::Last)) => LLAMA_POOLING_TYPE_LAST,
            Purpose::Vectors(Some(Pooling::Rank)) => LLAMA_POOLING_TYPE_RANK,
        },
        attention_type: LLAMA_ATTENTION_TYPE_UNSPECIFIED,
        flash_attn_type: match settings.flash_attention {
            None => LLAMA_FLASH_ATTN_TYPE_AUTO,
            Some(false) => LLAMA_FLASH_ATTN_TYPE_DISABLED,
            Some(true) => LLAMA_FLASH_ATTN_TYPE_ENABLED,
        },
        rope_freq_base: 0.0,
        rope_freq_scale: 0.0,
        yarn_ext_factor: -1.0,
        yarn_attn_factor: -1.0,
        yarn_beta_fast: -1.0,
        yarn_beta_slow: -1.0,
        yarn_orig_ctx: 0,
        defrag_thold: -1.0,
        cb_eval: None,
        cb_eval_user_data: std::ptr::null_mut(),
        type_k: cache_type(settings.type_k),
        type_v: cache_type(settings.type_v),
        abort_callback,
        abort_callback_data,
        embeddings: settings.purpose != Purpose::Logits,
        offload_kqv: settings.offload_kv,
        no_perf: true,
        op_offload: settings.offload_ops,
        swa_full: settings.full_window_cache,
        kv_unified: false,
        samplers: std::ptr::null_mut(),
        n_samplers: 0,
        ctx_other: std::ptr::null_mut(),
    }
}

/// Tokens of all sequences; llama.cpp rounds up what each has and does not divide the rest.
fn n_ctx_of_all(settings: &ContextSettings) -> u32 {
    match settings.n_sequences {
        1 => settings.n_ctx,
        several => settings.n_ctx.div_ceil(CONTEXT_STEP) * CONTEXT_STEP * several,
    }
}

/// Tokens of one sequence whose outputs are kept: all of a text where vectors are asked for.
fn n_outputs_of_one(settings: &ContextSettings) -> u32 {
    match settings.purpose {
        Purpose::Logits => settings.n_outputs_max,
        Purpose::Vectors(_) => settings.n_batch,
    }
}

/// The same of all sequences.
fn n_outputs(settings: &ContextSettings) -> u32 {
    n_outputs_of_one(settings).saturating_mul(settings.n_sequences).min(settings.n_batch)
}

fn cache_type(kv: KvType) -> ggml_type {
    match kv {
        KvType::F32 => GGML_TYPE_F32,
        KvType::F16 => GGML_TYPE_F16,
        KvType::Bf16 => GGML_TYPE_BF16,
        KvType::Q8_0 => GGML_TYPE_Q8_0,
        KvType::Q5_1 => GGML_TYPE_Q5_1,
        KvType::Q5_0 => GGML_TYPE_Q5_0,
        KvType::Q4_1 => GGML_TYPE_Q4_1,
        KvType::Q4_0 => GGML_TYPE_Q4_0,
        KvType::Iq4Nl => GGML_TYPE_IQ4_NL,
    }
}
