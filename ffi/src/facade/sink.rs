//! Where log lines and figures go: to the app, or nowhere.
//!
//! Owns: the process' two sinks of other languages. May know: C's two callbacks, of which these are one. Must not know: who logs what.

use std::ffi::{CStr, c_char, c_void};
use std::sync::{Arc, PoisonError, RwLock};

use super::error::{Told, call};
use crate::error::Failure;
use crate::sink::{log_to, metrics_to};

/// How much is logged: this level and those before it.
#[derive(Clone, Copy, Debug, uniffi::Enum)]
#[repr(u8)]
pub enum LogLevel {
    /// Nothing.
    Off = 0,
    /// What failed.
    Error = 1,
    /// What went on all the same.
    Warn = 2,
    /// Changes of how models are run.
    Info = 3,
    /// What the engine tells of models.
    Debug = 4,
    /// Everything.
    Trace = 5,
}

/// Receives log lines. Runs on any thread, several at a time; must not call this library and must not throw.
#[uniffi::export(with_foreign)]
pub trait LogSink: Send + Sync {
    /// A line; `level` is a number of LogLevel, `target` says which part of the library speaks.
    fn on_log(&self, level: u32, target: String, message: String);
}

/// Receives figures of every load and answer. Runs on the thread that did it; must not call this library and must not throw.
#[uniffi::export(with_foreign)]
pub trait MetricsSink: Send + Sync {
    /// A JSON object with "kind" ("load" or "generate") and, for instance, "completion_tokens" and "decode_s".
    fn on_metrics(&self, json: String);
}

static LOG: RwLock<Option<Arc<dyn LogSink>>> = RwLock::new(None);
static METRICS: RwLock<Option<Arc<dyn MetricsSink>>> = RwLock::new(None);

/// Sends log lines up to `level` to `sink`; none: to nobody, the state at the beginning. Process wide: the last call counts, those of
/// C included.
#[uniffi::export]
pub fn set_log(level: LogLevel, sink: Option<Arc<dyn LogSink>>) -> Told<()> {
    call(|| {
        let heard = sink.is_some();
        *LOG.write().unwrap_or_else(PoisonError::into_inner) = sink;
        // SAFETY: `log` uses no data.
        unsafe { log_to(level as u32, if heard { Some(log) } else { None }, std::ptr::null_mut()) }
    })
}

/// Sends figures of every load and answer to `sink`; none: to nobody, the state at the beginning. Process wide, as set_log.
#[uniffi::export]
pub fn set_metrics(sink: Option<Arc<dyn MetricsSink>>) -> Told<()> {
    call(|| {
        let heard = sink.is_some();
        *METRICS.write().unwrap_or_else(PoisonError::into_inner) = sink;
        // SAFETY: `metrics` uses no data.
        unsafe { metrics_to(if heard { Some(metrics) } else { None }, std::ptr::null_mut()) };
        Ok::<(), Failure>(())
    })
}

/// # Safety
/// The texts end in NUL.
unsafe extern "C" fn log(_: *mut c_void, level: u32, target: *const c_char, message: *const c_char) {
    let sink = LOG.read().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(sink) = sink {
        // SAFETY: by this function's contract.
        let texts = unsafe { [owned(target), owned(message)] };
        let [target, message] = texts;
        crate::guard::freeing(|| sink.on_log(level, target, message));
    }
}

/// # Safety
/// The text ends in NUL.
unsafe extern "C" fn metrics(_: *mut c_void, json: *const c_char) {
    let sink = METRICS.read().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(sink) = sink {
        // SAFETY: by this function's contract.
        let json = unsafe { owned(json) };
        crate::guard::freeing(|| sink.on_metrics(json));
    }
}

/// # Safety
/// `text` ends in NUL.
unsafe fn owned(text: *const c_char) -> String {
    // SAFETY: by this function's contract.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
