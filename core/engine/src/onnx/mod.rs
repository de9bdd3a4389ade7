//! The engine for graphs of ONNX: decoders whose caches go in and come out, computed by ONNX Runtime.
//!
//! Owns: [`OnnxEngine`], its models and contexts. May know: crate `onnx`, the names that decoders' graphs have for what goes in
//! and comes out. Must not know: how a graph was made.

mod cache;
mod context;
mod model;
mod ports;
mod start;
mod stop;

pub use start::{EngineOptions, OnnxEngine};
