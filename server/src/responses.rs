//! `/v1/responses`, without what a server would have to keep between requests.
//!
//! Owns the form of its requests and answers. Must not know how templates and calls of tools are written.

mod items;
mod stream;

use crate::answers::Answers;
use crate::app::{App, now_s};
use crate::body::Json;
use crate::chat::{broken_off, choice_of};
use crate::error::{ApiError, ApiResult};
use crate::fields::{Fields, max_tokens, of_format};
use crate::sse;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use llama_pajamas::{ChatPiece, ChatRequest, StopReason, TemplateInput, Usage};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ResponsesBody {
    model: Option<String>,
    input: Option<Value>,
    instructions: Option<String>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    stream: Option<bool>,
    max_output_tokens: Option<i64>,
    text: Option<Value>,
    reasoning: Option<Value>,
    metadata: Option<Map<String, Value>>,
    previous_response_id: Option<String>,
    conversation: Option<Value>,
    background: Option<bool>,
    #[serde(flatten)]
    fields: Fields,
}

/// What an answer's object repeats of its request.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    id: String,
    model: String,
    created: u64,
    /// Fields of the request as OpenAI repeats them.
    repeated: Map<String, Value>,
}

/// Answers a list of items.
pub(crate) async fn answer(
    State(app): State<Arc<App>>,
    Json(body): Json<ResponsesBody>,
) -> ApiResult<Response> {
    for (name, is_set) in [
        ("previous_response_id", body.previous_response_id.is_some()),
        ("conversation", body.conversation.as_ref().is_some_and(|value| !value.is_null())),
        ("background", body.background.unwrap_or(false)),
    ] {
        if is_set {
            return Err(ApiError::field(name, "none: this server keeps nothing between requests", "one"));
        }
    }
    let model = app.models.get(body.model.as_deref()).await?;
    let mut settings = body.fields.settings(&app, &model)?;
    if let Some(format) = body.text.as_ref().and_then(|text| text.get("format")) {
        settings.constraint = of_format(format)?.or(settings.constraint);
    }
    let request = request(&body)?;
    let asked = body.max_output_tokens;
    let (prompt, settings) = {
        let (app, model) = (Arc::clone(&app), Arc::clone(&model));
        let making = tokio::task::spawn_blocking(move || {
            let prompt = model.model().chat_prompt(&request, &mut settings)?;
            if let Some(constraint) = &settings.constraint {
                constraint.check(model.model().tokenizer())?;
            }
            let n_prompt = prompt.tokens.len();
            settings.max_tokens = max_tokens(&app, &model, n_prompt, asked, "max_output_tokens")?;
            Ok::<_, ApiError>((prompt, settings))
        });
        making.await.map_err(|_| broken_off())??
    };
    let frame = Frame {
        id: app.new_id("resp_"),
        model: model.name.clone(),
        created: now_s(),
        repeated: repeated(&body, settings.sampling.temperature, settings.sampling.top_p),
    };
    let answers = Answers::ask(&model, &prompt.tokens, &settings, 1, app.settings.max_time, &app.metrics)?;
    if body.stream.unwrap_or(false) {
        return Ok(sse::stream(answers, stream::ResponsesWriter::new(frame, prompt.reader())));
    }
    let whole = answers.whole().await?.pop().unwrap_or_default();
    let mut reader = prompt.reader();
    let mut pieces = reader.push(&whole.text);
    pieces.extend(reader.finish());
    let mut output = items::Output::new(&frame.id);
    for piece in pieces {
        output.add(piece);
    }
    let items = output.finish();
    Ok(axum::Json(frame.json(&items, whole.usage.as_ref())).into_response())
}

fn request(body: &ResponsesBody) -> ApiResult<ChatRequest> {
    let mut messages = Vec::new();
    if let Some(instructions) = &body.instructions {
        messages.push(json!({ "role": "system", "content": instructions }));
    }
    match &body.input {
        Some(Value::String(text)) => messages.push(json!({ "role": "user", "content": text })),
        Some(Value::Array(input)) => items::messages_of(input, &mut messages)?,
        _ => return Err(ApiError::field("input", "a text or a list of items", "none")),
    }
    let mut tools = Vec::new();
    for (index, tool) in body.tools.iter().flatten().enumerate() {
        let field = |part: &str| format!("tools[{index}].{part}");
        if tool["type"] != "function" {
            return Err(ApiError::field(field("type"), "function", tool["type"].to_string()));
        }
        if !tool["name"].is_string() {
            return Err(ApiError::field(field("name"), "a text", tool["name"].to_string()));
        }
        let mut function = Map::new();
        for name in ["name", "description", "parameters"] {
            if let Some(value) = tool.get(name) {
                function.insert(name.to_owned(), value.clone());
            }
        }
        tools.push(json!({ "type": "function", "function": function }));
    }
    let mut variables = Map::new();
    if let Some(effort) = body.reasoning.as_ref().and_then(|reasoning| reasoning["effort"].as_str()) {
        variables.insert("reasoning_effort".to_owned(), json!(effort));
    }
    Ok(ChatRequest {
        input: TemplateInput { messages, tools, add_generation_prompt: true, variables, now: None },
        tool_choice: choice_of(body.tool_choice.as_ref())?,
        several_calls: body.parallel_tool_calls.unwrap_or(false),
        template: None,
        files: Vec::new(),
    })
}

fn repeated(body: &ResponsesBody, temperature: f32, top_p: f32) -> Map<String, Value> {
    let value = json!({
        "instructions": body.instructions,
        "max_output_tokens": body.max_output_tokens,
        "metadata": body.metadata.clone().unwrap_or_default(),
        "parallel_tool_calls": body.parallel_tool_calls.unwrap_or(false),
        "previous_response_id": null,
        "reasoning": body.reasoning.clone().unwrap_or_else(|| json!({ "effort": null, "summary": null })),
        "store": false,
        "temperature": temperature,
        "text": body.text.clone().unwrap_or_else(|| json!({ "format": { "type": "text" } })),
        "tool_choice": body.tool_choice.clone().unwrap_or_else(|| json!("auto")),
        "tools": body.tools.clone().unwrap_or_default(),
        "top_p": top_p,
        "truncation": "disabled",
    });
    value.as_object().cloned().unwrap_or_default()
}

impl Frame {
    /// The object of an answer: in progress as long as there is no usage.
    pub(super) fn json(&self, output: &[Value], usage: Option<&Usage>) -> Value {
        let cut = usage.is_some_and(|usage| {
            matches!(usage.stop_reason, StopReason::MaxTokens | StopReason::ContextFull)
        });
        let status = match usage {
            None => "in_progress",
            Some(_) if cut => "incomplete",
            Some(_) => "completed",
        };
        let mut object = json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "error": null,
            "incomplete_details": if cut { json!({ "reason": "max_output_tokens" }) } else { Value::Null },
            "model": self.model,
            "output": output,
            "usage": usage.map(|usage| json!({
                "input_tokens": usage.prompt_tokens,
                "input_tokens_details": { "cached_tokens": usage.reused_tokens },
                "output_tokens": usage.completion_tokens,
                "output_tokens_details": { "reasoning_tokens": 0 },
                "total_tokens": usage.prompt_tokens + usage.completion_tokens,
            })),
        });
        for (name, value) in &self.repeated {
            object[name] = value.clone();
        }
        object
    }
}

/// Which item a piece belongs to.
pub(super) fn kind_of(piece: &ChatPiece) -> items::Kind {
    match piece {
        ChatPiece::Reasoning(_) => items::Kind::Reasoning,
        ChatPiece::Content(_) => items::Kind::Message,
        ChatPiece::Call(_) => items::Kind::Call,
    }
}
