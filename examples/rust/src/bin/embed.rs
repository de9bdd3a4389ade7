//! A program that has other things to do: `embed MODEL`. It keeps memory for itself, says why a variant was chosen, lets an
//! answer be computed on a thread of its own while it counts frames, holds one answer to a schema, and tells of heat.

use llama_pajamas::tuner::Heat;
use llama_pajamas::{
    CancelToken, Constraint, GenerateSettings, PlanRequest, Prompt, Runtime, RuntimeSettings, Session,
    SessionSettings, Signals, StreamEvent, Usage,
};
use std::time::Duration;

const CHARACTER: &str = r#"{"type": "object", "additionalProperties": false, "required": ["name", "brave"],
    "properties": {"name": {"enum": ["Lily", "Tom", "Spot"]}, "brave": {"type": "boolean"}}}"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::args().nth(1).ok_or("usage: embed MODEL")?;
    // This program needs the rest of the memory itself; every plan of this runtime stays below.
    let settings = RuntimeSettings { memory_cap_bytes: Some(2 << 30), ..RuntimeSettings::default() };
    let runtime = Runtime::open(path.as_ref(), settings)?;
    let request = PlanRequest { context_tokens: Some(256), ..PlanRequest::default() };
    let mut shown = |fraction: f32| eprintln!("loading {:.0} %", 100.0 * fraction);
    let (plan, model) = runtime.plan_and_load(&request, &mut shown, &CancelToken::new())?;
    println!("{}", plan.render());

    let session = model.session(&SessionSettings::default())?;
    let settings = GenerateSettings { max_tokens: 40, ..GenerateSettings::default() };
    let (session, usage) = answered(session, "Once upon a time", settings)?;
    println!("({} tokens)", usage.completion_tokens);

    // What the program knows of the device and the library cannot see: answers use fewer threads from their next step on.
    for reaction in model.report(&Signals { heat: Some(Heat::Warm), ..Signals::default() }) {
        println!("it is warm: {reaction:?}");
    }
    let constraint = Some(Constraint::JsonSchema(serde_json::from_str(CHARACTER)?));
    let settings = GenerateSettings { constraint, max_tokens: 60, ..GenerateSettings::default() };
    answered(session, "The hero of the story: ", settings)?;
    Ok(())
}

/// Prints an answer while it comes, between the frames of a program that goes on.
fn answered(
    session: Session,
    prompt: &str,
    settings: GenerateSettings,
) -> Result<(Session, Usage), llama_pajamas::Error> {
    let mut stream = session.stream(Prompt::Text(prompt.into()), settings, CancelToken::new())?;
    let mut n_frames = 0;
    let usage = loop {
        match stream.next_within(Duration::from_millis(16)) {
            Ok(Some(Ok(StreamEvent::Text(piece)))) => print!("{piece}"),
            Ok(Some(Ok(StreamEvent::Done(usage)))) => break usage,
            Ok(Some(Ok(_))) => {}
            Ok(Some(Err(error))) => return Err(error),
            Ok(None) => unreachable!("the end is told before"),
            Err(_) => n_frames += 1, // nothing has come: the program draws a frame
        }
    };
    println!("\n({n_frames} frames without news)");
    Ok((stream.finish(), usage))
}
