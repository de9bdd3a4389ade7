//! States of tokens: kept by one context, given to another with the tokens behind them.
//!
//! Owns: those calls. May know: llama.cpp's handles. Must not know: what they are used for.

use std::ffi::c_char;

use llama_cpp_sys_2::llama_context;

use super::{MESSAGE_BYTES, Message};
use crate::Token;

unsafe extern "C" {
    fn llama_pajamas_keep_states(context: *mut llama_context, all: bool);
    fn llama_pajamas_kept_state(context: *mut llama_context, index: i32) -> *const f32;
    fn llama_pajamas_decode_after(
        context: *mut llama_context,
        tokens: *const Token,
        positions: *const i32,
        sequences: *const i32,
        states: *const f32,
        width: usize,
        n_tokens: i32,
        output: bool,
        message: *mut c_char,
        message_bytes: usize,
    ) -> i32;
}

/// Has a context keep its states from the next decode on: of all tokens, or of those whose logits are kept.
///
/// # Safety
/// `context` is a live context that no other thread uses.
pub(in crate::gguf) unsafe fn keep_states(context: *mut llama_context, all: bool) {
    // SAFETY: by this function's contract.
    unsafe { llama_pajamas_keep_states(context, all) }
}

/// The state of `width` numbers after the token at `index` of the last batch, where it is kept.
///
/// # Safety
/// `context` is a live context of that width, that keeps states, that no other thread uses and that nobody changes while the
/// result lives; its last batch had a token at `index` whose state it was to keep.
pub(in crate::gguf) unsafe fn kept_state<'a>(
    context: *mut llama_context,
    index: usize,
    width: usize,
) -> Option<&'a [f32]> {
    // SAFETY: by this function's contract.
    let state = unsafe { llama_pajamas_kept_state(context, i32::try_from(index).ok()?) };
    // SAFETY: not null, so a row of the context's width, which stays until it is changed.
    (!state.is_null()).then(|| unsafe { std::slice::from_raw_parts(state, width) })
}

/// Decodes `tokens`, each in the sequence and at the position beside it and with the state before it; logits are kept after the last
/// where `output` says so. Returns llama.cpp's code, and the exception's text if there was one.
///
/// # Safety
/// `context` is a live context for prediction layers that no other thread uses, and there are at most `n_batch` tokens.
pub(in crate::gguf) unsafe fn decode_after(
    context: *mut llama_context,
    tokens: &[Token],
    positions: &[i32],
    sequences: &[i32],
    states: &[f32],
    output: bool,
) -> (i32, Option<String>) {
    assert!(!tokens.is_empty() && tokens.len() == positions.len() && tokens.len() == sequences.len());
    assert!(states.len().is_multiple_of(tokens.len()));
    let count = i32::try_from(tokens.len()).expect("at most n_batch, which is an i32");
    let mut message = Message::new();
    // SAFETY: by this function's contract; the slices are as long as told and outlive the call, which copies them.
    let code = unsafe {
        llama_pajamas_decode_after(
            context,
            tokens.as_ptr(),
            positions.as_ptr(),
            sequences.as_ptr(),
            states.as_ptr(),
            states.len() / tokens.len(),
            count,
            output,
            message.0.as_mut_ptr(),
            MESSAGE_BYTES,
        )
    };
    (code, message.text())
}
