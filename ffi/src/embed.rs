//! Vectors of texts.
//!
//! Owns: the embedder's handle and options. May know: models. Must not know: how vectors come about.

#![allow(non_camel_case_types, reason = "the names are C's")]

#[cfg(feature = "embeddings")]
#[path = "embed/reader.rs"]
mod reader;
#[cfg(not(feature = "embeddings"))]
#[path = "embed/reader_disabled.rs"]
mod reader;

use std::ffi::c_char;
use std::sync::{Mutex, PoisonError};

use llama_pajamas::EmbedSettings;
use llama_pajamas::engine::Pooling;
pub(crate) use reader::Reader;

use crate::arguments::{Number, Options, Place, copy_out, init_options, one_of};
use crate::cancel::{lp_cancel, token};
use crate::error::{Failure, lp_error, lp_status};
use crate::guard::{freeing, guarded};
use crate::handles::{self, Handle};
use crate::model::lp_model;

/// Turns texts into vectors, with a context of its own. Threads that share one wait for each other.
pub struct lp_embedder {
    _handle: [u8; 0],
}

impl Handle for lp_embedder {
    type Object = Mutex<Reader>;
    const NAME: &'static str = "embedder";
}

/// How the vectors of a text's tokens become one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum lp_pooling {
    /// As the model's file says, the mean where it says nothing.
    LP_POOLING_MODEL = 0,
    /// Their mean.
    LP_POOLING_MEAN = 1,
    /// The first token's.
    LP_POOLING_FIRST = 2,
    /// The last token's.
    LP_POOLING_LAST = 3,
}

/// How to open an embedder.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct lp_embed_options {
    /// Size of the struct in bytes.
    pub struct_size: usize,
    /// One of lp_pooling. Default LP_POOLING_MODEL.
    pub pooling: u32,
    /// Most tokens of a text; 0, the default: as many as planned and as the model was trained for.
    pub max_tokens: u32,
    /// Not 0: leave vectors as long as they are, instead of making their length one. Default 0.
    pub keep_length: u32,
    /// Not 0: read the beginning of texts that are too long, instead of refusing them. Default 0.
    pub truncate: u32,
}

// SAFETY: `repr(C)`, the size first, numbers.
unsafe impl Options for lp_embed_options {
    fn defaults() -> Self {
        Self { struct_size: size_of::<Self>(), pooling: 0, max_tokens: 0, keep_length: 0, truncate: 0 }
    }
}

impl lp_embed_options {
    pub(crate) fn settings(&self) -> Result<EmbedSettings, Failure> {
        let kinds = [None, Some(Pooling::Mean), Some(Pooling::Cls), Some(Pooling::Last)];
        Ok(EmbedSettings {
            pooling: one_of(self.pooling, &kinds, "pooling")?,
            max_tokens: (self.max_tokens != 0).then_some(self.max_tokens),
            keep_length: self.keep_length != 0,
            truncate: self.truncate != 0,
        })
    }
}

/// Fills `options` with defaults.
///
/// # Safety
/// `options` is null or valid for writes of `struct_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_embed_options_init(options: *mut lp_embed_options, struct_size: usize) {
    // SAFETY: by this function's contract.
    unsafe { init_options(options, struct_size) };
}

/// Opens an embedder. Needs a library with the feature `embeddings`, else LP_UNSUPPORTED. `options` is optional.
///
/// # Safety
/// Options are null or carry their size, `out` and `error` are valid for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_embedder_open(
    model: *const lp_model,
    options: *const lp_embed_options,
    out: *mut *mut lp_embedder,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let place = Place::new(out, "out")?;
            let model = handles::get(model)?;
            let settings = crate::arguments::options(options)?.settings()?;
            place.fill_object(Mutex::new(Reader::open(&model, &settings)?));
            Ok(())
        })
    }
}

/// The vector of `text`: `*n_values` becomes its length, and the first `capacity` values are written to `values`, which may be NULL
/// with `capacity` 0. `cancel` is optional; a raised one ends the call with LP_CANCELLED.
///
/// # Safety
/// `text` ends in NUL, `cancel` is null or live, `values` is valid for writes of `capacity` numbers, `n_values` and `error` are valid
/// for writes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_embedder_embed(
    embedder: *mut lp_embedder,
    text: *const c_char,
    cancel: *const lp_cancel,
    values: *mut f32,
    capacity: usize,
    n_values: *mut usize,
    error: *mut *mut lp_error,
) -> lp_status {
    // SAFETY: by this function's contract.
    unsafe {
        guarded(error, || {
            let count = Number::new(n_values, "n_values")?;
            let embedder = handles::get(embedder)?;
            let text = crate::arguments::text(text, "text")?;
            let mut embedder = embedder.lock().unwrap_or_else(PoisonError::into_inner);
            let vector = embedder.vector(text, &token(cancel))?;
            copy_out(&vector, values, capacity);
            count.fill(vector.len());
            Ok(())
        })
    }
}

/// Frees an embedder. NULL and freed ones are ignored.
#[unsafe(no_mangle)]
pub extern "C" fn lp_embedder_free(embedder: *mut lp_embedder) {
    freeing(|| drop(handles::remove(embedder)));
}
