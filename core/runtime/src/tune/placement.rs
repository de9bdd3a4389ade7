//! Where layers lie, as a knob: which counts on a device are worth a race and fit beside the model that is loaded, and the
//! placement that an earlier race found.
//! Owns the comparison with free memory; must not race.

use super::key;
use super::store::Store;
use crate::govern::signals_of;
use crate::planned::{context_settings, load_settings};
use crate::{LoadedModel, Runtime};
use engine::{BufferUse, DeviceInfo, DeviceKind, LoadSettings, MemoryUse};
use hardware::Conditions;
use planner::{Candidate, Choice};
use std::path::Path;
use tuner::{Lookup, Setting};

impl Runtime {
    /// Counts of layers to race, the loaded one first; all of them fit into memory at once, so that each is loaded once. The
    /// start alone where there is no device, no dry run to ask, a count that the app asked for, or prompts that are computed with
    /// copies of weights.
    pub(super) fn placements(&self, model: &LoadedModel) -> Vec<u32> {
        let (choice, start) = (model.choice(), model.gpu_layers());
        let known = self.variant(&choice.id).filter(|_| self.engine().has_dry_run() && is_open(choice));
        let (Some(mut device), Some((candidate, path))) = (self.placing_device(choice), known) else {
            return vec![start];
        };
        let all = candidate.description.n_layers.saturating_add(1);
        let mut host_bytes = self.conditions_now().memory.budget_bytes;
        let mut fits = |layers: u32| {
            let Some(measured) = self.measured(choice, &device, path, layers) else { return false };
            let (on_host, on_device) = places(&measured, choice.unified);
            let room = on_host <= host_bytes && on_device <= device.memory_free_bytes;
            if room {
                host_bytes -= on_host;
                device.memory_free_bytes -= on_device;
            }
            room
        };
        let others = tuner::placement_arms(start, all).into_iter().skip(1).filter(|layers| fits(*layers));
        let mut values = vec![start];
        values.extend(others);
        values
    }

    /// The device of the choice; without one, that with most free memory.
    fn placing_device(&self, choice: &Choice) -> Option<DeviceInfo> {
        let devices = self.engine().devices().into_iter();
        let computes = |device: &DeviceInfo| {
            let named = choice.device.as_ref().is_none_or(|name| *name == device.name);
            named && matches!(device.kind, DeviceKind::Gpu | DeviceKind::IntegratedGpu)
        };
        devices.filter(computes).max_by_key(|device| device.memory_free_bytes)
    }

    fn measured(
        &self,
        choice: &Choice,
        device: &DeviceInfo,
        path: &Path,
        gpu_layers: u32,
    ) -> Option<MemoryUse> {
        let n_ctx = u32::try_from(choice.context_tokens).unwrap_or(u32::MAX);
        let context = context_settings(choice, n_ctx, choice.n_ubatch);
        self.engine().measure(path, &placed(choice, Some(&device.name), gpu_layers), &context).ok()
    }

    /// How `model` is loaded again with so many layers on the device.
    pub(super) fn placed_settings(&self, model: &LoadedModel, gpu_layers: u32) -> LoadSettings {
        let device = self.placing_device(model.choice());
        placed(model.choice(), device.as_ref().map(|device| device.name.as_str()), gpu_layers)
    }

    /// What this machine has to spare now; of a machine that was described, what the description said.
    fn conditions_now(&self) -> Conditions {
        if self.is_here() { hardware::conditions() } else { Conditions::of(self.host()) }
    }

    /// The settings for loading `choice`, with the layers where an earlier race on this machine found them faster, if that still
    /// fits `have_bytes` of the host and the device; the count of layers beside.
    pub(crate) fn tuned_placement(
        &self,
        choice: &Choice,
        candidate: &Candidate,
        path: &Path,
        start: Setting,
        have_bytes: impl FnOnce() -> u64,
    ) -> Option<(LoadSettings, u32)> {
        let device = self.placing_device(choice).filter(|_| is_open(choice))?;
        let context = u32::try_from(choice.context_tokens).unwrap_or(u32::MAX);
        let key = key::of(self.host(), self.engine(), path, context, start).ok()?;
        let (cache, _) = Store::new(self.tuning_folder()?).read();
        let signals = signals_of(&Conditions::of(self.host()));
        let (power, heat) = (signals.power.unwrap_or_default(), signals.heat.unwrap_or_default());
        let conditions = tuner::Conditions { power, heat };
        let Lookup::Hit(tuned) = cache.lookup(&key, conditions, super::now_unix_s(), super::MAX_AGE_S) else {
            return None;
        };
        let layers = tuned.setting.gpu_layers;
        if layers == choice.gpu_layers || layers > candidate.description.n_layers.saturating_add(1) {
            return None;
        }
        let measured = self.measured(choice, &device, path, layers)?;
        let (on_host, on_device) = places(&measured, choice.unified);
        let on_host = on_host.saturating_add(choice.memory.overhead_bytes);
        (on_host <= have_bytes() && on_device <= device.memory_free_bytes)
            .then(|| (placed(choice, Some(&device.name), layers), layers))
    }
}

/// Whether layers may lie elsewhere than planned.
fn is_open(choice: &Choice) -> bool {
    !choice.copies_weights && !choice.layers_asked
}

/// Bytes in the host's memory and on the device.
fn places(measured: &MemoryUse, unified: bool) -> (u64, u64) {
    let of = |host: bool| -> u64 {
        let buffers = measured.buffers.iter().filter(|buffer| (buffer.is_host || unified) == host);
        buffers.map(BufferUse::total_bytes).fold(0, u64::saturating_add)
    };
    (of(true), of(false))
}

fn placed(choice: &Choice, device: Option<&str>, gpu_layers: u32) -> LoadSettings {
    let devices = device.map(|name| vec![name.to_owned()]);
    LoadSettings { gpu_layers, devices, ..load_settings(choice) }
}
