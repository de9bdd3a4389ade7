//! What an app tells of the device, and the watch that reads what the system tells.
//!
//! Owns: the struct of signals and the watch's handle. May know: models and listeners. Must not know: what a signal leads to.

#![allow(non_camel_case_types, reason = "the names are C's")]

use std::ffi::c_void;
use std::time::Duration;

use llama_pajamas::tuner::{Heat, MemoryLevel, PowerFrom};
use llama_pajamas::{Change, Signals, Watch};

use crate::arguments::{Options, Place, init_options, object, options};
use crate::error::{Failure, lp_error, lp_status};
use crate::event::{Listener, lp_event_fn};
use crate::guard::{freeing, guarded};
use crate::model::lp_model;

/// What is new of the device; negative numbers and 0 processors: nothing new.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lp_signals {
    /// Size of the struct in bytes.
    pub struct_size: usize,
    /// 0 cool, 1 warm, 2 hot.
    pub heat: i32,
    /// 0 enough, 1 low, 2 critical.
    pub memory: i32,
    /// Hardware threads that the process may use.
    pub usable_cpus: u32,
    /// 0 mains, 1 battery.
    pub power: i32,
    /// 1 where energy is to be saved.
    pub saver: i32,
    /// 1 where the app is in the background.
    pub background: i32,
}

// SAFETY: `repr(C)`, the size first, numbers.
unsafe impl Options for lp_signals {
    fn defaults() -> Self {
        Self {
            struct_size: size_of::<Self>(),
            heat: -1,
            memory: -1,
            usable_cpus: 0,
            power: -1,
            saver: -1,
            background: -1,
        }
    }
}

impl lp_signals {
    fn signals(&self) -> Result<Signals, Failure> {
        const SWITCH: [bool; 2] = [false, true];
        Ok(Signals {
            heat: one_of("heat", self.heat, &[Heat::Cool, Heat::Warm, Heat::Hot])?,
            memory: one_of(
                "memory",
                self.memory,
                &[MemoryLevel::Enough, MemoryLevel::Low, MemoryLevel::Critical],
            )?,
            usable_cpus: (self.usable_cpus != 0).then_some(self.usable_cpus),
            power: one_of("power", self.power, &[PowerFrom::Mains, PowerFrom::Battery])?,
            saver: one_of("saver", self.saver, &SWITCH)?,
            background: one_of("background", self.background, &SWITCH)?,
        })
    }
}

fn one_of<T: Copy>(name: &str, number: i32, values: &[T]) -> Result<Option<T>, Failure> {
    let Ok(place) = usize::try_from(number) else { return Ok(None) };
    let most = values.len() - 1;
    let value = values.get(place).copied();
    value.map(Some).ok_or_else(|| {
        Failure::invalid(format!("{name} is {number}, expected a negative number or 0 to {most}"))
    })
}

/// A watch of one model.
pub struct lp_watch(#[expect(dead_code, reason = "it works until it is dropped")] Watch);

/// Fills `signals` with "nothing new".
///
/// # Safety
/// `signals` is null or valid for writes of `struct_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_signals_init(signals: *mut lp_signals, struct_size: usize) {
    // SAFETY: by this function's contract.
    unsafe { init_options(signals, struct_size) };
}

/// Tells signals; what comes of them is told at once and by every session.
///
/// # Safety
/// `model` is live, signals are null or carry their size, `on_event` accepts `user_data`, `error` is valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_model_report(
    model: *const lp_model,
    signals: *const lp_signals,
    on_event: lp_event_fn,
    user_data: *mut c_void,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let model = object(model, "model")?;
            let signals = options(signals)?.signals()?;
            let listener = Listener::new(on_event, user_data);
            for reaction in model.0.report(&signals) {
                // All of them have happened.
                let _ = listener.change(&Change::Governed(reaction));
            }
            Ok(())
        })
    }
}

/// Reads the machine's signals on a thread of its own until the watch is freed.
///
/// # Safety
/// `model` is live, `out` and `error` are valid for writes, `on_event` accepts `user_data` from another thread until the
/// watch is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_model_watch(
    model: *const lp_model,
    every_ms: u32,
    on_event: lp_event_fn,
    user_data: *mut c_void,
    out: *mut *mut lp_watch,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let place = Place::new(out, "out")?;
            let model = object(model, "model")?;
            let listener = OnWatch(Listener::new(on_event, user_data));
            let every = Duration::from_millis(u64::from(every_ms.max(1)));
            let watch = model.0.watch(every, move |reaction| listener.hear(&Change::Governed(*reaction)));
            place.fill(Box::into_raw(Box::new(lp_watch(watch))));
            Ok(())
        })
    }
}

/// Ends a watch: its callback has run for the last time. Null is ignored.
///
/// # Safety
/// `watch` is null or came from [`lp_model_watch`] and is not used again; not called from its callback.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_watch_free(watch: *mut lp_watch) {
    if !watch.is_null() {
        // SAFETY: by this function's contract.
        freeing(|| drop(unsafe { Box::from_raw(watch) }));
    }
}

/// A listener on the watch's thread.
struct OnWatch(Listener);

// SAFETY: the caller of `lp_model_watch` promised that the callback accepts its data from another thread.
unsafe impl Send for OnWatch {}

impl OnWatch {
    fn hear(&self, change: &Change) {
        // A watch is ended by freeing it.
        let _ = self.0.change(change);
    }
}
