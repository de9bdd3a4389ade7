//! Tuning against an engine whose speed is known, and what is found again at the next start.
//! Knows the public API only.

use crate::fake_engine::Fake;
use crate::stage::{generate, greedy, model_file, reciting};
use llama_pajamas::engine::{DeviceInfo, DeviceKind};
use llama_pajamas::hardware::{Cpu, Host, Memory};
use llama_pajamas::planner::Evidence;
use llama_pajamas::tuner::{Halt, Knob, Miss, Skipped};
use llama_pajamas::{
    CancelToken, LoadedModel, PlanRequest, Recall, Runtime, RuntimeSettings, SessionSettings, SettingFrom,
    TUNING_FILE, TuneReport, TuneSettings,
};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// One thread is ten times as fast as more.
fn alone_is_fast() -> Fake {
    let token_time = |threads| Duration::from_micros(if threads == 1 { 300 } else { 3000 });
    Fake { token_time: Some(token_time), build: "fake 1", ..reciting("Say hello") }
}

fn host(usable_cpus: u32) -> Host {
    let cpu = Cpu { usable_cpus, usable_cores: usable_cpus, fast_cores: usable_cpus, ..Cpu::default() };
    Host { cpu, ..Host::default() }
}

struct Start {
    runtime: Runtime,
    model: LoadedModel,
}

fn start(fake: Fake, usable_cpus: u32, folder: &Path, model: &[u8]) -> Start {
    let path = folder.join("model.gguf");
    std::fs::write(&path, model).expect("writable");
    let settings = RuntimeSettings {
        engine: Some(Arc::new(fake)),
        host: Some(host(usable_cpus)),
        tuning_folder: Some(folder.join("tuning")),
        ..RuntimeSettings::default()
    };
    let runtime = Runtime::open(&path, settings).expect("opens");
    let request = PlanRequest {
        context_tokens: Some(128),
        n_threads: Some(2),
        memory_budget_bytes: Some(1 << 30),
        ..PlanRequest::default()
    };
    let plan = runtime.plan(&request);
    let model = runtime.load(&plan, &mut |_| {}, &CancelToken::new()).expect("loads");
    Start { runtime, model }
}

fn tune(start: &Start) -> TuneReport {
    let settings = TuneSettings {
        budget: Duration::from_secs(3),
        min_block: Duration::from_millis(1),
        ..TuneSettings::default()
    };
    let cancel = CancelToken::new();
    start.runtime.tune(&start.model, &settings, &cancel, &mut |_| ControlFlow::Continue(())).expect("tunes")
}

fn recall(start: &Start) -> Recall {
    start.model.recall().expect("there is a folder")
}

#[test]
fn what_is_tuned_is_used_and_found_at_the_next_start() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let first = start(alone_is_fast(), 4, folder.path(), &model_file());
    assert_eq!((recall(&first).tuned, recall(&first).miss), (None, Some(Miss::Unknown)));
    let mut session = first.model.session(&SessionSettings::default()).expect("opens");
    assert_eq!(session.threads().0, 2);
    let report = tune(&first);
    assert_eq!((report.start.n_threads, report.setting.n_threads, report.halted), (2, 1, None));
    assert!(report.elapsed < Duration::from_secs(4), "{:?}", report.elapsed);
    assert_eq!(first.model.setting(), (report.setting, SettingFrom::Tuning));
    // A session that is open already obeys from its next answer on.
    assert_eq!(generate(&mut session, "Say ", &greedy()).expect("generates").text(), "hello");
    assert_eq!(session.threads().0, 1);

    let second = start(alone_is_fast(), 4, folder.path(), &model_file());
    assert_eq!(recall(&second).tuned.expect("found").setting, report.setting);
    assert!(
        matches!(second.model.setting(), (setting, SettingFrom::Cache { .. }) if setting == report.setting)
    );
    let session = second.model.session(&SessionSettings::default()).expect("opens");
    assert_eq!(session.threads().0, 1);
}

#[test]
fn another_machine_engine_or_model_is_tuned_anew() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    tune(&start(alone_is_fast(), 4, folder.path(), &model_file()));
    let miss = |fake, cpus, model: &[u8]| {
        let start = start(fake, cpus, folder.path(), model);
        assert_eq!(start.model.setting().1, SettingFrom::Plan);
        recall(&start).miss
    };
    let changed = |part| Some(Miss::Changed(vec![part]));
    assert_eq!(miss(alone_is_fast(), 3, &model_file()), changed("quota"));
    assert_eq!(miss(Fake { build: "fake 2", ..alone_is_fast() }, 4, &model_file()), changed("engine"));
    let mut other = model_file();
    *other.last_mut().expect("not empty") ^= 1;
    assert_eq!(miss(alone_is_fast(), 4, &other), changed("model"));
}

#[test]
fn a_damaged_file_is_left_aside_and_replaced() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    std::fs::create_dir(folder.path().join("tuning")).expect("writable");
    std::fs::write(folder.path().join("tuning").join(TUNING_FILE), b"{\"schema\": 1, \"entr")
        .expect("writable");
    let first = start(alone_is_fast(), 4, folder.path(), &model_file());
    assert!(recall(&first).problem.expect("a problem").contains("EOF"));
    tune(&first);
    let second = start(alone_is_fast(), 4, folder.path(), &model_file());
    assert_eq!((recall(&second).problem, recall(&second).tuned.is_some()), (None, true));
}

#[test]
fn normal_use_is_kept_when_the_model_goes() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let fake = Fake { recital: reciting(&"x".repeat(100)).recital, ..alone_is_fast() };
    let first = start(fake, 4, folder.path(), &model_file());
    let mut session = first.model.session(&SessionSettings::default()).expect("opens");
    generate(&mut session, "xx", &greedy()).expect("generates");
    drop((session, first));
    let text = std::fs::read_to_string(folder.path().join("tuning").join(TUNING_FILE)).expect("written");
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let seen = &document["entries"][0]["observed"][0];
    assert_eq!(seen["n_threads"], 2);
    assert_eq!(seen["decode_tokens_per_s"].as_array().map(Vec::len), Some(1));
}

#[test]
fn normal_use_tells_the_next_plan_how_fast_it_is() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let fake = || Fake { recital: reciting(&"x".repeat(100)).recital, ..alone_is_fast() };
    let first = start(fake(), 4, folder.path(), &model_file());
    assert_eq!(first.model.choice().speed.evidence, Evidence::Guess);
    let mut session = first.model.session(&SessionSettings::default()).expect("opens");
    let usage = generate(&mut session, &"x".repeat(40), &greedy()).expect("generates").usage;
    drop((session, first));
    let second = start(fake(), 4, folder.path(), &model_file());
    let speed = second.model.choice().speed;
    assert_eq!(speed.evidence, Evidence::Measured);
    let [slow, fast] = speed.decode_tokens_per_s;
    // The plan's depth is another than the answer's, so the middle moves a little.
    let seen = usage.decode_tokens_per_s();
    assert!(slow < seen * 1.3 && fast > seen / 1.3 && fast / slow < 2.0, "{slow} to {fast}, seen {seen}");
    let elsewhere = start(fake(), 3, folder.path(), &model_file());
    assert_eq!(elsewhere.model.choice().speed.evidence, Evidence::Guess);
}

#[test]
fn tuning_that_is_cancelled_leaves_everything_as_it_is() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let start = start(alone_is_fast(), 4, folder.path(), &model_file());
    let cancel = CancelToken::new();
    cancel.cancel();
    let quiet = &mut |_: &llama_pajamas::TuneStep<'_>| ControlFlow::Continue(());
    let report =
        start.runtime.tune(&start.model, &TuneSettings::default(), &cancel, quiet).expect("no error");
    assert_eq!((report.halted, report.setting), (Some(Halt::Cancelled), report.start));
    assert_eq!(report.knobs[0].knob, Knob::DecodeThreads);
    assert_eq!(report.knobs[1].skipped, Some(Skipped::Halted));
    assert_eq!(start.model.setting().1, SettingFrom::Plan);
}

/// A device that the plan takes and on which every layer costs time, and what was found of it.
#[test]
fn layers_are_placed_where_they_are_fast_from_the_next_load_on() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let device = DeviceInfo {
        name: "CUDA0".into(),
        description: "NVIDIA Test".into(),
        kind: DeviceKind::Gpu,
        memory_total_bytes: 8 << 30,
        memory_free_bytes: 8 << 30,
        max_allocation_bytes: None,
    };
    let layer_time = |layers| Duration::from_micros(300 + 1200 * u64::from(layers));
    let fake = || Fake {
        devices: vec![device.clone()],
        layer_time: Some(layer_time),
        dry_run: Some(|_| 1 << 20),
        build: "fake 1",
        ..reciting("Say hello")
    };
    let begin = |fake: Fake, asked: Option<u32>| {
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, model_file()).expect("writable");
        let memory = Memory { budget_bytes: 1 << 30, ..Memory::default() };
        let settings = RuntimeSettings {
            engine: Some(Arc::new(fake)),
            host: Some(Host { memory, ..host(1) }),
            tuning_folder: Some(folder.path().join("tuning")),
            ..RuntimeSettings::default()
        };
        let runtime = Runtime::open(&path, settings).expect("opens");
        let request = PlanRequest {
            context_tokens: Some(128),
            n_threads: Some(1),
            gpu_layers: asked,
            ..PlanRequest::default()
        };
        let plan = runtime.plan(&request);
        let model = runtime.load(&plan, &mut |_| {}, &CancelToken::new()).expect("loads");
        Start { runtime, model }
    };
    let first = fake();
    let loads = Arc::clone(&first.loads);
    let started = begin(first, None);
    let report = tune(&started);
    let placement = report.knobs.iter().find(|knob| knob.knob == Knob::Placement).expect("raced");
    assert_eq!((placement.values.as_slice(), placement.chosen), ([2, 0, 1].as_slice(), 0), "{placement:?}");
    assert_eq!(report.setting.gpu_layers, 0);
    // Each placement was loaded once, whatever the order of the blocks.
    let mut loaded = loads.lock().expect("not poisoned").clone();
    loaded.sort_unstable();
    assert_eq!(loaded, [0, 1, 2]);

    let second = fake();
    let loads = Arc::clone(&second.loads);
    let started = begin(second, None);
    assert_eq!(*loads.lock().expect("not poisoned"), [0]);
    assert_eq!((started.model.choice().gpu_layers, started.model.setting().0.gpu_layers), (2, 0));

    // What the app asks for is neither raced nor moved.
    let third = fake();
    let loads = Arc::clone(&third.loads);
    let started = begin(third, Some(1));
    let report = tune(&started);
    assert!(report.knobs.iter().all(|knob| knob.knob != Knob::Placement), "{report:?}");
    assert_eq!(*loads.lock().expect("not poisoned"), [1]);
}

#[test]
fn what_only_reads_is_not_tuned() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let start = start(Fake { start: Some(1), ..alone_is_fast() }, 4, folder.path(), &model_file());
    let quiet = &mut |_: &llama_pajamas::TuneStep<'_>| ControlFlow::Continue(());
    let outcome = start.runtime.tune(&start.model, &TuneSettings::default(), &CancelToken::new(), quiet);
    let error = outcome.expect_err("refused").to_string();
    assert_eq!(error, "tune: expected a model that writes what follows a prompt, got an encoder");
}
