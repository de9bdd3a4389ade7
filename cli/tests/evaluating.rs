//! `evaluate` says the same to the digit when it is asked again, and runs programs only where it may.
//! Knows the command; must not know how scores come about.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

fn command(words: &[&str], home: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_llama-pajamas"))
        .args(words)
        .env("LLAMA_PAJAMAS_CACHE", home)
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Questions by likelihood, and one that is written.
fn write_suites(folder: &Path) {
    let choices: String = [("the cat", "slept."), ("a little girl", "smiled."), ("the big dog", "barked.")]
        .iter()
        .enumerate()
        .map(|(gold, (who, did))| {
            let query = format!("Once upon a time there was {who}. Then");
            let choices = ["it slept.", "she smiled.", "it barked loudly at the moon."];
            serde_json::json!({ "query": query, "choices": choices, "gold": gold, "note": did }).to_string()
                + "\n"
        })
        .collect();
    std::fs::write(folder.join("stories.jsonl"), choices).unwrap();
    let written =
        serde_json::json!({ "question": "Tom has 2 apples and gets 3. How many?", "answer": "#### 5" });
    std::fs::write(folder.join("gsm8k_apples.jsonl"), format!("{written}\n")).unwrap();
}

#[test]
fn scores_are_the_same_to_the_digit_from_run_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("models/pajama-stories-4m");
    write_suites(folder.path());
    let results = ["one", "other"].map(|name| {
        let bundle = path(name);
        let quantize = ["--output", &bundle, "--precision", "Q8_0", "--threads", "1"];
        command(&[&["quantize", model.to_str().unwrap()], &quantize[..]].concat(), &home);
        let suites = [path("stories.jsonl"), path("gsm8k_apples.jsonl")];
        let words = ["evaluate", &bundle, "--suite", &suites[0], "--suite", &suites[1], "--context", "512"];
        command(&[&words[..], &["--threads", "1"]].concat(), &home);
        std::fs::read_to_string(folder.path().join(name).join("evaluation/gguf/Q8_0.json")).unwrap()
    });
    let scores: serde_json::Value = serde_json::from_str(&results[0]).unwrap();
    assert!(scores["tasks"].as_object().is_some_and(|tasks| tasks.len() == 2), "{scores}");
    assert_eq!(results[0], results[1]);
}

/// The command's output, or what it says against it.
fn said(words: &[&str], home: &Path) -> Result<String, String> {
    let output = Command::new(env!("CARGO_BIN_EXE_llama-pajamas"))
        .args(words)
        .env("LLAMA_PAJAMAS_CACHE", home)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

#[test]
fn programs_are_run_with_leave_and_in_isolation_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("add.jsonl");
    let line = |solution: &str| {
        let test = "def check(add):\n    assert add(1, 2) == 3\n";
        let line = serde_json::json!({
            "prompt": "def add(a, b):\n", "entry_point": "add", "test": test, "canonical_solution": solution,
        });
        format!("{line}\n")
    };
    let right = line("    return a + b\n");
    let lines = [right.as_str(), &line("    return a - b\n"), &line("    exit(0)\n")].concat();
    std::fs::write(&path, lines).unwrap();
    let words = ["evaluate", "no-such-model", "--suite", path.to_str().unwrap()];
    let refused = said(&words, folder.path()).unwrap_err();
    assert!(refused.contains("--suite: add has a model write programs: --allow-code"), "{refused}");
    match said(&[&words[..], &["--allow-code", "--solutions"]].concat(), folder.path()) {
        Ok(told) => assert_eq!(told, "add: 1 of 3 stated solutions pass\n"),
        // Where programs cannot be isolated, that is what is said, and nothing is run.
        Err(told) => assert!(told.contains("--allow-code: "), "{told}"),
    }
}
