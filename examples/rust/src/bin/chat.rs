//! A conversation on a terminal: `chat MODEL`. Ctrl-C stops an answer, the end of the input the program.

use llama_pajamas::{
    CancelToken, Event, GenerateSettings, Message, PlanRequest, Runtime, RuntimeSettings, SessionSettings,
    WhenFull,
};
use std::io::Write;
use std::ops::ControlFlow;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: chat MODEL")?;
    let cancel = CancelToken::new();
    let raised = cancel.clone();
    ctrlc::set_handler(move || raised.cancel())?;
    let runtime = Runtime::open(path.as_ref(), RuntimeSettings::default())?;
    let (_, model) = runtime.plan_and_load(&PlanRequest::default(), &mut |_| {}, &cancel)?;
    let mut session = model.session(&SessionSettings::default())?;
    session.set_when_full(WhenFull::Shift { keep_tokens: 0 }); // a long conversation loses its older half
    let settings = GenerateSettings { max_tokens: 256, ..GenerateSettings::default() };
    let mut messages =
        vec![Message::new("system", "You are a friendly companion. Answer in a few sentences.")];
    let mut line = String::new();
    loop {
        print!("> ");
        std::io::stdout().flush()?;
        line.clear();
        if std::io::stdin().read_line(&mut line)? == 0 {
            return Ok(());
        }
        let question = line.trim();
        if question.is_empty() {
            continue;
        }
        messages.push(Message::new("user", question));
        cancel.reset(); // a Ctrl-C at the prompt was for nothing
        let mut answer = String::new();
        // The whole conversation is handed in; what the session computed already is not computed again.
        session.chat(&messages, &settings, &cancel, &mut |event| {
            if let Event::Text(piece) = event {
                answer.push_str(piece);
                print!("{piece}");
                let _ = std::io::stdout().flush();
            }
            ControlFlow::Continue(())
        })?;
        println!();
        messages.push(Message::new("assistant", answer));
    }
}
