//! What all sessions of a loaded model obey: the setting in force, and what the governor makes of the device's signals.
//!
//! Owns the state that sessions share, and the hooks through which an app reports what only it can see. Signals that the
//! system's files tell are read in `watch`. Must not know how a session generates.

mod drive;
mod signals;
mod watch;

pub(crate) use drive::Driver;
pub(crate) use signals::signals_of;
pub use watch::Watch;

use crate::tune::Learning;
use crate::{Error, LoadedModel, Result};
use planner::Choice;
use serde::Serialize;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tuner::{Cause, Conditions, Governor, GovernorSettings, Moved, Reaction, Setting, Signals, Stance};

/// Reactions that are kept for sessions that have not told them yet.
const MAX_REACTIONS: usize = 64;

/// A change of how a model is run, told as [`crate::Event::Change`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The governor reacted to a signal.
    Governed(Reaction),
    /// Steps get another count of threads from here on.
    Paced(Moved),
}

/// Where the setting in force comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SettingFrom {
    /// The plan.
    Plan,
    /// An earlier tuning, which was remembered.
    Cache {
        /// Seconds since it ran.
        age_s: u64,
    },
    /// A tuning of this process.
    Tuning,
}

/// Shared by a loaded model and its sessions.
pub(crate) struct Steering {
    origin: Instant,
    /// Raised by every change, so that sessions look only when there is something new.
    generation: AtomicU64,
    state: Mutex<State>,
    /// Time of the slowest token that the plan expects.
    pub(crate) slowest_expected: Option<Duration>,
    pub(crate) learning: Learning,
}

struct State {
    start: Setting,
    setting: Setting,
    from: SettingFrom,
    /// Most threads that are ever tried.
    max_threads: u32,
    /// Until the governor hears something.
    conditions: Conditions,
    governor: Governor,
    /// With their numbers, counted from 0.
    reactions: Vec<(u64, Reaction)>,
    n_reactions: u64,
}

/// What holds for steps.
pub(crate) struct InForce {
    pub(crate) setting: Setting,
    pub(crate) stance: Stance,
    pub(crate) max_threads: u32,
    /// Since the number that was asked for.
    pub(crate) reactions: Vec<Reaction>,
    pub(crate) n_reactions: u64,
}

impl Steering {
    pub(crate) fn new(choice: &Choice) -> Self {
        let setting = planned_setting(choice);
        let slowest = choice.speed.decode_tokens_per_s[0];
        let state = State {
            start: setting,
            setting,
            from: SettingFrom::Plan,
            max_threads: setting.n_threads.max(setting.n_threads_batch),
            conditions: Conditions::default(),
            governor: Governor::new(governor_settings(&setting)),
            reactions: Vec::new(),
            n_reactions: 0,
        };
        Self {
            origin: Instant::now(),
            generation: AtomicU64::new(0),
            state: Mutex::new(state),
            slowest_expected: (slowest > 0.0)
                .then(|| Duration::try_from_secs_f64(1.0 / slowest).ok())
                .flatten(),
            learning: Learning::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(crate) fn in_force(&self, since: u64) -> InForce {
        let state = self.state();
        let reactions = state.reactions.iter().filter(|(number, _)| *number >= since);
        InForce {
            setting: state.setting,
            stance: state.governor.stance(),
            max_threads: state.max_threads,
            reactions: reactions.map(|(_, reaction)| *reaction).collect(),
            n_reactions: state.n_reactions,
        }
    }

    /// What the plan chose.
    pub(crate) fn start(&self) -> Setting {
        self.state().start
    }

    /// Uses `setting` from now on.
    pub(crate) fn adopt(&self, setting: Setting, from: SettingFrom) {
        let mut state = self.state();
        state.setting = setting;
        state.from = from;
        state.governor.set_threads(setting.n_threads.max(setting.n_threads_batch));
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Lets sessions that are opened from now on try up to so many threads.
    pub(crate) fn set_max_threads(&self, usable_cpus: u32) {
        let mut state = self.state();
        state.max_threads = usable_cpus.max(state.setting.n_threads).max(state.setting.n_threads_batch);
    }

    /// Most threads that are ever tried.
    pub(crate) fn max_threads(&self) -> u32 {
        self.state().max_threads
    }

    /// The conditions under which measurements are made now: the governor's, else those at the start.
    pub(crate) fn conditions(&self) -> Conditions {
        let state = self.state();
        let heard = state.governor.conditions();
        if heard == Conditions::default() { state.conditions } else { heard }
    }

    /// Takes the conditions at the start, without reacting to them.
    pub(crate) fn begin(&self, signals: &Signals) {
        let (power, heat) = (signals.power.unwrap_or_default(), signals.heat.unwrap_or_default());
        self.state().conditions = Conditions { power, heat };
    }

    pub(crate) fn hear(&self, signals: &Signals) -> Vec<Reaction> {
        let mut state = self.state();
        let reactions = state.governor.step(self.origin.elapsed(), signals);
        for reaction in &reactions {
            tracing::info!(target: "llama_pajamas::governor", ?reaction);
            let number = state.n_reactions;
            state.reactions.push((number, *reaction));
            state.n_reactions += 1;
        }
        let excess = state.reactions.len().saturating_sub(MAX_REACTIONS);
        state.reactions.drain(..excess);
        if !reactions.is_empty() {
            self.generation.fetch_add(1, Ordering::Release);
        }
        reactions
    }

    /// # Errors
    /// [`Error::Refused`] while the governor takes no new work.
    pub(crate) fn admit(&self) -> Result<()> {
        match self.state().governor.stance().refused {
            Some(because) => Err(Error::Refused { because: because.text() }),
            None => Ok(()),
        }
    }
}

/// The setting that a plan begins with.
pub(crate) fn planned_setting(choice: &Choice) -> Setting {
    Setting {
        n_threads: choice.n_threads,
        n_threads_batch: choice.n_threads_batch,
        n_ubatch: choice.n_ubatch,
        gpu_layers: choice.gpu_layers,
    }
}

fn governor_settings(setting: &Setting) -> GovernorSettings {
    GovernorSettings::new(setting.n_threads.max(setting.n_threads_batch), setting.n_ubatch.max(512))
}

impl LoadedModel {
    /// Tells what an app knows of the device and nothing else can: thermal state and low-power mode of macOS and iOS,
    /// `AThermal` status and `onTrimMemory` of Android, memory notifications of Windows, being in the background. To be
    /// called on every change; where nothing else watches ([`LoadedModel::watch`]), also every few seconds with
    /// `Signals::default()`, because time relaxes what signals tightened. Sessions obey from their next step on.
    ///
    /// The reactions are returned here and told by every session as [`crate::Event::Change`].
    pub fn report(&self, signals: &Signals) -> Vec<Reaction> {
        self.steering().hear(signals)
    }

    /// What the governor allows at the moment.
    pub fn stance(&self) -> Stance {
        self.steering().state().governor.stance()
    }

    /// Why no new work is taken, where none is: [`crate::Session::generate`] then ends in [`Error::Refused`].
    pub fn refused(&self) -> Option<Cause> {
        self.stance().refused
    }

    /// The setting in force and where it comes from.
    pub fn setting(&self) -> (Setting, SettingFrom) {
        let state = self.steering().state();
        (state.setting, state.from.clone())
    }

    /// Reads this machine's signals every `every` (2 s do) on a thread of its own, as long as the returned value and the
    /// model live; `on_reaction` hears what comes of them, on that thread.
    pub fn watch(&self, every: Duration, on_reaction: impl FnMut(&Reaction) + Send + 'static) -> Watch {
        Watch::start(self.shared_steering(), every, None, Box::new(on_reaction))
    }

    /// The same of the machine below `root` instead of this one: a folder that stands for `/`, or a recorded machine, as
    /// [`hardware::detect_at`] takes them. For what runs in a container and sees the machine elsewhere, and for replays.
    pub fn watch_at(
        &self,
        root: &Path,
        every: Duration,
        on_reaction: impl FnMut(&Reaction) + Send + 'static,
    ) -> Watch {
        Watch::start(self.shared_steering(), every, Some(root.into()), Box::new(on_reaction))
    }
}
