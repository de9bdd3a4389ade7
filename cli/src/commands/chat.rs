//! `chat`: a conversation with line editing. Ctrl-C stops the answer and not the program; Ctrl-D ends it.

use super::small::{SmallModel, beside, guessing};
use super::{adapters, generate_settings, load, open, read};
use crate::args::Chat;
use crate::interrupt;
use crate::markdown::Markdown;
use crate::screen::Screen;
use anyhow::{Context, Result, bail};
use llama_pajamas::{
    CancelToken, ChatRequest, Event, GenerateSettings, LoadedModel, PlanRequest, Session, TemplateInput,
    Usage,
};
use rustyline::error::ReadlineError;
use serde_json::{Value, json};
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

const HELP: &str = "/clear starts anew, /system TEXT sets the system message, /image FILE puts a picture or sound into the next \
                    message (with --images), /save FILE writes the conversation as JSON, /stats tells of the last answer, /quit or \
                    Ctrl-D ends; Ctrl-C stops an answer";

/// What was said so far.
#[derive(Default)]
struct Conversation {
    system: Option<String>,
    messages: Vec<Value>,
    files: Vec<Vec<u8>>,
    /// Of the next message.
    parts: Vec<Value>,
}

impl Conversation {
    fn clear(&mut self) {
        let system = self.system.take();
        self.messages = system.iter().map(|text| json!({ "role": "system", "content": text })).collect();
        (self.files, self.parts, self.system) = (Vec::new(), Vec::new(), system);
    }

    fn show(&mut self, path: &str) -> Result<()> {
        self.files.push(read(Path::new(path))?);
        self.parts.push(json!({ "type": "image", "file": path }));
        Ok(())
    }

    fn say(&mut self, text: &str) {
        let mut content = std::mem::take(&mut self.parts);
        content.push(json!({ "type": "text", "text": text }));
        self.messages.push(json!({ "role": "user", "content": content }));
    }

    /// Takes back what the last message showed and said.
    fn take_back(&mut self) {
        let message = self.messages.pop().unwrap_or_default();
        let shown = message["content"].as_array().map_or(0, |parts| parts.len().saturating_sub(1));
        self.files.truncate(self.files.len().saturating_sub(shown));
    }

    fn save(&self, path: &str) -> Result<()> {
        let text = serde_json::to_string_pretty(&json!({ "messages": self.messages }))?;
        std::fs::write(path, text + "\n").with_context(|| path.to_owned())
    }
}

pub(crate) fn run(args: &Chat, screen: &Screen) -> Result<()> {
    if screen.json {
        bail!("--json: chat is a conversation; use `run --chat-template --json` for one answer");
    }
    let cancel = interrupt::token();
    let (runtime, _located) = open(&args.model, &args.wishes, None, screen)?;
    let images = args.images || args.wishes.mmproj.is_some();
    let small = SmallModel::open(&args.answering.guessing, &args.wishes, screen)?;
    let model = load(&runtime, PlanRequest { images, ..beside(&args.wishes, small.as_ref())? }, &cancel)?;
    let mut session = model.session(&guessing(&args.answering.guessing, small.as_ref(), &model, &cancel)?)?;
    let mut settings = generate_settings(&args.answering.sampling);
    settings.adapters = adapters(&model, &args.answering.adapters)?;
    let mut conversation = Conversation { system: args.system.clone(), ..Conversation::default() };
    conversation.clear();
    let mut last = None;
    println!("{} on {} – {HELP}", model.choice().id, model.choice().backend.name());
    let mut editor = rustyline::DefaultEditor::new()?;
    loop {
        let line = match editor.readline("> ") {
            Ok(line) => line,
            Err(ReadlineError::Interrupted) => continue,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let line = line.trim();
        let _ = editor.add_history_entry(line);
        let told = match line.split_once(' ').unwrap_or((line, "")) {
            ("", _) => continue,
            ("/quit", _) => return Ok(()),
            ("/help", _) => {
                println!("{HELP}");
                continue;
            }
            ("/clear", _) => {
                conversation.clear();
                continue;
            }
            ("/system", text) => {
                conversation.system = Some(text.to_string()).filter(|text| !text.is_empty());
                conversation.clear();
                continue;
            }
            ("/image", path) => conversation.show(path),
            ("/save", path) => conversation.save(path),
            ("/stats", _) => {
                println!("{}", stats(last.as_ref(), &session));
                continue;
            }
            (word, _) if word.starts_with('/') => {
                println!("{word} is not known; {HELP}");
                continue;
            }
            _ => {
                conversation.say(line);
                let told = answer(&model, &mut session, &mut conversation, &settings, (&cancel, screen));
                cancel.reset();
                told.map(|usage| last = Some(usage))
            }
        };
        // A conversation goes on after a file that is not there or a message that cannot be answered.
        if let Err(error) = told {
            println!("error: {error:#}");
        }
    }
}

fn stats(last: Option<&Usage>, session: &Session) -> String {
    let held = format!("{} of {} tokens held", session.n_past(), session.n_ctx());
    last.map_or_else(
        || held.clone(),
        |usage| {
            let read = usage.prompt_tokens - usage.reused_tokens;
            let (reading, writing) = (usage.prompt_tokens_per_s(), usage.decode_tokens_per_s());
            let written = usage.completion_tokens;
            format!("read {read} tokens at {reading:.0} tokens/s, wrote {written} at {writing:.0} tokens/s; {held}")
        },
    )
}

fn answer(
    model: &LoadedModel,
    session: &mut Session,
    conversation: &mut Conversation,
    settings: &GenerateSettings,
    (cancel, screen): (&CancelToken, &Screen),
) -> Result<Usage> {
    let (messages, files) = (conversation.messages.clone(), conversation.files.clone());
    let input = TemplateInput { messages, add_generation_prompt: true, ..TemplateInput::default() };
    let mut settings = settings.clone();
    let request = ChatRequest { input, files, ..ChatRequest::default() };
    let (mut text, mut out) = (String::new(), std::io::stdout());
    let mut markdown = Markdown::new(screen.is_coloured());
    let mut on_event = |event: Event<'_>| {
        if let Event::Text(piece) = event {
            text.push_str(piece);
            let _ = out.write_all(markdown.push(piece).as_bytes()).and_then(|()| out.flush());
        }
        ControlFlow::Continue(())
    };
    let made = model.chat_prompt(&request, &mut settings);
    let told =
        made.and_then(|prompt| session.generate_tokens(&prompt.tokens, &settings, cancel, &mut on_event));
    print!("{}", markdown.finish());
    match told {
        Ok(usage) => {
            println!();
            conversation.messages.push(json!({ "role": "assistant", "content": text }));
            Ok(usage)
        }
        Err(error) => {
            conversation.take_back();
            Err(error.into())
        }
    }
}
