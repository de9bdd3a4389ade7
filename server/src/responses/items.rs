//! Items of `/v1/responses`: those of a request as messages, those of an answer out of its pieces.
//!
//! Owns their form. Must not know how they are sent.

use super::kind_of;
use crate::error::{ApiError, ApiResult};
use llama_pajamas::ChatPiece;
use serde_json::{Value, json};

/// What an item of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Reasoning,
    Message,
    Call,
}

/// Messages of a list of items, added to `messages`.
///
/// # Errors
/// Items of other kinds than messages and calls with their outcomes.
pub(super) fn messages_of(items: &[Value], messages: &mut Vec<Value>) -> ApiResult<()> {
    for (index, item) in items.iter().enumerate() {
        let field = |part: &str| format!("input[{index}].{part}");
        let kind = item["type"].as_str().unwrap_or("message");
        match kind {
            "message" => {
                let role = match item["role"].as_str() {
                    Some("developer") => "system",
                    Some(role) => role,
                    None => return Err(ApiError::field(field("role"), "a text", item["role"].to_string())),
                };
                let content = text_of(&item["content"]).ok_or_else(|| {
                    ApiError::field(field("content"), "a text or parts of text", "something else")
                })?;
                messages.push(json!({ "role": role, "content": content }));
            }
            "function_call" => {
                let call = json!({ "id": item["call_id"], "type": "function",
                    "function": { "name": item["name"], "arguments": item["arguments"] } });
                // Calls that follow each other are of one message.
                match messages.last_mut().and_then(|last| last.get_mut("tool_calls")?.as_array_mut()) {
                    Some(calls) => calls.push(call),
                    None => {
                        messages.push(json!({ "role": "assistant", "content": "", "tool_calls": [call] }))
                    }
                }
            }
            "function_call_output" => {
                let content = text_of(&item["output"])
                    .ok_or_else(|| ApiError::field(field("output"), "a text", "something else"))?;
                messages.push(json!({ "role": "tool", "tool_call_id": item["call_id"], "content": content }));
            }
            // What a model thought before is not said again.
            "reasoning" => {}
            other => {
                let expected = "message, function_call, function_call_output or reasoning";
                return Err(ApiError::field(field("type"), expected, other));
            }
        }
    }
    match messages.is_empty() {
        true => Err(ApiError::field("input", "at least one item", "none")),
        false => Ok(()),
    }
}

fn text_of(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            parts.iter().map(|part| part["text"].as_str()).collect::<Option<Vec<_>>>().map(|t| t.concat())
        }
        _ => None,
    }
}

/// Items of an answer, as its pieces come.
#[derive(Debug)]
pub(super) struct Output {
    response: String,
    items: Vec<Value>,
    /// The last item is open: its kind and its text so far.
    open: Option<(Kind, String)>,
}

impl Output {
    pub(super) fn new(response: &str) -> Self {
        Self { response: response.to_owned(), items: Vec::new(), open: None }
    }

    /// The number of the item that is open, or comes next.
    pub(super) fn index(&self) -> usize {
        self.items.len()
    }

    pub(super) fn open_kind(&self) -> Option<Kind> {
        self.open.as_ref().map(|(kind, _)| *kind)
    }

    /// The id of an item.
    pub(super) fn id(&self, kind: Kind) -> String {
        let prefix = match kind {
            Kind::Reasoning => "rs",
            Kind::Message => "msg",
            Kind::Call => "fc",
        };
        format!("{prefix}_{}_{}", self.response, self.items.len())
    }

    /// The item of a kind with this text.
    pub(super) fn item(&self, kind: Kind, text: &str, status: &str) -> Value {
        let id = self.id(kind);
        match kind {
            Kind::Reasoning => json!({ "id": id, "type": "reasoning", "status": status, "summary": [],
                "content": [{ "type": "reasoning_text", "text": text }] }),
            Kind::Message | Kind::Call => json!({ "id": id, "type": "message", "status": status,
                "role": "assistant", "content": [part(text)] }),
        }
    }

    /// The item of a call.
    pub(super) fn call(&self, call: &llama_pajamas::ToolCall, arguments: &str, status: &str) -> Value {
        let call_id =
            call.id.clone().unwrap_or_else(|| format!("call_{}_{}", self.response, self.items.len()));
        json!({ "id": self.id(Kind::Call), "type": "function_call", "status": status, "call_id": call_id,
            "name": call.name, "arguments": arguments })
    }

    /// Takes a piece; what it closes is the last item afterwards.
    pub(super) fn add(&mut self, piece: ChatPiece) {
        let kind = kind_of(&piece);
        if self.open_kind().is_some_and(|open| open != kind || kind == Kind::Call) {
            self.close();
        }
        match piece {
            ChatPiece::Call(call) => {
                let item = self.call(&call, &call.arguments, "completed");
                self.items.push(item);
            }
            ChatPiece::Reasoning(text) | ChatPiece::Content(text) => {
                self.open.get_or_insert_with(|| (kind, String::new())).1.push_str(&text);
            }
        }
    }

    /// Closes the open item, and gives it with its text.
    pub(super) fn close(&mut self) -> Option<(Kind, String, Value)> {
        let (kind, text) = self.open.take()?;
        let item = self.item(kind, &text, "completed");
        self.items.push(item.clone());
        Some((kind, text, item))
    }

    /// All items; an answer without any has an empty message.
    pub(super) fn finish(mut self) -> Vec<Value> {
        self.close();
        if self.items.is_empty() {
            self.items.push(self.item(Kind::Message, "", "completed"));
        }
        self.items
    }

    pub(super) fn items(&self) -> &[Value] {
        &self.items
    }
}

/// A part of a message.
pub(super) fn part(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}
