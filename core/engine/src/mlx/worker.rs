//! The thread that computes. MLX queues work per thread, so that one thread, which lives as long as the engine, has it all,
//! whatever threads an app calls from.
//!
//! Owns: [`Worker`]. May know: nothing. Must not know: what is computed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::Error;

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs one after the other. The thread ends when the last job is done and nobody can bring another.
#[derive(Debug)]
pub(super) struct Worker {
    jobs: Sender<Job>,
}

impl Worker {
    /// Starts the thread.
    pub(super) fn start() -> Result<Self, Error> {
        let (jobs, all) = channel::<Job>();
        let work = move || all.into_iter().for_each(|job| job());
        std::thread::Builder::new()
            .name("mlx".into())
            .spawn(work)
            .map_err(|error| Error::Start { reason: format!("no thread for MLX: {error}") })?;
        Ok(Self { jobs })
    }

    /// Brings a job; what it gives comes out of the receiver, and nothing if it panicked.
    pub(super) fn begin<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> Receiver<R> {
        let (done, result) = channel();
        let job = move || {
            // What a job owns is dropped with it: nothing half done is seen again.
            if let Ok(made) = catch_unwind(AssertUnwindSafe(job)) {
                let _ = done.send(made); // nobody waits any more
            }
        };
        let _ = self.jobs.send(Box::new(job)); // no thread: the receiver says so
        result
    }

    /// Brings a job and waits for what it gives; `None` if it panicked.
    pub(super) fn run<R: Send + 'static>(&self, job: impl FnOnce() -> R + Send + 'static) -> Option<R> {
        self.begin(job).recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_panics_gives_nothing_and_the_next_one_runs() {
        let worker = Worker::start().expect("a thread");
        let of = worker.run(|| std::thread::current().name().map(str::to_owned));
        assert_eq!(of.flatten().as_deref(), Some("mlx"));
        let quiet = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| {}));
        assert_eq!(worker.run(|| -> u32 { panic!("on purpose") }), None);
        std::panic::set_hook(quiet);
        assert_eq!(worker.run(|| 7), Some(7));
    }
}
