//! Plans for machines that are not here, from configurations alone, beside what is committed in `docs/`:
//! `UPDATE_EXPECT=1 cargo test -p llama-pajamas-cli --test planning` writes those files anew; read the difference.

#![allow(clippy::unwrap_used)]

mod command;
mod formats;
mod pages;
mod table;

use llama_pajamas::hardware::Host;
use llama_pajamas::planner::{BackendDevice, Candidate, Plan, QualityEstimate, Request, plan};
use llama_pajamas::quantizer::recipe::Recipe;
use llama_pajamas::{SENSIBLE_PRECISIONS, described_candidates, families};
use std::path::{Path, PathBuf};

const CONTEXT_TOKENS: u64 = 4096;
/// Tokens per second that the slow end of the expected range is to reach, the first that any precision does.
const READING_SPEEDS: [f64; 3] = [10.0, 5.0, 2.0];
/// Mean KL divergence up to which a precision may be taken for its speed, in nats: that of four bits.
const MOST_DIVERGENCE: f64 = 0.05;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().into()
}

fn config_path(model: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/planning/configs").join(format!("{model}.json"))
}

/// What the sensible precisions make of a model.
fn candidates(model: &str) -> Vec<Candidate> {
    let config = families::parse_config(&std::fs::read(config_path(model)).unwrap()).unwrap();
    let description = families::detect_config(&config).unwrap();
    let suits = |name: &&&str| description.moe.is_some() || **name != "MXFP4_MOE";
    let recipes = SENSIBLE_PRECISIONS.iter().filter(suits).map(|name| Recipe::from_name(name).unwrap());
    described_candidates(&description, &recipes.collect::<Vec<_>>()).unwrap()
}

/// The best precision that leaves room for a conversation and writes as fast as one reads; where none does, half as fast, then
/// a fifth, then at any speed. The second part is the speed that was asked for, in tokens per second.
fn plan_for(host: &Host, candidates: &[Candidate]) -> (Plan, Option<f64>) {
    let devices = BackendDevice::of_host(host);
    // For speed, nothing below four bits is given up: they answer too badly.
    let prior = |one: &&Candidate| one.quality.unwrap_or_else(|| QualityEstimate::guess(&one.precision));
    let good: Vec<Candidate> =
        candidates.iter().filter(|one| prior(one).kld_mean < MOST_DIVERGENCE).cloned().collect();
    let plan_at = |speed: Option<f64>| {
        let candidates = if speed.is_some() { &good } else { candidates };
        let request = Request {
            devices: devices.clone(),
            context_tokens: Some(CONTEXT_TOKENS),
            min_decode_tokens_per_s: speed,
            ..Request::default()
        };
        plan(host, candidates, &request)
    };
    let speeds = READING_SPEEDS.into_iter().map(|speed| (plan_at(Some(speed)), Some(speed)));
    let reached = speeds.into_iter().find(|(plan, _)| plan.chosen.is_some());
    reached.unwrap_or_else(|| (plan_at(None), None))
}

/// `text` is what the file holds, or becomes it.
fn check(file: &Path, text: &str) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, text).unwrap();
    }
    let expected = std::fs::read_to_string(file).unwrap_or_default().replace("\r\n", "\n");
    assert!(text == expected, "{} differs; UPDATE_EXPECT=1 writes it anew. Now:\n{text}", file.display());
}

/// `4.68 GiB`.
fn gib(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / f64::from(1 << 30))
}

/// `12–27`, slow rates to a tenth.
fn range([slow, fast]: [f64; 2]) -> String {
    let rate = |rate: f64| if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") };
    format!("{}–{}", rate(slow), rate(fast))
}
