//! What an engine's devices are to the planner and to a host's description. Knows their names; must not open anything.

use engine::{DeviceKind, Engine};
use hardware::{Host, SuppliedDevice};
use planner::{Backend, BackendDevice};

/// The devices of an engine beside the processor, as the planner takes them.
pub fn backend_devices(engine: &dyn Engine, host: &Host) -> Vec<BackendDevice> {
    let gpus = engine.devices().into_iter().filter(|device| device.kind != DeviceKind::Cpu);
    let device = |device: engine::DeviceInfo| {
        let backend = backend_of(&device.name);
        // Metal calls every device of its own kind a GPU.
        let shares = device.kind == DeviceKind::IntegratedGpu || backend == Backend::Metal;
        let unified = shares && host.memory.unified;
        let (free_bytes, max_allocation_bytes) = (device.memory_free_bytes, device.max_allocation_bytes);
        BackendDevice { backend, name: device.name, free_bytes, unified, max_allocation_bytes }
    };
    gpus.map(device).collect()
}

/// The devices of an engine that compute beside the processor, in the form in which a host's description takes them.
pub fn supplied_devices(engine: &dyn Engine) -> Vec<SuppliedDevice> {
    let computes = |kind| matches!(kind, DeviceKind::Gpu | DeviceKind::IntegratedGpu);
    let gpus = engine.devices().into_iter().filter(|device| computes(device.kind));
    gpus.map(|device| SuppliedDevice {
        name: device.description,
        memory_bytes: device.memory_total_bytes,
        free_bytes: device.memory_free_bytes,
        unified: device.kind == DeviceKind::IntegratedGpu,
        ..SuppliedDevice::default()
    })
    .collect()
}

fn backend_of(device: &str) -> Backend {
    const NAMES: [(&str, Backend); 5] = [
        ("Vulkan", Backend::Vulkan),
        ("CUDA", Backend::Cuda),
        ("Metal", Backend::Metal),
        ("GPUOpenCL", Backend::Opencl),
        ("HTP", Backend::Hexagon),
    ];
    NAMES.iter().find(|(name, _)| device.starts_with(name)).map_or(Backend::Cpu, |(_, backend)| *backend)
}
