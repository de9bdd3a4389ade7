//! The engine in a process of its own: the same numbers as in this one, and what happens when that process ends.
//!
//! Owns: a program that is both halves, so it has no test harness, whose output would stand in the answers. May know: the public
//! API. Must not know: the wire.

#![allow(missing_docs, clippy::print_stdout, clippy::unwrap_used, reason = "a test")]

#[path = "conformance/tiny_model.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the conformance suite")]
mod tiny_model;

use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use llama_pajamas_engine::gguf::{EngineOptions, GgufEngine};
use llama_pajamas_engine::isolate::{IsolatedEngine, Launch, serve};
use llama_pajamas_engine::{
    CancelToken, Context, ContextSettings, Engine, Error, LoadSettings, Logits, Model, Token,
};

/// The argument that makes this program the other half; behind it a folder for its number in the system.
const SERVE: &str = "serve-engine";

fn main() {
    let words: Vec<String> = std::env::args().collect();
    if let Some(place) = words.iter().position(|word| word == SERVE) {
        let id = std::process::id().to_string();
        std::fs::write(Path::new(&words[place + 1]).join(&id), &id).unwrap();
        let engine = GgufEngine::start(EngineOptions::default()).unwrap();
        return serve(&engine, std::io::stdin(), std::io::stdout().lock()).unwrap();
    }
    let tests: &[Test] = &[
        ("the_numbers_are_those_of_this_process", the_numbers_are_those_of_this_process),
        #[cfg(feature = "predictions")]
        ("predictions_are_those_of_this_process", predictions_are_those_of_this_process),
        ("errors_say_the_same", errors_say_the_same),
        ("work_is_stopped_from_outside", work_is_stopped_from_outside),
        ("a_killed_process_is_an_error_and_is_replaced", a_killed_process_is_an_error_and_is_replaced),
        ("a_program_that_does_not_serve_is_an_error", a_program_that_does_not_serve_is_an_error),
    ];
    for (name, test) in tests {
        test(&Stage::new());
        println!("test {name} ... ok");
    }
}

/// A test and its name.
type Test = (&'static str, fn(&Stage));

struct Stage {
    folder: tempfile::TempDir,
    model: std::path::PathBuf,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("processes")).unwrap();
        let model = tiny_model::TinyModel::new().write(folder.path());
        Self { folder, model }
    }

    fn engine(&self) -> IsolatedEngine {
        let program = std::env::current_exe().unwrap();
        let arguments = vec![SERVE.into(), self.folder.path().join("processes").into_os_string()];
        IsolatedEngine::start(Launch { program, arguments }).expect("it serves")
    }

    /// Numbers of all that were started.
    fn processes(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path().join("processes")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    fn load(&self, engine: &dyn Engine) -> Arc<dyn Model> {
        let mut last = 0.0;
        let mut progress = |share| {
            last = share;
            ControlFlow::Continue(())
        };
        let model = engine.load(&self.model, &LoadSettings::default(), &mut progress).expect("loads");
        assert!((last - 1.0).abs() < 1e-6, "{last}");
        model
    }
}

fn settings() -> ContextSettings {
    ContextSettings {
        n_ctx: 256,
        n_batch: 64,
        n_ubatch: 16,
        n_outputs_max: 64,
        n_threads: 1,
        n_threads_batch: 1,
        ..ContextSettings::default()
    }
}

/// All logits of a short prompt, then greedily eight tokens.
fn computed(context: &mut dyn Context) -> (Vec<f32>, Vec<Token>) {
    let prompt = [1, 20, 7, 99, 5];
    let cancel = CancelToken::new();
    context.decode(&prompt, Logits::All, &cancel).expect("computes");
    let mut logits: Vec<f32> =
        (0..prompt.len()).flat_map(|row| context.logits(row).unwrap().to_vec()).collect();
    let mut tokens = Vec::new();
    let mut row = context.logits(prompt.len() - 1).unwrap().to_vec();
    for _ in 0..8 {
        let best = row.iter().enumerate().max_by(|one, other| one.1.total_cmp(other.1)).unwrap().0;
        tokens.push(best as Token);
        context.set_threads(1, 1);
        context.decode(&[best as Token], Logits::Last, &cancel).expect("computes");
        row = context.logits(0).unwrap().to_vec();
        logits.extend(&row);
    }
    (logits, tokens)
}

#[cfg(feature = "predictions")]
fn predictions_are_those_of_this_process(stage: &Stage) {
    let path = tiny_model::TinyModel::with_predictions(false).write(stage.folder.path());
    let here = GgufEngine::start(EngineOptions::default()).unwrap();
    let expected = |engine: &dyn Engine| {
        let model = engine.load(&path, &LoadSettings::default(), &mut |_| ControlFlow::Continue(())).unwrap();
        let settings = ContextSettings { prediction_layers: true, ..settings() };
        let mut context = model.new_context(&settings).unwrap();
        assert!(context.has_predictions());
        context.decode(&[1, 20, 7], Logits::None, &CancelToken::new()).unwrap();
        context.predict(99, 4, 0.0, &CancelToken::new()).unwrap()
    };
    let here = expected(&here);
    assert_eq!((here.len(), &expected(&stage.engine())), (4, &here));
}

fn the_numbers_are_those_of_this_process(stage: &Stage) {
    let here = GgufEngine::start(EngineOptions::default()).unwrap();
    let there = stage.engine();
    assert_eq!(there.build(), here.build());
    assert_eq!(there.devices().len(), here.devices().len());
    let load = LoadSettings::default();
    let measured = |engine: &dyn Engine| engine.measure(&stage.model, &load, &settings()).unwrap();
    assert_eq!(measured(&there), measured(&here));
    let (ours, theirs) = (stage.load(&here), stage.load(&there));
    assert_eq!(
        (ours.n_vocab(), ours.form(), ours.memory()),
        (theirs.n_vocab(), theirs.form(), theirs.memory())
    );
    let mut one = ours.new_context(&settings()).unwrap();
    let mut other = Arc::clone(&theirs).new_context(&settings()).unwrap();
    assert_eq!((one.n_ctx(), one.memory()), (other.n_ctx(), other.memory()));
    assert_eq!(computed(&mut *one), computed(&mut *other));
    assert_eq!((one.n_past(), other.n_past()), (13, 13));
    // A state goes from process to process.
    let state = other.state().unwrap();
    other.truncate(3).unwrap();
    assert_eq!(other.n_past(), 3);
    one.restore(&state).unwrap();
    other.restore(&state).unwrap();
    assert_eq!(other.n_past(), 13);
    let cancel = CancelToken::new();
    one.decode(&[9], Logits::Last, &cancel).unwrap();
    other.decode(&[9], Logits::Last, &cancel).unwrap();
    assert_eq!(one.logits(0).unwrap(), other.logits(0).unwrap());
    // Two contexts of one process take turns.
    let more: Vec<_> = std::thread::scope(|scope| {
        let run = || {
            let model = Arc::clone(&theirs);
            scope.spawn(move || computed(&mut *model.new_context(&settings()).unwrap()))
        };
        let threads = [run(), run()];
        threads.map(|thread| thread.join().unwrap()).into()
    });
    assert_eq!(more[0], more[1]);
}

fn errors_say_the_same(stage: &Stage) {
    let here = GgufEngine::start(EngineOptions::default()).unwrap();
    let there = stage.engine();
    let (ours, theirs) = (stage.load(&here), stage.load(&there));
    let mut contexts = [ours.new_context(&settings()).unwrap(), theirs.new_context(&settings()).unwrap()];
    let cancel = CancelToken::new();
    let mut said = |work: &dyn Fn(&mut dyn Context) -> Error| {
        let [one, other] =
            contexts.each_mut().map(|context| (work(&mut **context).to_string(), context.n_past()));
        assert_eq!(one, other);
    };
    said(&|context| context.decode(&[], Logits::Last, &cancel).unwrap_err());
    said(&|context| context.decode(&[5000], Logits::Last, &cancel).unwrap_err());
    said(&|context| context.decode(&[1; 300], Logits::Last, &cancel).unwrap_err());
    said(&|context| context.decode(&[1; 65], Logits::All, &cancel).unwrap_err());
    said(&|context| context.logits(3).unwrap_err());
    let missing = stage.folder.path().join("missing.gguf");
    let mut quiet = |_| ControlFlow::Continue(());
    let error = there.load(&missing, &LoadSettings::default(), &mut quiet).err().expect("no file");
    assert!(error.to_string().contains("missing.gguf"), "{error}");
    let mut stop = |_| ControlFlow::Break(());
    let outcome = there.load(&stage.model, &LoadSettings::default(), &mut stop);
    assert!(matches!(outcome, Err(Error::Cancelled)) || outcome.is_ok(), "a load that small may be over");
}

fn work_is_stopped_from_outside(stage: &Stage) {
    let model = stage.load(&stage.engine());
    let mut context = model.new_context(&settings()).unwrap();
    let cancel = CancelToken::new();
    cancel.cancel();
    assert!(matches!(context.decode(&[1, 2, 3], Logits::Last, &cancel), Err(Error::Cancelled)));
    cancel.reset();
    assert_eq!(computed(&mut *context).1.len(), 8);
    // No step is as short as that.
    context.set_time_limit(Some(std::time::Duration::from_nanos(1)));
    let outcome = context.decode(&[1; 64], Logits::Last, &cancel);
    assert!(matches!(outcome, Err(Error::TimeLimit { .. })), "{outcome:?}");
}

fn a_killed_process_is_an_error_and_is_replaced(stage: &Stage) {
    let engine = stage.engine();
    let before = stage.processes();
    let model = stage.load(&engine);
    let mut context = Arc::clone(&model).new_context(&settings()).unwrap();
    let expected = computed(&mut *context);
    let own: Vec<String> = stage.processes().into_iter().filter(|id| !before.contains(id)).collect();
    assert_eq!(own.len(), 1, "a process for the model");
    assert!(Command::new("kill").args(["-9", &own[0]]).status().unwrap().success());
    let cancel = CancelToken::new();
    let error = context.decode(&[1], Logits::Last, &cancel).expect_err("nothing computes");
    let Error::Process { reason } = &error else { panic!("{error}") };
    assert!(reason.contains("it ended") && reason.contains('9'), "{reason}");
    // The context stays dead; this process and the engine live on.
    assert!(matches!(context.decode(&[1], Logits::Last, &cancel), Err(Error::Process { .. })));
    let mut again = Arc::clone(&model).new_context(&settings()).expect("it is opened in a new process");
    assert_eq!(computed(&mut *again), expected);
    assert_eq!(stage.processes().len(), before.len() + 2);
    assert!(engine.measure(&stage.model, &LoadSettings::default(), &settings()).is_ok());
    // One that ends while nobody asks is replaced as well.
    let second = stage.processes().into_iter().find(|id| !before.contains(id) && *id != own[0]).unwrap();
    assert!(Command::new("kill").args(["-9", &second]).status().unwrap().success());
    std::thread::sleep(std::time::Duration::from_millis(200));
    let mut third = Arc::clone(&model).new_context(&settings()).expect("it is opened in a new process");
    assert_eq!(computed(&mut *third), expected);
    // Without the model its process goes.
    drop((context, again, third, model));
    let gone = [own[0].clone(), second];
    let last = stage.processes().into_iter().find(|id| !before.contains(id) && !gone.contains(id)).unwrap();
    assert!(!Command::new("kill").args(["-0", &last]).output().unwrap().status.success());
}

fn a_program_that_does_not_serve_is_an_error(stage: &Stage) {
    let start = |program: &str| {
        let launch = Launch { program: program.into(), arguments: vec!["x".into()] };
        IsolatedEngine::start(launch).err().expect("it does not serve").to_string()
    };
    let missing = stage.folder.path().join("no-program");
    assert!(start(missing.to_str().unwrap()).contains("cannot be started"));
    assert!(start("true").contains("it ended"), "{}", start("true"));
    // What it says is no answer.
    assert!(start("echo").contains("it ended"), "{}", start("echo"));
}
