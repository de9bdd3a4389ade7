//! The engine's log: to `tracing` or to a sink, never to standard error.
//!
//! Owns: the process-wide log callback, and the capture of messages that explain a failure. May
//! know: nothing else. Must not know: who listens.

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, PoisonError, RwLock};

use llama_cpp_sys_2::{
    GGML_LOG_LEVEL_CONT, GGML_LOG_LEVEL_ERROR, GGML_LOG_LEVEL_INFO, GGML_LOG_LEVEL_WARN, ggml_log_level,
    llama_log_set,
};

/// How serious a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// Of use to developers of the engine.
    Debug,
    /// What the engine does.
    Info,
    /// Something works, but not as it could.
    Warn,
    /// Something failed; the call that failed returns an error, too.
    Error,
}

/// Receives the log, a message or a part of one at a time, from any thread. It must not call the
/// engine. Panics in it are caught.
pub type LogSink = Arc<dyn Fn(LogLevel, &str) + Send + Sync>;

static SINK: RwLock<Option<LogSink>> = RwLock::new(None);

thread_local! {
    /// Warnings and errors of the call in progress on this thread.
    static CAPTURED: RefCell<Option<String>> = const { RefCell::new(None) };
    /// The level that continuation messages inherit.
    static LAST_LEVEL: RefCell<LogLevel> = const { RefCell::new(LogLevel::Debug) };
}

/// Replaces the sink; `None` keeps the one that is there.
pub(super) fn set_sink(sink: Option<LogSink>) {
    if sink.is_some() {
        *SINK.write().unwrap_or_else(PoisonError::into_inner) = sink;
    }
}

/// Takes over llama.cpp's and ggml's log. Called once, before anything logs.
pub(super) fn install() {
    // SAFETY: the callback is a plain function that lives for ever and needs no data.
    unsafe { llama_log_set(Some(receive), std::ptr::null_mut()) };
}

/// Runs `call` and returns what it returned together with the warnings and errors that the engine
/// logged on this thread meanwhile, as one line.
pub(super) fn capture<T>(call: impl FnOnce() -> T) -> (T, String) {
    CAPTURED.with_borrow_mut(|captured| *captured = Some(String::new()));
    let result = call();
    let text = CAPTURED.with_borrow_mut(Option::take).unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let reason = if lines.is_empty() { "the engine gave no reason".to_owned() } else { lines.join("; ") };
    (result, reason)
}

pub(super) unsafe extern "C" fn receive(level: ggml_log_level, text: *const c_char, _data: *mut c_void) {
    if text.is_null() {
        return;
    }
    // SAFETY: ggml passes a text that ends in NUL and outlives the call.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    // A panic must not unwind into C++; a message lost is better than a process lost.
    let _ = catch_unwind(AssertUnwindSafe(|| deliver(level, &text)));
}

fn deliver(level: ggml_log_level, text: &str) {
    let level = match level {
        GGML_LOG_LEVEL_CONT => LAST_LEVEL.with_borrow(|last| *last),
        GGML_LOG_LEVEL_ERROR => LogLevel::Error,
        GGML_LOG_LEVEL_WARN => LogLevel::Warn,
        GGML_LOG_LEVEL_INFO => LogLevel::Info,
        _ => LogLevel::Debug,
    };
    LAST_LEVEL.with_borrow_mut(|last| *last = level);
    if level == LogLevel::Error {
        CAPTURED.with_borrow_mut(|captured| {
            if let Some(captured) = captured {
                captured.push_str(text);
            }
        });
    }
    let sink = SINK.read().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(sink) = sink {
        sink(level, text);
        return;
    }
    let text = text.trim_end();
    if text.is_empty() {
        return;
    }
    match level {
        LogLevel::Error => tracing::error!(target: "llama_pajamas::engine", "{text}"),
        LogLevel::Warn => tracing::warn!(target: "llama_pajamas::engine", "{text}"),
        LogLevel::Info => tracing::debug!(target: "llama_pajamas::engine", "{text}"),
        LogLevel::Debug => tracing::trace!(target: "llama_pajamas::engine", "{text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_captured_as_one_line_and_only_during_the_call() {
        deliver(GGML_LOG_LEVEL_ERROR, "before\n");
        let (value, reason) = capture(|| {
            deliver(GGML_LOG_LEVEL_INFO, "loading\n");
            deliver(GGML_LOG_LEVEL_ERROR, "load: no tensor");
            deliver(GGML_LOG_LEVEL_CONT, " `x`\n");
            deliver(GGML_LOG_LEVEL_ERROR, "load: failed\n");
            7
        });
        assert_eq!((value, reason.as_str()), (7, "load: no tensor `x`; load: failed"));
        let ((), reason) = capture(|| ());
        assert_eq!(reason, "the engine gave no reason");
    }
}
