//! `/v1/chat/completions`.
//!
//! Owns the form of its requests and answers. Must not know how templates and calls of tools are written.

mod stream;

use crate::answers::{Answers, Whole, finish_reason};
use crate::app::{App, now_s};
use crate::body::Json;
use crate::error::{ApiError, ApiResult};
use crate::fields::{Fields, max_tokens};
use crate::files;
use crate::models::Loaded;
use crate::sse;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use llama_pajamas::{
    ChatPiece, ChatPrompt, ChatRequest, TemplateInput, TokenLogprobs, ToolCall, ToolChoice, Usage,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct ChatBody {
    model: Option<String>,
    messages: Option<Vec<Value>>,
    tools: Option<Vec<Value>>,
    tool_choice: Option<Value>,
    parallel_tool_calls: Option<bool>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<i64>,
    max_completion_tokens: Option<i64>,
    logprobs: Option<bool>,
    top_logprobs: Option<u32>,
    chat_template: Option<String>,
    chat_template_kwargs: Option<Map<String, Value>>,
    reasoning_effort: Option<String>,
    add_generation_prompt: Option<bool>,
    #[serde(flatten)]
    fields: Fields,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub(crate) struct StreamOptions {
    pub(crate) include_usage: bool,
}

/// Answers a conversation.
pub(crate) async fn answer(State(app): State<Arc<App>>, Json(body): Json<ChatBody>) -> ApiResult<Response> {
    let model = app.models.get(body.model.as_deref()).await?;
    let mut settings = body.fields.settings(&app, &model)?;
    let (streams, n) = (body.stream.unwrap_or(false), body.fields.choices(&app)?);
    let include_usage = body.stream_options.unwrap_or_default().include_usage;
    if body.logprobs.unwrap_or(false) {
        settings.top_logprobs = Some(body.top_logprobs.unwrap_or(0));
        settings.check().map_err(ApiError::from)?;
    }
    let request = request(&body)?;
    let asked = body.max_completion_tokens.or(body.max_tokens);
    // Templates and grammars take their time: not on the threads that serve connections.
    let (prompt, settings) = {
        let (app, model) = (Arc::clone(&app), Arc::clone(&model));
        let making = tokio::task::spawn_blocking(move || {
            let prompt = model.model().chat_prompt(&request, &mut settings)?;
            if let Some(constraint) = &settings.constraint {
                constraint.check(model.model().tokenizer())?;
            }
            settings.max_tokens = max_tokens(&app, &model, prompt.tokens.len(), asked, "max_tokens")?;
            Ok::<_, ApiError>((prompt, settings))
        });
        making.await.map_err(|_| broken_off())??
    };
    let answers = Answers::ask(&model, &prompt.tokens, &settings, n, app.settings.max_time, &app.metrics)?;
    let id = app.new_id("chatcmpl-");
    if streams {
        let writer = stream::ChatWriter::new(id, &model, &prompt, n, include_usage);
        return Ok(sse::stream(answers, writer));
    }
    let whole = answers.whole().await?;
    Ok(axum::Json(completion(&id, &model, &prompt, whole)).into_response())
}

pub(crate) fn broken_off() -> ApiError {
    ApiError::new(axum::http::StatusCode::INTERNAL_SERVER_ERROR, "internal", "the prompt was not made")
}

fn request(body: &ChatBody) -> ApiResult<ChatRequest> {
    let messages = body.messages.clone().unwrap_or_default();
    if messages.is_empty() {
        return Err(ApiError::field("messages", "at least one", "none"));
    }
    for (index, message) in messages.iter().enumerate() {
        let field = |part: &str| format!("messages[{index}].{part}");
        if !message["role"].is_string() {
            return Err(ApiError::field(field("role"), "a text", message["role"].to_string()));
        }
        match &message["content"] {
            Value::Null | Value::String(_) | Value::Array(_) => {}
            other => {
                return Err(ApiError::field(
                    field("content"),
                    "a text or a list of parts",
                    other.to_string(),
                ));
            }
        }
    }
    let files = files::of_messages(&messages)?;
    let mut variables = body.chat_template_kwargs.clone().unwrap_or_default();
    if let Some(effort) = &body.reasoning_effort {
        variables.entry("reasoning_effort").or_insert_with(|| json!(effort));
    }
    Ok(ChatRequest {
        input: TemplateInput {
            messages,
            tools: tools_of(body.tools.clone())?,
            add_generation_prompt: body.add_generation_prompt.unwrap_or(true),
            variables,
            now: None,
        },
        tool_choice: choice_of(body.tool_choice.as_ref())?,
        several_calls: body.parallel_tool_calls.unwrap_or(false),
        template: body.chat_template.clone(),
        files,
    })
}

/// Definitions that have a name.
pub(crate) fn tools_of(tools: Option<Vec<Value>>) -> ApiResult<Vec<Value>> {
    let tools = tools.unwrap_or_default();
    match tools.iter().position(|tool| !tool["function"]["name"].is_string()) {
        None => Ok(tools),
        Some(index) => Err(ApiError::field(format!("tools[{index}].function.name"), "a text", "none")),
    }
}

/// `none`, `auto`, `required`, or the tool that is named.
pub(crate) fn choice_of(choice: Option<&Value>) -> ApiResult<ToolChoice> {
    let Some(choice) = choice.filter(|choice| !choice.is_null()) else { return Ok(ToolChoice::Auto) };
    let named = choice.pointer("/function/name").or_else(|| choice.get("name"));
    match (choice.as_str(), named.and_then(Value::as_str)) {
        (Some("auto"), _) => Ok(ToolChoice::Auto),
        (Some("none"), _) => Ok(ToolChoice::Never),
        (Some("required"), _) => Ok(ToolChoice::Required),
        (None, Some(name)) => Ok(ToolChoice::Named(name.to_owned())),
        _ => {
            let expected = "auto, none, required or a function with its name";
            Err(ApiError::field("tool_choice", expected, choice.to_string()))
        }
    }
}

/// OpenAI's object for a call.
pub(crate) fn call_json(call: &ToolCall, id: &str) -> Value {
    json!({
        "id": call.id.as_deref().unwrap_or(id),
        "type": "function",
        "function": { "name": call.name, "arguments": call.arguments },
    })
}

/// OpenAI's object for the tokens of all answers to one prompt.
pub(crate) fn usage_json<'a>(usages: impl IntoIterator<Item = &'a Usage>) -> Value {
    let (mut prompt, mut reused, mut completion) = (0, 0, 0);
    for usage in usages {
        prompt = usage.prompt_tokens;
        reused = reused.max(usage.reused_tokens);
        completion += usage.completion_tokens;
    }
    json!({
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": { "cached_tokens": reused },
    })
}

/// OpenAI's object for how likely a token was.
pub(crate) fn logprob_json(model: &Loaded, logprobs: &TokenLogprobs) -> Value {
    let tokenizer = model.model().tokenizer();
    let of = |one: &llama_pajamas::Logprob| {
        let bytes = tokenizer.token_bytes(one.token);
        // JSON has no infinity; OpenAI writes -9999 for what is impossible.
        let logprob = if one.logprob.is_finite() { one.logprob } else { -9999.0 };
        json!({ "token": String::from_utf8_lossy(bytes), "logprob": logprob, "bytes": bytes })
    };
    let mut object = of(&logprobs.chosen);
    object["top_logprobs"] = logprobs.top.iter().map(of).collect();
    object
}

fn completion(id: &str, model: &Loaded, prompt: &ChatPrompt, whole: Vec<Whole>) -> Value {
    let usage = usage_json(whole.iter().filter_map(|whole| whole.usage.as_ref()));
    let choices: Vec<Value> = whole
        .iter()
        .enumerate()
        .map(|(index, whole)| {
            let mut reader = prompt.reader();
            let mut pieces = reader.push(&whole.text);
            pieces.extend(reader.finish());
            let (mut content, mut reasoning, mut calls) = (String::new(), String::new(), Vec::new());
            for piece in pieces {
                match piece {
                    ChatPiece::Content(text) => content.push_str(&text),
                    ChatPiece::Reasoning(text) => reasoning.push_str(&text),
                    ChatPiece::Call(call) => {
                        calls.push(call_json(&call, &format!("call_{id}_{index}_{}", calls.len())));
                    }
                }
            }
            let reason = whole.usage.as_ref().map_or("stop", |usage| finish_reason(&usage.stop_reason));
            let reason = if calls.is_empty() || reason == "length" { reason } else { "tool_calls" };
            let content = if content.is_empty() && !calls.is_empty() { Value::Null } else { json!(content) };
            let mut message = json!({ "role": "assistant", "content": content, "refusal": null });
            if !reasoning.is_empty() {
                message["reasoning_content"] = json!(reasoning);
            }
            if !calls.is_empty() {
                message["tool_calls"] = json!(calls);
            }
            let logprobs: Vec<Value> = whole.logprobs.iter().map(|one| logprob_json(model, one)).collect();
            let logprobs = if logprobs.is_empty() {
                Value::Null
            } else {
                json!({ "content": logprobs, "refusal": null })
            };
            json!({ "index": index, "message": message, "logprobs": logprobs, "finish_reason": reason })
        })
        .collect();
    json!({
        "id": id,
        "object": "chat.completion",
        "created": now_s(),
        "model": model.name,
        "choices": choices,
        "usage": usage,
    })
}
