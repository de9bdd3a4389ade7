//! Layers on a GPU, where a GPU backend is built in. Needs a device; a software one will do
//! (Vulkan: Mesa's lavapipe, see `scripts/test-vulkan`).

use llama_pajamas_engine::{CancelToken, DeviceKind, LoadSettings, Logits};

use crate::tiny_model::{N_LAYERS, TinyModel};
use crate::{assert_close, engine, no_progress, reference, settings, tokens};

#[test]
fn layers_on_a_gpu_give_what_the_reference_gives() {
    let engine = engine();
    let gpu = |kind| matches!(kind, DeviceKind::Gpu | DeviceKind::IntegratedGpu);
    let devices = engine.devices();
    let device = devices.iter().find(|device| gpu(device.kind));
    let device = device.unwrap_or_else(|| panic!("no GPU among {devices:?}"));
    let sentence = tokens(40);
    let expected = reference::logits(&TinyModel::new(), &sentence);
    let dir = tempfile::tempdir().unwrap();
    let path = TinyModel::new().write(dir.path());
    for gpu_layers in [1, N_LAYERS as u32, u32::MAX] {
        let devices = Some(vec![device.name.clone()]);
        let how = LoadSettings { gpu_layers, devices, ..LoadSettings::default() };
        let model = engine.load(&path, &how, &mut no_progress).unwrap();
        let mut context = model.new_context(&settings()).unwrap();
        context.decode(&sentence, Logits::All, &CancelToken::new()).unwrap();
        for (row, expected) in expected.iter().enumerate() {
            // GPUs may compute products in half precision.
            assert_close(context.logits(row).unwrap(), expected, 0.05);
        }
        let on_gpu = |buffer: &&llama_pajamas_engine::BufferUse| buffer.name.starts_with(&device.name);
        let memory = context.memory();
        let bytes: u64 = memory.buffers.iter().filter(on_gpu).map(|buffer| buffer.model_bytes).sum();
        assert!(bytes > 0, "{gpu_layers} layers, nothing on {}: {memory:?}", device.name);
    }
}
