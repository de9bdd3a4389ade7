//! What an app tells of the device, and the watch that reads what the system tells.

use std::sync::Mutex;
use std::time::Duration;

use llama_pajamas::{Change, LoadedModel, Watch};

use super::owned::Owned;
use crate::event::text_of;
use crate::signals::{lp_signals, lp_watch};

/// How hot the device is.
#[derive(Clone, Copy, Debug, uniffi::Enum)]
#[repr(u8)]
pub enum Heat {
    /// Android's thermal status 0 and 1, Apple's nominal and fair.
    Cool = 0,
    /// 2 and 3; serious.
    Warm = 1,
    /// 4 and above; critical.
    Hot = 2,
}

/// How much memory is left.
#[derive(Clone, Copy, Debug, uniffi::Enum)]
#[repr(u8)]
pub enum MemoryLevel {
    /// Enough.
    Enough = 0,
    /// The system asks for some back.
    Low = 1,
    /// The system is about to end processes.
    Critical = 2,
}

/// Where the device's power comes from.
#[derive(Clone, Copy, Debug, uniffi::Enum)]
#[repr(u8)]
pub enum Power {
    /// Mains.
    Mains = 0,
    /// Battery.
    Battery = 1,
}

/// What is new of the device; none: nothing new.
#[derive(Clone, Debug, uniffi::Record)]
pub struct Signals {
    /// Heat.
    #[uniffi(default)]
    pub heat: Option<Heat>,
    /// Memory.
    #[uniffi(default)]
    pub memory: Option<MemoryLevel>,
    /// Hardware threads that the process may use.
    #[uniffi(default)]
    pub usable_cpus: Option<u32>,
    /// Power.
    #[uniffi(default)]
    pub power: Option<Power>,
    /// Whether the user asked to save energy.
    #[uniffi(default)]
    pub saver: Option<bool>,
    /// Whether the app is in the background.
    #[uniffi(default)]
    pub background: Option<bool>,
}

impl Signals {
    /// As C has it: below 0 is nothing new.
    pub(crate) fn told(&self) -> lp_signals {
        lp_signals {
            struct_size: size_of::<lp_signals>(),
            heat: self.heat.map_or(-1, |heat| heat as i32),
            memory: self.memory.map_or(-1, |memory| memory as i32),
            usable_cpus: self.usable_cpus.unwrap_or(0),
            power: self.power.map_or(-1, |power| power as i32),
            saver: self.saver.map_or(-1, i32::from),
            background: self.background.map_or(-1, i32::from),
        }
    }
}

/// Reads the device's signals for one model.
#[derive(uniffi::Object)]
pub struct NativeWatch(pub(crate) Owned<lp_watch>);

#[uniffi::export]
impl NativeWatch {
    /// Ends it and waits until its listener has run for the last time. Not to be called by that listener. May be called again.
    pub fn release(&self) {
        self.0.close();
    }
}

/// A watch that tells every reaction as JSON.
pub(crate) fn watch(
    model: &LoadedModel,
    every_ms: u32,
    hear: impl Fn(String) + Send + 'static,
) -> Mutex<Watch> {
    let every = Duration::from_millis(u64::from(every_ms.max(1)));
    Mutex::new(model.watch(every, move |reaction| hear(text_of(&Change::Governed(*reaction)))))
}
