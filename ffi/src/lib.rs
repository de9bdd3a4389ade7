//! The C interface: convert, call, convert.
//!
//! Owns: the exported functions, their handles, option structs and error objects. May know: the
//! runtime's public API. Must not know: anything that the runtime decides; no function here does
//! more than translate. `include/llama_pajamas.h` is the manual, and tests compile against it.

#![allow(unsafe_code, reason = "this crate is the doorway from C")]

mod error;
mod guard;

mod arguments;
mod cancel;

mod runtime;

mod model;

mod session;

mod event;

mod signals;
mod tune;

use std::ffi::c_char;

pub use cancel::{lp_cancel, lp_cancel_free, lp_cancel_lower, lp_cancel_new, lp_cancel_raise};
pub use error::{lp_error, lp_error_free, lp_error_message, lp_error_status, lp_status};
pub use event::{lp_event, lp_event_fn, lp_event_kind, lp_stop_reason};
pub use model::{lp_model, lp_model_free, lp_progress_fn, lp_runtime_load};
pub use runtime::{
    lp_plan_options, lp_plan_options_init, lp_runtime, lp_runtime_free, lp_runtime_open, lp_runtime_options,
    lp_runtime_options_init, lp_runtime_plan, lp_string_free,
};
pub use signals::{lp_model_report, lp_model_watch, lp_signals, lp_signals_init, lp_watch, lp_watch_free};
pub use tune::{lp_model_tune, lp_tune_options, lp_tune_options_init};

pub use session::{
    lp_generate_options, lp_generate_options_init, lp_message, lp_session, lp_session_chat, lp_session_free,
    lp_session_generate, lp_session_open,
};

/// The version of the interface, `LP_ABI_VERSION` of the header.
const ABI_VERSION: u32 = 1;

/// The version of the interface: raised on incompatible change only.
#[unsafe(no_mangle)]
pub extern "C" fn lp_abi_version() -> u32 {
    ABI_VERSION
}

/// The version of the library. Never freed.
#[unsafe(no_mangle)]
pub extern "C" fn lp_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}
