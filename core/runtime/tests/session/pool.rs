//! Pools: many answers at once, in turn, each as if it were alone; cancelling and closing at every moment.

use crate::fake_engine::Fake;
use crate::stage::{bytes, greedy, load, reciting};
use llama_pajamas::{
    CancelToken, Error, Event, GenerateSettings, Pool, PoolSettings, Request, StopReason, Usage,
};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TEXT: &str = "in the beginning there was a llama, and it wore pajamas";

fn pool(fake: &Fake, settings: PoolSettings) -> Pool {
    load(fake, 256).pool(&settings).expect("opens")
}

fn prompt(text: &str) -> Vec<i32> {
    [vec![1], bytes(text)].concat()
}

/// The end of an answer, and its text so far.
struct Asked {
    done: Receiver<Result<Usage, Error>>,
    text: Arc<Mutex<String>>,
    cancel: CancelToken,
}

impl Asked {
    fn end(&self) -> Result<Usage, Error> {
        self.done.recv_timeout(Duration::from_secs(60)).expect("every request hears its end")
    }

    fn text(&self) -> String {
        self.text.lock().expect("not poisoned").clone()
    }
}

fn submit(
    pool: &Pool,
    prompt: Vec<i32>,
    settings: &GenerateSettings,
    mut on_event: impl FnMut(&Event<'_>) -> ControlFlow<()> + Send + 'static,
) -> Result<Asked, Error> {
    let (sender, done) = channel();
    let asked = Asked { done, text: Arc::default(), cancel: CancelToken::new() };
    let text = Arc::clone(&asked.text);
    pool.submit(Request {
        prompt,
        settings: settings.clone(),
        cancel: asked.cancel.clone(),
        on_event: Box::new(move |event| {
            if let Event::Text(piece) = event {
                text.lock().expect("not poisoned").push_str(piece);
            }
            on_event(&event)
        }),
        on_done: Box::new(move |outcome| sender.send(outcome).expect("somebody waits")),
    })?;
    Ok(asked)
}

fn goes_on(_event: &Event<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

#[test]
fn more_requests_than_sequences_are_all_answered() {
    let pool = pool(&reciting(TEXT), PoolSettings { n_sequences: 3, ..PoolSettings::default() });
    let begin = |n: usize| submit(&pool, prompt(&TEXT[..3 + n]), &greedy(), goes_on).expect("taken");
    let asked: Vec<Asked> = (0..20).map(begin).collect();
    for (n, asked) in asked.iter().enumerate() {
        let usage = asked.end().expect("answered");
        assert_eq!((asked.text().as_str(), usage.stop_reason), (&TEXT[3 + n..], StopReason::EndOfTurn));
        assert_eq!(usage.completion_tokens, TEXT.len() - 3 - n + 1);
    }
    let occupation = pool.occupation();
    assert_eq!((occupation.n_busy, occupation.n_waiting), (0, 0));
}

#[test]
fn answers_get_their_tokens_in_turn() {
    let pool = pool(&reciting(TEXT), PoolSettings { n_sequences: 4, ..PoolSettings::default() });
    let order = Arc::new(Mutex::new(Vec::new()));
    // The first holds the thread until all are there.
    let (release, held) = channel::<()>();
    let mut held = Some(held);
    let asked: Vec<Asked> = (0..4)
        .map(|n| {
            let order = Arc::clone(&order);
            let mut held = if n == 0 { held.take() } else { None };
            let listen = move |event: &Event<'_>| {
                if let Some(held) = held.take() {
                    held.recv().expect("released");
                }
                if matches!(event, Event::Token(_)) {
                    order.lock().expect("not poisoned").push(n);
                }
                ControlFlow::Continue(())
            };
            submit(&pool, prompt("in"), &greedy(), listen).expect("taken")
        })
        .collect();
    release.send(()).expect("somebody waits");
    asked
        .iter()
        .for_each(|asked| assert_eq!(asked.end().expect("answered").completion_tokens, TEXT.len() - 1));
    let order = order.lock().expect("not poisoned");
    // Once all write, nobody is more than one token ahead.
    let mut counts = [0_usize; 4];
    for n in order.iter() {
        counts[*n] += 1;
        let (least, most) = (counts[1..].iter().min(), counts[1..].iter().max());
        assert!(most.zip(least).is_some_and(|(most, least)| most - least <= 1), "{order:?}");
    }
}

#[test]
fn what_any_sequence_holds_is_not_computed_again() {
    let fake = reciting(TEXT);
    let pool = pool(&fake, PoolSettings { n_sequences: 2, ..PoolSettings::default() });
    let whole = prompt(&TEXT[..50]);
    let first = submit(&pool, whole.clone(), &greedy(), goes_on).expect("taken").end().expect("answered");
    assert_eq!((first.prompt_tokens, first.reused_tokens), (51, 0));
    // Two at once: one goes on in the same sequence, the other in a copy.
    let both = [0, 1].map(|_| submit(&pool, whole.clone(), &greedy(), goes_on).expect("taken"));
    for asked in both {
        let usage = asked.end().expect("answered");
        assert_eq!((usage.reused_tokens, asked.text().as_str()), (50, &TEXT[50..]));
    }
    let only_anew = Fake { only_anew: true, ..reciting(TEXT) };
    let pool = self::pool(&only_anew, PoolSettings { n_sequences: 2, ..PoolSettings::default() });
    for _ in 0..2 {
        let asked = submit(&pool, whole.clone(), &greedy(), goes_on).expect("taken");
        assert_eq!((asked.end().expect("answered").reused_tokens, asked.text().as_str()), (0, &TEXT[50..]));
    }
}

#[test]
fn cancelling_ends_what_waits_reads_and_writes() {
    let fake = Fake { token_time: Some(|_| Duration::from_millis(1)), ..reciting(TEXT) };
    let step_aim = Duration::from_nanos(1);
    let pool = pool(&fake, PoolSettings { n_sequences: 1, step_aim, ..PoolSettings::default() });
    let mut endless = greedy();
    (endless.ignore_end_of_turn, endless.max_tokens) = (true, 200);
    let (wrote, written) = channel();
    let listen = move |event: &Event<'_>| {
        if matches!(event, Event::Token(_)) {
            let _ = wrote.send(()); // nobody waits after the first
        }
        ControlFlow::Continue(())
    };
    let writing = submit(&pool, prompt("in"), &endless, listen).expect("taken");
    let waiting = submit(&pool, prompt("in"), &endless, goes_on).expect("taken");
    written.recv().expect("it writes");
    waiting.cancel.cancel();
    let usage = waiting.end().expect("no error");
    assert_eq!((usage.stop_reason, usage.completion_tokens), (StopReason::Cancelled, 0));
    writing.cancel.cancel();
    let usage = writing.end().expect("no error");
    assert!(usage.stop_reason == StopReason::Cancelled && usage.completion_tokens < 200, "{usage:?}");
    // From the listener, between the parts of a prompt.
    let breaks = |event: &Event<'_>| match event {
        Event::Progress { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    let reading = submit(&pool, prompt(&"x".repeat(200)), &endless, breaks).expect("taken");
    let usage = reading.end().expect("no error");
    assert_eq!((usage.stop_reason, usage.completion_tokens), (StopReason::Cancelled, 0));
    // And the pool goes on.
    let asked = submit(&pool, prompt("in"), &greedy(), goes_on).expect("taken");
    assert_eq!(
        (asked.end().expect("answered").stop_reason, asked.text().as_str()),
        (StopReason::EndOfTurn, &TEXT[2..])
    );
}

#[test]
fn errors_reach_those_whom_they_are_about() {
    let fake = reciting(TEXT);
    let pool = pool(&fake, PoolSettings { n_sequences: 2, max_waiting: 1, ..PoolSettings::default() });
    let refused = |prompt: Vec<i32>, settings: &GenerateSettings, said: &str| {
        let Err(error) = submit(&pool, prompt, settings, goes_on) else { panic!("taken: {said}") };
        assert!(error.to_string().contains(said), "{error}");
    };
    refused(Vec::new(), &greedy(), "prompt: expected 1 to 256 tokens, got 0");
    refused(vec![1; 300], &greedy(), "expected 1 to 256 tokens, got 300");
    refused(vec![1, 9999], &greedy(), "token: expected ids below 259, got 9999");
    let logprobs = GenerateSettings { top_logprobs: Some(65), ..greedy() };
    refused(vec![1], &logprobs, "top_logprobs: expected 0 to 64, got 65");
    *fake.fails_at.lock().expect("not poisoned") = Some(10);
    let error = submit(&pool, prompt("in the"), &greedy(), goes_on).expect("taken").end();
    assert!(error.expect_err("it fails").to_string().contains("out of luck"));
    // A listener that panics ends its own answer alone.
    let panics = submit(&pool, prompt("in"), &greedy(), |_| panic!("as wished")).expect("taken");
    assert_eq!(panics.end().expect("no error").stop_reason, StopReason::Cancelled);
    let asked = submit(&pool, prompt("in"), &greedy(), goes_on).expect("taken");
    assert_eq!(
        (asked.end().expect("answered").stop_reason, asked.text().as_str()),
        (StopReason::EndOfTurn, &TEXT[2..])
    );
}

#[test]
fn a_full_queue_and_a_closed_pool_take_nothing() {
    let slow = Fake { token_time: Some(|_| Duration::from_millis(2)), ..reciting(TEXT) };
    let pool = pool(&slow, PoolSettings { n_sequences: 1, max_waiting: 2, ..PoolSettings::default() });
    let model = pool.model().clone();
    let take = || submit(&pool, prompt("in"), &greedy(), goes_on);
    let taken: Vec<Asked> = (0..3).map(|_| take().expect("taken")).collect();
    let mut refusals = (0..3).map(|_| take()).filter(Result::is_err).count();
    refusals += usize::from(matches!(take(), Err(Error::Busy { .. })));
    assert!(refusals >= 1, "the queue takes everything");
    let model = model.unload().expect_err("in use");
    // What is there is answered to its end.
    pool.close(Duration::from_secs(60));
    for asked in &taken {
        assert_eq!(asked.end().expect("answered").stop_reason, StopReason::EndOfTurn);
    }
    assert!(matches!(take(), Err(Error::Closed)));
    drop(pool);
    assert!(model.unload().is_ok());
}

#[test]
fn closing_without_patience_ends_everything() {
    let slow = Fake { token_time: Some(|_| Duration::from_millis(2)), ..reciting(TEXT) };
    let pool = pool(&slow, PoolSettings { n_sequences: 1, ..PoolSettings::default() });
    let mut endless = greedy();
    (endless.ignore_end_of_turn, endless.max_tokens) = (true, 250);
    let asked = [0, 1].map(|_| submit(&pool, prompt("in"), &endless, goes_on).expect("taken"));
    drop(pool);
    for asked in asked {
        assert_eq!(asked.end().expect("no error").stop_reason, StopReason::Cancelled);
    }
}

#[test]
fn one_that_is_alone_is_guessed_for_by_the_models_own_layers() {
    let slow = Fake { token_time: Some(|_| Duration::from_millis(4)), ..reciting(TEXT) };
    let fake = Fake { expected: Some(slow.recital.clone()), ..slow };
    for (speculate, guessed) in [(false, 0..=0), (true, 20..=TEXT.len())] {
        let settings = PoolSettings { n_sequences: 2, speculate, ..PoolSettings::default() };
        let pool = pool(&fake, settings);
        let asked = submit(&pool, prompt("in "), &greedy(), goes_on).expect("there is room");
        let usage = asked.end().expect("answers");
        assert!(guessed.contains(&usage.guessed_tokens), "{usage:?}");
        assert_eq!(asked.text(), TEXT[3..]);
    }
}
