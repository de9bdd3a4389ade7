//! What a server says about a file without sending it: length and digest.
//!
//! Owns reading the headers of a one-byte answer. Must not touch the filesystem.

use std::ops::ControlFlow;
use std::time::SystemTime;

use super::attempt::content_range;
use super::content::ContentDigest;
use super::problem::Problem;
use super::{Downloader, document, redirect, retry};
use crate::error::Result;
use crate::transport::{Request, Response};

/// What a server says about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Length in bytes.
    pub bytes: Option<u64>,
    /// Digest, from headers that name one: `X-Linked-ETag` (SHA-256) or an `ETag` of 40 digits (git's blob id).
    pub digest: Option<ContentDigest>,
}

/// Asks for the first byte of a file and reads the headers; `None` when there is no such file.
pub(super) fn probe(
    downloader: &Downloader,
    url: &str,
    headers: &[(String, String)],
    proceed: &mut dyn FnMut() -> ControlFlow<()>,
) -> Result<Option<Probe>> {
    let request = Request { url: url.to_owned(), range: Some(0..1), headers: headers.to_vec() };
    document::with_retries(downloader, &request, proceed, |transport, request, _| {
        let response = redirect::get(transport, request)?;
        match response.status {
            200 | 206 | 416 => Ok(Some(read(&response))),
            404 => Ok(None),
            status => {
                Err(Problem::of_status(status, retry::retry_after(&response.headers, SystemTime::now())))
            }
        }
    })
}

fn read(response: &Response) -> Probe {
    let headers = &response.headers;
    let number = |name: &str| headers.get(name).and_then(|text| text.trim().parse::<u64>().ok());
    let range = headers.get("Content-Range").unwrap_or_default();
    let bytes = match response.status {
        200 => number("Content-Length"),
        // An empty file has no first byte.
        416 => range.strip_prefix("bytes */").and_then(|text| text.parse().ok()),
        _ => content_range(range).and_then(|(_, total)| total),
    };
    let tag = |name: &str| headers.get(name).map(|text| text.trim_start_matches("W/").trim_matches('"'));
    let linked = tag("X-Linked-ETag").and_then(|text| text.parse().ok()).map(ContentDigest::Sha256);
    let digest = linked.or_else(|| ContentDigest::git_blob(tag("ETag")?).ok());
    Probe { bytes: number("X-Linked-Size").or(bytes), digest }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Headers;

    #[test]
    fn length_and_digest_from_headers() {
        let sha256 = "ab".repeat(32);
        let sha256 = format!("\"{sha256}\"");
        let blob = "\"0123456789012345678901234567890123456789\"";
        for (status, headers, bytes, digest) in [
            (200, vec![("content-length", "7")], Some(7), None),
            (
                206,
                vec![("content-range", "bytes 0-0/9"), ("content-length", "1"), ("etag", blob)],
                Some(9),
                Some("git"),
            ),
            (416, vec![("content-range", "bytes */0"), ("etag", "\"x\"")], Some(0), None),
            (
                206,
                vec![("x-linked-etag", sha256.as_str()), ("x-linked-size", "5"), ("etag", blob)],
                Some(5),
                Some("sha256"),
            ),
            (206, vec![("x-linked-etag", "\"x\""), ("content-range", "bytes 0-0/*")], None, None),
        ] {
            let headers = Headers::from_iter(headers);
            let probe = read(&Response { status, headers, body: Box::new(std::io::empty()) });
            let kind = probe.digest.map(|digest| digest.to_string());
            assert_eq!((probe.bytes, kind.as_deref().and_then(|d| d.split(' ').next())), (bytes, digest));
        }
    }
}
