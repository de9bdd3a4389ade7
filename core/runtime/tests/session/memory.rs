//! What loads teach of memory, and what the next plan makes of it.
//! Knows the public API only.

use crate::fake_engine::Fake;
use crate::stage::{model_file, reciting};
use llama_pajamas::engine::MemoryUse;
use llama_pajamas::hardware::{Cpu, Host};
use llama_pajamas::planner::{Choice, ReasonCode};
use llama_pajamas::{CancelToken, Plan, PlanRequest, Runtime, RuntimeSettings, SessionSettings};
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
    let session = model.session(&SessionSettings::default()).expect("opens");
    assert!(session.memory_audit().is_some());
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

#[test]
fn a_broken_file_teaches_nothing_and_is_replaced() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("tuning").join("memory-1.json");
    std::fs::create_dir_all(file.parent().expect("it lies in a folder")).expect("writable");
    std::fs::write(&file, b"{\"machine\": \"").expect("writable");
    assert!(!is_learned(&start(engine(1 << 20, "fake 1"), folder.path(), 128)));
    assert!(is_learned(&start(engine(1 << 20, "fake 1"), folder.path(), 128)));
}
