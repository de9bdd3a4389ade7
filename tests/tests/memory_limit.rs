//! Loads at the edge of a real memory limit, the address space of a process: each is admitted and answers, or is refused in
//! words; none ends the process. A process has one limit, so the test starts itself once for each.
//!
//! Owns the limits around the edge; must not know how a plan is made. `LLAMA_PAJAMAS_TEST_LOADS=50` loads fifty times
//! instead of ten.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "the child answers on standard output")]

use llama_pajamas::{
    CancelToken, Error, GenerateSettings, PlanRequest, Runtime, RuntimeSettings, Sampling, SessionSettings,
};
use llama_pajamas_tests::committed;
use quantizer::recipe::FileType;
use quantizer::{BuildRequest, ProjectorWish, build_bundle};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Tells a child its bundle, and what it takes for itself between planning and loading, in bytes.
const BUNDLE: &str = "LLAMA_PAJAMAS_TEST_BUNDLE";
const BALLAST: &str = "LLAMA_PAJAMAS_TEST_BALLAST";
const LOADS: &str = "LLAMA_PAJAMAS_TEST_LOADS";
const ANSWER: &str = "answer:";
const MIB: u64 = 1 << 20;
/// What every plan leaves to the rest of the process, where there is so little.
const RESERVE: u64 = 128 * MIB;
/// Limits around the edge: from below the smallest plan of this model to above the largest.
const BELOW: u64 = 24 * MIB;
const ABOVE: u64 = 8 * MIB;

fn bundle(folder: &Path) -> PathBuf {
    let request = BuildRequest {
        model: committed("models/pajama-stories-4m"),
        model_id: "stories".into(),
        output: folder.join("bundle"),
        precisions: vec![FileType::Q8_0.into()],
        projector: ProjectorWish::None,
        threads: 2,
        ..BuildRequest::default()
    };
    build_bundle(&request, &mut |_| {}, &mut |_| ControlFlow::Continue(())).unwrap();
    request.output
}

/// What a child answers under a limit in KiB; it must end by itself.
fn child(bundle: &Path, limit_kib: Option<u64>, ballast: u64) -> String {
    let limit = limit_kib.map_or_else(|| "unlimited".to_owned(), |kib| kib.to_string());
    let output = Command::new("sh")
        .args(["-c", "ulimit -v \"$0\" && exec \"$@\"", &limit])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "as_a_child", "--ignored", "--nocapture", "--test-threads", "1"])
        .env(BUNDLE, bundle)
        .env(BALLAST, ballast.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let why = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "limit {limit}: {}: {text}{why}", output.status);
    text.lines().find_map(|line| Some(line.split_once(ANSWER)?.1.trim().to_owned())).expect("it answers")
}

/// The limit in KiB under which the largest plan just fits: what was mapped when planning, the plan and the reserve.
fn edge_kib(bundle: &Path) -> u64 {
    let answer = child(bundle, Some(64 << 20), 0);
    let number = |name: &str| -> u64 {
        let rest = answer.split_once(name).unwrap_or_else(|| panic!("{name} in {answer}")).1;
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    (number("mapped=") + number("plan=") + RESERVE) / 1024
}

#[test]
fn loads_at_the_edge_end_in_an_answer_or_a_refusal() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let n_loads: u64 = std::env::var(LOADS).ok().map_or(10, |text| text.parse().unwrap());
    let edge = edge_kib(&bundle);
    let (mut loaded, mut refused) = (0, 0);
    for index in 0..n_loads {
        let limit = edge - BELOW / 1024 + (BELOW + ABOVE) / 1024 * index / (n_loads - 1).max(1);
        let answer = child(&bundle, Some(limit), 0);
        println!("limit {limit} KiB: {answer}");
        match answer.split_once(' ').map_or(answer.as_str(), |(first, _)| first) {
            "loaded" => loaded += 1,
            "refused" => refused += 1,
            _ => panic!("{answer}"),
        }
    }
    assert!(loaded > 0 && refused > 0, "{loaded} loaded, {refused} refused: that is no edge");
}

#[test]
fn memory_that_is_gone_since_the_plan_is_missed_before_the_load() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = bundle(folder.path());
    let limit = edge_kib(&bundle) + ABOVE / 1024;
    assert!(child(&bundle, Some(limit), 0).starts_with("loaded"));
    let answer = child(&bundle, Some(limit), 96 * MIB);
    assert!(answer.starts_with("refused at the load") && answer.contains("left by now"), "{answer}");
}

#[test]
#[ignore = "the other half of the tests above"]
fn as_a_child() {
    let bundle = std::env::var_os(BUNDLE).expect("the other half sets it");
    let ballast: usize = std::env::var(BALLAST).unwrap().parse().unwrap();
    let runtime = Runtime::open(Path::new(&bundle), RuntimeSettings::default()).unwrap();
    let request = PlanRequest { context_tokens: Some(2048), n_threads: Some(1), ..PlanRequest::default() };
    let cancel = CancelToken::new();
    let plan = runtime.plan(&request);
    let mapped: u64 = {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    };
    let taken = std::hint::black_box(vec![1_u8; ballast]);
    // With the ballast the plan stays as it is; else the ladder may be stepped down.
    let outcome = match ballast {
        0 => runtime.plan_and_load(&request, &mut |_| {}, &cancel),
        _ => runtime.load(&plan, &mut |_| {}, &cancel).map(|model| (plan.clone(), model)),
    };
    let (plan, model) = match outcome {
        Ok(loaded) => loaded,
        Err(error @ Error::NothingFits(_)) => return println!("{ANSWER} refused {error}"),
        Err(error @ Error::NoRoom { .. }) => return println!("{ANSWER} refused at the load: {error}"),
        Err(error) => panic!("{error}"),
    };
    drop(taken);
    let mut session = model.session(&SessionSettings::default()).unwrap();
    let settings = GenerateSettings {
        sampling: Sampling::greedy(),
        max_tokens: 8,
        ignore_end_of_turn: true,
        ..GenerateSettings::default()
    };
    // A prompt that fills what is computed at a time.
    let prompt = "Once upon a time there was a llama. ".repeat(60);
    let usage = session.generate(&prompt, &settings, &cancel, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(usage.completion_tokens, 8);
    let choice = plan.chosen.unwrap();
    let (plan, cache, at_once) = (choice.memory.total_bytes(), choice.type_k, choice.n_ubatch);
    println!("{ANSWER} loaded mapped={mapped} plan={plan} cache {cache}, {at_once} at a time");
}
