//! How long it takes until a cancelled answer ends: `cancelling MODEL.gguf [THREADS]`.
//!
//! Cancels answers of a pool at random moments, 200 while four are written and 200 within prompts of 4,096 tokens, alone and
//! beside others that are written; prints percentiles of the time from the cancel to the answer's end, and the time of a
//! step.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use llama_pajamas::{
    CancelToken, Event, GenerateSettings, PlanRequest, Pool, PoolSettings, Request, Runtime, RuntimeSettings,
    StopReason, Token,
};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error>;

struct Asked {
    cancel: CancelToken,
    done: Receiver<(StopReason, Instant)>,
    tokens: Receiver<Instant>,
}

fn ask(pool: &Pool, prompt: Vec<Token>) -> Result<Asked, Failure> {
    let (cancel, (told, done), (token, tokens)) = (CancelToken::new(), channel(), channel());
    let settings =
        GenerateSettings { max_tokens: 4000, ignore_end_of_turn: true, ..GenerateSettings::default() };
    pool.submit(Request {
        prompt,
        settings,
        cancel: cancel.clone(),
        on_event: Box::new(move |event| {
            if let Event::Token(_) = event {
                let _ = token.send(Instant::now()); // not everybody listens
            }
            ControlFlow::Continue(())
        }),
        on_done: Box::new(move |outcome| {
            let reason = outcome.map_or(StopReason::ContextFull, |usage| usage.stop_reason);
            let _ = told.send((reason, Instant::now())); // nor here
        }),
    })?;
    Ok(Asked { cancel, done, tokens })
}

fn told(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    println!(
        "{name}: median {:.2} ms, 99th percentile {:.2} ms, longest {:.2} ms of {}",
        at(0.5),
        at(0.99),
        at(1.0),
        times.len()
    );
}

fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("expected a model file")?;
    let n_threads = arguments.next().map_or(Ok(1), |text| text.parse())?;
    let runtime = Runtime::open(path.as_ref(), RuntimeSettings::default())?;
    let request = PlanRequest { n_threads: Some(n_threads), ..PlanRequest::default() };
    let model = runtime.load(&runtime.plan(&request), &mut |_| {}, &CancelToken::new())?;
    let pool = model.pool(&PoolSettings { context_tokens: Some(4608), ..PoolSettings::default() })?;
    let n_vocab = model.tokenizer().n_vocab() as u64;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = move |end: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % end
    };
    let mut prompt =
        |n: usize| -> Vec<Token> { (0..n).map(|_| below(n_vocab - 300) as Token + 300).collect() };
    let mut wait = 1_u64;
    let mut random_wait = |most_us: u64| {
        wait = wait.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        std::thread::sleep(Duration::from_micros((wait >> 33) % most_us));
    };
    let cancelled = |asked: &Asked| -> Result<Duration, Failure> {
        let begin = Instant::now();
        asked.cancel.cancel();
        match asked.done.recv()? {
            (StopReason::Cancelled, end) => Ok(end.saturating_duration_since(begin)),
            (other, _) => Err(format!("expected a cancelled answer, got {other:?}").into()),
        }
    };
    // Written beside three others.
    let beside: Vec<Asked> = (0..3).map(|_| ask(&pool, prompt(32))).collect::<Result<_, _>>()?;
    let mut times = Vec::new();
    let mut steps = Vec::new();
    for _ in 0..200 {
        let asked = ask(&pool, prompt(32))?;
        let first = asked.tokens.recv()?;
        let second = asked.tokens.recv()?;
        steps.push(second - first);
        random_wait(20_000);
        times.push(cancelled(&asked)?);
    }
    told("a step of four answers", steps);
    told("cancelled while four are written", times);
    // Read beside three that are written.
    let mut times = Vec::new();
    for _ in 0..200 {
        let asked = ask(&pool, prompt(4096))?;
        random_wait(60_000);
        times.push(cancelled(&asked)?);
    }
    told("cancelled in a prompt of 4096 beside three", times);
    beside.iter().try_for_each(|asked| cancelled(asked).map(|_| ()))?;
    let mut times = Vec::new();
    for _ in 0..200 {
        let asked = ask(&pool, prompt(4096))?;
        random_wait(60_000);
        times.push(cancelled(&asked)?);
    }
    told("cancelled in a prompt of 4096 alone", times);
    Ok(())
}
