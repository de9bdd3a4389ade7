//! Chat templates: the model's own jinja, rendered as transformers does.

mod clock;
mod python;

use crate::{Error, Result, Tokenizer};
use formats::gguf::Metadata;
use minijinja::{Environment, ErrorKind, Value};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};
use std::time::SystemTime;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user` or `assistant`.
    pub role: String,
    /// Its text.
    pub content: String,
}

impl Message {
    /// A message of `role`.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into() }
    }
}

/// What a template is given.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TemplateInput {
    /// Messages, each an object with `role`, `content` and whatever else the template reads: `tool_calls`, `name`,
    /// `reasoning_content`.
    pub messages: Vec<Json>,
    /// Definitions of tools, as OpenAI's interface has them.
    pub tools: Vec<Json>,
    /// Open the assistant's turn.
    pub add_generation_prompt: bool,
    /// Further variables: `enable_thinking`, `reasoning_effort`, `documents`.
    pub variables: Map<String, Json>,
    /// The time that templates ask for; `None`: the system's, in UTC.
    pub now: Option<SystemTime>,
}

/// How messages become a prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    source: Source,
    bos: String,
    eos: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// The model's own.
    Own(String),
    /// The model has none, but the tokens of ChatML.
    ChatMl,
    /// The model has neither: `role: text` lines.
    Plain,
}

const CHAT_ML: &str = "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + \
                       '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
const PLAIN: &str = "{% for message in messages %}{{ message.role + ': ' + message.content + '\n' }}{% endfor %}\
                     {% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}";

/// Steps that a template may take, some hundred times what a long conversation needs.
const MAX_STEPS: u64 = 20_000_000;
/// Longest prompt, in bytes: more than any context holds.
const MAX_PROMPT_BYTES: usize = 64 << 20;

impl Template {
    /// A template in jinja, with the texts of `bos_token` and `eos_token`.
    pub fn new(source: impl Into<String>, bos: impl Into<String>, eos: impl Into<String>) -> Self {
        Self { source: Source::Own(source.into()), bos: bos.into(), eos: eos.into() }
    }

    pub(crate) fn from_metadata(metadata: &Metadata, tokenizer: &Tokenizer) -> Self {
        let own = metadata.str("tokenizer.chat_template").map(str::to_string);
        let source = match own {
            Some(own) => Source::Own(own),
            None if tokenizer.token_id("<|im_start|>").is_some() => Source::ChatMl,
            None => Source::Plain,
        };
        let text =
            |token: Option<engine::Token>| token.and_then(|t| tokenizer.token_text(t)).unwrap_or_default();
        Self { source, bos: text(tokenizer.bos()).into(), eos: text(tokenizer.eos()).into() }
    }

    /// The prompt of a conversation; `add_generation_prompt` opens the assistant's turn.
    ///
    /// # Errors
    /// As [`Template::render_input`].
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        let messages = messages.iter().map(|message| json!(message)).collect();
        self.render_input(&TemplateInput { messages, add_generation_prompt, ..TemplateInput::default() })
    }

    /// The prompt of a conversation with tools and whatever else the template reads.
    ///
    /// # Errors
    /// A template that does not parse or raises, or takes too many steps, with its line; a prompt beyond 64 MiB.
    pub fn render_input(&self, input: &TemplateInput) -> Result<String> {
        let describe = |error: minijinja::Error| {
            let line = error.line().map_or(String::new(), |line| format!("line {line}: "));
            Error::Template(match error.kind() {
                ErrorKind::OutOfFuel => format!("{line}expected an end within {MAX_STEPS} steps"),
                ErrorKind::WriteFailure => {
                    format!("{line}expected a prompt of at most {MAX_PROMPT_BYTES} bytes")
                }
                _ => format!("{line}{error}"),
            })
        };
        let source = python::without_generation_marks(self.text());
        let mut environment = environment(input.now);
        environment.add_template("chat", &source).map_err(describe)?;
        let template = environment.get_template("chat").map_err(describe)?;
        let tools = if input.tools.is_empty() { Json::Null } else { Json::Array(input.tools.clone()) };
        let mut values = json!({
            "messages": input.messages,
            "tools": tools,
            "documents": null,
            "add_generation_prompt": input.add_generation_prompt,
            "bos_token": self.bos,
            "eos_token": self.eos,
        });
        for (name, value) in &input.variables {
            values[name] = value.clone();
        }
        let mut prompt = Prompt::default();
        template.render_captured_to(Value::from_serialize(&values), &mut prompt).map_err(describe)?;
        Ok(String::from_utf8(prompt.0).expect("templates write text"))
    }

    /// The template itself, in jinja.
    pub fn text(&self) -> &str {
        match &self.source {
            Source::Own(own) => own.as_str(),
            Source::ChatMl => CHAT_ML,
            Source::Plain => PLAIN,
        }
    }

    /// The same texts around another template, in jinja.
    pub fn replaced_by(&self, source: impl Into<String>) -> Self {
        Self { source: Source::Own(source.into()), ..self.clone() }
    }

    /// Texts that end a turn where the model has no token for it.
    pub(crate) fn stop_texts(&self) -> Vec<String> {
        match self.source {
            Source::Plain => vec!["\nuser:".into(), "\nsystem:".into()],
            _ => Vec::new(),
        }
    }

    /// Whether the template itself writes the beginning of sequence.
    pub(crate) fn writes_bos(&self, tokenizer: &Tokenizer) -> bool {
        let bos = tokenizer.bos().and_then(|bos| tokenizer.token_text(bos));
        matches!(&self.source, Source::Own(own) if own.contains("bos_token") || bos.is_some_and(|bos| own.contains(bos)))
    }
}

/// What transformers gives templates: Python's methods, and its way to write values.
fn environment(now: Option<SystemTime>) -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(MAX_STEPS));
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.set_unknown_method_callback(python::unknown_method);
    environment.set_formatter(python::write);
    environment.add_filter("tojson", python::to_json);
    environment.add_filter("string", python::to_text);
    environment.add_filter("indent", python::indent);
    environment.add_test("iterable", python::is_iterable);
    environment.add_function("strftime_now", move |format: &str| {
        clock::format(now.unwrap_or_else(SystemTime::now), format)
    });
    environment.add_function(
        "raise_exception",
        |message: String| -> std::result::Result<Value, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        },
    );
    environment
}

/// A prompt of at most [`MAX_PROMPT_BYTES`].
#[derive(Default)]
struct Prompt(Vec<u8>);

impl std::io::Write for Prompt {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        if text.len() > MAX_PROMPT_BYTES - self.0.len() {
            return Err(std::io::Error::other("too long"));
        }
        self.0.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: Source) -> Template {
        Template { source, bos: "<s>".into(), eos: "</s>".into() }
    }

    #[test]
    fn the_models_own_template_is_rendered_with_python_methods() {
        let own = "{{ bos_token }}{% for m in messages %}\n[{{ m['role'].upper() }}] {{ m['content'].strip() }}\n{% endfor %}";
        let text = template(Source::Own(own.into())).render(&[Message::new("user", " hi ")], true).unwrap();
        assert_eq!(text, "<s>[USER] hi\n");
    }

    #[test]
    fn chat_ml_opens_the_assistants_turn() {
        let text = template(Source::ChatMl).render(&[Message::new("user", "hi")], true).unwrap();
        assert_eq!(text, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
    }

    #[test]
    fn a_template_without_end_is_stopped() {
        let render =
            |own: &str| template(Source::Own(own.into())).render(&[], false).unwrap_err().to_string();
        let error = render("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}");
        assert!(error.contains("line 1: expected an end within 20000000 steps"), "{error}");
        let error = render("\n{% for a in range(99999) %}{{ 'abcd' * 999999 }}{% endfor %}");
        assert!(error.contains("at most 67108864 bytes"), "{error}");
    }

    #[test]
    fn a_failing_template_names_its_line() {
        let own = "\n{{ raise_exception('roles must alternate') }}";
        let error = template(Source::Own(own.into())).render(&[], false).unwrap_err().to_string();
        assert!(error.contains("line 2") && error.contains("roles must alternate"), "{error}");
    }
}
