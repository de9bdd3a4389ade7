//! `/v1/completions`.
//!
//! Owns the form of its requests and answers. Must not know templates: the prompt is gone on with as it is.

use crate::answers::{Answers, Whole, finish_reason};
use crate::app::{App, now_s};
use crate::body::Json;
use crate::chat::{StreamOptions, broken_off, usage_json};
use crate::error::{ApiError, ApiResult};
use crate::fields::{Fields, TextsOrTokens, max_tokens};
use crate::models::Loaded;
use crate::outbox::Item;
use crate::sse::{self, Writer, data};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use llama_pajamas::{Logprob, Token, TokenLogprobs, Usage};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// Tokens of an answer where nothing else is asked for, as OpenAI has it.
const DEFAULT_TOKENS: i64 = 16;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CompletionBody {
    model: Option<String>,
    prompt: Option<TextsOrTokens>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<i64>,
    logprobs: Option<u32>,
    echo: Option<bool>,
    suffix: Option<String>,
    #[serde(flatten)]
    fields: Fields,
}

/// Goes on with a prompt.
pub(crate) async fn answer(
    State(app): State<Arc<App>>,
    Json(body): Json<CompletionBody>,
) -> ApiResult<Response> {
    let model = app.models.get(body.model.as_deref()).await?;
    let mut settings = body.fields.settings(&app, &model)?;
    let n = body.fields.choices(&app)?;
    settings.top_logprobs = body.logprobs;
    settings.check().map_err(ApiError::from)?;
    if body.suffix.as_ref().is_some_and(|suffix| !suffix.is_empty()) {
        return Err(ApiError::field("suffix", "none: answers only follow a prompt", "one"));
    }
    let tokenizer = model.model().tokenizer();
    let one =
        |prompts: usize| ApiError::field("prompt", "one prompt per request", format!("{prompts} of them"));
    let prompt = match body.prompt.clone() {
        None => return Err(ApiError::field("prompt", "a text or tokens", "none")),
        Some(TextsOrTokens::Text(text)) => tokenizer.encode(&text, true)?,
        Some(TextsOrTokens::Tokens(tokens)) => tokens,
        Some(TextsOrTokens::Texts(texts)) => match texts.as_slice() {
            [text] => tokenizer.encode(text, true)?,
            texts => return Err(one(texts.len())),
        },
        Some(TextsOrTokens::Several(several)) => match <[_; 1]>::try_from(several) {
            Ok([tokens]) => tokens,
            Err(several) => return Err(one(several.len())),
        },
    };
    let asked = Some(body.max_tokens.unwrap_or(DEFAULT_TOKENS));
    settings.max_tokens = max_tokens(&app, &model, prompt.len(), asked, "max_tokens")?;
    if let Some(constraint) = settings.constraint.clone() {
        let model = Arc::clone(&model);
        let checking = tokio::task::spawn_blocking(move || constraint.check(model.model().tokenizer()));
        checking.await.map_err(|_| broken_off())??;
    }
    let echo = match body.echo.unwrap_or(false) {
        true => tokenizer.decode(&prompt),
        false => String::new(),
    };
    let answers = Answers::ask(&model, &prompt, &settings, n, app.settings.max_time, &app.metrics)?;
    let id = app.new_id("cmpl-");
    if body.stream.unwrap_or(false) {
        let include_usage = body.stream_options.unwrap_or_default().include_usage;
        let writer = CompletionWriter {
            id,
            model: Arc::clone(&model),
            created: now_s(),
            choices: (0..n).map(|_| Choice::default()).collect(),
            include_usage,
            echo,
        };
        return Ok(sse::stream(answers, writer));
    }
    let whole = answers.whole().await?;
    Ok(axum::Json(completion(&id, &model, &echo, &whole)).into_response())
}

/// OpenAI's older object for how likely tokens were; `offset` counts the characters before.
fn logprobs_json(model: &Loaded, all: &[TokenLogprobs], offset: &mut usize) -> Value {
    if all.is_empty() {
        return Value::Null;
    }
    let tokenizer = model.model().tokenizer();
    let text = |token: Token| String::from_utf8_lossy(tokenizer.token_bytes(token)).into_owned();
    let (mut tokens, mut logprobs, mut top, mut offsets) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for one in all {
        let spelled = text(one.chosen.token);
        offsets.push(*offset);
        *offset += spelled.chars().count();
        tokens.push(spelled);
        logprobs.push(one.chosen.logprob.max(-9999.0));
        let by_text = |one: &Logprob| (text(one.token), json!(one.logprob.max(-9999.0)));
        top.push(one.top.iter().map(by_text).collect::<Map<String, Value>>());
    }
    json!({ "tokens": tokens, "token_logprobs": logprobs, "top_logprobs": top, "text_offset": offsets })
}

fn completion(id: &str, model: &Loaded, echo: &str, whole: &[Whole]) -> Value {
    let choice = |(index, whole): (usize, &Whole)| {
        let reason = whole.usage.as_ref().map_or("stop", |usage| finish_reason(&usage.stop_reason));
        let mut offset = echo.chars().count();
        json!({
            "index": index,
            "text": format!("{echo}{}", whole.text),
            "logprobs": logprobs_json(model, &whole.logprobs, &mut offset),
            "finish_reason": reason,
        })
    };
    json!({
        "id": id,
        "object": "text_completion",
        "created": now_s(),
        "model": model.name,
        "choices": whole.iter().enumerate().map(choice).collect::<Vec<_>>(),
        "usage": usage_json(whole.iter().filter_map(|whole| whole.usage.as_ref())),
    })
}

#[derive(Default)]
struct Choice {
    logprobs: Vec<TokenLogprobs>,
    offset: usize,
    usage: Option<Usage>,
}

struct CompletionWriter {
    id: String,
    model: Arc<Loaded>,
    created: u64,
    choices: Vec<Choice>,
    include_usage: bool,
    echo: String,
}

impl CompletionWriter {
    fn chunk(&self, choices: Value, usage: Value, out: &mut String) {
        let mut chunk = json!({
            "id": self.id,
            "object": "text_completion",
            "created": self.created,
            "model": self.model.name,
            "choices": choices,
        });
        if self.include_usage {
            chunk["usage"] = usage;
        }
        data(out, &chunk);
    }

    fn text(&mut self, index: usize, text: &str, reason: Option<&str>, out: &mut String) {
        let choice = &mut self.choices[index];
        let told = std::mem::take(&mut choice.logprobs);
        let logprobs = logprobs_json(&self.model, &told, &mut choice.offset);
        let choice = json!({ "index": index, "text": text, "logprobs": logprobs, "finish_reason": reason });
        self.chunk(json!([choice]), Value::Null, out);
    }
}

impl Writer for CompletionWriter {
    fn begin(&mut self, out: &mut String) {
        let echo = std::mem::take(&mut self.echo);
        for index in 0..self.choices.len() {
            if !echo.is_empty() {
                self.text(index, &echo, None, out);
                self.choices[index].offset = echo.chars().count();
            }
        }
    }

    fn item(&mut self, index: usize, item: Item, out: &mut String) {
        match item {
            Item::Prompt | Item::Done(Err(_)) => {}
            Item::Logprobs(logprobs) => self.choices[index].logprobs.push(logprobs),
            Item::Text(text) => self.text(index, &text, None, out),
            Item::Done(Ok(usage)) => {
                let reason = finish_reason(&usage.stop_reason);
                self.choices[index].usage = Some(usage);
                self.text(index, "", Some(reason), out);
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
