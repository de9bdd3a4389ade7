//! Conversations with tools and reasoning: from messages to a prompt, and from what the model writes to its parts.
//!
//! Owns [`ChatRequest`], [`ChatPrompt`] and what of them steers a generation. Must not know protocols.

mod calls;
mod formats;
mod grammar;
mod pythonic;
mod reader;

pub use calls::ToolCall;
pub use reader::{ChatPiece, ChatReader};

use crate::answer::GenerateSettings;
use crate::media::{is_file, unused_mark};
use crate::template::TemplateInput;
use crate::{Constraint, Error, LoadedModel, Result, Tokenizer};
use engine::Token;
use formats::ChatFormat;
use serde_json::{Map, Value};

/// Whether and which tools may be called.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ToolChoice {
    /// The model decides.
    #[default]
    Auto,
    /// None.
    Never,
    /// One at least.
    Required,
    /// The one of this name.
    Named(String),
}

/// A conversation to be gone on with.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ChatRequest {
    /// What the template is given. Contents that are lists of parts become their texts.
    pub input: TemplateInput,
    /// Which tools may be called. Where the model does not decide, the answer is held to a call, which needs the feature
    /// `constrain`.
    pub tool_choice: ToolChoice,
    /// A required call may be followed by others.
    pub several_calls: bool,
    /// Another template than the model's own, in jinja.
    pub template: Option<String>,
    /// Bytes of the files that parts of messages stand for (`image_url`, `image`, `input_audio`), in their order.
    pub files: Vec<Vec<u8>>,
}

/// The prompt of a conversation, and how its answer is to be read.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatPrompt {
    /// As the template wrote it.
    pub text: String,
    /// Its tokens.
    pub tokens: Vec<Token>,
    format: ChatFormat,
    /// The template began the reasoning.
    reasons: bool,
    tools: Vec<Value>,
}

impl ChatPrompt {
    /// What takes the answer's text apart as it comes.
    pub fn reader(&self) -> ChatReader {
        ChatReader::new(&self.format, self.reasons, &self.tools)
    }
}

impl LoadedModel {
    /// The prompt of a conversation; `settings` is told what goes with it: stop texts, marks that are text, what the answer
    /// is held to.
    ///
    /// # Errors
    /// A template that fails, a choice of a tool that there is not.
    pub fn chat_prompt(&self, request: &ChatRequest, settings: &mut GenerateSettings) -> Result<ChatPrompt> {
        let template = match &request.template {
            Some(source) => self.template().replaced_by(source.as_str()),
            None => self.template().clone(),
        };
        let mut input = request.input.clone();
        if request.tool_choice == ToolChoice::Never {
            input.tools.clear();
        }
        let allowed = allowed_tools(&input.tools, &request.tool_choice)?;
        let mark = unused_mark(&input.messages);
        input.messages.iter_mut().for_each(|message| flatten(message, &mark));
        let text = match template.render_input(&with_arguments_as_objects(&input)) {
            Ok(text) => text,
            // Some templates join arguments as texts.
            Err(error) => template.render_input(&input).map_err(|_| error)?,
        };
        let mut format = ChatFormat::of(template.text());
        let reasons = format.reasoning.is_some_and(|reasoning| text.trim_end().ends_with(&reasoning.begin));
        let forced = matches!(request.tool_choice, ToolChoice::Required | ToolChoice::Named(_));
        if forced || (settings.constraint.is_some() && (reasons || !allowed.is_empty())) {
            if !grammar::can_write(format.calls) {
                format.calls = ChatFormat::of("").calls;
            }
            let form = grammar::Form {
                tools: &allowed,
                calls: format.calls,
                reasoning_end: format.reasoning.filter(|_| reasons).map(|reasoning| reasoning.end.as_str()),
                several: request.several_calls,
                otherwise: settings.constraint.as_ref().filter(|_| !forced),
            };
            settings.constraint = Some(Constraint::Lark(form.lark(self.tokenizer())?));
        }
        settings.stop.extend(template.stop_texts());
        settings.shown = control_tokens(&format, self.tokenizer())?;
        let bos = !template.writes_bos(self.tokenizer());
        let tokens = self.marked_prompt(&text, &mark, &request.files, bos, &mut settings.media)?;
        Ok(ChatPrompt { text, tokens, format, reasons, tools: input.tools })
    }
}

/// Tools that may be called; of those the model is free to use all.
fn allowed_tools(tools: &[Value], choice: &ToolChoice) -> Result<Vec<Value>> {
    let name_of = |tool: &Value| tool.get("function").unwrap_or(tool)["name"].as_str().map(str::to_owned);
    let names: Vec<String> = tools.iter().filter_map(name_of).collect();
    let refused = |got: String| Error::Request {
        what: "tool_choice",
        expected: match names.is_empty() {
            true => "none or auto where there are no tools".to_owned(),
            false => format!("one of {}", names.join(", ")),
        },
        got,
    };
    match choice {
        ToolChoice::Never => Ok(Vec::new()),
        ToolChoice::Auto => Ok(tools.to_vec()),
        ToolChoice::Required if tools.is_empty() => Err(refused("required".into())),
        ToolChoice::Required => Ok(tools.to_vec()),
        ToolChoice::Named(name) => {
            let named: Vec<Value> =
                tools.iter().filter(|tool| name_of(tool).as_ref() == Some(name)).cloned().collect();
            if named.is_empty() { Err(refused(name.clone())) } else { Ok(named) }
        }
    }
}

/// A content that is a list of parts becomes the texts among them with marks for files, and none becomes an empty one, which
/// every template can join with others.
fn flatten(message: &mut Value, mark: &str) {
    let text = match message.get("content") {
        Some(Value::Array(parts)) => {
            let mut text = String::new();
            let mut behind_text = false;
            for part in parts {
                match part["text"].as_str() {
                    _ if is_file(part) => text.push_str(mark),
                    Some(more) if behind_text => text.extend(["\n", more]),
                    Some(more) => text.push_str(more),
                    None => continue,
                }
                behind_text = !is_file(part);
            }
            text
        }
        None | Some(Value::Null) => String::new(),
        Some(_) => return,
    };
    if let Some(message) = message.as_object_mut() {
        message.insert("content".into(), Value::String(text));
    }
}

/// Arguments of earlier calls as objects, which most templates read; OpenAI's interface has them as texts.
fn with_arguments_as_objects(input: &TemplateInput) -> TemplateInput {
    let mut input = input.clone();
    let calls = input.messages.iter_mut().filter_map(|message| message.get_mut("tool_calls")?.as_array_mut());
    for call in calls.flatten() {
        if let Some(Value::String(text)) = call.pointer("/function/arguments")
            && let Ok(object) = serde_json::from_str::<Map<String, Value>>(text)
        {
            call["function"]["arguments"] = Value::Object(object);
        }
    }
    input
}

/// Tokens without a text by which the answer is read.
fn control_tokens(format: &ChatFormat, tokenizer: &Tokenizer) -> Result<Vec<Token>> {
    let mut tokens = Vec::new();
    for text in format.texts() {
        let control =
            |token: &Token| tokenizer.token_bytes(*token).is_empty() && !tokenizer.ends_turn(*token);
        tokens.extend(tokenizer.encode(text, false)?.into_iter().filter(control));
    }
    tokens.sort_unstable();
    tokens.dedup();
    Ok(tokens)
}
