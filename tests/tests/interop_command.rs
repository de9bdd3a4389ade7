//! The built command from end to end: exported models answer as transformers' do, a recording becomes the same tokens, and speeds
//! that are measured here decide between formats.
//! Knows scripts/oracles/vision_side.py; must not know how anything is computed.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use formats::safetensors::Dtype;
use llama_pajamas_tests::{Outside, Tensors, command, command_json, committed, onnx_library};
use onnx::{DataType, Library, Options, Session, Value};
use serde_json::{Value as Json, json};
use std::path::Path;

/// Largest difference that is allowed.
const LARGEST: f32 = 1e-4;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Runs the exported graph whose name has `file` on the reference's input, and compares one of its outputs.
fn compare(out: &Path, report: &Json, reference: &Tensors, file: &str, [input, output, expected]: [&str; 3]) {
    let graphs = report["graphs"].as_array().unwrap().iter().map(|graph| graph["file"].as_str().unwrap());
    let path = out.join(graphs.into_iter().find(|graph| graph.contains(file)).unwrap());
    let library = Library::open(&onnx_library()).unwrap();
    let mut session = Session::open(&library, &path, &Options::default()).unwrap();
    let (shape, dtype, bytes) = reference.get(input);
    let ty = if *dtype == Dtype::I64 { DataType::Int64 } else { DataType::Float };
    let at = session.outputs().iter().position(|port| port.name == output).unwrap();
    let made = session.run(&[(input, &Value::of_bytes(input, ty, shape, bytes).unwrap())]).unwrap();
    let (got, expected) = (made[at].as_floats().unwrap(), reference.floats(expected));
    assert_eq!(got.len(), expected.len());
    let most = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    println!("{file} {output}: {most:.1e}");
    assert!(most <= LARGEST, "{file} {output}: {most}");
}

#[test]
fn exported_models_answer_as_transformers_do() {
    let mut outside = Outside::python("vision_side.py");
    let cases: [(&str, &str, [&str; 3]); 4] = [
        ("vit", "model", ["pixel_values", "logits", "logits"]),
        ("clip", "vision_model", ["pixel_values", "image_embeds", "image_embeds"]),
        ("clip", "text_model", ["input_ids", "text_embeds", "text_embeds"]),
        ("whisper", "encoder_model", ["input_features", "last_hidden_state", "last_hidden_state"]),
    ];
    for (kind, file, ports) in cases {
        let folder = tempfile::tempdir().unwrap();
        let (model, out) = (folder.path().join("model"), folder.path().join("out"));
        outside.job(&json!({"job": "make", "kind": kind, "folder": model}));
        let report = command_json(&["export", text(&model), "-o", text(&out)], folder.path());
        let reference = Tensors::read(&model.join("reference.safetensors"));
        compare(&out, &report, &reference, file, ports);
        assert!(out.join("config.json").is_file());
    }
}

/// A recording in 32-bit floats.
fn recording(path: &Path, rate: u32, samples: &[f32]) {
    let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data.len() as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16u32.to_le_bytes());
    // Floats, one channel.
    bytes.extend([3, 0, 1, 0]);
    bytes.extend(rate.to_le_bytes());
    bytes.extend((rate * 4).to_le_bytes());
    bytes.extend([4, 0, 32, 0]);
    bytes.extend(b"data");
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_recording_becomes_the_tokens_of_transformers() {
    let mut outside = Outside::python("vision_side.py");
    let folder = tempfile::tempdir().unwrap();
    let [model, out, wav] = ["model", "out", "sound.wav"].map(|name| folder.path().join(name));
    let told = outside.job(&json!({"job": "speak", "folder": model}));
    command_json(&["export", text(&model), "-o", text(&out)], folder.path());
    let sounds = Tensors::read(&model.join("sounds.safetensors"));
    let answers = told["answers"].as_array().unwrap();
    for answer in answers {
        recording(&wav, 16000, &sounds.floats(answer["sound"].as_str().unwrap()));
        let mut words = vec!["transcribe", text(&out), text(&wav)];
        words.extend(answer["language"].as_str().into_iter().flat_map(|language| ["--language", language]));
        words.extend((answer["task"] == "translate").then_some("--translate"));
        words.extend((answer["return_timestamps"] == true).then_some("--timestamps"));
        let made = command_json(&words, folder.path());
        let segments = |of: &Json| -> Vec<(Json, i64, i64)> {
            let cents = |time: &Json| (time.as_f64().unwrap() * 100.0).round() as i64;
            let segment = |one: &Json| (one["tokens"].clone(), cents(&one["start"]), cents(&one["end"]));
            of["segments"].as_array().unwrap().iter().map(segment).collect()
        };
        assert_eq!(segments(&made), segments(answer), "{words:?}");
    }
    println!("{} recordings", answers.len());
    let refused = command(&["transcribe", text(&out), text(&folder.path().join("none.wav"))], folder.path());
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("none.wav"));
}

fn reason<'a>(plan: &'a Json, code: &str) -> Option<&'a str> {
    plan["why"].as_array().unwrap().iter().find(|reason| reason["code"] == code)?["text"].as_str()
}

#[test]
fn speeds_measured_here_decide_between_formats() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path();
    let (model, bundle, file) = (committed("models/pajama-7m"), home.join("bundle"), home.join("speeds"));
    let words = ["quantize", text(&model), "--formats", "gguf,onnx", "--precision", "Q4_0,int4", "-o"];
    assert!(command(&[&words[..], &[text(&bundle)]].concat(), home).status.success());
    let before = command_json(&["plan", text(&bundle)], home);
    assert_eq!((&before["chosen"]["id"], reason(&before, "SPEED_MEASURED")), (&json!("gguf/Q4_0"), None));
    let words =
        ["plan", text(&bundle), "--measure", "--measure-budget", "20", "--write-measured", text(&file)];
    let measured = command_json(&words, home);
    let figures: Json = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(figures["unmeasured"], json!([]), "{figures}");
    let seconds = |id: &str| {
        let one = figures["measured"].as_array().unwrap().iter().find(|one| one["id"] == id).unwrap();
        let [decode, prefill] =
            ["decode_tokens_per_s", "prefill_tokens_per_s"].map(|key| one[key].as_f64().unwrap());
        println!("{id}: {decode:.0} tokens/s when writing, {prefill:.0} when reading");
        512.0 / prefill + 256.0 / decode
    };
    let (gguf, onnx) = (seconds("gguf/Q4_0"), seconds("onnx/int4"));
    let told = reason(&measured, "SPEED_MEASURED").unwrap();
    println!("chosen {}: {told}", measured["chosen"]["id"]);
    assert!(told.contains("gguf/Q4_0") && told.contains("onnx/int4"), "{told}");
    let fastest = if gguf < onnx { "gguf/Q4_0" } else { "onnx/int4" };
    if gguf.max(onnx) > 1.06 * gguf.min(onnx) {
        assert_eq!(measured["chosen"]["id"], fastest);
        assert_eq!(measured["rejected"][0]["code"], "SLOWER");
    }
    assert_eq!(measured["evidence"], "measured");
    // What was measured is remembered, and asked for again nowhere else.
    let after = command_json(&["plan", text(&bundle)], home);
    assert_eq!(
        (&after["chosen"]["id"], reason(&after, "SPEED_MEASURED")),
        (&measured["chosen"]["id"], Some(told))
    );
    let elsewhere = tempfile::tempdir().unwrap();
    assert_eq!(reason(&command_json(&["plan", text(&bundle)], elsewhere.path()), "SPEED_MEASURED"), None);
    let replayed = command_json(&["plan", text(&bundle), "--measured", text(&file)], elsewhere.path());
    assert_eq!(reason(&replayed, "SPEED_MEASURED"), Some(told));
    // Speed never brings in what is worse: a better variant, measured or not, stands before both.
    let words = ["quantize", text(&model), "--formats", "onnx", "--precision", "int8", "-o", text(&bundle)];
    assert!(command(&words, home).status.success());
    let better = command_json(&["plan", text(&bundle)], home);
    assert_eq!((&better["chosen"]["id"], reason(&better, "SPEED_MEASURED")), (&json!("onnx/int8"), None));
}
