//! The stream of `/v1/chat/completions`.
//!
//! Owns its chunks. Must not know how answers are written.

use super::{call_json, logprob_json, usage_json};
use crate::answers::finish_reason;
use crate::app::now_s;
use crate::models::Loaded;
use crate::outbox::Item;
use crate::sse::{Writer, data};
use llama_pajamas::{ChatPiece, ChatPrompt, ChatReader, Usage};
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) struct ChatWriter {
    id: String,
    model: Arc<Loaded>,
    created: u64,
    choices: Vec<Choice>,
    include_usage: bool,
}

struct Choice {
    reader: ChatReader,
    /// Those that no chunk has told yet.
    logprobs: Vec<Value>,
    n_calls: usize,
    usage: Option<Usage>,
}

impl ChatWriter {
    pub(super) fn new(
        id: String,
        model: &Arc<Loaded>,
        prompt: &ChatPrompt,
        n: usize,
        include_usage: bool,
    ) -> Self {
        let choice = || Choice { reader: prompt.reader(), logprobs: Vec::new(), n_calls: 0, usage: None };
        let choices = (0..n).map(|_| choice()).collect();
        Self { id, model: Arc::clone(model), created: now_s(), choices, include_usage }
    }

    fn chunk(&self, choices: Value, usage: Value, out: &mut String) {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model.name,
            "choices": choices,
        });
        if self.include_usage {
            chunk["usage"] = usage;
        }
        data(out, &chunk);
    }

    fn delta(&mut self, index: usize, delta: Value, reason: Option<&str>, out: &mut String) {
        let logprobs = std::mem::take(&mut self.choices[index].logprobs);
        let logprobs =
            if logprobs.is_empty() { Value::Null } else { json!({ "content": logprobs, "refusal": null }) };
        let choice = json!({ "index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason });
        self.chunk(json!([choice]), Value::Null, out);
    }

    fn pieces(&mut self, index: usize, pieces: Vec<ChatPiece>, out: &mut String) {
        for piece in pieces {
            let delta = match piece {
                ChatPiece::Content(text) => json!({ "content": text }),
                ChatPiece::Reasoning(text) => json!({ "reasoning_content": text }),
                ChatPiece::Call(call) => {
                    let nth = self.choices[index].n_calls;
                    self.choices[index].n_calls += 1;
                    let mut call = call_json(&call, &format!("call_{}_{index}_{nth}", self.id));
                    call["index"] = json!(nth);
                    json!({ "tool_calls": [call] })
                }
            };
            self.delta(index, delta, None, out);
        }
    }
}

impl Writer for ChatWriter {
    fn begin(&mut self, out: &mut String) {
        for index in 0..self.choices.len() {
            self.delta(index, json!({ "role": "assistant", "content": "" }), None, out);
        }
    }

    fn item(&mut self, index: usize, item: Item, out: &mut String) {
        match item {
            Item::Prompt | Item::Done(Err(_)) => {}
            Item::Logprobs(logprobs) => {
                let logprobs = logprob_json(&self.model, &logprobs);
                self.choices[index].logprobs.push(logprobs);
            }
            Item::Text(text) => {
                let pieces = self.choices[index].reader.push(&text);
                self.pieces(index, pieces, out);
            }
            Item::Done(Ok(usage)) => {
                let pieces = self.choices[index].reader.finish();
                self.pieces(index, pieces, out);
                let reason = finish_reason(&usage.stop_reason);
                let calls = self.choices[index].n_calls > 0 && reason != "length";
                self.choices[index].usage = Some(usage);
                self.delta(index, json!({}), Some(if calls { "tool_calls" } else { reason }), out);
            }
        }
    }

    fn end(&mut self, out: &mut String) {
        if self.include_usage {
            let usage = usage_json(self.choices.iter().filter_map(|choice| choice.usage.as_ref()));
            self.chunk(json!([]), usage, out);
        }
        out.push_str("data: [DONE]\n\n");
    }
}
