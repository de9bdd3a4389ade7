//! Four models on ten machines: what is planned, and why.

use super::{READING_SPEEDS, candidates, check, gib, plan_for, range, repository};
use llama_pajamas::hardware::{Host, typical};
use llama_pajamas::planner::{Candidate, Choice, Code, Plan, ReasonCode, Rejection};
use std::fmt::Write;

const MACHINES: [(&str, &str); 10] = [
    ("apple-m2:8", "MacBook with M2, 8 GB"),
    ("apple-m4-pro:24", "Mac with M4 Pro, 24 GB"),
    ("nvidia-rtx-3060:12", "RTX 3060 12 GB, 32 GB of RAM"),
    ("nvidia-rtx-4090:24", "RTX 4090 24 GB, 32 GB of RAM"),
    ("jetson-orin-nano-8gb:8", "Jetson Orin Nano 8 GB"),
    ("jetson-agx-orin-64gb:64", "Jetson AGX Orin 64 GB"),
    ("snapdragon-8-elite:12", "Phone with Snapdragon 8 Elite, 12 GB"),
    ("tensor-g4:12", "Pixel 9 (Tensor G4, 12 GB)"),
    ("raspberry-pi-5:8", "Raspberry Pi 5, 8 GB"),
    ("container:6", "Container with 4 processors and 6 GB"),
];
const MODELS: [&str; 4] = ["Qwen3-8B", "Qwen3-30B-A3B", "gpt-oss-20b", "Granite-4.0-H-Small"];

const INTRODUCTION: &str = "# Would it run?

Plans for machines that are not here, made from configurations alone: of each model the sizes of its precisions by the
quantizer's arithmetic, of each machine what its profile says (`hardware-profiles/`). Nothing here was measured on these
machines. Speed is a range in which four of five such machines are expected; memory includes the uncertainty, which
admission counts. Asked for are 4096 tokens of context and 10 tokens/s at the slow end of the range, which is about as fast as
one reads; where no precision of four bits or more writes so fast, 5, then 2, then any speed. Of the precisions that keep that
the best one is taken; fewer than four bits are taken for want of memory alone. Every line is what
`llama-pajamas plan CONFIG --for PROFILE --context 4096 --min-speed 10 --precision NAMES --explain` says at more length. A test keeps this file current (`cargo xtask profile-pages` writes it anew).
";

#[test]
fn four_models_on_ten_machines() {
    let mut text = INTRODUCTION.to_string();
    for model in MODELS {
        let candidates = candidates(model);
        let layers = candidates[0].description.n_layers + 1;
        let _ = writeln!(
            text,
            "\n## {model}\n\n| machine (profile) | precision | computed by | context, cache | memory, GiB | tokens/s | why |\n|---|---|---|---|---|---|---|"
        );
        for (wish, name) in MACHINES {
            let host = typical(wish).unwrap();
            let (plan, speed) = plan_for(&host, &candidates);
            let cells = match &plan.chosen {
                Some(choice) => chosen(&host, choice, layers),
                None => "– | – | – | – | –".into(),
            };
            let _ = writeln!(text, "| {name} (`{wish}`) | {cells} | {} |", why(&plan, &candidates, speed));
        }
    }
    check(&repository().join("docs/would-it-run.md"), &text);
}

fn chosen(host: &Host, choice: &Choice, layers: u32) -> String {
    let by = match choice.gpu_layers {
        0 => choice.backend.name().to_string(),
        n if n >= layers => format!("{}, all layers", choice.backend.name()),
        n => format!("{}, {n} of {layers} layers", choice.backend.name()),
    };
    let by = match choice.copies_weights {
        true => format!("{by}, prompts by {}", choice.prompt_backend.name()),
        false => by,
    };
    let memory = match (choice.memory.device_bytes, host.memory.unified) {
        (0, _) | (_, true) => gib(choice.memory.total_bytes()),
        (device, false) => format!(
            "{} + {} on the device",
            gib(choice.memory.total_bytes().saturating_sub(device)),
            gib(device)
        ),
    };
    let context = choice.context_tokens;
    let cache = match choice.type_k == choice.type_v {
        true => choice.type_k.to_string(),
        false => format!("{} and {}", choice.type_k, choice.type_v),
    };
    let speed = range(choice.speed.decode_tokens_per_s);
    format!("{} | {by} | {context}, {cache} | {memory} | {speed}", choice.precision)
}

/// The concessions of the choice and why nothing better was taken; without a choice, what would help.
fn why(plan: &Plan, candidates: &[Candidate], speed: Option<f64>) -> String {
    let mut parts: Vec<String> = Vec::new();
    if plan.chosen.is_none() {
        parts.extend(plan.refusal());
    }
    const CONCESSIONS: [ReasonCode; 4] =
        [ReasonCode::ContextShortened, ReasonCode::KvPrecision, ReasonCode::Ubatch, ReasonCode::Offload];
    let given_up = plan.why.iter().filter(|reason| CONCESSIONS.contains(&reason.code));
    parts.extend(given_up.map(|reason| reason.text.clone()));
    let told = [Code::MemHard, Code::MemSoft, Code::MaxAlloc, Code::Speed];
    let size = |id: &str| candidates.iter().find(|one| one.id == id).map_or(0, |one| one.weights_bytes);
    let taken = plan.chosen.as_ref().map_or(u64::MAX, |choice| size(&choice.id));
    let better = |rejection: &&Rejection| told.contains(&rejection.code) && size(&rejection.id) > taken;
    let mut refused = plan.rejected.iter().filter(better);
    match (refused.next_back(), plan.chosen.is_some()) {
        (Some(next), true) if next.code == Code::Speed => {
            let expected = next.fix.split(" expected").next().unwrap_or_default();
            parts.push(format!("the next better, {}, writes {expected}", next.id));
        }
        (Some(next), true) => {
            let (need, have) = (next.need_bytes.unwrap_or(0), next.have_bytes.unwrap_or(0));
            parts.push(format!("the next better, {}, needs {} of {}", next.id, gib(need), gib(have)));
        }
        (None, true) => parts.push("the best precision fits".into()),
        (_, false) => {}
    }
    match speed.filter(|speed| *speed < READING_SPEEDS[0]) {
        Some(speed) => {
            parts.push(format!("no precision of four bits or more keeps 10 tokens/s: planned for {speed}"))
        }
        None if plan.chosen.is_some() && speed.is_none() => {
            parts.push("slower than one would wait for: planned for any speed".into());
        }
        None => {}
    }
    parts.join("; ")
}
