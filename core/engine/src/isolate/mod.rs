//! An engine in a process of its own: a backend that ends its process does not end the app's.
//!
//! Owns: the wire between both processes, the app's half ([`IsolatedEngine`]) and the other ([`serve`]). May know: the engine
//! traits. Must not know: which engine is served, or how an app finds its own binary.
//!
//! The child is any program that calls [`serve`] on its standard input and output: usually the app's own binary with an argument
//! that says so. Every loaded model has a child of its own. When one ends, calls fail with [`crate::Error::Process`], and the
//! model's next context is opened in a new one, which loads the same file again.

mod wire;

mod serve;

mod context;
mod model;
mod process;
mod start;

pub use serve::serve;
pub use start::{IsolatedEngine, Launch};
