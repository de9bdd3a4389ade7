//! The C ABI of Llama Pajamas, declared in `bindings/c/include/llama_pajamas.h`, which is made of the documentation here.
//!
//! Owns: handles, statuses, error objects and the panic boundary. May know: the runtime's public API.
//! Must not know: engines, planners or files; a function here converts, calls and converts back. What the
//! functions promise to C programs stands at each of them; "# Safety" says what Rust has to rely on.

#![allow(
    unsafe_code,
    non_camel_case_types,
    clippy::missing_safety_doc,
    reason = "a C interface is made of raw pointers and C's names"
)]

mod arguments;
mod bundle;
mod cancel;
mod embed;
mod error;
mod event;
#[cfg(feature = "uniffi")]
mod facade;
mod generate;
mod guard;
mod handles;
mod host;
#[cfg(feature = "jni")]
mod java;
#[cfg(not(feature = "jni"))]
#[path = "java_disabled.rs"]
mod java;
mod memory;
mod model;
mod quantize;
mod requantize;
mod runtime;
mod session;
mod signals;
mod sink;
mod stream;
#[cfg(feature = "test-hooks")]
mod test_hooks;
mod tune;

use std::ffi::c_char;

pub use bundle::{lp_bundle_pull, lp_bundle_verify, lp_pull_options, lp_pull_options_init};
pub use cancel::{lp_cancel, lp_cancel_free, lp_cancel_lower, lp_cancel_new, lp_cancel_raise};
pub use embed::{
    lp_embed_options, lp_embed_options_init, lp_embedder, lp_embedder_embed, lp_embedder_free,
    lp_embedder_open, lp_pooling,
};
pub use error::{lp_error, lp_error_details, lp_error_free, lp_error_message, lp_error_status, lp_status};
pub use event::{lp_event, lp_event_fn, lp_event_kind, lp_stop_reason};
pub use generate::{lp_adapter_use, lp_generate_options, lp_generate_options_init, lp_message};
pub use host::lp_host_report;
pub use memory::{lp_bytes_free, lp_live_objects, lp_string_free};
pub use model::{
    lp_adapter, lp_adapter_free, lp_adapter_load, lp_model, lp_model_describe, lp_model_detokenize,
    lp_model_free, lp_model_tokenize, lp_runtime_load,
};
pub use quantize::{lp_quantize, lp_quantize_options, lp_quantize_options_init};
pub use requantize::{lp_requantize_options, lp_requantize_options_init, lp_runtime_requantize};
pub use runtime::{
    lp_plan_options, lp_plan_options_init, lp_runtime, lp_runtime_describe, lp_runtime_free, lp_runtime_open,
    lp_runtime_options, lp_runtime_options_init, lp_runtime_plan,
};
pub use session::{
    lp_session, lp_session_chat, lp_session_fork, lp_session_free, lp_session_generate, lp_session_open,
    lp_session_options, lp_session_options_init, lp_session_restore, lp_session_save, lp_when_full,
};
pub use signals::{lp_model_report, lp_model_watch, lp_signals, lp_signals_init, lp_watch, lp_watch_free};
pub use sink::{lp_log_fn, lp_log_level, lp_metrics_fn, lp_set_log, lp_set_metrics};
pub use stream::{
    lp_stream, lp_stream_cancel, lp_stream_chat, lp_stream_free, lp_stream_generate, lp_stream_next,
};
#[cfg(feature = "test-hooks")]
pub use test_hooks::lp_test_panic;
pub use tune::{lp_model_tune, lp_tune_options, lp_tune_options_init};

#[cfg(feature = "uniffi")]
uniffi::setup_scaffolding!("llama_pajamas");

/// The version of this interface: raised on incompatible change only.
pub const LP_ABI_VERSION: u32 = 2;

/// The version of the interface that the library has, LP_ABI_VERSION of its header. Not the same as that of the header that a program
/// was compiled with: the two do not fit together.
#[unsafe(no_mangle)]
pub extern "C" fn lp_abi_version() -> u32 {
    LP_ABI_VERSION
}

/// The version of the library, e.g. "0.1.0". Never freed.
#[unsafe(no_mangle)]
pub extern "C" fn lp_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}
