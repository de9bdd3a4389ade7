//! Tensors of a family as data: names and shapes in a GGUF file, and which parts of a checkpoint's tensors they are made of.
//! Must not know bytes, element types or files.

pub(crate) mod arrangement;
pub(crate) mod mapping;
pub(crate) mod rule;
pub(crate) mod shapes;
pub(crate) mod value;
pub(crate) mod view;
