//! One connection: ask for a part of a file and write what arrives.
//!
//! Owns judging the answer against what was asked for. Runs on its own thread and reports by messages. Must not retry.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::SystemTime;

use super::partial::Gate;
use super::problem::Problem;
use super::{redirect, retry};
use crate::transport::{Request, Response, Transport};

/// Bytes read at a time.
const BLOCK_BYTES: usize = 128 << 10;

/// What to fetch.
#[derive(Debug)]
pub(super) struct Order {
    /// Names this attempt in its messages.
    pub(super) id: u64,
    pub(super) url: String,
    pub(super) headers: Vec<(String, String)>,
    /// The part wanted.
    pub(super) range: Range<u64>,
    /// Length of the whole file.
    pub(super) total: u64,
    /// Version of the file that earlier parts belong to.
    pub(super) etag: Option<String>,
    pub(super) gate: Arc<Gate>,
}

/// What an attempt reports.
#[derive(Debug)]
pub(super) enum News {
    /// The answer fits. `is_whole`: the server sends all of the file though a part was asked for.
    Answered { id: u64, etag: Option<String>, is_whole: bool },
    /// This many bytes more are written; 0 when bytes arrived that were not needed.
    Received { id: u64, bytes: u64 },
    /// The attempt is over.
    Ended { id: u64, result: Result<(), Failure> },
}

/// Why an attempt failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server or the network.
    Problem(Problem),
    /// The file on the server is not the version that earlier parts belong to.
    Changed,
    /// Writing failed.
    Write(io::Error),
    /// The coordinator withdrew the right to write.
    Closed,
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Failure {
        Failure::Problem(problem)
    }
}

/// Runs an attempt to its end. A receiver that is gone ends it as well.
pub(super) fn run(transport: &dyn Transport, order: &Order, news: &Sender<News>) {
    let result = transfer(transport, order, news);
    // Nobody is interested any more when this fails.
    let _ = news.send(News::Ended { id: order.id, result });
}

fn transfer(transport: &dyn Transport, order: &Order, news: &Sender<News>) -> Result<(), Failure> {
    let is_part = order.range != (0..order.total);
    let mut headers = order.headers.clone();
    if let Some(etag) = order.etag.as_ref().filter(|etag| is_part && !etag.starts_with("W/")) {
        headers.push(("If-Range".to_owned(), etag.clone()));
    }
    let range = is_part.then(|| order.range.clone());
    let mut response = redirect::get(transport, &Request { url: order.url.clone(), range, headers })?;
    let answered = judge(order, &response)?;
    let mut position = answered.start;
    let etag = response.headers.get("ETag").map(str::to_owned);
    send(news, News::Answered { id: order.id, etag, is_whole: is_part && answered.is_whole })?;

    let mut buffer = vec![0u8; BLOCK_BYTES];
    while position < answered.end {
        let want = (answered.end - position).min(BLOCK_BYTES as u64) as usize;
        let truncated = |reason: String| {
            let expected = answered.end - answered.start;
            Problem::Truncated { expected, got: position - answered.start, reason }
        };
        let n = match response.body.read(&mut buffer[..want]) {
            Ok(0) => return Err(truncated("end of data".to_owned()).into()),
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(truncated(error.to_string()).into()),
        };
        // Of a whole file, the bytes before the wanted part are there already.
        let skip = order.range.start.saturating_sub(position).min(n as u64) as usize;
        let wanted = &buffer[skip..n];
        if !order.gate.write_at(wanted, position + skip as u64).map_err(Failure::Write)? {
            return Err(Failure::Closed);
        }
        position += n as u64;
        send(news, News::Received { id: order.id, bytes: wanted.len() as u64 })?;
    }
    // Reading to the end frees the connection for reuse and finds a body that goes on.
    match response.body.read(&mut buffer[..1]) {
        Ok(1..) => Err(Problem::Protocol { reason: "more bytes than announced".to_owned() }.into()),
        Ok(0) | Err(_) => Ok(()),
    }
}

/// The part of the file that an answer brings.
#[derive(Debug, PartialEq)]
struct Answered {
    start: u64,
    end: u64,
    is_whole: bool,
}

fn judge(order: &Order, response: &Response) -> Result<Answered, Failure> {
    let headers = &response.headers;
    if let Some(coding) = headers.get("Content-Encoding").filter(|coding| *coding != "identity") {
        return Err(Problem::Protocol { reason: format!("content coding `{coding}`") }.into());
    }
    let wrong_length = |got: u64| Failure::from(Problem::WrongLength { expected: order.total, got });
    let length = headers.get("Content-Length").and_then(|text| text.trim().parse::<u64>().ok());
    let answered = match response.status {
        200 => Answered { start: 0, end: order.total, is_whole: true },
        206 => {
            let text = headers.get("Content-Range").unwrap_or_default();
            let (range, total) = content_range(text)
                .ok_or_else(|| Problem::Protocol { reason: format!("content range `{text}`") })?;
            if let Some(got) = total.filter(|total| *total != order.total) {
                return Err(changed_or(order, headers.get("ETag"), wrong_length(got)));
            }
            if range.start != order.range.start || range.end > order.range.end {
                let reason = format!("asked for bytes {:?}, got {range:?}", order.range);
                return Err(Problem::Protocol { reason }.into());
            }
            Answered { start: range.start, end: range.end, is_whole: false }
        }
        412 => return Err(Failure::Changed),
        416 => {
            let total = headers.get("Content-Range").and_then(|text| text.strip_prefix("bytes */"));
            return Err(match total.and_then(|text| text.parse().ok()) {
                Some(got) if got != order.total => wrong_length(got),
                _ => Problem::Protocol { reason: "server cannot send this part".to_owned() }.into(),
            });
        }
        status => {
            return Err(Problem::of_status(status, retry::retry_after(headers, SystemTime::now())).into());
        }
    };
    if let Some(got) = length.filter(|length| *length != answered.end - answered.start) {
        let got = if answered.is_whole { got } else { answered.start + got };
        return Err(changed_or(order, headers.get("ETag"), wrong_length(got)));
    }
    match (&order.etag, headers.get("ETag")) {
        (Some(known), Some(got)) if known != got => Err(Failure::Changed),
        _ => Ok(answered),
    }
}

/// Another length together with another version is a change, otherwise `failure`.
fn changed_or(order: &Order, etag: Option<&str>, failure: Failure) -> Failure {
    match (&order.etag, etag) {
        (Some(known), Some(got)) if known != got => Failure::Changed,
        _ => failure,
    }
}

/// Range and total of `bytes 0-9/100` or `bytes 0-9/*`.
pub(super) fn content_range(text: &str) -> Option<(Range<u64>, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.parse::<u64>().ok()?, last.parse::<u64>().ok()?);
    let total = if total == "*" { None } else { Some(total.parse::<u64>().ok()?) };
    (first <= last).then_some((first..last.checked_add(1)?, total))
}

fn send(news: &Sender<News>, message: News) -> Result<(), Failure> {
    news.send(message).map_err(|_| Failure::Closed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges() {
        for (text, expected) in [
            ("bytes 0-9/100", Some((0..10, Some(100)))),
            ("bytes 5-5/*", Some((5..6, None))),
            ("bytes 9-0/100", None),
            ("bytes 0-18446744073709551615/*", None),
            ("bytes */100", None),
            ("items 0-9/100", None),
            ("", None),
        ] {
            assert_eq!(content_range(text), expected, "{text}");
        }
    }
}
