//! Arguments as C hands them over, checked.
//!
//! Owns: texts, references, places for results, and option structs that carry their size. May
//! know: failures. Must not know: what arguments mean.

use std::ffi::{CStr, CString, c_char};

use serde::Serialize;

use llama_pajamas::ErrorCode;

use crate::error::Failure;
use crate::handles::{self, Handle};

/// A text that must be there.
///
/// # Safety
/// `text` is null or ends in NUL and stays unchanged while the result is used.
pub(crate) unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<&'a str, Failure> {
    // SAFETY: by this function's contract.
    unsafe { optional_text(text, name) }?.ok_or_else(|| null(name))
}

/// A text that may be null.
///
/// # Safety
/// As [`text`].
pub(crate) unsafe fn optional_text<'a>(text: *const c_char, name: &str) -> Result<Option<&'a str>, Failure> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: by this function's contract.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(Some).map_err(|error| Failure::invalid(format!("{name} is not UTF-8: {error}")))
}

/// `count` items that must be there unless `count` is 0.
///
/// # Safety
/// `items` is null or points to `count` items that stay unchanged while the result is used.
pub(crate) unsafe fn items<'a, T>(items: *const T, count: usize, name: &str) -> Result<&'a [T], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    if items.is_null() || count > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(null(name));
    }
    // SAFETY: by this function's contract; the length was checked.
    Ok(unsafe { std::slice::from_raw_parts(items, count) })
}

/// A place for a result, cleared.
pub(crate) struct Place<T>(*mut *mut T);

impl<T> Place<T> {
    /// # Safety
    /// `place` is null or valid for writes until the call ends.
    pub(crate) unsafe fn new(place: *mut *mut T, name: &str) -> Result<Self, Failure> {
        if place.is_null() {
            return Err(null(name));
        }
        // SAFETY: by this function's contract.
        unsafe { place.write(std::ptr::null_mut()) };
        Ok(Self(place))
    }

    /// Hands `value` to the caller.
    pub(crate) fn fill(self, value: *mut T) {
        // SAFETY: `new` promised that the place is valid.
        unsafe { self.0.write(value) };
    }
}

impl<T: Handle> Place<T> {
    /// Hands a handle of `object` to the caller.
    pub(crate) fn fill_object(self, object: T::Object) {
        self.fill(handles::insert(object));
    }
}

/// A place for a number.
pub(crate) struct Number(*mut usize);

impl Number {
    /// # Safety
    /// `place` is null or valid for writes until the call ends.
    pub(crate) unsafe fn new(place: *mut usize, name: &str) -> Result<Self, Failure> {
        if place.is_null() {
            return Err(null(name));
        }
        // SAFETY: by this function's contract.
        unsafe { place.write(0) };
        Ok(Self(place))
    }

    /// Hands `value` to the caller.
    pub(crate) fn fill(self, value: usize) {
        // SAFETY: `new` promised that the place is valid.
        unsafe { self.0.write(value) };
    }
}

/// Copies as many of `values` as there is room for to the caller's array, which may be null where there is room for none.
///
/// # Safety
/// `array` is null or valid for writes of `capacity` values.
pub(crate) unsafe fn copy_out<T: Copy>(values: &[T], array: *mut T, capacity: usize) {
    let count = values.len().min(capacity);
    if !array.is_null() && count > 0 {
        // SAFETY: by this function's contract; the values are elsewhere.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), array, count) };
    }
}

/// One of `values` by its number.
pub(crate) fn one_of<T: Copy>(number: u32, values: &[T], name: &str) -> Result<T, Failure> {
    values.get(number as usize).copied().ok_or_else(|| {
        Failure::invalid(format!("{name} is {number}, expected 0 to {}", values.len().saturating_sub(1)))
    })
}

impl Place<c_char> {
    /// Hands `text` to the caller.
    pub(crate) fn fill_text(self, text: &str) {
        let text = CString::new(text.replace('\0', "\u{fffd}")).expect("NUL was replaced just now");
        self.fill(text.into_raw());
    }

    /// Hands `value` to the caller as JSON.
    pub(crate) fn fill_json(self, value: &impl Serialize) -> Result<(), Failure> {
        self.fill_text(&text_of(value)?);
        Ok(())
    }
}

/// `value` as JSON.
pub(crate) fn text_of(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::new(ErrorCode::Internal, error.to_string()))
}

/// A struct of options whose first field is its size in bytes, a `usize`.
///
/// # Safety
/// The type is `repr(C)`, its first field is the size, and every bit pattern is a value.
pub(crate) unsafe trait Options: Copy {
    /// What an absent struct and absent fields mean.
    fn defaults() -> Self;
}

/// The caller's options, laid over the defaults: fields beyond the caller's struct keep theirs.
///
/// # Safety
/// `options` is null or points to a struct whose size is in its first field.
pub(crate) unsafe fn options<T: Options>(options: *const T) -> Result<T, Failure> {
    let mut result = T::defaults();
    // SAFETY: both structs begin with their size, and every bit pattern is a value.
    unsafe { lay_over(options.cast(), (&raw mut result).cast(), size_of::<T>()) }?;
    Ok(result)
}

/// Copies the caller's struct, as far as both go; once for all of them, since each byte counts.
///
/// # Safety
/// `options` is null or points to as many bytes as stand there, `result` is valid for writes of `size` bytes.
#[inline(never)]
unsafe fn lay_over(options: *const usize, result: *mut u8, size: usize) -> Result<(), Failure> {
    if options.is_null() {
        return Ok(());
    }
    // SAFETY: the first field is the size.
    let own = unsafe { options.read() };
    if own < size_of::<usize>() {
        return Err(Failure::invalid("struct_size is not set: use the init function of the options"));
    }
    // SAFETY: both are at least that long.
    unsafe { std::ptr::copy_nonoverlapping(options.cast::<u8>(), result, own.min(size)) };
    Ok(())
}

/// Fills the caller's struct, as far as it goes, with defaults, and sets its size.
///
/// # Safety
/// `options` is null or valid for writes of `size` bytes.
pub(crate) unsafe fn init_options<T: Options>(options: *mut T, size: usize) {
    let defaults = T::defaults();
    // SAFETY: by this function's contract.
    unsafe { fill(options.cast(), size, (&raw const defaults).cast(), size_of::<T>()) };
}

/// The same of any struct.
///
/// # Safety
/// `options` is null or valid for writes of `size` bytes, `defaults` for reads of `known`.
#[inline(never)]
unsafe fn fill(options: *mut u8, size: usize, defaults: *const u8, known: usize) {
    if options.is_null() || size < size_of::<usize>() {
        return;
    }
    // SAFETY: by this function's contract; the tail that this version does not know is zeroed.
    unsafe {
        options.write_bytes(0, size);
        std::ptr::copy_nonoverlapping(defaults, options, size.min(known));
        options.cast::<usize>().write_unaligned(size);
    }
}

fn null(name: &str) -> Failure {
    Failure::invalid(format!("{name} is null"))
}
