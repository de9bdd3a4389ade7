//! What is handed to the caller and comes back to be freed.
//!
//! Owns: freeing texts and bytes, and counting objects. May know: handles. Must not know: what they hold.

use std::ffi::{CString, c_char};

use crate::guard::freeing;
use crate::handles;

/// Frees a text that this library handed out through a parameter. NULL is ignored. Texts are memory of their own: freeing one twice is
/// a defect of the caller.
///
/// # Safety
/// `text` is null or was handed out by this library and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_string_free(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: by this function's contract.
        freeing(|| drop(unsafe { CString::from_raw(text) }));
    }
}

/// Frees bytes that this library handed out, with the length that came with them. NULL is ignored.
///
/// # Safety
/// `bytes` is null or was handed out by this library with this length and is not used again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn lp_bytes_free(bytes: *mut u8, n_bytes: usize) {
    if !bytes.is_null() {
        let bytes = std::ptr::slice_from_raw_parts_mut(bytes, n_bytes);
        // SAFETY: by this function's contract they are a box of this length.
        freeing(|| drop(unsafe { Box::from_raw(bytes) }));
    }
}

/// Objects that were opened and not freed yet, in the whole process: runtimes, models, adapters, sessions, streams, embedders and
/// watches. For tests: what an app forgot to free, a leak checker does not see, because the library knows of it.
#[unsafe(no_mangle)]
pub extern "C" fn lp_live_objects() -> usize {
    handles::count()
}
