//! `chat`: a conversation with line editing. Ctrl-C stops the answer and not the program; Ctrl-D ends it.

use super::{generate_settings, load, open};
use crate::args::Chat;
use crate::interrupt;
use crate::screen::Screen;
use anyhow::{Result, bail};
use llama_pajamas::{CancelToken, Event, Message, Session, SessionSettings};
use rustyline::error::ReadlineError;
use std::io::Write;
use std::ops::ControlFlow;

const HELP: &str =
    "/clear starts anew, /system TEXT sets the system message, /quit or Ctrl-D ends; Ctrl-C stops an answer";

pub(crate) fn run(args: &Chat, screen: &Screen) -> Result<()> {
    if screen.json {
        bail!("--json: chat is a conversation; use `run --chat-template --json` for one answer");
    }
    let cancel = interrupt::token();
    let (runtime, _located) = open(&args.model, &args.wishes, None, screen)?;
    let model = load(&runtime, &args.wishes, &cancel)?;
    let mut session = model.session(&SessionSettings::default())?;
    let settings = generate_settings(&args.sampling);
    let mut system = args.system.clone();
    let mut messages = opening(system.as_deref());
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
        match line.split_once(' ').unwrap_or((line, "")) {
            ("", _) => continue,
            ("/quit", _) => return Ok(()),
            ("/help", _) => println!("{HELP}"),
            ("/clear", _) => messages = opening(system.as_deref()),
            ("/system", text) => {
                system = Some(text.to_string()).filter(|text| !text.is_empty());
                messages = opening(system.as_deref());
            }
            (word, _) if word.starts_with('/') => println!("{word} is not known; {HELP}"),
            _ => {
                messages.push(Message::new("user", line));
                let answer = answer(&mut session, &messages, &settings, &cancel)?;
                messages.push(Message::new("assistant", answer));
                cancel.reset();
            }
        }
    }
}

fn opening(system: Option<&str>) -> Vec<Message> {
    system.map(|text| Message::new("system", text)).into_iter().collect()
}

fn answer(
    session: &mut Session,
    messages: &[Message],
    settings: &llama_pajamas::GenerateSettings,
    cancel: &CancelToken,
) -> Result<String> {
    let mut text = String::new();
    let mut out = std::io::stdout();
    let usage = session.chat(messages, settings, cancel, &mut |event| {
        if let Event::Text(piece) = event {
            text.push_str(piece);
            let _ = out.write_all(piece.as_bytes()).and_then(|()| out.flush());
        }
        ControlFlow::Continue(())
    })?;
    println!();
    tracing::info!("{} tokens at {:.0} tokens/s", usage.completion_tokens, usage.decode_tokens_per_s());
    Ok(text)
}
