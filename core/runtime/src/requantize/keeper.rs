//! What the working thread asks between two pieces of work: whether to go on, to wait or to end. Owns the state that it shares
//! with the app, and the reading of signals; must not know what the work is.

use super::patience::Patience;
use super::request::{Progress, Request, Stage};
use crate::govern::signals_of;
use engine::CancelToken;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tuner::Signals;

/// Between two looks at whether a pause or the app's patience is over.
const NAP: Duration = Duration::from_millis(50);

/// Between the app and the thread.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) cancel: CancelToken,
    progress: Mutex<Progress>,
    news: Mutex<Vec<Signals>>,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self { cancel: CancelToken::new(), progress: Mutex::default(), news: Mutex::default() }
    }

    pub(super) fn progress(&self) -> Progress {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self, signals: &Signals) {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).push(*signals);
    }

    fn set(&self, progress: Progress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }
}

pub(super) struct Keeper {
    shared: Arc<Shared>,
    patience: Patience,
    origin: Instant,
    deadline: Option<Instant>,
    /// When signals were read last.
    looked: Option<Instant>,
    look_every: Duration,
    machine: Option<PathBuf>,
    is_here: bool,
    pub(super) out_of_time: bool,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>, request: &Request, is_here: bool) -> Self {
        let origin = Instant::now();
        Self {
            shared,
            patience: Patience::new(request.wait_for_mains, request.calm_for),
            origin,
            deadline: request.time_budget.and_then(|budget| origin.checked_add(budget)),
            looked: None,
            look_every: request.look_every,
            machine: request.machine.clone(),
            is_here,
            out_of_time: false,
        }
    }

    /// A stage that nobody can break off.
    pub(super) fn mark(&self, stage: Stage) {
        self.shared.set(Progress { stage, ..Progress::default() });
    }

    /// Tells where the work stands, waits as long as the device's signals ask for it, and ends it when the app or the time does.
    pub(super) fn heed(
        &mut self,
        stage: Stage,
        done: u64,
        total: u64,
        eta: Option<Duration>,
    ) -> ControlFlow<()> {
        loop {
            let paused = self.look();
            self.shared.set(Progress { stage, done, total, eta, paused });
            if self.shared.cancel.is_cancelled() {
                return ControlFlow::Break(());
            }
            if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                self.out_of_time = true;
                return ControlFlow::Break(());
            }
            if paused.is_none() {
                return ControlFlow::Continue(());
            }
            std::thread::sleep(NAP);
        }
    }

    fn look(&mut self) -> Option<tuner::Cause> {
        let due = self.looked.is_none_or(|looked| looked.elapsed() >= self.look_every);
        if due {
            self.looked = Some(Instant::now());
            let conditions = match &self.machine {
                Some(machine) => hardware::conditions_at(machine).ok(),
                None => self.is_here.then(hardware::conditions),
            };
            // What cannot be read now may be readable the next time.
            if let Some(now) = conditions {
                self.patience.hear(&signals_of(&now));
            }
        }
        let news = std::mem::take(&mut *self.shared.news.lock().unwrap_or_else(PoisonError::into_inner));
        news.iter().for_each(|news| self.patience.hear(news));
        self.patience.step(self.origin.elapsed())
    }
}
