//! A small document into memory, with the same retries as files.
//!
//! Owns the loop over attempts of short exchanges. Must not touch the filesystem.

use std::io::Read;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use super::problem::Problem;
use super::{Downloader, address, redirect, retry};
use crate::error::{Error, Result};
use crate::transport::{Request, Transport};

/// How often the caller is asked whether to go on.
const TICK: Duration = Duration::from_millis(50);

/// Fetches a document; `None` when there is none.
pub(super) fn fetch(
    downloader: &Downloader,
    url: &str,
    headers: &[(String, String)],
    max_bytes: u64,
    proceed: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Option<Vec<u8>>> {
    let request = Request { url: url.to_owned(), range: None, headers: headers.to_vec() };
    with_retries(downloader, &request, proceed, move |transport, request, alive| {
        read(transport, request, max_bytes, alive)
    })
}

/// Tells that the exchange is alive; `false` when nobody waits for it any more.
type Alive<'a> = &'a mut dyn FnMut() -> bool;

/// Repeats `exchange` until it succeeds or its problem is final.
pub(super) fn with_retries<T: Send + 'static>(
    downloader: &Downloader,
    request: &Request,
    proceed: &mut dyn FnMut() -> ControlFlow<()>,
    exchange: impl Fn(&dyn Transport, &Request, Alive<'_>) -> Result<T, Problem> + Clone + Send + 'static,
) -> Result<T> {
    let options = &downloader.options;
    let shown = address::shown(&request.url);
    let mut failures = 0;
    loop {
        let problem = match attempt(downloader, request, proceed, exchange.clone())? {
            Ok(answer) => return Ok(answer),
            Err(problem) => problem,
        };
        failures += 1;
        let asked = match &problem {
            Problem::Busy { after, .. } => after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        if !problem.is_transient() || failures >= options.max_failures || asked > options.max_retry_after {
            return Err(Error::Download { url: shown, problem });
        }
        tracing::debug!(url = shown, %problem, failures, "trying again");
        let until = Instant::now() + asked.max(retry::backoff(options, failures));
        while Instant::now() < until {
            if proceed().is_break() {
                return Err(Error::Cancelled);
            }
            thread::sleep(TICK.min(until.saturating_duration_since(Instant::now())));
        }
    }
}

/// One try on its own thread, which is abandoned when it hangs.
fn attempt<T: Send + 'static>(
    downloader: &Downloader,
    request: &Request,
    proceed: &mut dyn FnMut() -> ControlFlow<()>,
    exchange: impl Fn(&dyn Transport, &Request, Alive<'_>) -> Result<T, Problem> + Send + 'static,
) -> Result<Result<T, Problem>> {
    /// A sign of life, or the end.
    enum News<T> {
        Alive,
        Ended(Result<T, Problem>),
    }
    let (sender, receiver) = mpsc::channel();
    let transport = Arc::clone(&downloader.transport);
    let request = request.clone();
    thread::spawn(move || {
        let result = exchange(&*transport, &request, &mut || sender.send(News::Alive).is_ok());
        // Nobody is interested any more when this fails.
        let _ = sender.send(News::Ended(result));
    });
    let stall = downloader.options.stall_timeout;
    let mut last = Instant::now();
    loop {
        match receiver.recv_timeout(TICK.min(stall)) {
            Ok(News::Ended(result)) => return Ok(result),
            Ok(News::Alive) => last = Instant::now(),
            Err(RecvTimeoutError::Timeout) if last.elapsed() < stall => {}
            Err(RecvTimeoutError::Timeout) => return Ok(Err(Problem::Stalled { after: stall })),
            Err(RecvTimeoutError::Disconnected) => {
                return Ok(Err(Problem::Protocol { reason: "transport ended without an answer".to_owned() }));
            }
        }
        if proceed().is_break() {
            return Err(Error::Cancelled);
        }
    }
}

fn read(
    transport: &dyn Transport,
    request: &Request,
    max_bytes: u64,
    alive: Alive<'_>,
) -> Result<Option<Vec<u8>>, Problem> {
    let mut response = redirect::get(transport, request)?;
    match response.status {
        200 => {}
        404 => return Ok(None),
        status => {
            return Err(Problem::of_status(status, retry::retry_after(&response.headers, SystemTime::now())));
        }
    }
    let announced = response.headers.get("Content-Length").and_then(|text| text.trim().parse::<u64>().ok());
    let mut document = Vec::new();
    let mut block = vec![0u8; 64 << 10];
    loop {
        let truncated = |reason: String, got: usize| Problem::Truncated {
            expected: announced.unwrap_or(got as u64),
            got: got as u64,
            reason,
        };
        match response.body.read(&mut block) {
            Ok(0) => match announced {
                Some(expected) if expected != document.len() as u64 => {
                    return Err(truncated("end of data".to_owned(), document.len()));
                }
                _ => return Ok(Some(document)),
            },
            Ok(n) => document.extend_from_slice(&block[..n]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(truncated(error.to_string(), document.len())),
        }
        if document.len() as u64 > max_bytes {
            return Err(Problem::TooLong { limit: max_bytes });
        }
        if !alive() {
            return Err(Problem::Stalled { after: Duration::ZERO });
        }
    }
}
