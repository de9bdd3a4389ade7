//! Steps that take too long, steps that may not take long, and the governor: what sessions do of it and tell.
//! Knows the public API only.

use crate::fake_engine::Fake;
use crate::stage::{greedy, reciting, try_load};
use llama_pajamas::tuner::{Cause, MemoryLevel, Moved, MovedBecause};
use llama_pajamas::{
    CancelToken, Change, Error, Event, LoadedModel, PlanRequest, Reaction, SessionSettings, Signals,
};
use std::ops::ControlFlow;
use std::time::Duration;

fn load(fake: &Fake, n_threads: u32) -> LoadedModel {
    let request =
        PlanRequest { context_tokens: Some(128), n_threads: Some(n_threads), ..PlanRequest::default() };
    try_load(fake, &request).expect("loads")
}

/// The answer to "Say " with what was told beside it.
fn answer(model: &LoadedModel, max_step: Option<Duration>) -> (String, Vec<Change>, Vec<(usize, usize)>) {
    let mut session = model.session(&SessionSettings::default()).expect("opens");
    session.set_max_step(max_step);
    let (mut text, mut changes, mut progress) = (String::new(), Vec::new(), Vec::new());
    let mut on_event = |event: Event<'_>| {
        match event {
            Event::Text(more) => text.push_str(more),
            Event::Change(change) => changes.push(change),
            Event::Progress { computed, total } => progress.push((computed, total)),
            Event::Prompt { .. }
            | Event::Token(_)
            | Event::Dropped { .. }
            | Event::Grown { .. }
            | Event::Logprobs(_) => {}
        }
        ControlFlow::Continue(())
    };
    let cancel = CancelToken::new();
    session.generate("Say hello and ", &greedy(), &cancel, &mut on_event).expect("generates");
    (text, changes, progress)
}

/// Eight threads where two processors are free: every step is a hundred times as slow, and is broken off.
#[test]
fn a_collapse_is_left_and_the_answer_is_the_same() {
    let fake = Fake { collapses_above: Some(2), ..reciting("Say hello and good bye") };
    let model = load(&fake, 8);
    let (text, changes, _) = answer(&model, None);
    assert_eq!(text, "good bye");
    let moved = Moved { from: 8, to: 2, because: MovedBecause::TooLate };
    assert_eq!(changes, [Change::Paced(moved)]);
    // The prompt shows it, and is not cut for it; the answer begins with what is known.
    assert_eq!(*fake.broken_off.lock().expect("not poisoned"), [(8, 8), (8, 4)]);
    assert_eq!(fake.threads.lock().expect("not poisoned")[..2], [(8, 2), (2, 2)]);
    assert_eq!(fake.computed.lock().expect("not poisoned").iter().sum::<usize>(), 15 + 8);
}

/// The same where the prompt came through before.
#[test]
fn a_collapse_within_an_answer_is_left_too() {
    let fake = Fake { collapses_above: Some(2), collapses_from: 18, ..reciting("Say hello and good bye") };
    let (text, changes, _) = answer(&load(&fake, 8), None);
    let moved = Moved { from: 8, to: 2, because: MovedBecause::TooLate };
    assert_eq!((text.as_str(), changes.as_slice()), ("good bye", [Change::Paced(moved)].as_slice()));
    assert_eq!(*fake.broken_off.lock().expect("not poisoned"), [(8, 8), (4, 8)]);
    let finished: Vec<_> =
        fake.threads.lock().expect("not poisoned").iter().map(|(decode, _)| *decode).collect();
    assert_eq!(finished, [8, 8, 8, 8, 2, 2, 2, 2, 2]);
}

#[test]
fn a_cancelled_answer_is_not_repeated_with_fewer_threads() {
    let fake = Fake { collapses_above: Some(0), collapses_from: 16, ..reciting("Say hello and good bye") };
    let mut session = load(&fake, 8).session(&SessionSettings::default()).expect("opens");
    let cancel = CancelToken::new();
    let mut on_event = |event: Event<'_>| {
        if matches!(event, Event::Token(_)) {
            cancel.cancel();
        }
        ControlFlow::Continue(())
    };
    session.generate("Say hello and ", &greedy(), &cancel, &mut on_event).expect("no error");
    assert!(fake.broken_off.lock().expect("not poisoned").is_empty());
}

/// No more than four tokens in the time of a frame.
#[test]
fn a_prompt_is_cut_until_its_parts_take_no_longer_than_asked() {
    let fake = Fake { most_in_time: Some(4), ..reciting("Say hello and good bye") };
    let model = load(&fake, 2);
    let (text, _, progress) = answer(&model, Some(Duration::from_secs(5)));
    assert_eq!(
        (text.as_str(), progress.as_slice()),
        ("good bye", [(0, 15), (4, 15), (8, 15), (12, 15)].as_slice())
    );
    assert_eq!(fake.computed.lock().expect("not poisoned")[..4], [4, 4, 4, 3]);
    assert_eq!(fake.broken_off.lock().expect("not poisoned").len(), 1);
}

#[test]
fn a_listener_may_end_a_prompt_between_its_parts() {
    let fake = Fake { most_in_time: Some(4), ..reciting("Say hello and good bye") };
    let mut session = load(&fake, 2).session(&SessionSettings::default()).expect("opens");
    session.set_max_step(Some(Duration::from_secs(5)));
    let mut on_event = |event: Event<'_>| match event {
        Event::Progress { computed: 8, .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    };
    session.generate("Say hello and ", &greedy(), &CancelToken::new(), &mut on_event).expect("no error");
    assert_eq!(session.n_past(), 8);
}

#[test]
fn what_the_governor_does_is_obeyed_and_told() {
    let fake = reciting("Say hello and good bye");
    let model = load(&fake, 8);
    let mut session = model.session(&SessionSettings::default()).expect("opens");
    let background = Signals { background: Some(true), ..Signals::default() };
    let reactions = model.report(&background);
    let because = Cause::Background;
    assert_eq!(reactions[0], Reaction::Threads { from: 8, to: 4, because });
    let mut told = Vec::new();
    let mut on_event = |event: Event<'_>| {
        if let Event::Change(Change::Governed(reaction)) = event {
            told.push(reaction);
        }
        ControlFlow::Continue(())
    };
    session.generate("Say hello and ", &greedy(), &CancelToken::new(), &mut on_event).expect("generates");
    assert_eq!((told, session.threads().0), (reactions, 4));
    assert!(fake.threads.lock().expect("not poisoned").iter().all(|(decode, _)| *decode == 4));
}

#[test]
fn no_new_work_is_taken_while_that_is_refused_and_what_is_under_way_goes_on() {
    let model = load(&reciting("Say hello and good bye"), 2);
    let mut session = model.session(&SessionSettings::default()).expect("opens");
    let critical = Signals { memory: Some(MemoryLevel::Critical), ..Signals::default() };
    let mut text = String::new();
    let mut on_event = |event: Event<'_>| {
        match event {
            Event::Token(_) => drop(model.report(&critical)),
            Event::Text(more) => text.push_str(more),
            _ => {}
        }
        ControlFlow::Continue(())
    };
    session.generate("Say hello and ", &greedy(), &CancelToken::new(), &mut on_event).expect("generates");
    assert_eq!((text.as_str(), model.refused()), ("good bye", Some(Cause::Memory)));
    let quiet = &mut |_: Event<'_>| ControlFlow::Continue(());
    let error = session.generate("Say ", &greedy(), &CancelToken::new(), quiet).expect_err("refused");
    assert_eq!(error.to_string(), "no new work is taken at the moment: memory is short");
    assert!(matches!(model.session(&SessionSettings::default()), Err(Error::Refused { .. })));
}

#[test]
fn a_watch_ends_with_its_model_or_when_it_is_dropped() {
    let model = load(&reciting("Say hello"), 2);
    let watch = model.watch(Duration::from_secs(3600), |_| {});
    drop(watch);
    let watch = model.watch(Duration::from_millis(1), |_| {});
    drop(model);
    drop(watch);
}

/// A machine of files, which change under the watch.
#[test]
fn a_watch_follows_the_files_of_a_machine() {
    let machine = tempfile::tempdir().expect("a temporary directory");
    let write = |file: &str, text: &str| {
        let path = machine.path().join(file);
        std::fs::create_dir_all(path.parent().expect("below the root")).expect("writable");
        std::fs::write(path, text).expect("writable");
    };
    write("proc/meminfo", "MemTotal: 8000000 kB\nMemAvailable: 6000000 kB\n");
    write("proc/pressure/memory", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n");
    write("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n");
    write("sys/class/thermal/thermal_zone0/temp", "45000\n");
    let (tell, told) = std::sync::mpsc::channel();
    let model = load(&reciting("Say hello"), 4);
    let _watch = model.watch_at(machine.path(), Duration::from_millis(5), move |reaction| {
        // The test may have ended.
        let _ = tell.send(*reaction);
    });
    let next = |wanted: &dyn Fn(&Reaction) -> bool| {
        std::iter::from_fn(|| told.recv_timeout(Duration::from_secs(10)).ok()).find(wanted)
    };
    write("proc/pressure/memory", "some avg10=12.00 avg60=0.00 avg300=0.00 total=0\n");
    let dropped = next(&|reaction| matches!(reaction, Reaction::DropPrefixes { .. }));
    assert_eq!(dropped, Some(Reaction::DropPrefixes { because: Cause::Memory }));
    write("sys/class/thermal/thermal_zone0/temp", "104000\n");
    let refused = next(&|reaction| matches!(reaction, Reaction::RefuseWork { .. }));
    assert_eq!(refused, Some(Reaction::RefuseWork { because: Cause::Heat }));
    assert_eq!(model.refused(), Some(Cause::Heat));
}
