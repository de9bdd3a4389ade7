//! Breaking a computation off: a thread that looks at the caller's flag and at the time while the session computes.
//!
//! Owns: [`watched`]. May know: sessions' cancelling. Must not know: what is computed.

use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::CancelToken;

/// How often the flag is looked at.
const EVERY: Duration = Duration::from_millis(2);

/// Why a computation was broken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    Cancelled,
    Late,
}

/// What `compute` gives, and why it was broken off, where it was: `stop` is called from another thread once `cancel` is
/// raised or `limit` is over.
pub(super) fn watched<R>(
    cancel: &CancelToken,
    limit: Option<Duration>,
    stop: impl Fn() + Send,
    compute: impl FnOnce() -> R,
) -> (R, Option<Stopped>) {
    let (done, finished) = channel::<()>();
    std::thread::scope(|scope| {
        let begin = Instant::now();
        let watcher = scope.spawn(move || {
            loop {
                let reason = match limit {
                    _ if cancel.is_cancelled() => Some(Stopped::Cancelled),
                    Some(limit) if begin.elapsed() >= limit => Some(Stopped::Late),
                    _ => None,
                };
                if reason.is_some() {
                    stop();
                    return reason;
                }
                if finished.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                    return None;
                }
            }
        });
        let result = compute();
        drop(done);
        // It calls nothing that could panic.
        (result, watcher.join().unwrap_or(None))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn wait_for(flag: &AtomicBool) -> bool {
        let begin = Instant::now();
        while !flag.load(Ordering::SeqCst) && begin.elapsed() < Duration::from_secs(20) {
            std::thread::yield_now();
        }
        flag.load(Ordering::SeqCst)
    }

    #[test]
    fn a_raised_flag_and_the_end_of_time_stop() {
        let cancel = CancelToken::new();
        assert_eq!(watched(&cancel, None, || panic!("nobody asked"), || 7), (7, None));
        let stopped = AtomicBool::new(false);
        let stop = || stopped.store(true, Ordering::SeqCst);
        let late = watched(&cancel, Some(Duration::from_millis(5)), stop, || wait_for(&stopped));
        assert_eq!(late, (true, Some(Stopped::Late)));
        stopped.store(false, Ordering::SeqCst);
        cancel.cancel();
        assert_eq!(watched(&cancel, None, stop, || wait_for(&stopped)), (true, Some(Stopped::Cancelled)));
    }
}
