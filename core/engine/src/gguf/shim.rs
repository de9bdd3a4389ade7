//! The C++ shim, seen from Rust.
//!
//! Owns: safe wrappers around `shim.cpp`, whose functions catch every exception. May know:
//! llama.cpp's handles. Must not know: what they are used for.

use std::ffi::{CStr, c_char, c_void};

use llama_cpp_sys_2::{llama_adapter_lora, llama_context, llama_context_params, llama_model, llama_version};

use crate::{BufferUse, MemoryUse, Token};

#[cfg(feature = "predictions")]
mod states;
#[cfg(feature = "predictions")]
pub(in crate::gguf) use states::{decode_after, keep_states, kept_state};

/// Room for an exception's text.
const MESSAGE_BYTES: usize = 512;

unsafe extern "C" {
    fn llama_pajamas_ask_for_huge_pages();
    fn llama_pajamas_decode(
        context: *mut llama_context,
        tokens: *mut Token,
        positions: *mut i32,
        outputs: *mut i8,
        n_tokens: i32,
        message: *mut c_char,
        message_bytes: usize,
    ) -> i32;
    fn llama_pajamas_encode(
        context: *mut llama_context,
        tokens: *mut Token,
        n_tokens: i32,
        message: *mut c_char,
        message_bytes: usize,
    ) -> i32;
    fn llama_pajamas_decode_sequences(
        context: *mut llama_context,
        tokens: *mut Token,
        positions: *mut i32,
        sequences: *mut i32,
        outputs: *mut i8,
        n_tokens: i32,
        message: *mut c_char,
        message_bytes: usize,
    ) -> i32;
    fn llama_pajamas_copy_sequence(
        context: *mut llama_context,
        from: i32,
        to: i32,
        message: *mut c_char,
        message_bytes: usize,
    ) -> bool;
    fn llama_pajamas_state_bytes(
        context: *mut llama_context,
        sequence: i32,
        message: *mut c_char,
        bytes: usize,
    ) -> usize;
    fn llama_pajamas_state_get(
        context: *mut llama_context,
        sequence: i32,
        to: *mut u8,
        to_bytes: usize,
        message: *mut c_char,
        bytes: usize,
    ) -> usize;
    fn llama_pajamas_state_set(
        context: *mut llama_context,
        sequence: i32,
        from: *const u8,
        from_bytes: usize,
        message: *mut c_char,
        bytes: usize,
    ) -> usize;
    fn llama_pajamas_adapt(
        context: *mut llama_context,
        adapters: *mut *mut llama_adapter_lora,
        scales: *mut f32,
        n_adapters: usize,
        control: *const f32,
        control_length: usize,
        width: i32,
        n_layers: i32,
        message: *mut c_char,
        message_bytes: usize,
    ) -> bool;
    fn llama_pajamas_memory(context: *const llama_context, visit: Visitor, data: *mut c_void) -> bool;
    fn llama_pajamas_measure(
        model: *mut llama_model,
        parameters: llama_context_params,
        visit: Visitor,
        data: *mut c_void,
        message: *mut c_char,
        message_bytes: usize,
    ) -> bool;
}

type Visitor = unsafe extern "C" fn(*mut c_void, *const c_char, bool, usize, usize, usize);

/// A text that the shim can write into.
struct Message([c_char; MESSAGE_BYTES]);

impl Message {
    fn new() -> Self {
        Self([0; MESSAGE_BYTES])
    }

    /// What the shim wrote, if anything.
    fn text(&self) -> Option<String> {
        // SAFETY: the shim writes at most `MESSAGE_BYTES` with a NUL at the end, and it starts zeroed.
        let text = unsafe { CStr::from_ptr(self.0.as_ptr()) }.to_string_lossy().into_owned();
        (!text.is_empty()).then_some(text)
    }
}

/// Decodes `tokens` in sequence 0, each at the position beside it; `outputs` tells for which of them logits are kept.
/// Returns llama.cpp's code, and the exception's text if there was one.
///
/// # Safety
/// `context` is a live context that no other thread uses, and there are at most `n_batch` tokens.
pub(super) unsafe fn decode(
    context: *mut llama_context,
    tokens: &mut [Token],
    positions: &mut [i32],
    outputs: &mut [i8],
) -> (i32, Option<String>) {
    assert!(tokens.len() == outputs.len() && tokens.len() == positions.len());
    let count = i32::try_from(tokens.len()).expect("at most n_batch, which is an i32");
    let mut message = Message::new();
    // SAFETY: by this function's contract; both slices are as long as told and outlive the call.
    let code = unsafe {
        llama_pajamas_decode(
            context,
            tokens.as_mut_ptr(),
            positions.as_mut_ptr(),
            outputs.as_mut_ptr(),
            count,
            message.0.as_mut_ptr(),
            MESSAGE_BYTES,
        )
    };
    (code, message.text())
}

/// Decodes `tokens`, each in the sequence and at the position beside it; `outputs` tells for which of them logits are kept.
/// Returns llama.cpp's code, and the exception's text if there was one.
///
/// # Safety
/// As [`decode`], and the context has every sequence that is named.
pub(super) unsafe fn decode_sequences(
    context: *mut llama_context,
    tokens: &mut [Token],
    positions: &mut [i32],
    sequences: &mut [i32],
    outputs: &mut [i8],
) -> (i32, Option<String>) {
    let count = tokens.len();
    assert!(count == outputs.len() && count == positions.len() && count == sequences.len());
    let count = i32::try_from(tokens.len()).expect("at most n_batch, which is an i32");
    let mut message = Message::new();
    // SAFETY: by this function's contract; the slices are as long as told and outlive the call.
    let code = unsafe {
        llama_pajamas_decode_sequences(
            context,
            tokens.as_mut_ptr(),
            positions.as_mut_ptr(),
            sequences.as_mut_ptr(),
            outputs.as_mut_ptr(),
            count,
            message.0.as_mut_ptr(),
            MESSAGE_BYTES,
        )
    };
    (code, message.text())
}

/// Lets sequence `to`, which is empty, hold what `from` holds.
///
/// # Safety
/// `context` is a live context that no other thread uses, and has both sequences.
pub(super) unsafe fn copy_sequence(context: *mut llama_context, from: i32, to: i32) -> Result<(), String> {
    let mut message = Message::new();
    // SAFETY: by this function's contract.
    let done =
        unsafe { llama_pajamas_copy_sequence(context, from, to, message.0.as_mut_ptr(), MESSAGE_BYTES) };
    if done { Ok(()) } else { Err(message.text().unwrap_or_default()) }
}

/// Lets an encoder read `tokens` at once. Returns llama.cpp's code, and the exception's text if there was one.
///
/// # Safety
/// `context` is a live context that no other thread uses, of a model with an encoder or without a cache, and there are at
/// most `n_ubatch` tokens.
pub(super) unsafe fn encode(context: *mut llama_context, tokens: &mut [Token]) -> (i32, Option<String>) {
    let count = i32::try_from(tokens.len()).expect("at most n_ubatch, which is an i32");
    let mut message = Message::new();
    // SAFETY: by this function's contract; the slice is as long as told and outlives the call.
    let code = unsafe {
        llama_pajamas_encode(context, tokens.as_mut_ptr(), count, message.0.as_mut_ptr(), MESSAGE_BYTES)
    };
    (code, message.text())
}

/// The state of a sequence, or why there is none.
///
/// # Safety
/// `context` is a live context that no other thread uses, and has the sequence.
pub(super) unsafe fn state(context: *mut llama_context, sequence: i32) -> Result<Vec<u8>, String> {
    let mut message = Message::new();
    // SAFETY: by this function's contract.
    let bytes =
        unsafe { llama_pajamas_state_bytes(context, sequence, message.0.as_mut_ptr(), MESSAGE_BYTES) };
    let mut state = vec![0; bytes];
    // SAFETY: as above; the buffer is as long as told.
    let written = unsafe {
        llama_pajamas_state_get(
            context,
            sequence,
            state.as_mut_ptr(),
            bytes,
            message.0.as_mut_ptr(),
            MESSAGE_BYTES,
        )
    };
    if written == 0 || written > bytes {
        return Err(message.text().unwrap_or_else(|| format!("{written} of {bytes} bytes written")));
    }
    state.truncate(written);
    Ok(state)
}

/// Replaces the state of a sequence.
///
/// # Safety
/// `context` is a live context that no other thread uses and that has the sequence, and `state` is whole and came from a
/// context of the same model, engine build and cache types.
pub(super) unsafe fn set_state(
    context: *mut llama_context,
    sequence: i32,
    state: &[u8],
) -> Result<(), String> {
    let mut message = Message::new();
    // SAFETY: by this function's contract.
    let read = unsafe {
        llama_pajamas_state_set(
            context,
            sequence,
            state.as_ptr(),
            state.len(),
            message.0.as_mut_ptr(),
            MESSAGE_BYTES,
        )
    };
    if read == state.len() {
        return Ok(());
    }
    Err(message.text().unwrap_or_else(|| format!("{read} of {} bytes read", state.len())))
}

/// Applies these adapters and no others, and `control`: a direction of `width` numbers for each of `n_layers` layers but the
/// first, none where it is empty.
///
/// # Safety
/// `context` is a live context that no other thread uses; the adapters are of its model and stay until others are applied;
/// meanwhile no other context of the model is opened or adapted, and no adapter of it comes or goes.
pub(super) unsafe fn adapt(
    context: *mut llama_context,
    adapters: &mut [*mut llama_adapter_lora],
    scales: &mut [f32],
    control: &[f32],
    width: i32,
    n_layers: i32,
) -> Result<(), String> {
    assert_eq!(adapters.len(), scales.len());
    let mut message = Message::new();
    let directions = if control.is_empty() { std::ptr::null() } else { control.as_ptr() };
    // SAFETY: by this function's contract; the slices are as long as told and outlive the call, which copies them.
    let done = unsafe {
        llama_pajamas_adapt(
            context,
            adapters.as_mut_ptr(),
            scales.as_mut_ptr(),
            adapters.len(),
            directions,
            control.len(),
            width,
            n_layers,
            message.0.as_mut_ptr(),
            MESSAGE_BYTES,
        )
    };
    if done { Ok(()) } else { Err(message.text().unwrap_or_default()) }
}

/// What the context and its model occupy, by buffer type.
///
/// # Safety
/// `context` is a live context that no other thread uses.
pub(super) unsafe fn memory(context: *const llama_context) -> MemoryUse {
    let mut memory = MemoryUse::default();
    // SAFETY: by this function's contract; `visit` casts the data back to what is passed here.
    unsafe { llama_pajamas_memory(context, visit, (&raw mut memory).cast()) };
    memory
}

/// What a context of a model without weights would occupy, the weights included; else the exception's text, if there
/// was one.
///
/// # Safety
/// `model` is live, was loaded with `no_alloc`, and no other thread opens a context of it; the parameters were checked.
pub(super) unsafe fn measure(
    model: *mut llama_model,
    parameters: llama_context_params,
) -> Result<MemoryUse, Option<String>> {
    let mut memory = MemoryUse::default();
    let mut message = Message::new();
    // SAFETY: by this function's contract; `visit` casts the data back to what is passed here.
    let done = unsafe {
        llama_pajamas_measure(
            model,
            parameters,
            visit,
            (&raw mut memory).cast(),
            message.0.as_mut_ptr(),
            MESSAGE_BYTES,
        )
    };
    if done { Ok(memory) } else { Err(message.text()) }
}

unsafe extern "C" fn visit(
    data: *mut c_void,
    name: *const c_char,
    is_host: bool,
    model_bytes: usize,
    context_bytes: usize,
    compute_bytes: usize,
) {
    // SAFETY: `memory` passes a `MemoryUse` that nothing else touches during the call.
    let memory = unsafe { &mut *data.cast::<MemoryUse>() };
    // SAFETY: buffer types own their names, which end in NUL.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
    let buffer = BufferUse {
        name,
        is_host,
        model_bytes: model_bytes as u64,
        context_bytes: context_bytes as u64,
        compute_bytes: compute_bytes as u64,
    };
    memory.model_bytes += buffer.model_bytes;
    memory.context_bytes += buffer.context_bytes;
    memory.compute_bytes += buffer.compute_bytes;
    memory.buffers.push(buffer);
}

/// Has rearranged weights ask to lie on huge pages, from now on. To be called under the lock of the start.
pub(super) fn ask_for_huge_pages() {
    // SAFETY: it replaces function pointers of statics of ggml, before the first buffer and by one thread at a time.
    unsafe { llama_pajamas_ask_for_huge_pages() }
}

/// llama.cpp's version.
pub(super) fn version() -> &'static str {
    // SAFETY: a constant text that ends in NUL.
    unsafe { CStr::from_ptr(llama_version()) }.to_str().unwrap_or("unknown")
}
