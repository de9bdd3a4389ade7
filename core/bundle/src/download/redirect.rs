//! Following redirects without giving secrets away.
//!
//! Owns the rule: `Authorization` and `Cookie` go to the origin they were meant for and to no other; HTTPS never
//! becomes HTTP. Must not retry.

use super::address::{Address, join, shown};
use super::problem::Problem;
use crate::transport::{Request, Response, Transport};

/// Most redirects in a row.
const MAX_REDIRECTS: u32 = 10;
/// Headers of a redirect that describe the file behind it and are kept for the reader of the final answer.
const KEPT: [&str; 3] = ["X-Linked-ETag", "X-Linked-Size", "X-Repo-Commit"];

/// Sends `request` and follows redirects to the final answer.
pub(crate) fn get(transport: &dyn Transport, request: &Request) -> Result<Response, Problem> {
    let mut request = request.clone();
    let mut kept: Vec<(String, String)> = Vec::new();
    for _ in 0..=MAX_REDIRECTS {
        let from = Address::parse(&request.url)?;
        let mut response = transport.get(&request)?;
        for name in KEPT {
            if let Some(value) = response.headers.get(name) {
                kept.push((name.to_owned(), value.to_owned()));
            }
        }
        if !matches!(response.status, 301 | 302 | 303 | 307 | 308) {
            for (name, value) in kept {
                response.headers.push(name, value);
            }
            return Ok(response);
        }
        let location = response
            .headers
            .get("Location")
            .ok_or_else(|| Problem::Redirect { reason: "no address given".to_owned() })?;
        let target = join(&request.url, location)?;
        let to = Address::parse(&target)?;
        if from.scheme == "https" && to.scheme == "http" {
            let reason = format!("leads from https to http, to {}", shown(&target));
            return Err(Problem::Redirect { reason });
        }
        if !from.same_origin(&to) {
            request.headers.retain(|(name, _)| {
                !name.eq_ignore_ascii_case("Authorization") && !name.eq_ignore_ascii_case("Cookie")
            });
        }
        request.url = target;
    }
    Err(Problem::Redirect { reason: format!("more than {MAX_REDIRECTS} in a row") })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::transport::{Headers, TransportError};

    /// Answers with the redirects of a table and notes what it was sent.
    struct Table(Vec<(&'static str, &'static str)>, Mutex<Vec<(String, bool)>>);

    impl Transport for Table {
        fn get(&self, request: &Request) -> Result<Response, TransportError> {
            let has_token = request.headers.iter().any(|(name, _)| name == "authorization");
            self.1.lock().unwrap().push((request.url.clone(), has_token));
            let next = self.0.iter().find(|(from, _)| *from == request.url);
            let mut headers = Headers::default();
            if let Some((_, to)) = next {
                headers.push("location", *to);
                headers.push("x-linked-etag", "\"abc\"");
            }
            let status = if next.is_some() { 302 } else { 200 };
            Ok(Response { status, headers, body: Box::new(std::io::empty()) })
        }
    }

    fn follow(table: &[(&'static str, &'static str)]) -> (Result<Response, Problem>, Vec<(String, bool)>) {
        let transport = Table(table.to_vec(), Mutex::default());
        let headers = vec![("authorization".to_owned(), "Bearer secret".to_owned())];
        let result = get(&transport, &Request { url: table[0].0.to_owned(), range: None, headers });
        (result, transport.1.into_inner().unwrap())
    }

    #[test]
    fn the_token_stays_with_its_origin() {
        let (result, sent) =
            follow(&[("https://a/1", "/2"), ("https://a/2", "https://b/3"), ("https://b/3", "https://a/4")]);
        assert_eq!(result.unwrap().headers.get("X-Linked-ETag"), Some("\"abc\""));
        let tokens: Vec<(&str, bool)> = sent.iter().map(|(url, token)| (url.as_str(), *token)).collect();
        let expected =
            [("https://a/1", true), ("https://a/2", true), ("https://b/3", false), ("https://a/4", false)];
        assert_eq!(tokens, expected);
    }

    #[test]
    fn loops_downgrades_and_foreign_schemes_are_refused() {
        for (table, words) in [
            (vec![("https://a/1", "https://a/1")], "more than 10"),
            (vec![("https://a/1", "http://a/1")], "from https to http"),
            (vec![("https://a/1", "file:///etc/passwd")], "not an http or https address"),
        ] {
            let message = follow(&table).0.unwrap_err().to_string();
            assert!(message.contains(words), "{message}");
        }
    }
}
