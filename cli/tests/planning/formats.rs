//! One bundle of three formats: made in one run, and planned for machines that each suits.

use super::{check, repository};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn run(words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llama-pajamas"));
    command.args(words).env("LLAMA_PAJAMAS_ONNXRUNTIME", "/nowhere").output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn made(formats: &str, precisions: &str, bundle: &Path) {
    let model = repository().join("models/pajama-7m");
    let (model, bundle) = (model.to_str().unwrap(), bundle.to_str().unwrap());
    let words = ["quantize", model, "--formats", formats, "--precision", precisions, "-o", bundle];
    let made = run(&words);
    assert!(made.status.success(), "{}", text(&made));
}

fn explained(machine: &str) -> PathBuf {
    let name = machine.replace(':', "-");
    repository().join("cli/tests/planning/explained").join(format!("{name}.txt"))
}

#[test]
fn a_bundle_of_all_formats_is_planned_for_what_computes_them() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    made("gguf,mlx,onnx", "Q4_0,4bit,int4", &bundle);
    let bundle = bundle.to_str().unwrap();
    let checked = run(&["bundle", "verify", bundle]);
    assert!(checked.status.success(), "{}", text(&checked));
    for (machine, best) in [("apple-m2:8", "mlx/4bit"), ("jetson-orin-nano-8gb:8", "gguf/Q4_0")] {
        let plan = run(&["plan", bundle, "--for", machine, "--json"]);
        let plan: Value = serde_json::from_slice(&plan.stdout).unwrap_or_else(|_| panic!("{}", text(&plan)));
        assert_eq!(plan["chosen"]["id"], best, "{plan}");
        check(&explained(machine), &text(&run(&["plan", bundle, "--for", machine, "--explain"])));
    }
    // Of like quality, the faster one where both were measured: `plan --measure --write-measured` wrote the figures there.
    let folder = repository().join("cli/tests/planning/machines");
    let [machine, speeds] =
        ["host", "speeds.json"].map(|kind| folder.join(format!("epyc-genoa-2-processors.{kind}")));
    let words = ["plan", bundle, "--for", machine.to_str().unwrap(), "--measured", speeds.to_str().unwrap()];
    let text_of = |more: &str| text(&run(&[&words[..], &[more]].concat()));
    check(&explained("epyc-genoa-2-processors"), &text_of("--explain"));
    let plan: Value = serde_json::from_str(&text_of("--json")).unwrap();
    let slower = plan["rejected"].as_array().unwrap().iter().find(|one| one["code"] == "SLOWER");
    assert_eq!(
        (&plan["chosen"]["id"], &plan["evidence"]),
        (&"gguf/Q4_0".into(), &"measured".into()),
        "{plan}"
    );
    assert_eq!(slower.map(|one| &one["id"]), Some(&"onnx/int4".into()), "{plan}");
    // Here nothing computes two of the three, and the plan says why.
    let plan = run(&["plan", bundle, "--json"]);
    let plan: Value = serde_json::from_slice(&plan.stdout).unwrap_or_else(|_| panic!("{}", text(&plan)));
    assert_eq!(plan["chosen"]["id"], "gguf/Q4_0", "{plan}");
    let fixes: Vec<&str> =
        plan["rejected"].as_array().unwrap().iter().map(|one| one["fix"].as_str().unwrap()).collect();
    assert_eq!(fixes[0], "no engine for mlx here: it is for Apple's systems (feature `mlx`)");
    assert!(fixes[1].contains("no ONNX Runtime library") && fixes[1].contains("/nowhere"), "{fixes:?}");
}

#[test]
fn a_bundle_for_one_engine_that_is_not_here_says_so() {
    let folder = tempfile::tempdir().unwrap();
    for (format, precision, reason) in [
        ("mlx", "4bit", "mlx/4bit: no engine for mlx here"),
        ("onnx", "int4", "onnx/int4: no ONNX Runtime library"),
    ] {
        let bundle = folder.path().join(format);
        made(format, precision, &bundle);
        let bundle = bundle.to_str().unwrap();
        for words in [&["plan", bundle][..], &["run", bundle, "--prompt", "Once"]] {
            let refused = run(words);
            assert!(!refused.status.success() && text(&refused).contains(reason), "{}", text(&refused));
        }
    }
}
