//! Where log lines and figures go: to the app, or nowhere.
//!
//! Owns: the process' two callbacks and the subscriber that feeds the first. May know: `tracing`. Must not know: who logs what.

#![allow(non_camel_case_types, reason = "the names are C's")]

use std::ffi::{CString, c_char, c_void};
use std::fmt::{Debug, Write as _};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Once, PoisonError, RwLock};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::error::{Failure, lp_error, lp_status};
use crate::guard::guarded;

/// How much is logged: this level and those before it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum lp_log_level {
    /// Nothing.
    LP_LOG_OFF = 0,
    /// What failed.
    LP_LOG_ERROR = 1,
    /// What went on all the same.
    LP_LOG_WARN = 2,
    /// Changes of how models are run.
    LP_LOG_INFO = 3,
    /// What the engine tells of models.
    LP_LOG_DEBUG = 4,
    /// Everything.
    LP_LOG_TRACE = 5,
}

/// Receives a log line: `level` is one of lp_log_level, `target` says which part of the library speaks; both texts end in NUL and are
/// valid during the call. Runs on any thread, several at a time, and must not call this library.
pub type lp_log_fn = Option<
    unsafe extern "C" fn(user_data: *mut c_void, level: u32, target: *const c_char, message: *const c_char),
>;

/// Receives figures of what was done, as a JSON object with "kind" ("load" or "generate") and, for instance, "completion_tokens" and
/// "decode_s"; the text ends in NUL and is valid during the call. Runs on the thread that did it, several at a time, and must not call
/// this library.
pub type lp_metrics_fn = Option<unsafe extern "C" fn(user_data: *mut c_void, json: *const c_char)>;

struct Sink<F> {
    callback: F,
    user_data: *mut c_void,
}

// SAFETY: whoever set the sink promised that the callback accepts its data from any thread, several at a time.
unsafe impl<F: Send> Send for Sink<F> {}
// SAFETY: as above.
unsafe impl<F: Sync> Sync for Sink<F> {}

static LOG: RwLock<Sink<lp_log_fn>> = RwLock::new(Sink { callback: None, user_data: std::ptr::null_mut() });
static METRICS: RwLock<Sink<lp_metrics_fn>> =
    RwLock::new(Sink { callback: None, user_data: std::ptr::null_mut() });
/// Lines above this level are not made.
static LEVEL: AtomicU8 = AtomicU8::new(0);
static SUBSCRIBE: Once = Once::new();

/// Sends log lines up to `level`, one of lp_log_level, to `on_log`; NULL or LP_LOG_OFF, the state at the beginning: to nobody. Process
/// wide: the last call counts, and when it returns, earlier callbacks run no more. `user_data` has to live until then.
///
/// # Safety
/// `on_log` accepts `user_data` from any thread, `error` is valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_set_log(
    level: u32,
    on_log: lp_log_fn,
    user_data: *mut c_void,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe { guarded(error, || log_to(level, on_log, user_data)) }
}

/// # Safety
/// As [`lp_set_log`].
pub(crate) unsafe fn log_to(level: u32, on_log: lp_log_fn, user_data: *mut c_void) -> Result<(), Failure> {
    let most = lp_log_level::LP_LOG_TRACE as u32;
    let level = u8::try_from(level).ok().filter(|level| u32::from(*level) <= most);
    let level =
        level.ok_or_else(|| Failure::invalid(format!("level is above {most}, expected 0 to {most}")))?;
    *LOG.write().unwrap_or_else(PoisonError::into_inner) = Sink { callback: on_log, user_data };
    LEVEL.store(if on_log.is_some() { level } else { 0 }, Ordering::Relaxed);
    // Where a Rust program that links this crate has a subscriber of its own, that stays.
    SUBSCRIBE.call_once(|| drop(tracing::subscriber::set_global_default(Lines)));
    tracing::callsite::rebuild_interest_cache();
    Ok(())
}

/// Sends figures of every load and answer to `on_metrics`; NULL, the state at the beginning: to nobody. Process wide, as lp_set_log.
///
/// # Safety
/// `on_metrics` accepts `user_data` from any thread, `error` is valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_set_metrics(
    on_metrics: lp_metrics_fn,
    user_data: *mut c_void,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            metrics_to(on_metrics, user_data);
            Ok(())
        })
    }
}

/// # Safety
/// As [`lp_set_metrics`].
pub(crate) unsafe fn metrics_to(on_metrics: lp_metrics_fn, user_data: *mut c_void) {
    *METRICS.write().unwrap_or_else(PoisonError::into_inner) = Sink { callback: on_metrics, user_data };
}

/// Hands figures over, where somebody wants them.
pub(crate) fn metrics(make: impl FnOnce() -> Result<String, Failure>) {
    let sink = METRICS.read().unwrap_or_else(PoisonError::into_inner);
    // Names and numbers always become JSON.
    if let Some(callback) = sink.callback
        && let Ok(text) = make()
    {
        let text = c_text(&text);
        // SAFETY: the setter promised that the callback accepts its data; the lock keeps it from being replaced meanwhile.
        unsafe { callback(sink.user_data, text.as_ptr()) };
    }
}

fn c_text(text: &str) -> CString {
    CString::new(text.replace('\0', "\u{fffd}")).expect("NUL was replaced just now")
}

fn number(level: Level) -> u8 {
    match level {
        Level::ERROR => 1,
        Level::WARN => 2,
        Level::INFO => 3,
        Level::DEBUG => 4,
        Level::TRACE => 5,
    }
}

/// Makes a line of every event; spans are not told.
struct Lines;

impl Subscriber for Lines {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enabled(metadata) { Interest::always() } else { Interest::never() }
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && number(*metadata.level()) <= LEVEL.load(Ordering::Relaxed)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let levels = [
            LevelFilter::OFF,
            LevelFilter::ERROR,
            LevelFilter::WARN,
            LevelFilter::INFO,
            LevelFilter::DEBUG,
            LevelFilter::TRACE,
        ];
        levels.get(usize::from(LEVEL.load(Ordering::Relaxed))).copied()
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let (target, message) = (c_text(event.metadata().target()), c_text(&(line.message + &line.fields)));
        let sink = LOG.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(callback) = sink.callback {
            let level = u32::from(number(*event.metadata().level()));
            // SAFETY: as in `metrics`.
            unsafe { callback(sink.user_data, level, target.as_ptr(), message.as_ptr()) };
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The message, and the other fields behind it.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        // A String takes everything.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
