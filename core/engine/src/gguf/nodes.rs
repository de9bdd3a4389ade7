//! Reading what a graph's nodes hold.
//!
//! Owns: names, extents and whole numbers of tensors. May know: ggml's tensors. Must not know: what they mean.

use std::ffi::CStr;

use llama_cpp_sys_2::{GGML_TYPE_I32, ggml_backend_tensor_get, ggml_tensor};

/// The name as the file has it: a copy for another device is called `DEVICE#name#number`.
pub(super) fn name_of(tensor: &ggml_tensor) -> &str {
    // SAFETY: ggml ends names with NUL, within their room.
    let name = unsafe { CStr::from_ptr(tensor.name.as_ptr()) }.to_str().unwrap_or_default();
    name.split('#').nth(1).unwrap_or(name)
}

/// Bytes from a tensor's first value to its last, of types of four bytes.
pub(super) fn bytes_of(tensor: &ggml_tensor) -> usize {
    if tensor.ne.contains(&0) {
        return 0;
    }
    4 + (0..4).map(|dim| (extent(tensor.ne[dim]) - 1) * tensor.nb[dim]).sum::<usize>()
}

pub(super) fn extent(n: i64) -> usize {
    usize::try_from(n).expect("extents are not negative")
}

/// Adds the numbers of a matrix of 32-bit integers, row after row; `raw` is room to work in.
///
/// # Safety
/// The tensor was computed, and lives in a buffer.
pub(super) unsafe fn read_numbers(tensor: &ggml_tensor, raw: &mut Vec<u8>, to: &mut Vec<u32>) {
    let (n_columns, n_rows) = (extent(tensor.ne[0]), extent(tensor.ne[1]));
    debug_assert_eq!(tensor.type_, GGML_TYPE_I32);
    raw.clear();
    raw.resize(bytes_of(tensor), 0);
    // SAFETY: by this function's contract; the tensor spans so many bytes.
    unsafe { ggml_backend_tensor_get(tensor, raw.as_mut_ptr().cast(), 0, raw.len()) };
    for row in 0..n_rows {
        let numbers = &raw[row * tensor.nb[1]..][..n_columns * 4];
        to.extend(numbers.as_chunks::<4>().0.iter().map(|bytes| u32::from_ne_bytes(*bytes)));
    }
}
