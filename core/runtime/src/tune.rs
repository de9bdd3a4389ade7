//! Tuning a loaded model on this machine, comparing variants on it, and remembering what came of both.
//!
//! Owns the calls that users make, and which knobs there are here. The race is the tuner's; contexts are opened and timed
//! in `bench`; the file is kept by `store`. Never runs on its own: an app calls it when it is idle.

mod audits;
mod bench;
mod compare;
mod key;
mod learn;
mod placement;
mod speeds;
mod store;

pub use compare::{CompareSettings, CompareStep, Comparison, Unmeasured};
pub(crate) use learn::Learning;
pub use store::TUNING_FILE;

use crate::govern::{SettingFrom, signals_of};
use crate::{Error, LoadedModel, Result, Runtime};
use audits::Audits;
use bench::EngineBench;
use bundle::Bundle;
use engine::{CancelToken, Engine, Form};
use hardware::{Conditions, Host};
use planner::speed::Observation;
use planner::{Candidate, MeasuredSpeed, Residuals};
use serde::Serialize;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use store::Store;
use tuner::{
    Exactness, Halt, Knob, KnobArms, Lookup, Miss, Setting, Topology, TuneReport, TuneSettings, TuneStep,
    Tuned,
};

/// What was tuned longer ago is measured again.
const MAX_AGE_S: u64 = 90 * 86_400;

/// What the cache said when the model was loaded.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recall {
    /// What was used of it.
    pub tuned: Option<Tuned>,
    /// Why nothing was.
    pub miss: Option<Miss>,
    /// Why the file was left aside, where it could not be read.
    pub problem: Option<String>,
    /// Time for reading the file and looking it up.
    pub took: Duration,
}

impl Runtime {
    /// Races settings of `model` on this machine for at most [`TuneSettings::budget`] (12 s) and uses the best from now on:
    /// sessions obey from their next answer on, later starts find it in the tuning folder, if there is one
    /// ([`crate::RuntimeSettings::tuning_folder`]). Where layers lie is raced too, if a device is there and the placements fit
    /// into memory at once; another one holds from the next load on. Weights and types of the cache stay as they are.
    ///
    /// `progress` hears every few blocks and may stop it, as `cancel` can from anywhere; what is known by then is kept only
    /// if it is sure. Nothing else should be computed meanwhile, above all not before the first answer.
    ///
    /// # Errors
    /// A model that writes nothing; what the engine reports. Being stopped, by `cancel`, heat or want of memory, is no
    /// error: [`TuneReport::halted`].
    pub fn tune(
        &self,
        model: &LoadedModel,
        settings: &TuneSettings,
        cancel: &CancelToken,
        progress: &mut dyn FnMut(&TuneStep<'_>) -> ControlFlow<()>,
    ) -> Result<TuneReport> {
        if model.form() != Form::Decoder {
            let expected = "a model that writes what follows a prompt".into();
            return Err(Error::Request { what: "tune", expected, got: "an encoder".into() });
        }
        let steering = model.steering();
        let knobs = self.knobs(model);
        let place = |layers: u32| self.placed(model, layers);
        let mut bench = EngineBench::open(model, &knobs, self.is_here(), cancel, &place)?;
        // What is loaded is where everything is compared with.
        let start = Setting { gpu_layers: model.gpu_layers(), ..steering.start() };
        let report = tuner::tune(start, &knobs, settings, &mut bench, progress);
        if let Some(error) = bench.take_error() {
            return Err(error);
        }
        let sure = match report.halted {
            None => true,
            // What was found before conditions changed was found under good ones.
            Some(Halt::Cancelled | Halt::Heat | Halt::Memory | Halt::Energy) => {
                report.setting != report.start
            }
            Some(Halt::Failed) => false,
        };
        if sure {
            steering.adopt(report.setting, SettingFrom::Tuning);
            if report.halted.is_none() {
                steering.learning.remember(steering.conditions(), tuned(&report));
            }
        }
        Ok(report)
    }

    /// `model` with its weights loaded once more, with so many layers on the device.
    fn placed(&self, model: &LoadedModel, gpu_layers: u32) -> Result<LoadedModel> {
        let known = self.variant(&model.choice().id).ok_or_else(|| Error::Request {
            what: "tune",
            expected: "a model that this runtime loaded".into(),
            got: model.choice().id.clone(),
        });
        model.loaded_again(self.engine(), known?.1, &self.placed_settings(model, gpu_layers))
    }

    /// The knobs and their arms for `model` on this machine, in the order in which they are raced.
    fn knobs(&self, model: &LoadedModel) -> Vec<KnobArms> {
        let cpu = &self.host().cpu;
        let topology = Topology {
            usable_cpus: cpu.usable_cpus,
            usable_cores: cpu.usable_cores,
            fast_cores: cpu.fast_cores,
        };
        let start = model.steering().start();
        let mut knobs = vec![
            KnobArms {
                knob: Knob::DecodeThreads,
                values: tuner::thread_arms(start.n_threads, topology),
                exactness: Exactness::BitExact,
            },
            KnobArms {
                knob: Knob::BatchThreads,
                values: tuner::batch_arms(start.n_threads_batch, topology),
                exactness: Exactness::BitExact,
            },
            KnobArms {
                knob: Knob::Ubatch,
                values: tuner::ubatch_arms(start.n_ubatch),
                exactness: Exactness::RoundingOnly,
            },
        ];
        let values = self.placements(model);
        if values.len() > 1 {
            knobs.push(KnobArms { knob: Knob::Placement, values, exactness: Exactness::RoundingOnly });
        }
        knobs
    }

    /// Uses what was tuned before for this model on this machine, and keeps what normal use shows from now on.
    pub(crate) fn recall(&self, model: &LoadedModel, path: &Path, folder: &Path, candidate: &Candidate) {
        let begin = Instant::now();
        let steering = model.steering();
        steering.begin(&signals_of(&Conditions::of(self.host())));
        let context = u32::try_from(model.choice().context_tokens).unwrap_or(u32::MAX);
        let key = match key::of(self.host(), self.engine(), path, context, steering.start()) {
            Ok(key) => key,
            Err(error) => {
                tracing::warn!(%error, "nothing is remembered of this model");
                return;
            }
        };
        let store = Store::new(folder);
        let (cache, problem) = store.read();
        if let Some(problem) = &problem {
            tracing::warn!(path = %store.path().display(), %problem, "the tuning file is left aside");
        }
        let now = now_unix_s();
        let (tuned, miss) = match cache.lookup(&key, steering.conditions(), now, MAX_AGE_S) {
            Lookup::Hit(tuned) => (Some(tuned), None),
            Lookup::Miss(miss) => (None, Some(miss)),
        };
        if let Some(tuned) = tuned {
            let age_s = now.saturating_sub(tuned.at_unix_s);
            steering.adopt(tuned.setting, SettingFrom::Cache { age_s });
        }
        let recall = Recall { tuned, miss, problem, took: begin.elapsed() };
        let machine = key::machine(self.host(), self.engine());
        let speeds = speeds::Speeds::of(folder, machine, candidate, model.choice());
        let machine = key::machine(self.host(), self.engine());
        let audits = Audits { folder: folder.into(), machine, model: key.model.clone() };
        steering.learning.begin(store, key, recall, speeds, audits);
    }
}

/// Speeds that normal use has shown on this machine, for plans.
pub(crate) fn seen_speeds(host: &Host, engine: &dyn Engine, folder: &Path) -> Vec<Observation> {
    speeds::read(folder, &key::machine(host, engine))
}

/// What earlier loads on this machine showed of memory, for plans.
pub(crate) fn seen_memory(host: &Host, engine: &dyn Engine, folder: &Path) -> Residuals {
    audits::residuals(folder, &key::machine(host, engine))
}

/// Speeds that comparing variants of `bundle` on this machine has shown, for plans.
pub(crate) fn compared(
    host: &Host,
    engine: &dyn Engine,
    folder: &Path,
    bundle: &Bundle,
) -> Vec<MeasuredSpeed> {
    compare::recall(folder, &key::machine(host, engine), &compare::of_bundle(bundle))
}

impl LoadedModel {
    /// What the tuning folder said when the model was loaded; `None` where there is no folder.
    pub fn recall(&self) -> Option<Recall> {
        self.steering().learning.recall()
    }

    /// Writes what normal use has shown to the tuning folder now. Done once a minute, and when the model is let go.
    ///
    /// # Errors
    /// A folder that cannot be written to.
    pub fn save_learning(&self) -> Result<()> {
        Ok(self.steering().learning.save()?)
    }
}

fn tuned(report: &TuneReport) -> Tuned {
    let moved = report.setting.gpu_layers != report.start.gpu_layers;
    let decode = if moved { Knob::Placement } else { Knob::DecodeThreads };
    Tuned {
        setting: report.setting,
        decode_tokens_per_s: report.tokens_per_s(decode),
        prompt_tokens_per_s: report.tokens_per_s(Knob::BatchThreads),
        at_unix_s: now_unix_s(),
    }
}

fn now_unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
