//! A thread that reads the machine's signals every few seconds. Knows how to wait; must not decide anything.

use super::{Steering, signals_of};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;
use tuner::Reaction;

/// Watches until it is dropped.
pub struct Watch {
    /// Closed to end the thread.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    pub(super) fn start(
        steering: &Arc<Steering>,
        every: Duration,
        root: Option<PathBuf>,
        mut on_reaction: Box<dyn FnMut(&Reaction) + Send>,
    ) -> Self {
        let conditions = move || match &root {
            None => Ok(hardware::conditions()),
            Some(root) => hardware::conditions_at(root),
        };
        let steering: Weak<Steering> = Arc::downgrade(steering);
        let (stop, stopped) = channel();
        let watch = move || {
            loop {
                let Some(steering) = steering.upgrade() else { return };
                // What cannot be read now may be readable the next time.
                if let Ok(now) = conditions() {
                    steering.hear(&signals_of(&now)).iter().for_each(&mut on_reaction);
                }
                drop(steering);
                if stopped.recv_timeout(every) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("llama-pajamas-watch".into()).spawn(watch).ok();
        Self { stop: Some(stop), thread }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A callback that panicked has been reported by its own thread.
            let _ = thread.join();
        }
    }
}
