//! How llama.cpp is told to load.
//!
//! Owns: every parameter of a load, metadata overrides, progress out of C++ and cancelling back. May know: checked files,
//! devices. Must not know: what is loaded with them.

use std::any::Any;
use std::ffi::{CString, c_char, c_void};
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use llama_cpp_sys_2::{
    LLAMA_KV_OVERRIDE_TYPE_INT, LLAMA_KV_OVERRIDE_TYPE_STR, LLAMA_LAZY_MODE_OFF, LLAMA_LOAD_MODE_MMAP,
    LLAMA_LOAD_MODE_NONE, LLAMA_SPLIT_MODE_LAYER, ggml_backend_dev_t, llama_model_kv_override,
    llama_model_kv_override__bindgen_ty_1, llama_model_params, llama_supports_mmap,
};

use super::devices;
use super::model::Weights;
use super::validate::ModelFile;
use crate::{Error, LoadSettings};

/// Every parameter of a load. Nothing is left to llama.cpp's defaults.
pub(super) fn parameters(
    settings: &LoadSettings,
    weights: Weights,
    predicts: bool,
    devices: &mut [ggml_backend_dev_t],
    overrides: &[llama_model_kv_override],
    report: &mut Report<'_>,
) -> llama_model_params {
    // Weights that are not read are not mapped either; where they lie does not depend on it.
    // SAFETY: a plain function.
    let mmap = settings.mmap && weights == Weights::Loaded && unsafe { llama_supports_mmap() };
    llama_model_params {
        devices: devices.as_mut_ptr(),
        tensor_buft_overrides: std::ptr::null(),
        n_gpu_layers: i32::try_from(settings.gpu_layers).unwrap_or(i32::MAX),
        split_mode: LLAMA_SPLIT_MODE_LAYER,
        load_mode: if mmap { LLAMA_LOAD_MODE_MMAP } else { LLAMA_LOAD_MODE_NONE },
        lazy_mode: LLAMA_LAZY_MODE_OFF,
        main_gpu: 0,
        tensor_split: std::ptr::null(),
        progress_callback: Some(Report::receive),
        progress_callback_user_data: std::ptr::from_mut(report).cast(),
        kv_overrides: overrides.as_ptr(),
        vocab_only: false,
        check_tensors: settings.check_tensors,
        use_extra_bufts: settings.repack,
        no_host: false,
        no_alloc: weights == Weights::LaidOut,
        load_mtp: predicts,
    }
}

/// Metadata overrides that make llama.cpp skip the vocabulary, ending in an empty one. Tokenizers
/// stand above the engine; without one here a load is faster and smaller, and works for
/// pre-tokenizers that llama.cpp does not know.
pub(super) fn without_vocabulary(file: &ModelFile) -> [llama_model_kv_override; 3] {
    let end = override_int("", 0);
    let n_vocab = override_int(&format!("{}.vocab_size", file.architecture), i64::from(file.n_vocab));
    let mut tokenizer = override_int("tokenizer.ggml.model", 0);
    tokenizer.tag = LLAMA_KV_OVERRIDE_TYPE_STR;
    tokenizer.__bindgen_anon_1 = llama_model_kv_override__bindgen_ty_1 { val_str: fixed_text("none") };
    [tokenizer, n_vocab, end]
}

pub(super) fn override_int(key: &str, value: i64) -> llama_model_kv_override {
    // All of the union is initialised: it is as long as its longest member.
    let mut union = llama_model_kv_override__bindgen_ty_1 { val_str: [0; 128] };
    union.val_i64 = value;
    llama_model_kv_override { tag: LLAMA_KV_OVERRIDE_TYPE_INT, key: fixed_text(key), __bindgen_anon_1: union }
}

/// A text in llama.cpp's fixed room, cut if too long and always ending in NUL.
fn fixed_text(text: &str) -> [c_char; 128] {
    let mut room = [0; 128];
    for (place, byte) in room[..127].iter_mut().zip(text.bytes()) {
        *place = byte as c_char;
    }
    room
}

/// The list of GPUs for llama.cpp, which ends in null; an empty one keeps GPUs out altogether.
pub(super) fn offload_devices(settings: &LoadSettings) -> Result<Vec<ggml_backend_dev_t>, Error> {
    let mut list = match settings.gpu_layers {
        0 if !settings.batches_on_gpus => Vec::new(),
        _ => devices::gpus(settings.devices.as_deref())?,
    };
    list.push(std::ptr::null_mut());
    Ok(list)
}

/// The path as llama.cpp takes it.
pub(super) fn native_path(path: &Path) -> Result<CString, Error> {
    let invalid = |reason: &str| Error::InvalidFile { path: path.to_owned(), reason: reason.to_owned() };
    #[cfg(unix)]
    let bytes = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str());
    #[cfg(not(unix))]
    let bytes = path.to_str().ok_or_else(|| invalid("the path is not Unicode"))?.as_bytes();
    CString::new(bytes).map_err(|_| invalid("the path contains a NUL character"))
}

/// Carries progress out of C++ and the answer back.
pub(super) struct Report<'a> {
    pub(super) progress: &'a mut dyn FnMut(f32) -> ControlFlow<()>,
    pub(super) panic: Option<Box<dyn Any + Send>>,
    pub(super) cancelled: bool,
}

impl Report<'_> {
    unsafe extern "C" fn receive(fraction: f32, report: *mut c_void) -> bool {
        // SAFETY: `load` passes a report that outlives the call and that nothing else touches.
        let report = unsafe { &mut *report.cast::<Report<'_>>() };
        match catch_unwind(AssertUnwindSafe(|| (report.progress)(fraction))) {
            Ok(ControlFlow::Continue(())) => true,
            Ok(ControlFlow::Break(())) => {
                report.cancelled = true;
                false
            }
            Err(panic) => {
                report.panic = Some(panic);
                false
            }
        }
    }
}
