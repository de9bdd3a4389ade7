//! What loads teach of memory, and what the next plan makes of it.
//! Knows the public API only.

use crate::fake_engine::Fake;
use crate::stage::{generate, greedy, model_file, reciting};
use llama_pajamas::engine::MemoryUse;
use llama_pajamas::hardware::{Cpu, Host, Memory};
use llama_pajamas::planner::{Choice, Reason, ReasonCode};
use llama_pajamas::{CancelToken, Error, Plan, PlanRequest, Runtime, RuntimeSettings, SessionSettings};
use std::path::Path;
use std::sync::Arc;

/// Bytes of one row of logits, which the engine does not count.
const LOGITS: u64 = 259 * 4;

fn engine(compute_bytes: u64, build: &'static str) -> Fake {
    let memory = MemoryUse { compute_bytes, ..MemoryUse::default() };
    Fake { memory, build, ..reciting("Say hello") }
}

/// Plans, loads, opens a session, and gives the plan.
fn start(fake: Fake, folder: &Path, context: u64) -> Plan {
    let path = folder.join("model.gguf");
    std::fs::write(&path, model_file()).expect("writable");
    let cpu = Cpu { usable_cpus: 1, usable_cores: 1, fast_cores: 1, ..Cpu::default() };
    let settings = RuntimeSettings {
        engine: Some(Arc::new(fake)),
        host: Some(Host { cpu, ..Host::default() }),
        tuning_folder: Some(folder.join("tuning")),
        ..RuntimeSettings::default()
    };
    let runtime = Runtime::open(&path, settings).expect("opens");
    let request = PlanRequest {
        context_tokens: Some(context),
        memory_budget_bytes: Some(1 << 30),
        ..PlanRequest::default()
    };
    let plan = runtime.plan(&request);
    let model = runtime.load(&plan, &mut |_| {}, &CancelToken::new()).expect("loads");
    let mut session = model.session(&SessionSettings::default()).expect("opens");
    assert!(session.memory_audit().is_some());
    generate(&mut session, "Say ", &greedy()).expect("answers");
    plan
}

fn chosen(plan: &Plan) -> &Choice {
    plan.chosen.as_ref().expect("fits")
}

fn is_learned(plan: &Plan) -> bool {
    plan.why.iter().any(|reason| reason.code == ReasonCode::MemoryLearned)
}

#[test]
fn the_next_plan_counts_with_what_the_load_took() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let first = start(engine(0, "fake 1"), folder.path(), 128);
    std::fs::remove_dir_all(folder.path().join("tuning")).expect("it was kept");
    let formula = chosen(&first).memory.compute_bytes;
    assert!(!is_learned(&first));

    let more = formula * 5 / 4;
    start(engine(more - LOGITS, "fake 1"), folder.path(), 128);
    for _ in 0..3 {
        // The same load again is the same knowledge: nothing drifts.
        let next = start(engine(more - LOGITS, "fake 1"), folder.path(), 128);
        let memory = &chosen(&next).memory;
        assert!(memory.compute_bytes.abs_diff(more) < 16, "{} and {more}", memory.compute_bytes);
        assert_eq!(memory.formula_compute_bytes, formula);
        assert!(is_learned(&next));
        let text = &next.why.iter().find(|told| told.code == ReasonCode::MemoryLearned).expect("told").text;
        assert!(text.ends_with("as one load of such models on this machine showed"), "{text}");
    }
    // Weights and caches are exact and stay.
    let other = start(engine(more - LOGITS, "fake 1"), folder.path(), 256);
    assert_eq!(chosen(&other).memory.kv_bytes, 2 * chosen(&first).memory.kv_bytes);
    assert_eq!(chosen(&other).memory.weights_bytes, chosen(&first).memory.weights_bytes);
    assert!(is_learned(&other));
    // Another engine shows for itself.
    assert!(!is_learned(&start(engine(more - LOGITS, "fake 2"), folder.path(), 128)));
}

/// A runtime for a host that has `budget` bytes to spare.
fn runtime(fake: Fake, folder: &Path, budget: u64) -> Runtime {
    let path = folder.join("model.gguf");
    std::fs::write(&path, model_file()).expect("writable");
    let memory = Memory { total_bytes: budget, budget_bytes: budget, ..Memory::default() };
    let cpu = Cpu { usable_cpus: 1, usable_cores: 1, fast_cores: 1, ..Cpu::default() };
    let host = Host { cpu, memory, ..Host::default() };
    let settings =
        RuntimeSettings { engine: Some(Arc::new(fake)), host: Some(host), ..RuntimeSettings::default() };
    Runtime::open(&path, settings).expect("opens")
}

/// Takes a mebibyte a token.
fn greedy_engine() -> Fake {
    Fake { dry_run: Some(|settings| u64::from(settings.n_ctx) << 20), ..reciting("Say hello") }
}

#[test]
fn what_the_engine_needs_and_is_not_there_is_refused_before_the_load() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let runtime = runtime(greedy_engine(), folder.path(), 300 << 20);
    let asked = |context| PlanRequest { context_tokens: Some(context), ..PlanRequest::default() };
    let fits = runtime.plan(&asked(200));
    runtime.load(&fits, &mut |_| {}, &CancelToken::new()).expect("loads");
    let plan = runtime.plan(&asked(400));
    let mut heard = false;
    let error = runtime.load(&plan, &mut |_| heard = true, &CancelToken::new()).expect_err("refused");
    let Error::NoRoom { id, place, need_bytes, have_bytes, .. } = &error else { panic!("{error}") };
    assert_eq!((id.as_str(), place.as_str(), *have_bytes), ("model", "memory", 300 << 20));
    assert!((400 << 20..420 << 20).contains(need_bytes), "{need_bytes}");
    assert!(!heard && error.to_string().contains("are left by now"), "{error}");
}

#[test]
fn the_ladder_is_stepped_down_until_the_engine_agrees() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    // Far more than the plan's own figure: 32 MiB for 512 tokens at a time, 8 MiB for 128.
    let fake = Fake { dry_run: Some(|settings| u64::from(settings.n_ubatch) << 16), ..greedy_engine() };
    let load = |budget| {
        let runtime = runtime(fake.clone(), folder.path(), budget);
        runtime.plan_and_load(&PlanRequest::default(), &mut |_| {}, &CancelToken::new())
    };
    let (plan, model) = load(64 << 20).expect("loads");
    assert_eq!(model.choice().n_ubatch, 512);
    assert!(plan.why.iter().all(|reason| reason.code != ReasonCode::SteppedDown), "{:?}", plan.why);
    let (plan, model) = load(44 << 20).expect("loads");
    assert_eq!(model.choice().n_ubatch, 128);
    let stepped: Vec<&Reason> =
        plan.why.iter().filter(|reason| reason.code == ReasonCode::SteppedDown).collect();
    assert_eq!(stepped.len(), 1);
    assert!(stepped[0].text.starts_with("stepped down from model with 512 tokens"), "{}", stepped[0].text);
    // Where no rung helps, nothing is loaded.
    let none = Fake { dry_run: Some(|_| 64 << 20), ..greedy_engine() };
    let runtime = runtime(none, folder.path(), 44 << 20);
    let outcome = runtime.plan_and_load(&PlanRequest::default(), &mut |_| {}, &CancelToken::new());
    let error = outcome.expect_err("nothing fits");
    assert!(matches!(error, Error::NothingFits(_)), "{error}");
}

#[test]
fn a_broken_file_teaches_nothing_and_is_replaced() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("tuning").join("memory-1.json");
    std::fs::create_dir_all(file.parent().expect("it lies in a folder")).expect("writable");
    std::fs::write(&file, b"{\"machine\": \"").expect("writable");
    assert!(!is_learned(&start(engine(1 << 20, "fake 1"), folder.path(), 128)));
    assert!(is_learned(&start(engine(1 << 20, "fake 1"), folder.path(), 128)));
}
