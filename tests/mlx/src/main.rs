//! The MLX engine as a program: a line of JSON in, a line out. Jobs: `greedy`, `steps`, `refuse`.
//! Knows the engine's traits; must not know who asks.

use engine::mlx::MlxEngine;
use engine::{CancelToken, Context, ContextSettings, Engine, Error, Logits, Token};
use serde_json::{Value, json};
use std::io::{BufRead, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

fn main() {
    let engine = MlxEngine::start().expect("a thread");
    let (input, mut output) = (std::io::stdin().lock(), std::io::stdout().lock());
    for line in input.lines() {
        let job: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        let told = match job["job"].as_str() {
            Some("greedy") => greedy(&engine, &job),
            Some("steps") => steps(&engine, &job),
            Some("refuse") => refuse(&engine, &job),
            _ => json!({"error": format!("no job in {job}")}),
        };
        writeln!(output, "{told}").and_then(|()| output.flush()).expect("somebody reads");
    }
}

fn tokens(value: &Value) -> Vec<Token> {
    let numbers = value.as_array().expect("a list of tokens").iter();
    numbers.map(|number| number.as_i64().and_then(|id| id.try_into().ok()).expect("a token")).collect()
}

fn context(engine: &MlxEngine, job: &Value, settings: &ContextSettings) -> Result<Box<dyn Context>, Error> {
    let path = Path::new(job["folder"].as_str().expect("a folder")).join("model.safetensors");
    assert!(engine.loads(&path));
    let mut seen = Vec::new();
    let model = engine.load(&path, &Default::default(), &mut |fraction| {
        seen.push(fraction);
        ControlFlow::Continue(())
    })?;
    assert!(seen.is_sorted() && seen.last() == Some(&1.0), "{seen:?}");
    model.new_context(settings)
}

fn best(row: &[f32]) -> Token {
    let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]).then(b.cmp(a)));
    best.expect("a vocabulary") as Token
}

/// The first of the likeliest, `n` times; the prompt but its last token is read first.
fn written(context: &mut dyn Context, prompt: &[Token], n: usize) -> Result<Vec<Token>, Error> {
    let cancel = CancelToken::new();
    let (mut token, before) = prompt.split_last().map(|(last, before)| (*last, before)).expect("a prompt");
    if !before.is_empty() {
        context.decode(before, Logits::None, &cancel)?;
    }
    let mut made = Vec::with_capacity(n);
    while made.len() < n {
        context.decode(&[token], Logits::Last, &cancel)?;
        token = best(context.logits(0)?);
        made.push(token);
    }
    Ok(made)
}

fn told(outcome: Result<Value, Error>) -> Value {
    outcome.unwrap_or_else(|error| json!({"error": error.to_string()}))
}

fn greedy(engine: &MlxEngine, job: &Value) -> Value {
    let settings = ContextSettings { n_ctx: 512, ..ContextSettings::default() };
    let n = job["n"].as_u64().expect("a number") as usize;
    told(context(engine, job, &settings).and_then(|mut context| {
        let prompt = tokens(&job["prompt"]);
        let first = written(&mut *context, &prompt, n)?;
        Ok(json!({"tokens": first, "build": engine.build()}))
    }))
}

fn refuse(engine: &MlxEngine, job: &Value) -> Value {
    told(context(engine, job, &ContextSettings::default()).map(|_| json!({"loaded": true})))
}

/// Goes back, saves, restores, is broken off and refused, and says whether what is written then is what was written first.
fn steps(engine: &MlxEngine, job: &Value) -> Value {
    let (prompt, n) = (tokens(&job["prompt"]), job["n"].as_u64().expect("a number") as usize);
    let of = |n_ubatch, full_window_cache| {
        let n_outputs_max = 64;
        let settings = ContextSettings {
            n_ctx: 1024,
            n_ubatch,
            full_window_cache,
            n_outputs_max,
            ..ContextSettings::default()
        };
        context(engine, job, &settings)
    };
    told((|| {
        let (mut usual, cancel) = (of(512, false)?, CancelToken::new());
        let expected = written(&mut *usual, &prompt, n)?;
        let before = prompt.len() - 1;
        let mut checks = serde_json::Map::new();
        let mut check = |name: &str, holds: bool| checks.insert(name.into(), holds.into());

        usual.truncate(before)?;
        let again = written(&mut *usual, &prompt[before..], n)?;
        check("truncated", again == expected && usual.n_past() == before + n);

        usual.truncate(before)?;
        let state = usual.state()?;
        let once = written(&mut *usual, &prompt[before..], n)?;
        usual.restore(&state)?;
        check("restored", once == expected && written(&mut *usual, &prompt[before..], n)? == expected);
        let mut other = of(512, false)?;
        other.restore(&state)?;
        check("restored elsewhere", written(&mut *other, &prompt[before..], n)? == expected);
        let damaged = [&state[..state.len() - 1], &state[1..], &[&state[..], &[0]].concat()];
        let held = other.n_past();
        let all = damaged.iter().all(|state| matches!(other.restore(state), Err(Error::State { .. })));
        check("damaged states are refused", all && other.n_past() == held);

        // Broken off before anything, and in between.
        let long: Vec<Token> = (0..600).map(|at| prompt[at % prompt.len()]).collect();
        let (raised, held) = (CancelToken::new(), usual.n_past());
        raised.cancel();
        let outcome = usual.decode(&prompt, Logits::Last, &raised);
        check("cancelled", matches!(outcome, Err(Error::Cancelled)) && usual.n_past() == held);
        usual.set_time_limit(Some(Duration::ZERO));
        let outcome = usual.decode(&prompt, Logits::Last, &cancel);
        check("late", matches!(outcome, Err(Error::TimeLimit { .. })) && usual.n_past() == held);
        // Hundreds of tokens take longer than that, by far: it ends between layers.
        usual.set_time_limit(Some(Duration::from_millis(1)));
        let outcome = usual.decode(&long, Logits::Last, &cancel);
        let whole_parts = (usual.n_past() - held).is_multiple_of(512);
        check("broken off", matches!(outcome, Err(Error::TimeLimit { .. })) && whole_parts);
        usual.set_time_limit(None);
        usual.truncate(before)?;
        check("goes on", written(&mut *usual, &prompt[before..], n)? == expected);

        // In parts, with the logits of all.
        let mut parts = of(3, false)?;
        let mut whole = of(512, false)?;
        parts.decode(&prompt, Logits::All, &cancel)?;
        whole.decode(&prompt, Logits::All, &cancel)?;
        let mut apart = 0f32;
        for row in 0..prompt.len() {
            let pairs = parts.logits(row)?.iter().zip(whole.logits(row)?);
            apart = pairs.fold(apart, |most, (a, b)| most.max((a - b).abs()));
        }
        let size = whole.logits(0)?.iter().fold(0f32, |most, logit| most.max(logit.abs()));
        check("parts agree", apart <= 0.1 * size);
        check("rows are counted", matches!(whole.logits(prompt.len()), Err(Error::NoLogits { .. })));

        // Windows keep what they see and a little more, or all.
        for full in [false, true] {
            let mut far = of(16, full)?;
            far.decode(&prompt, Logits::None, &cancel)?;
            far.truncate(before)?;
            far.decode(&long[..before], Logits::None, &cancel)?;
            far.decode(&long, Logits::None, &cancel)?;
            let held = far.n_past();
            match far.truncate(before) {
                Ok(()) => check(
                    if full { "goes far back" } else { "goes back without windows" },
                    written(&mut *far, &prompt[before..], n)? == expected,
                ),
                Err(Error::Truncate { .. }) => {
                    check("tells that a window moved on", !full && far.n_past() == held)
                }
                Err(other) => return Err(other),
            };
        }
        let outcome = usual.decode(&[-1], Logits::Last, &cancel);
        check("ids are checked", matches!(outcome, Err(Error::TokenOutOfRange { index: 0, .. })));
        let outcome = usual.decode(&long.repeat(2), Logits::Last, &cancel);
        check("room is checked", matches!(outcome, Err(Error::ContextFull { .. })));
        let outcome = usual.decode(&[], Logits::Last, &cancel);
        check("something is asked for", matches!(outcome, Err(Error::EmptyBatch)));
        let memory = usual.memory();
        check("memory is told", memory.model_bytes > 0 && memory.context_bytes > 0);
        Ok(json!({"checks": checks}))
    })())
}
