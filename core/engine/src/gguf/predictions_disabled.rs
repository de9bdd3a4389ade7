//! Without the feature `predictions` no model has prediction layers.

use formats::gguf::Metadata;
use llama_cpp_sys_2::{llama_context, llama_context_params, llama_model};

use super::decode::Stretch;
use crate::{Error, Token};

/// None.
pub(super) fn are_known(_metadata: &Metadata, _architecture: &str, _has: impl Fn(&str) -> bool) -> bool {
    false
}

/// There are none.
pub(super) enum Predictions {}

impl Predictions {
    /// # Safety
    /// None is asked for.
    pub(super) unsafe fn open(
        _model: *mut llama_model,
        _context: *mut llama_context,
        _parameters: llama_context_params,
        _widths: (usize, usize),
    ) -> Result<Self, Error> {
        Err(Error::Context { reason: "prediction layers need the feature `predictions`".to_owned() })
    }

    pub(super) fn as_ptr(&self) -> *mut llama_context {
        match *self {}
    }

    /// # Safety
    /// None is asked for.
    pub(super) unsafe fn read(&mut self, _context: *mut llama_context, _stretches: &[Stretch<'_>]) {
        match *self {}
    }

    pub(super) fn truncate(&mut self, _sequence: usize, _position: usize) {
        match *self {}
    }

    pub(super) fn copy(&mut self, _from: usize, _to: usize) {
        match *self {}
    }

    pub(super) fn expect(
        &mut self,
        _place: (usize, usize),
        _next: Token,
        _most: usize,
        _least_probability: f32,
    ) -> Result<Vec<Token>, i32> {
        match *self {}
    }
}
