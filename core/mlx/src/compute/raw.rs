//! The operations on packed matrices that MLX's safe layer has for affine grids alone, asked of its C interface.
//! Owns the only calls of that interface; must not know what a matrix is for.

#![allow(unsafe_code)]

use super::Outcome;
use crate::{Grid, Mode};
use mlx_rs::error::Exception;
use mlx_rs::{Array, Stream};
use std::ffi::CStr;

/// Codes with what belongs to them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packed<'a> {
    pub(super) codes: &'a Array,
    pub(super) scales: &'a Array,
    pub(super) biases: Option<&'a Array>,
    pub(super) grid: Grid,
}

impl Packed<'_> {
    fn mode(&self) -> &'static CStr {
        match self.grid.mode {
            Mode::Affine => c"affine",
            Mode::Mxfp4 => c"mxfp4",
            Mode::Mxfp8 => c"mxfp8",
            Mode::Nvfp4 => c"nvfp4",
        }
    }

    fn group(&self) -> mlx_sys::mlx_optional_int {
        stated(self.grid.group)
    }

    fn bits(&self) -> mlx_sys::mlx_optional_int {
        stated(self.grid.bits)
    }

    /// `x` times the matrix, turned: rows of the matrix become columns of the product.
    pub(super) fn times(&self, x: &Array) -> Outcome<Array> {
        let stream = Stream::thread_local_or_default();
        asked("quantized_matmul", |result| {
            // SAFETY: every handle is borrowed from an `Array` or a `Stream` that outlives the call, or is the null handle
            // where the interface says that it may be; the mode is a constant; `result` is a fresh handle of the caller's.
            unsafe {
                mlx_sys::mlx_quantized_matmul(
                    result,
                    x.as_ptr(),
                    self.codes.as_ptr(),
                    self.scales.as_ptr(),
                    handle_or_null(self.biases),
                    true,
                    self.group(),
                    self.bits(),
                    self.mode().as_ptr(),
                    stream.as_ptr(),
                )
            }
        })
    }

    /// The same with matrix `which[i]` of a stack for each place; `sorted` where `which` rises.
    pub(super) fn times_chosen(&self, x: &Array, which: &Array, sorted: bool) -> Outcome<Array> {
        let stream = Stream::thread_local_or_default();
        asked("gather_qmm", |result| {
            // SAFETY: as above.
            unsafe {
                mlx_sys::mlx_gather_qmm(
                    result,
                    x.as_ptr(),
                    self.codes.as_ptr(),
                    self.scales.as_ptr(),
                    handle_or_null(self.biases),
                    handle_or_null(None),
                    which.as_ptr(),
                    true,
                    self.group(),
                    self.bits(),
                    self.mode().as_ptr(),
                    sorted,
                    stream.as_ptr(),
                )
            }
        })
    }

    /// The numbers that the codes stand for.
    pub(super) fn unpacked(&self) -> Outcome<Array> {
        let stream = Stream::thread_local_or_default();
        let own_floats =
            mlx_sys::mlx_optional_dtype { value: mlx_sys::mlx_dtype__MLX_FLOAT32, has_value: false };
        asked("dequantize", |result| {
            // SAFETY: as above.
            unsafe {
                mlx_sys::mlx_dequantize(
                    result,
                    self.codes.as_ptr(),
                    self.scales.as_ptr(),
                    handle_or_null(self.biases),
                    self.group(),
                    self.bits(),
                    self.mode().as_ptr(),
                    handle_or_null(None),
                    own_floats,
                    stream.as_ptr(),
                )
            }
        })
    }
}

/// MLX's version.
pub(super) fn version() -> String {
    // SAFETY: makes an empty text, which is handed to the call that fills it, read while it lives, and freed once. What it
    // points to ends in a zero byte.
    unsafe {
        let mut text = mlx_sys::mlx_string_new();
        let status = mlx_sys::mlx_version(&mut text);
        let data = mlx_sys::mlx_string_data(text);
        let version = match status {
            0 if !data.is_null() => CStr::from_ptr(data).to_string_lossy().into_owned(),
            _ => String::new(),
        };
        mlx_sys::mlx_string_free(text);
        version
    }
}

fn stated(number: u32) -> mlx_sys::mlx_optional_int {
    mlx_sys::mlx_optional_int { value: number as i32, has_value: true }
}

/// The array's handle, still the array's, or the null handle, which nobody needs to free.
fn handle_or_null(array: Option<&Array>) -> mlx_sys::mlx_array {
    array.map_or(mlx_sys::mlx_array { ctx: std::ptr::null_mut() }, Array::as_ptr)
}

/// What `ask` puts into a fresh handle. The safe layer has told MLX where errors go before any array was made, so that an
/// error is a status here, and its words stay there.
fn asked(operation: &str, ask: impl FnOnce(*mut mlx_sys::mlx_array) -> i32) -> Outcome<Array> {
    // SAFETY: makes an empty handle.
    let mut made = unsafe { mlx_sys::mlx_array_new() };
    let status = ask(&mut made);
    // SAFETY: the handle is this function's own, and is handed over once.
    let made = unsafe { Array::from_ptr(made) };
    match status {
        0 => Ok(made),
        status => Err(Exception::custom(format!("{operation} refused its arguments (status {status})"))),
    }
}
