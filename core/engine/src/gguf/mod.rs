//! The GGUF engine: llama.cpp behind a thin safe layer.
//!
//! Owns: every call into llama.cpp and ggml. May know: GGUF headers. Must not know: anything above
//! tokens and logits.
