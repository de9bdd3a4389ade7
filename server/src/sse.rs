//! Streams of events, as answers come.
//!
//! Owns the form of the stream: data lines, signs of life, the end. Must not know what the events say.

use crate::answers::Answers;
use crate::error::ApiError;
use crate::outbox::Item;
use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use serde::Serialize;
use std::convert::Infallible;
use std::time::Duration;

/// After so long without an event the client is told that the server lives.
const SILENCE: Duration = Duration::from_secs(10);

/// Turns what answers tell into events.
pub(crate) trait Writer: Send + 'static {
    /// The first events.
    fn begin(&mut self, out: &mut String);
    /// Those of something told by the answer numbered `choice`.
    fn item(&mut self, choice: usize, item: Item, out: &mut String);
    /// The last events.
    fn end(&mut self, out: &mut String);
    /// That of an error.
    fn failed(&mut self, error: &ApiError, out: &mut String) {
        data(out, &error.to_json());
    }
}

/// Writes one event.
pub(crate) fn data(out: &mut String, value: &impl Serialize) {
    out.push_str("data: ");
    out.push_str(&serde_json::to_string(value).unwrap_or_default());
    out.push_str("\n\n");
}

/// Writes one event with a name.
pub(crate) fn named(out: &mut String, name: &str, value: &impl Serialize) {
    out.push_str("event: ");
    out.push_str(name);
    out.push('\n');
    data(out, value);
}

enum Stage {
    Beginning,
    Going,
    Over,
}

/// The stream of `answers`; it ends with them, and they with it.
pub(crate) fn stream(answers: Answers, writer: impl Writer) -> Response {
    let state = (answers, writer, Stage::Beginning);
    let stream = futures_util::stream::unfold(state, |(mut answers, mut writer, stage)| async move {
        let mut out = String::new();
        let next = match stage {
            Stage::Over => return None,
            Stage::Beginning => {
                writer.begin(&mut out);
                Stage::Going
            }
            Stage::Going => match tokio::time::timeout(SILENCE, answers.next()).await {
                Err(_) => {
                    out.push_str(": still at work\n\n");
                    Stage::Going
                }
                Ok(Some(Ok(items))) => {
                    items.into_iter().for_each(|(choice, item)| writer.item(choice, item, &mut out));
                    Stage::Going
                }
                Ok(Some(Err(error))) => {
                    writer.failed(&error, &mut out);
                    Stage::Over
                }
                Ok(None) => {
                    writer.end(&mut out);
                    Stage::Over
                }
            },
        };
        Some((Ok::<_, Infallible>(Bytes::from(out)), (answers, writer, next)))
    });
    let mut response = Response::new(Body::from_stream(stream));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
