//! What an app tells of the device, and the watch that reads what the system tells.
//!
//! Owns: the struct of signals and the watch's handle. May know: models and listeners. Must not know: what a signal leads to.

#![allow(non_camel_case_types, reason = "the names are C's")]

use std::ffi::c_void;
use std::sync::Mutex;
use std::time::Duration;

use llama_pajamas::tuner::{Heat, MemoryLevel, PowerFrom};
use llama_pajamas::{Change, Signals, Watch};

use crate::arguments::{Options, Place, init_options};
use crate::error::{Failure, lp_error, lp_status};
use crate::event::{Listener, lp_event_fn};
use crate::guard::{freeing, guarded};
use crate::handles::{self, Handle};
use crate::model::lp_model;

/// What is new of the device. Negative numbers, and 0 for usable_cpus, mean: nothing new; so everything begins.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lp_signals {
    /// Size of the struct in bytes.
    pub struct_size: usize,
    /// 0 cool, 1 warm, 2 hot. Android's thermal status: 0 and 1 are cool, 2 and 3 warm, 4 and above hot. Apple's thermal state:
    /// nominal and fair are cool, serious is warm, critical is hot.
    pub heat: i32,
    /// 0 enough, 1 low, 2 critical.
    pub memory: i32,
    /// Hardware threads that the process may use.
    pub usable_cpus: u32,
    /// 0 mains, 1 battery.
    pub power: i32,
    /// 1: the user asked to save energy; 0: no longer.
    pub saver: i32,
    /// 1: the app went to the background; 0: it came back.
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
    pub(crate) fn signals(&self) -> Result<Signals, Failure> {
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

/// Reads the device's signals for one model.
pub struct lp_watch {
    _handle: [u8; 0],
}

impl Handle for lp_watch {
    type Object = Mutex<Watch>;
    const NAME: &'static str = "watch";
}

/// Fills `signals` with "nothing new".
///
/// # Safety
/// `signals` is null or valid for writes of `struct_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_signals_init(signals: *mut lp_signals, struct_size: usize) {
    // SAFETY: by this function's contract.
    unsafe { init_options(signals, struct_size) };
}

/// Tells what an app knows of the device and the library cannot see. Sessions of the model obey from their next step on: fewer
/// threads, shorter parts of prompts, or no new work (LP_BUSY). Every reaction is told to `on_event` as LP_EVENT_CHANGE before this
/// returns, and to the callbacks of running generations. Call it on every change and, where nothing watches, every few seconds with
/// `signals` NULL, because time relaxes what signals tightened. `signals`, `on_event` and `user_data` are optional.
///
/// # Safety
/// Signals are null or carry their size, `on_event` accepts `user_data`, `error` is valid for writes.
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
            let model = handles::get(model)?;
            let signals = crate::arguments::options(signals)?.signals()?;
            let listener = Listener::new(on_event, user_data);
            for reaction in model.report(&signals) {
                // All of them have happened.
                let _ = listener.change(&Change::Governed(reaction));
            }
            Ok(())
        })
    }
}

/// Reads the device's signals every `every_ms` milliseconds (2000 do) on a thread of its own, where the system tells them, as long as
/// the watch and the model live. `on_event` is optional; unlike other callbacks it runs on that thread, with LP_EVENT_CHANGE alone,
/// and what it returns does not matter.
///
/// # Safety
/// `out` and `error` are valid for writes, `on_event` accepts `user_data` from another thread until the
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
            let model = handles::get(model)?;
            let listener = OnWatch(Listener::new(on_event, user_data));
            let every = Duration::from_millis(u64::from(every_ms.max(1)));
            let watch = model.watch(every, move |reaction| listener.hear(&Change::Governed(*reaction)));
            place.fill_object(Mutex::new(watch));
            Ok(())
        })
    }
}

/// Ends a watch and waits until its callback has run for the last time. Not to be called from that callback. NULL and freed ones are
/// ignored.
#[unsafe(no_mangle)]
pub extern "C" fn lp_watch_free(watch: *mut lp_watch) {
    freeing(|| drop(handles::remove(watch)));
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
