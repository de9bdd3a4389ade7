//! Workers that run ahead of one consumer by a bounded number of items; results arrive in order.
//! Knows threads and buffers; must not know what the items are.

use crate::Result;
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};

/// How much there is to do and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// Items, numbered from 0.
    pub(crate) n_items: usize,
    /// Threads that work on them.
    pub(crate) n_workers: usize,
    /// Items that may be under way or wait for the consumer, at least 1.
    pub(crate) n_ahead: usize,
}

/// Runs `work` for every item on worker threads and hands each result to `consume` on this thread, in order.
///
/// `work` fills the buffer it is given, whose content is left over from another item, and may keep work memory from
/// item to item. After the first error, in item order, nothing more is started.
///
/// # Errors
/// The first error of `work` or `consume`, in item order.
pub(crate) fn run<Memory: Default>(
    step: Step,
    work: impl Fn(usize, &mut Memory, &mut Vec<u8>) -> Result<()> + Sync,
    mut consume: impl FnMut(usize, &[u8]) -> Result<()>,
) -> Result<()> {
    let queue = Queue::new(step);
    std::thread::scope(|scope| {
        for _ in 0..step.n_workers.clamp(1, step.n_items.max(1)) {
            scope.spawn(|| {
                let _stop = StopOnPanic(&queue);
                let mut memory = Memory::default();
                while let Some((index, mut buffer)) = queue.take() {
                    let result = work(index, &mut memory, &mut buffer).map(|()| buffer);
                    queue.put(index, result);
                }
            });
        }
        let _stop = StopOnPanic(&queue);
        let consumed = (0..step.n_items).try_for_each(|index| {
            // Without a result a worker has panicked; the scope passes the panic on.
            let Some(result) = queue.next() else { return Ok(()) };
            let buffer = result?;
            consume(index, &buffer)?;
            queue.give_back(buffer);
            Ok(())
        });
        queue.stop();
        consumed
    })
}

struct Queue {
    step: Step,
    state: Mutex<State>,
    /// A worker may go on.
    room: Condvar,
    /// The oldest result may be there.
    result: Condvar,
}

struct State {
    /// Next item to be taken.
    taken: usize,
    /// Next item to be consumed: the first of `results`.
    consumed: usize,
    /// Results from `consumed` on, absent while they are worked on.
    results: VecDeque<Option<Result<Vec<u8>>>>,
    /// Buffers for reuse.
    spare: Vec<Vec<u8>>,
    stopped: bool,
}

impl Queue {
    fn new(step: Step) -> Self {
        let state =
            State { taken: 0, consumed: 0, results: VecDeque::new(), spare: Vec::new(), stopped: false };
        Self { step, state: Mutex::new(state), room: Condvar::new(), result: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the lock")
    }

    /// The next item and a buffer for it, once the consumer is near enough; `None` when there is no more to do.
    fn take(&self) -> Option<(usize, Vec<u8>)> {
        let n_ahead = self.step.n_ahead.max(1);
        let full = |state: &mut State| {
            !state.stopped && state.taken < self.step.n_items && state.taken >= state.consumed + n_ahead
        };
        let mut state =
            self.room.wait_while(self.lock(), full).expect("nothing panics while it holds the lock");
        if state.stopped || state.taken == self.step.n_items {
            return None;
        }
        state.taken += 1;
        state.results.push_back(None);
        Some((state.taken - 1, state.spare.pop().unwrap_or_default()))
    }

    fn put(&self, index: usize, result: Result<Vec<u8>>) {
        let mut state = self.lock();
        let place = index - state.consumed;
        state.results[place] = Some(result);
        if place == 0 {
            self.result.notify_one();
        }
    }

    /// The result of the next item in order; `None` when a worker has panicked.
    fn next(&self) -> Option<Result<Vec<u8>>> {
        let waiting = |state: &mut State| !state.stopped && !matches!(state.results.front(), Some(Some(_)));
        let mut state =
            self.result.wait_while(self.lock(), waiting).expect("nothing panics while it holds the lock");
        if state.stopped {
            return None;
        }
        state.consumed += 1;
        self.room.notify_one();
        state.results.pop_front().flatten()
    }

    fn give_back(&self, buffer: Vec<u8>) {
        self.lock().spare.push(buffer);
    }

    fn stop(&self) {
        self.lock().stopped = true;
        self.room.notify_all();
        self.result.notify_all();
    }
}

/// Lets nobody wait for a thread that has panicked.
struct StopOnPanic<'a>(&'a Queue);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn step(n_items: usize, n_workers: usize, n_ahead: usize) -> Step {
        Step { n_items, n_workers, n_ahead }
    }

    proptest::proptest! {
        #[test]
        fn results_arrive_in_order(n_items in 0usize..60, n_workers in 1usize..5, n_ahead in 0usize..9) {
            let mut got = Vec::new();
            let work = |index: usize, _: &mut (), buffer: &mut Vec<u8>| {
                buffer.clear();
                buffer.extend(index.to_le_bytes());
                Ok(())
            };
            run(step(n_items, n_workers, n_ahead), work, |index, buffer| {
                got.push((index, buffer.to_vec()));
                Ok(())
            })
            .unwrap();
            let expected: Vec<_> = (0..n_items).map(|index| (index, index.to_le_bytes().to_vec())).collect();
            proptest::prop_assert_eq!(got, expected);
        }
    }

    #[test]
    fn workers_stay_within_the_bound() {
        let (started, consumed, furthest) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |_, _: &mut (), _: &mut Vec<u8>| {
            let ahead = started.fetch_add(1, Ordering::SeqCst) + 1 - consumed.load(Ordering::SeqCst);
            furthest.fetch_max(ahead, Ordering::SeqCst);
            Ok(())
        };
        run(step(200, 4, 6), work, |_, _| {
            consumed.fetch_add(1, Ordering::SeqCst);
            Ok(())
        })
        .unwrap();
        // The consumer makes room just before it counts.
        assert!(furthest.into_inner() <= 7);
    }

    #[test]
    fn the_first_error_in_order_ends_the_run() {
        let work = |index, _: &mut (), _: &mut Vec<u8>| match index {
            3 | 5 => Err(Error::Request { wish: index.to_string(), expected: "".into(), got: "".into() }),
            _ => Ok(()),
        };
        let mut last = 0;
        let error = run(step(1000, 4, 8), work, |index, _| {
            last = index;
            Ok(())
        })
        .unwrap_err();
        assert!(matches!(error, Error::Request { wish, .. } if wish == "3"));
        assert_eq!(last, 2);
        let refused = run(step(1000, 4, 8), |_, _: &mut (), _| Ok(()), |_, _| Err(Error::Cancelled));
        assert!(matches!(refused, Err(Error::Cancelled)));
    }

    #[test]
    #[should_panic(expected = "a scoped thread panicked")]
    fn a_panicking_worker_does_not_leave_the_consumer_waiting() {
        let work = |index, _: &mut (), _: &mut Vec<u8>| {
            assert!(index != 7, "this one");
            Ok(())
        };
        let _ = run(step(100, 3, 4), work, |_, _| Ok(()));
    }
}
