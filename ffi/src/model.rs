//! Loading, and what a loaded model tells of itself and of texts.
//!
//! Owns: the model's handle. May know: runtimes and their options. Must not know: sessions.

#![allow(non_camel_case_types, reason = "the names are C's")]

#[cfg(feature = "adapters")]
#[path = "model/adapters.rs"]
pub(crate) mod adapters;
#[cfg(not(feature = "adapters"))]
#[path = "model/adapters_disabled.rs"]
pub(crate) mod adapters;

use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;

use llama_pajamas::engine::MemoryUse;
use llama_pajamas::planner::Choice;
use llama_pajamas::{CancelToken, LoadedModel, PlanRequest, Runtime, Stance};
use serde::Serialize;

use crate::arguments::{Number, Place, copy_out, items, text, text_of};
use crate::cancel::{lp_cancel, token};
use crate::error::{Failure, lp_error, lp_status};
use crate::event::{Listener, lp_event_fn};
use crate::guard::{freeing, guarded};
use crate::handles::{self, Handle};
use crate::runtime::{lp_plan_options, lp_runtime};
use crate::sink;

/// Loaded weights with their tokenizer. Any number of threads may use it.
pub struct lp_model {
    _handle: [u8; 0],
}

impl Handle for lp_model {
    type Object = LoadedModel;
    const NAME: &'static str = "model";
}

/// Plans as lp_runtime_plan does and loads what is chosen. Before anything is loaded the engine lays the model out without its
/// weights; where that does not fit the memory that is left by now, the next smaller plan is made. LP_DOES_NOT_FIT when nothing
/// fits. Tells LP_EVENT_LOADING. `options`, `cancel`, `on_event` and `user_data` are optional.
///
/// # Safety
/// `out` and `error` are valid for writes, options are null or carry their size, `cancel` is null or live,
/// `on_event` accepts `user_data`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_runtime_load(
    runtime: *const lp_runtime,
    options: *const lp_plan_options,
    cancel: *const lp_cancel,
    on_event: lp_event_fn,
    user_data: *mut c_void,
    out: *mut *mut lp_model,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let place = Place::new(out, "out")?;
            let runtime = handles::get(runtime)?;
            let request = crate::arguments::options(options)?.request()?;
            let listener = Listener::new(on_event, user_data);
            place.fill_object(load(&runtime, &request, &token(cancel), |fraction| {
                listener.loading(fraction)
            })?);
            Ok(())
        })
    }
}

/// Plans and loads; `hear` is told how far it is.
pub(crate) fn load(
    runtime: &Runtime,
    request: &PlanRequest,
    asked: &CancelToken,
    hear: impl Fn(f32) -> ControlFlow<()>,
) -> Result<LoadedModel, Failure> {
    if asked.is_cancelled() {
        return Err(llama_pajamas::Error::Cancelled.into());
    }
    // The caller's token may serve other calls: a callback that stops this one does not raise it.
    let stop = CancelToken::new();
    let mut watch = |fraction| {
        if hear(fraction).is_break() || asked.is_cancelled() {
            stop.cancel();
        }
    };
    let start = std::time::Instant::now();
    let (plan, model) = runtime.plan_and_load(request, &mut watch, &stop)?;
    sink::metrics(|| {
        text_of(&Figures {
            kind: "load",
            took_s: start.elapsed().as_secs_f64(),
            variant: plan.chosen.as_ref().map(|choice| choice.id.as_str()),
            memory_bytes: model.memory().total_bytes(),
        })
    });
    Ok(model)
}

/// Describes a loaded model: `*json` becomes a JSON object with "choice" (what was loaded and how, as in a plan), "memory" (bytes of
/// the weights), "engine", "digest", "n_vocab", "is_decoder" and "stance" (what the governor allows at the moment). Free it with
/// lp_string_free.
///
/// # Safety
/// `json` and `error` are valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_model_describe(
    model: *const lp_model,
    json: *mut *mut c_char,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let place = Place::new(json, "json")?;
            let model = handles::get(model)?;
            place.fill_json(&described(&model)?)
        })
    }
}

/// What is told of a loaded model.
pub(crate) fn described(model: &LoadedModel) -> Result<impl Serialize, Failure> {
    Ok(Described {
        choice: model.choice(),
        memory: model.memory(),
        engine: model.engine_build(),
        digest: model.digest()?,
        n_vocab: model.tokenizer().n_vocab(),
        is_decoder: model.is_decoder(),
        stance: model.stance(),
    })
}

#[derive(Serialize)]
struct Figures<'a> {
    kind: &'static str,
    took_s: f64,
    variant: Option<&'a str>,
    memory_bytes: u64,
}

#[derive(Serialize)]
struct Described<'a> {
    choice: &'a Choice,
    memory: MemoryUse,
    engine: &'a str,
    digest: String,
    n_vocab: usize,
    is_decoder: bool,
    stance: Stance,
}

/// Tokens of `text`: `*n_tokens` becomes their count, and the first `capacity` of them are written to `tokens`. Call it with
/// `capacity` 0, `tokens` may then be NULL, to learn the count. `add_special`: not 0 adds what the model wants around a text, as
/// lp_session_generate does.
///
/// # Safety
/// `text` ends in NUL, `tokens` is valid for writes of `capacity` ids, `n_tokens` and `error` are valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_model_tokenize(
    model: *const lp_model,
    text: *const c_char,
    add_special: u32,
    tokens: *mut i32,
    capacity: usize,
    n_tokens: *mut usize,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let count = Number::new(n_tokens, "n_tokens")?;
            let ids = handles::get(model)?
                .tokenizer()
                .encode(crate::arguments::text(text, "text")?, add_special != 0)?;
            copy_out(&ids, tokens, capacity);
            count.fill(ids.len());
            Ok(())
        })
    }
}

/// Text of `tokens`, without control tokens and those that are not in the vocabulary; what is no UTF-8 is replaced. Free it with
/// lp_string_free.
///
/// # Safety
/// `tokens` points to `n_tokens` ids, `out` and `error` are valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_model_detokenize(
    model: *const lp_model,
    tokens: *const i32,
    n_tokens: usize,
    out: *mut *mut c_char,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let place = Place::new(out, "out")?;
            let model = handles::get(model)?;
            place.fill_text(&model.tokenizer().decode(items(tokens, n_tokens, "tokens")?));
            Ok(())
        })
    }
}

/// Frees a model; its weights leave memory with the last session, embedder, adapter or watch of it. NULL and freed ones are ignored.
#[unsafe(no_mangle)]
pub extern "C" fn lp_model_free(model: *mut lp_model) {
    freeing(|| drop(handles::remove(model)));
}

/// An adapter in memory: low-rank factors (LoRA) or a control vector, beside the weights of one model.
pub struct lp_adapter {
    _handle: [u8; 0],
}

impl Handle for lp_adapter {
    type Object = std::sync::Arc<dyn llama_pajamas::Adapter>;
    const NAME: &'static str = "adapter";
}

/// Loads an adapter of `model` from a GGUF file. Answers that name it in their options are computed with it, each for itself.
/// Needs a library with the feature `adapters`, else LP_UNSUPPORTED.
///
/// # Safety
/// `path` ends in NUL, `out` and `error` are valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_adapter_load(
    model: *const lp_model,
    path: *const c_char,
    out: *mut *mut lp_adapter,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let place = Place::new(out, "out")?;
            let model = handles::get(model)?;
            place.fill_object(adapters::load(&model, text(path, "path")?.as_ref())?);
            Ok(())
        })
    }
}

/// Frees an adapter; sessions whose last answer had it keep it until their next. NULL and freed ones are ignored.
#[unsafe(no_mangle)]
pub extern "C" fn lp_adapter_free(adapter: *mut lp_adapter) {
    freeing(|| drop(handles::remove(adapter)));
}
