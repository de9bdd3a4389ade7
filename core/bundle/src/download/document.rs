//! A small document into memory, with the same retries as files.
//!
//! Owns the loop over attempts. Must not touch the filesystem.

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

pub(super) fn fetch(
    downloader: &Downloader,
    url: &str,
    headers: &[(String, String)],
    max_bytes: u64,
    proceed: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Option<Vec<u8>>> {
    let options = &downloader.options;
    let mut failures = 0;
    loop {
        let problem = match attempt(downloader, url, headers, max_bytes, proceed)? {
            Ok(document) => return Ok(document),
            Err(problem) => problem,
        };
        failures += 1;
        let asked = match &problem {
            Problem::Busy { after, .. } => after.unwrap_or_default(),
            _ => Duration::ZERO,
        };
        if !problem.is_transient() || failures >= options.max_failures || asked > options.max_retry_after {
            return Err(Error::Download { url: address::shown(url), problem });
        }
        tracing::debug!(url = address::shown(url), %problem, failures, "trying again");
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
fn attempt(
    downloader: &Downloader,
    url: &str,
    headers: &[(String, String)],
    max_bytes: u64,
    proceed: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Result<Option<Vec<u8>>, Problem>> {
    /// A sign of life, or the end.
    enum News {
        Alive,
        Ended(Result<Option<Vec<u8>>, Problem>),
    }
    let (sender, receiver) = mpsc::channel();
    let transport = Arc::clone(&downloader.transport);
    let request = Request { url: url.to_owned(), range: None, headers: headers.to_vec() };
    thread::spawn(move || {
        let result = read(&*transport, &request, max_bytes, &mut || sender.send(News::Alive).is_ok());
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
    alive: &mut dyn FnMut() -> bool,
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
