//! The commands around plans, run as a user runs them.

use super::config_path;
use serde_json::Value;
use std::process::{Command, Output};

fn run(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_llama-pajamas")).args(words).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn json(words: &[&str]) -> Value {
    let output = run(&[words, &["--json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{words:?}: {}", text(&output)))
}

#[test]
fn a_configuration_alone_is_planned_for_a_machine_elsewhere() {
    let config = config_path("Qwen3-8B");
    let config = config.to_str().unwrap();
    let plan = json(&["plan", config, "--for", "nvidia-rtx-4090:24"]);
    assert_eq!(plan["chosen"]["id"], "Q8_0", "{plan}");
    assert_eq!((&plan["chosen"]["backend"], &plan["chosen"]["gpu_layers"]), (&"cuda".into(), &37.into()));
    let plan = json(&["plan", config, "--for", "container:6", "--precision", "Q8_0,Q2_K"]);
    assert_eq!(plan["chosen"]["id"], "Q2_K", "{plan}");
    assert_eq!(plan["rejected"][0]["id"], "Q8_0");
    let short = run(&["plan", config, "--for", "apple-m4-pro:24"]);
    assert!(short.status.success() && text(&short).lines().count() <= 5, "{}", text(&short));
    let long = text(&run(&["plan", config, "--for", "apple-m4-pro:24", "--explain"]));
    for heading in ["\nmemory\n", "\nspeed\n", "\nwhy\n", "\nassumed\n"] {
        assert!(long.contains(heading), "{heading:?} in {long}");
    }
}

#[test]
fn a_recorded_machine_and_the_first_bytes_of_a_file_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    let model = super::repository().join("models/pajama-7m");
    let bundle = folder.path().join("bundle");
    let words = ["quantize", model.to_str().unwrap(), "--precision", "Q8_0", "-o", bundle.to_str().unwrap()];
    let made = run(&words);
    assert!(made.status.success(), "{}", text(&made));
    let file = walk(&bundle).into_iter().find(|path| path.extension().is_some_and(|e| e == "gguf")).unwrap();
    let bytes = std::fs::read(&file).unwrap();
    let header = folder.path().join("header.gguf");
    // Metadata with the vocabulary and the table of tensors; of the weights a few bytes.
    std::fs::write(&header, &bytes[..bytes.len() - 7_000_000]).unwrap();
    let machine = super::repository().join("core/hardware/fixtures/raspberry-pi-5.host");
    let whole = json(&["plan", file.to_str().unwrap(), "--for", machine.to_str().unwrap()]);
    let first = json(&["plan", header.to_str().unwrap(), "--for", machine.to_str().unwrap()]);
    assert_eq!(whole["chosen"]["memory"], first["chosen"]["memory"]);
    assert_eq!(whole["chosen"]["n_threads"], 3);

    // What it takes, predicted and measured.
    let profile = json(&["profile", bundle.to_str().unwrap(), "--context-length", "512", "--threads", "1"]);
    let parts = profile["parts"].as_array().unwrap();
    assert_eq!(parts[0]["name"], "weights");
    for part in &parts[..2] {
        assert_eq!(part["predicted_bytes"], part["measured_bytes"], "{part}");
    }
    assert_eq!(profile["choice"]["context_tokens"], 512);
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn what_names_no_machine_or_precision_is_refused_in_a_line() {
    let config = config_path("Qwen3-8B");
    let config = config.to_str().unwrap();
    for (words, expected) in [
        (&["plan", config, "--for", "apple-m2:12"][..], "expected one of 8, 16, 24 GB, got 12 GB"),
        (&["plan", config, "--for", "aple"], "expected a profile like"),
        (&["plan", config, "--for", "container", "--precision", "Q9"], "--precision: expected one of high"),
        (&["hardware", "--for", "nothing"], "expected a profile like"),
    ] {
        let output = run(words);
        let said = text(&output);
        assert!(!output.status.success() && said.contains(expected), "{words:?}: {said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn settings_for_one_machine_are_checked_on_another() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.json");
    let file = file.to_str().unwrap();
    let config = config_path("Qwen3-8B");
    let model = ["--model", config.to_str().unwrap()];
    let large = ["hardware", "--for", "nvidia-rtx-4090:24"];
    let made = run(&[&large[..], &model, &["--emit-config", file]].concat());
    assert!(made.status.success(), "{}", text(&made));
    let settings: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    for key in ["backend", "gpu_layers", "prompt_batch", "decode_batch", "threads", "context"] {
        assert!(!settings[key].is_null(), "{key} in {settings}");
    }
    let same = run(&[&large[..], &model, &["--check-config", file]].concat());
    assert!(same.status.success(), "{}", text(&same));
    // A phone has neither the device nor the memory, and slows down.
    let small = ["hardware", "--for", "tensor-g4:8"];
    let refused = run(&[&small[..], &model, &["--check-config", file]].concat());
    let said = text(&refused);
    assert!(!refused.status.success(), "{said}");
    for words in ["backend: expected one of cpu, got cuda", "memory: ", "it throttles", "instead"] {
        assert!(said.contains(words), "{words} in {said}");
    }
    // Without the model, what the file says of its memory counts.
    let verdict = json(&[&small[..], &["--check-config", file]].concat());
    let errors = verdict["errors"].to_string();
    assert!(errors.contains("device_memory_bytes: needs"), "{errors}");
    std::fs::write(file, "{\"backend\": \"cpu\"}").unwrap();
    let broken = run(&[&small[..], &["--check-config", file]].concat());
    assert!(text(&broken).contains("missing field"), "{}", text(&broken));
}

#[test]
fn a_file_is_fitted_to_a_machine_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let model = super::repository().join("models/pajama-7m");
    let bundle = folder.path().join("bundle");
    let start = ["quantize", model.to_str().unwrap(), "-o", bundle.to_str().unwrap(), "--dry-run"];
    let words = |more: &[&'static str]| [&start[..], more].concat();
    let made = json(&words(&["--fit-device", "apple-m2:8", "--context", "1024"]));
    let fit = &made["device_fit"];
    assert_eq!((&fit["is_whole"], &fit["machine"]), (&true.into(), &"apple-m2:8".into()), "{made}");
    assert_eq!(fit["room"]["context_tokens"], 1024);
    assert_eq!(made["variants"][0]["id"], "gguf/Q8_0");
    let told = text(&run(&words(&["--fit-device", "this", "--color", "never"])));
    for part in ["memory of the host", "cache", "computing", "margin", "left for weights", "fits in Q8_0"] {
        assert!(told.contains(part), "{part:?} in {told}");
    }
    // A size or a recipe would say something else.
    for other in [&["--target-size", "4MB"][..], &["--target-bpw", "4"], &["--recipe", "stock"]] {
        let refused = run(&[&words(&["--fit-device", "this"]), other].concat());
        assert_eq!(refused.status.code(), Some(2), "{other:?}: {}", text(&refused));
    }
    let fixture = super::repository().join("core/hardware/fixtures/raspberry-pi-5.host");
    let small = std::fs::read_to_string(fixture).unwrap().replace("7000000 kB", "50000 kB");
    let machine = folder.path().join("small.host");
    std::fs::write(&machine, small).unwrap();
    let mut words = words(&["--fit-device"]);
    words.push(machine.to_str().unwrap());
    let refused = run(&words);
    assert!(text(&refused).contains("fit device: expected sensitivities"), "{}", text(&refused));
}
