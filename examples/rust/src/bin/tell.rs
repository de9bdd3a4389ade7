//! Goes on with a text: `tell MODEL TEXT`.

use llama_pajamas::{
    CancelToken, Event, GenerateSettings, PlanRequest, Runtime, RuntimeSettings, SessionSettings,
};
use std::io::Write;
use std::ops::ControlFlow;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().collect();
    let [_, model, text] = &words[..] else { return Err("usage: tell MODEL TEXT".into()) };
    let cancel = CancelToken::new();
    let runtime = Runtime::open(model.as_ref(), RuntimeSettings::default())?;
    let (_, model) = runtime.plan_and_load(&PlanRequest::default(), &mut |_| {}, &cancel)?;
    let mut session = model.session(&SessionSettings::default())?;
    let settings = GenerateSettings { max_tokens: 40, ..GenerateSettings::default() };
    let usage = session.generate(text, &settings, &cancel, &mut |event| {
        if let Event::Text(piece) = event {
            print!("{piece}");
            let _ = std::io::stdout().flush();
        }
        ControlFlow::Continue(()) // `Break` stops the answer
    })?;
    println!("\n({} tokens)", usage.completion_tokens);
    Ok(())
}
