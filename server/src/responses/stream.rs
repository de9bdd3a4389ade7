//! The stream of `/v1/responses`.
//!
//! Owns its events and their order. Must not know how answers are written.

use super::items::{Kind, Output, part};
use super::{Frame, kind_of};
use crate::error::ApiError;
use crate::outbox::Item;
use crate::sse::{Writer, named};
use llama_pajamas::{ChatPiece, ChatReader, Usage};
use serde_json::{Value, json};

pub(super) struct ResponsesWriter {
    frame: Frame,
    reader: ChatReader,
    output: Output,
    usage: Option<Usage>,
    n_events: u64,
}

impl ResponsesWriter {
    pub(super) fn new(frame: Frame, reader: ChatReader) -> Self {
        let output = Output::new(&frame.id);
        Self { frame, reader, output, usage: None, n_events: 0 }
    }

    fn event(&mut self, name: &str, mut value: Value, out: &mut String) {
        value["type"] = json!(name);
        value["sequence_number"] = json!(self.n_events);
        self.n_events += 1;
        named(out, name, &value);
    }

    /// Opens an item of `kind`, unless one is open.
    fn open(&mut self, kind: Kind, out: &mut String) {
        if self.output.open_kind() == Some(kind) {
            return;
        }
        self.close(out);
        let index = self.output.index();
        let mut item = self.output.item(kind, "", "in_progress");
        item["content"] = json!([]);
        let id = self.output.id(kind);
        self.event("response.output_item.added", json!({ "output_index": index, "item": item }), out);
        if kind == Kind::Message {
            let begin = json!({ "item_id": id, "output_index": index, "content_index": 0, "part": part("") });
            self.event("response.content_part.added", begin, out);
        }
    }

    /// Closes the open item.
    fn close(&mut self, out: &mut String) {
        let index = self.output.index();
        let Some((kind, text, item)) = self.output.close() else { return };
        let at = json!({ "item_id": item["id"], "output_index": index, "content_index": 0 });
        let with = |name: &str, value: Value| {
            let mut event = at.clone();
            event[name] = value;
            event
        };
        match kind {
            Kind::Reasoning => self.event("response.reasoning_text.done", with("text", json!(text)), out),
            Kind::Message | Kind::Call => {
                let mut done = with("text", json!(text));
                done["logprobs"] = json!([]);
                self.event("response.output_text.done", done, out);
                self.event("response.content_part.done", with("part", part(&text)), out);
            }
        }
        self.event("response.output_item.done", json!({ "output_index": index, "item": item }), out);
    }

    fn piece(&mut self, piece: ChatPiece, out: &mut String) {
        let kind = kind_of(&piece);
        match &piece {
            ChatPiece::Call(call) => {
                self.close(out);
                let index = self.output.index();
                let (begun, done) = (
                    self.output.call(call, "", "in_progress"),
                    self.output.call(call, &call.arguments, "completed"),
                );
                let id = begun["id"].clone();
                self.event(
                    "response.output_item.added",
                    json!({ "output_index": index, "item": begun }),
                    out,
                );
                let delta = json!({ "item_id": id, "output_index": index, "delta": call.arguments });
                self.event("response.function_call_arguments.delta", delta, out);
                let whole = json!({ "item_id": id, "output_index": index, "name": call.name, "arguments": call.arguments });
                self.event("response.function_call_arguments.done", whole, out);
                self.output.add(piece);
                self.event("response.output_item.done", json!({ "output_index": index, "item": done }), out);
            }
            ChatPiece::Reasoning(text) | ChatPiece::Content(text) => {
                self.open(kind, out);
                let name = match kind {
                    Kind::Reasoning => "response.reasoning_text.delta",
                    Kind::Message | Kind::Call => "response.output_text.delta",
                };
                let mut delta = json!({ "item_id": self.output.id(kind), "output_index": self.output.index(),
                    "content_index": 0, "delta": text });
                if kind == Kind::Message {
                    delta["logprobs"] = json!([]);
                }
                self.output.add(piece);
                self.event(name, delta, out);
            }
        }
    }
}

impl Writer for ResponsesWriter {
    fn begin(&mut self, out: &mut String) {
        let response = self.frame.json(&[], None);
        self.event("response.created", json!({ "response": response }), out);
        self.event("response.in_progress", json!({ "response": response }), out);
    }

    fn item(&mut self, _choice: usize, item: Item, out: &mut String) {
        let pieces = match item {
            Item::Text(text) => self.reader.push(&text),
            Item::Done(Ok(usage)) => {
                self.usage = Some(usage);
                self.reader.finish()
            }
            Item::Prompt | Item::Logprobs(_) | Item::Done(Err(_)) => Vec::new(),
        };
        for piece in pieces {
            self.piece(piece, out);
        }
    }

    fn end(&mut self, out: &mut String) {
        if self.output.items().is_empty() && self.output.open_kind().is_none() {
            self.piece(ChatPiece::Content(String::new()), out);
        }
        self.close(out);
        let response = self.frame.json(self.output.items(), self.usage.as_ref());
        let is_whole = response["status"] == "completed";
        let name = if is_whole { "response.completed" } else { "response.incomplete" };
        self.event(name, json!({ "response": response }), out);
    }

    fn failed(&mut self, error: &ApiError, out: &mut String) {
        let mut response = self.frame.json(self.output.items(), None);
        response["status"] = json!("failed");
        response["error"] = json!({ "code": error.code, "message": error.message });
        self.event("response.failed", json!({ "response": response }), out);
    }
}
