//! `run --isolate` says what `run` says.
//! Knows the command; must not know how its processes speak.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

fn command(words: &[&str], home: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_llama-pajamas"))
        .args(words)
        .env("LLAMA_PAJAMAS_CACHE", home)
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_engine_in_its_own_process_gives_the_same_answer() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("models/pajama-stories-4m");
    let bundle = folder.path().join("bundle");
    let (model, bundle) = (model.to_str().unwrap(), bundle.to_str().unwrap());
    command(&["quantize", model, "--output", bundle, "--precision", "Q8_0", "--threads", "2"], &home);
    let run = |more: &[&str]| {
        let mut words = vec!["run", bundle, "--prompt", "Once upon a time", "--max-tokens", "24"];
        words.extend(["--temperature", "0", "--threads", "1", "--context", "256", "--json"]);
        words.extend(more);
        let json: serde_json::Value = serde_json::from_str(&command(&words, &home)).unwrap();
        (json["text"].clone(), json["tokens"].clone())
    };
    let here = run(&[]);
    assert_eq!(here.1.as_array().map(Vec::len), Some(24));
    assert_eq!(run(&["--isolate"]), here);
}
