//! Rows of weights into ggml's block formats and back, exactly as llama.cpp does it.
//!
//! Owns: safe wrappers around ggml's reference quantizers. May know: ggml's types. Must not know:
//! files, recipes, threads; every function here is single-threaded and may run on many threads at
//! once. No engine needs to be started.

use std::ffi::c_void;
use std::sync::Once;

use formats::gguf::GgmlType;
use llama_cpp_sys_2::{
    ggml_free, ggml_get_type_traits, ggml_init, ggml_init_params, ggml_quantize_chunk, ggml_quantize_init,
    ggml_quantize_requires_imatrix,
};

use crate::Error;

/// The greatest magnitude that a block format with F16 scales can hold, 65504 · 128. Beyond it the
/// lattice quantizers overflow and end the process.
pub const MAX_MAGNITUDE: f32 = 65504.0 * 128.0;

/// Whether [`quantize_rows`] can make this type.
#[must_use]
pub fn can_quantize(ty: GgmlType) -> bool {
    use GgmlType as T;
    match ty {
        T::F32 | T::F16 | T::BF16 => true,
        T::Q1_0 | T::Q2_0 | T::Q4_0 | T::Q4_1 | T::Q5_0 | T::Q5_1 | T::Q8_0 => true,
        T::Q2_K | T::Q3_K | T::Q4_K | T::Q5_K | T::Q6_K => true,
        T::IQ1_S | T::IQ1_M | T::IQ2_XXS | T::IQ2_XS | T::IQ2_S => true,
        T::IQ3_XXS | T::IQ3_S | T::IQ4_NL | T::IQ4_XS => true,
        T::TQ1_0 | T::TQ2_0 | T::MXFP4 | T::NVFP4 => true,
        T::Q8_1 | T::Q8_K | T::I8 | T::I16 | T::I32 | T::I64 | T::F64 => false,
    }
}

/// Whether [`quantize_rows`] needs an importance matrix for this type. Others may do better with one.
#[must_use]
pub fn requires_imatrix(ty: GgmlType) -> bool {
    // SAFETY: a plain function on a known type id.
    unsafe { ggml_quantize_requires_imatrix(ty.id()) }
}

/// Fills the tables that the lattice types search in (a tenth of a second for the 3-bit ones, seconds
/// for the 1- and 2-bit ones, kept for the life of the process). [`quantize_rows`] does it by itself;
/// call it to choose the moment.
pub fn init(ty: GgmlType) {
    start();
    // SAFETY: a known type id; the function locks.
    unsafe { ggml_quantize_init(ty.id()) };
}

/// Quantizes whole rows of `n_per_row` weights and returns the bytes written to `dst`.
///
/// `src` is row-major, `dst` must be exactly as long as the rows become
/// ([`GgmlType::row_bytes`] · rows). `imatrix` has one importance per column, `n_per_row` in all.
/// Rows are independent: any split of a tensor into groups of rows gives the same bytes.
///
/// # Errors
/// [`Error::UnsupportedType`], [`Error::Length`] for buffers that do not fit the rows, and
/// [`Error::Weight`] for block formats where a weight or an importance is not a number or beyond
/// [`MAX_MAGNITUDE`].
pub fn quantize_rows(
    ty: GgmlType,
    src: &[f32],
    dst: &mut [u8],
    n_per_row: usize,
    imatrix: Option<&[f32]>,
) -> Result<usize, Error> {
    if !can_quantize(ty) {
        return Err(Error::UnsupportedType { ty: ty.name(), reason: "there is no quantizer for it" });
    }
    let n_rows = rows(ty, src.len(), dst.len(), n_per_row)?;
    if requires_imatrix(ty) && imatrix.is_none() {
        return Err(Error::UnsupportedType { ty: ty.name(), reason: "it needs an importance matrix" });
    }
    if let Some(imatrix) = imatrix {
        if imatrix.len() != n_per_row {
            let expected = format!("{n_per_row}, one per column");
            return Err(Error::Length { what: "imatrix", got: imatrix.len(), expected });
        }
        check_importances(imatrix)?;
    }
    if ty.is_quantized() {
        check_weights(src)?;
    }
    start();
    let importances = imatrix.map_or(std::ptr::null(), <[f32]>::as_ptr);
    // SAFETY: the type has a quantizer; `src` holds and `dst` takes `n_rows` whole rows, `imatrix`
    // one value per column; values are in the range that the quantizers handle.
    let written = unsafe {
        ggml_quantize_chunk(
            ty.id(),
            src.as_ptr(),
            dst.as_mut_ptr().cast::<c_void>(),
            0,
            n_rows as i64,
            n_per_row as i64,
            importances,
        )
    };
    debug_assert_eq!(written, dst.len());
    Ok(written)
}

/// Expands quantized blocks to weights. `src` must be exactly as long as `dst.len()` weights are.
///
/// # Errors
/// [`Error::UnsupportedType`], [`Error::Length`].
pub fn dequantize_rows(ty: GgmlType, src: &[u8], dst: &mut [f32]) -> Result<(), Error> {
    let expected = usize::try_from(ty.row_bytes(dst.len() as u64).unwrap_or(u64::MAX)).ok();
    if expected != Some(src.len()) {
        let expected = format!("the bytes of {} weights of {}", dst.len(), ty.name());
        return Err(Error::Length { what: "src", got: src.len(), expected });
    }
    if ty == GgmlType::F32 {
        for (weight, bytes) in dst.iter_mut().zip(src.chunks_exact(4)) {
            *weight = f32::from_le_bytes(bytes.try_into().expect("four bytes"));
        }
        return Ok(());
    }
    // SAFETY: a known type id; the table of traits is constant.
    let traits = unsafe { &*ggml_get_type_traits(ty.id()) };
    let Some(expand) = traits.to_float else {
        return Err(Error::UnsupportedType { ty: ty.name(), reason: "it cannot be expanded to weights" });
    };
    start();
    // SAFETY: both buffers hold `dst.len()` weights, a whole number of blocks. ggml's blocks are made
    // of bytes and 16-bit floats; it reads the latter from `src`, which is copied if not aligned.
    with_alignment(src, |src| unsafe {
        expand(src.cast::<c_void>(), dst.as_mut_ptr(), dst.len() as i64);
    });
    Ok(())
}

/// How many rows there are, if both buffers hold as many.
fn rows(ty: GgmlType, weights: usize, bytes: usize, n_per_row: usize) -> Result<usize, Error> {
    let row_bytes = ty.row_bytes(n_per_row as u64).filter(|_| n_per_row > 0);
    let Some(row_bytes) = row_bytes.and_then(|bytes| usize::try_from(bytes).ok()) else {
        let expected = format!("a multiple of {} for {}", ty.block_len(), ty.name());
        return Err(Error::Length { what: "row", got: n_per_row, expected });
    };
    if weights == 0 || !weights.is_multiple_of(n_per_row) {
        let expected = format!("a multiple of the row length {n_per_row}");
        return Err(Error::Length { what: "src", got: weights, expected });
    }
    let n_rows = weights / n_per_row;
    if n_rows.checked_mul(row_bytes) != Some(bytes) {
        let expected = format!("{n_rows} rows of {row_bytes} bytes");
        return Err(Error::Length { what: "dst", got: bytes, expected });
    }
    Ok(n_rows)
}

fn check_weights(weights: &[f32]) -> Result<(), Error> {
    let fits = |weight: f32| weight.abs() <= MAX_MAGNITUDE;
    // Without an early exit the loop over a chunk becomes vector code.
    for (chunk_index, chunk) in weights.chunks(4096).enumerate() {
        if chunk.iter().fold(true, |all, weight| all & fits(*weight)) {
            continue;
        }
        let index = chunk.iter().position(|weight| !fits(*weight)).expect("one does not fit");
        return Err(Error::Weight {
            what: "weight",
            index: chunk_index * 4096 + index,
            value: chunk[index],
            expected: "a number of magnitude at most 65504 · 128",
        });
    }
    Ok(())
}

fn check_importances(importances: &[f32]) -> Result<(), Error> {
    match importances.iter().position(|importance| !(0.0..f32::INFINITY).contains(importance)) {
        None => Ok(()),
        Some(index) => Err(Error::Weight {
            what: "importance",
            index,
            value: importances[index],
            expected: "a finite number, not negative",
        }),
    }
}

/// Calls `read` with a pointer to `bytes` that is aligned for ggml's blocks.
fn with_alignment(bytes: &[u8], read: impl FnOnce(*const u8)) {
    const ALIGNMENT: usize = 8;
    if bytes.as_ptr().addr().is_multiple_of(ALIGNMENT) {
        return read(bytes.as_ptr());
    }
    let mut copy = vec![0_u64; bytes.len().div_ceil(ALIGNMENT)];
    // SAFETY: the copy has at least as many bytes, and bytes need no alignment.
    unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), copy.as_mut_ptr().cast::<u8>(), bytes.len()) };
    read(copy.as_ptr().cast());
}

/// Fills ggml's conversion tables, once.
fn start() {
    static START: Once = Once::new();
    START.call_once(|| {
        let nothing = ggml_init_params { mem_size: 0, mem_buffer: std::ptr::null_mut(), no_alloc: false };
        // SAFETY: an empty context, freed at once; making it fills the tables.
        unsafe { ggml_free(ggml_init(nothing)) };
    });
}

#[cfg(test)]
#[path = "quantize_tests.rs"]
mod tests;
