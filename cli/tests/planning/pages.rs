//! A page per class of hardware, made of its profiles and of plans for typical members.

use super::{candidates, check, plan_for, range, repository};
use llama_pajamas::hardware::{Priors, ProfileClass, Subject, classes, typical};
use llama_pajamas::planner::Candidate;
use std::fmt::Write;

/// Models of the table of speeds, small to large.
const MODELS: [&str; 5] = ["Qwen3-0.6B", "Qwen3-1.7B", "Qwen3-8B", "gpt-oss-20b", "Qwen3-30B-A3B"];
const CURRENT: &str = "Made of `hardware-profiles/` by `cargo xtask profile-pages`; a test keeps it current.";

#[derive(serde::Deserialize)]
struct Written {
    #[serde(default)]
    trouble: Vec<Trouble>,
}

#[derive(serde::Deserialize)]
struct Trouble {
    symptom: String,
    help: String,
}

#[test]
fn every_class_has_its_page() {
    let models: Vec<(&str, Vec<Candidate>)> = MODELS.map(|model| (model, candidates(model))).into();
    let mut list = format!("# Hardware\n\n{CURRENT}\n\n| class | chips |\n|---|---|\n");
    for class in classes() {
        check(&repository().join(format!("docs/hardware/{}.md", class.id)), &page(class, &models));
        let _ = writeln!(list, "| [{}]({}.md) | {} |", class.title, class.id, class.chips.len());
    }
    check(&repository().join("docs/hardware/README.md"), &list);
    // A page of a class that is gone would be told nowhere.
    for entry in std::fs::read_dir(repository().join("docs/hardware")).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        assert!(name == "README" || classes().iter().any(|class| class.id == name), "{name}.md has no class");
    }
}

fn page(class: &ProfileClass, models: &[(&str, Vec<Candidate>)]) -> String {
    let mut text = format!("# {}\n\n{CURRENT}\n", class.title);
    quick_start(class, &mut text);
    speeds(class, models, &mut text);
    chips(class, &mut text);
    heat(class, &mut text);
    let path = repository().join("hardware-profiles").join(format!("{}.toml", class.id));
    let written: Written = toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    if !written.trouble.is_empty() {
        text.push_str("\n## Troubleshooting\n\n");
        for Trouble { symptom, help } in written.trouble {
            let _ = writeln!(text, "- **{symptom}.** {help}");
        }
    }
    text
}

/// Names to plan for: every chip with its smallest and largest memory, else the class.
fn members(class: &ProfileClass) -> Vec<(String, String)> {
    let free = class.subject == Subject::Machine && class.machine.as_ref().is_some_and(|m| m.any_ram);
    let mut members = Vec::new();
    for chip in &class.chips {
        let sizes = match free {
            true => class.machine.as_ref().map(|machine| machine.ram_gb.clone()).unwrap_or_default(),
            false => chip.ram_gb.clone(),
        };
        let (least, most) = (sizes.iter().min().copied(), sizes.iter().max().copied());
        for gb in [least, most.filter(|most| Some(*most) != least)].into_iter().flatten() {
            members.push((format!("{}:{gb}", chip.id), format!("{}, {gb} GB", chip.title)));
        }
    }
    if members.is_empty() {
        members.push((class.id.clone(), class.title.clone()));
    }
    members
}

fn quick_start(class: &ProfileClass, text: &mut String) {
    let member = &members(class)[0].0;
    let preset = &class.preset;
    let layers = match preset.gpu_layers.as_str() {
        "none" => "no layer goes to a graphics device",
        _ => "as many layers as fit go to the graphics device",
    };
    let _ = write!(
        text,
        "\n## Quick start\n\n```sh\nllama-pajamas hardware                       # what this machine is\nllama-pajamas plan MODEL --explain           # what would run here, and why\nllama-pajamas plan MODEL --for {member}\nllama-pajamas run MODEL --prompt \"…\" --benchmark\n```\n\nPreset: backends {}; {layers}; prompts {} tokens at a time; {} MiB stay free.\n",
        preset.backends.join(", then "),
        preset.n_ubatch,
        preset.margin_mib
    );
    for prefer in &class.prefer {
        let of = if prefer.families.is_empty() { "any family".into() } else { prefer.families.join(", ") };
        let some = if prefer.when == Default::default() { "" } else { " (some members)" };
        let _ = writeln!(text, "\n{} for {of}{some}: {}.", prefer.precisions.join(" or "), prefer.reason);
    }
}

fn speeds(class: &ProfileClass, models: &[(&str, Vec<Candidate>)], text: &mut String) {
    let _ = write!(
        text,
        "\n## Expected speed\n\nTokens per second when writing, as the planner expects them of a typical machine, with the best precision that fits beside\n4096 tokens of context and writes 10 tokens/s (else 5, 2, or what there is); – : none fits. Ranges in which four of five machines are expected; not measured.\n\n| machine |"
    );
    models.iter().for_each(|(model, _)| _ = write!(text, " {model} |"));
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(models.len()));
    text.push('\n');
    for (wish, title) in members(class) {
        let host = typical(&wish).unwrap();
        let _ = write!(text, "| {title} (`{wish}`) |");
        for (_, candidates) in models {
            let cell = match plan_for(&host, candidates).0.chosen {
                Some(choice) => {
                    format!("{} {}", choice.precision, range(choice.speed.decode_tokens_per_s))
                }
                None => "–".into(),
            };
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
}

fn chips(class: &ProfileClass, text: &mut String) {
    if class.chips.is_empty() {
        return;
    }
    let heading = "\n## Chips\n\n| chip | profile | bandwidth, GB/s | memory, GB | bandwidth is |\n|---|---|---|---|---|\n";
    text.push_str(heading);
    for chip in &class.chips {
        let sizes: Vec<String> = chip.ram_gb.iter().map(u32::to_string).collect();
        let [low, high] = chip.bw_gbs;
        let bandwidth = if low == high { format!("{low}") } else { format!("{low}–{high}") };
        let (sizes, title) = (sizes.join(", "), &chip.title);
        let _ = writeln!(text, "| {title} | `{}` | {bandwidth} | {sizes} | {} |", chip.id, chip.confidence);
    }
}

fn heat(class: &ProfileClass, text: &mut String) {
    let host = typical(&members(class)[0].0).unwrap();
    let priors: &Priors = match class.subject {
        Subject::Machine => &host.priors,
        Subject::Gpu => &host.gpus[0].priors,
    };
    text.push_str("\n## Heat and power\n\n");
    let warnings = class.warn.iter().chain(class.chips.iter().filter_map(|chip| chip.warn.as_ref()));
    warnings.for_each(|warning| _ = writeln!(text, "{warning}"));
    if let Some(sustained) = &priors.sustained {
        let [low, high] = sustained.range.map(|share| share * 100.0);
        let _ = writeln!(
            text,
            "After minutes of work {low:.0} to {high:.0} % of the speed at the start remain (estimate)."
        );
    }
}
