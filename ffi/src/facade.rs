//! Objects for Python, Kotlin and Swift, through UniFFI.
//!
//! Owns: what those languages' packages are generated from: objects, records and errors. May know: what the C functions are made of,
//! so that both say and refuse the same. Must not know: a language. The packages below `bindings/` lay iterators, flows and contexts
//! over objects whose names begin with `Native`; everything else they hand on as it is here.

#![allow(unreachable_pub, reason = "what is public here is reached through UniFFI")]

mod cancel;
mod embed;
mod error;
mod event;
mod generate;
mod model;
mod options;
mod owned;
mod plan;
mod process;
#[cfg(feature = "quantize")]
#[path = "facade/quantize.rs"]
mod quantize;
#[cfg(not(feature = "quantize"))]
#[path = "facade/quantize_disabled.rs"]
mod quantize;
#[cfg(feature = "quantize")]
#[path = "facade/requantize.rs"]
mod requantize;
#[cfg(not(feature = "quantize"))]
#[path = "facade/requantize_disabled.rs"]
mod requantize;
mod runtime;
mod session;
mod signals;
mod sink;
mod stream;
