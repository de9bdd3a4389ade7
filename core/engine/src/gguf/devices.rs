//! The devices that ggml knows.
//!
//! Owns: reading ggml's device registry. May know: nothing else. Must not know: which device a
//! model should use.

use std::ffi::{CStr, c_char};

use llama_cpp_sys_2::{
    GGML_BACKEND_DEVICE_TYPE_ACCEL, GGML_BACKEND_DEVICE_TYPE_GPU, GGML_BACKEND_DEVICE_TYPE_IGPU,
    ggml_backend_buft_get_max_size, ggml_backend_dev_buffer_type, ggml_backend_dev_count,
    ggml_backend_dev_description, ggml_backend_dev_get, ggml_backend_dev_memory, ggml_backend_dev_name,
    ggml_backend_dev_t, ggml_backend_dev_type,
};

use crate::{DeviceInfo, DeviceKind, Error};

/// All devices, in ggml's order.
pub(super) fn list() -> Vec<DeviceInfo> {
    registered().into_iter().map(describe).collect()
}

/// The GPUs with these names, or all of them.
pub(super) fn gpus(names: Option<&[String]>) -> Result<Vec<ggml_backend_dev_t>, Error> {
    let gpus: Vec<_> = registered().into_iter().filter(|device| is_gpu(kind(*device))).collect();
    let Some(names) = names else {
        return Ok(prefer_discrete(gpus));
    };
    names
        .iter()
        .map(|wanted| {
            gpus.iter().copied().find(|device| describe(*device).name == *wanted).ok_or_else(|| {
                let there: Vec<_> = gpus.iter().map(|device| describe(*device).name).collect();
                Error::setting("devices", wanted, format!("one of the GPUs {there:?}"))
            })
        })
        .collect()
}

/// Integrated GPUs share the CPU's memory: they are used where there is no other GPU.
fn prefer_discrete(gpus: Vec<ggml_backend_dev_t>) -> Vec<ggml_backend_dev_t> {
    let discrete: Vec<_> = gpus.iter().copied().filter(|gpu| kind(*gpu) == DeviceKind::Gpu).collect();
    if discrete.is_empty() { gpus } else { discrete }
}

fn is_gpu(kind: DeviceKind) -> bool {
    matches!(kind, DeviceKind::Gpu | DeviceKind::IntegratedGpu)
}

fn registered() -> Vec<ggml_backend_dev_t> {
    // SAFETY: the registry does not change after the start; indices are below its count.
    unsafe { (0..ggml_backend_dev_count()).map(|index| ggml_backend_dev_get(index)).collect() }
}

fn kind(device: ggml_backend_dev_t) -> DeviceKind {
    // SAFETY: the device is from the registry.
    match unsafe { ggml_backend_dev_type(device) } {
        GGML_BACKEND_DEVICE_TYPE_GPU => DeviceKind::Gpu,
        GGML_BACKEND_DEVICE_TYPE_IGPU => DeviceKind::IntegratedGpu,
        GGML_BACKEND_DEVICE_TYPE_ACCEL => DeviceKind::Accelerator,
        _ => DeviceKind::Cpu,
    }
}

/// The largest buffer of a GPU, where its driver bounds it.
fn largest_allocation(device: ggml_backend_dev_t) -> Option<u64> {
    if !is_gpu(kind(device)) {
        return None;
    }
    // SAFETY: the device is from the registry, which keeps its type of buffers; a null type is not asked.
    let largest = unsafe {
        let buffers = ggml_backend_dev_buffer_type(device);
        if buffers.is_null() { usize::MAX } else { ggml_backend_buft_get_max_size(buffers) }
    };
    (largest != usize::MAX).then_some(largest as u64)
}

fn describe(device: ggml_backend_dev_t) -> DeviceInfo {
    let (mut free, mut total) = (0, 0);
    // SAFETY: the device is from the registry, the two places are valid for the call.
    unsafe { ggml_backend_dev_memory(device, &raw mut free, &raw mut total) };
    // SAFETY: the device is from the registry; it owns both texts.
    let (name, description) =
        unsafe { (text(ggml_backend_dev_name(device)), text(ggml_backend_dev_description(device))) };
    DeviceInfo {
        name,
        description,
        kind: kind(device),
        memory_total_bytes: total as u64,
        memory_free_bytes: free as u64,
        max_allocation_bytes: largest_allocation(device),
    }
}

/// # Safety
/// `text` is null or points to a text that ends in NUL.
unsafe fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: by this function's contract.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
