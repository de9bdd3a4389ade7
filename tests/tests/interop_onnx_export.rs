//! Graphs of vision and speech models written from checkpoints, against what transformers computes of the same checkpoints: with
//! and without ONNX's own attention, in 32 and 16 bits, in one file and with weights beside it.
//! Knows scripts/oracles/vision_side.py; must not know how a graph is built.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use formats::safetensors::Dtype;
use llama_pajamas_tests::{Outside, Tensors, onnx_library};
use onnx::export::{Floats, Report, Request, export};
use onnx::{DataType, Library, Options, Session, Value};
use serde_json::json;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use tempfile::TempDir;

/// Largest difference that is allowed in 32-bit floats.
const LARGEST: f32 = 1e-4;

fn value(tensors: &Tensors, name: &str) -> Value {
    let (shape, dtype, bytes) = tensors.get(name);
    let ty = if *dtype == Dtype::I64 { DataType::Int64 } else { DataType::Float };
    Value::of_bytes(name, ty, shape, bytes).unwrap()
}

struct Made {
    folder: TempDir,
    reference: Tensors,
    report: Report,
}

impl Made {
    fn session(&self, file: &str) -> Session {
        let written = self.report.graphs.iter().find(|graph| graph.file.contains(file)).unwrap();
        let library = Library::open(&onnx_library()).unwrap();
        Session::open(&library, &self.folder.path().join("out").join(&written.file), &Options::default())
            .unwrap_or_else(|error| panic!("{file}: {error}"))
    }

    /// Runs a graph of one input.
    fn outputs(&self, file: &str, input: &str) -> BTreeMap<String, Value> {
        let mut session = self.session(file);
        let names: Vec<String> = session.outputs().iter().map(|port| port.name.clone()).collect();
        let made = session.run(&[(input, &value(&self.reference, input))]).unwrap();
        names.into_iter().zip(made).collect()
    }
}

/// A tiny checkpoint and its graphs, which ONNX's checker takes.
fn made(outside: &mut Outside, kind: &str, request: &Request) -> Made {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    outside.job(&json!({"job": "make", "kind": kind, "folder": model}));
    let report = export(&model, &folder.path().join("out"), request, &mut |_, _| ControlFlow::Continue(()));
    let report = report.unwrap_or_else(|error| panic!("{kind}: {error}"));
    for graph in &report.graphs {
        let path = folder.path().join("out").join(&graph.file);
        let told = outside.job(&json!({"job": "check", "graph": path}));
        assert_eq!(told, json!({"domains": [""], "opset": [request.opset]}), "{kind}");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), graph.bytes);
        let beside = std::fs::metadata(path.with_extension("onnx_data")).map_or(0, |file| file.len());
        assert_eq!((beside, beside > 0), (graph.bytes_beside, request.inline_bytes == 0));
    }
    assert!(folder.path().join("out/config.json").is_file());
    assert_eq!(std::fs::read_dir(folder.path().join("out/onnx")).unwrap().count(), {
        let beside = report.graphs.iter().filter(|graph| graph.bytes_beside > 0).count();
        report.graphs.len() + beside
    });
    let reference = Tensors::read(&model.join("reference.safetensors"));
    Made { folder, reference, report }
}

#[track_caller]
fn compare(name: &str, got: &[f32], expected: &[f32], largest: f32) {
    assert_eq!(got.len(), expected.len(), "{name}");
    let difference = got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let spread = expected.iter().fold(0f32, |most, value| most.max(value.abs()));
    println!("{name:<52} {difference:.2e} of {spread:.1}");
    // Half precision is judged by the largest number there is.
    let allowed = if largest > LARGEST { largest * spread.max(1.0) } else { largest };
    assert!(difference <= allowed, "{name}: {difference} > {allowed}");
}

fn requests() -> [(Request, f32); 4] {
    let whole = Request::default();
    [
        (whole, LARGEST),
        (Request { opset: 17, inline_bytes: 0, ..whole }, LARGEST),
        (Request { floats: Floats::Fp16, inline_bytes: 0, ..whole }, 2e-2),
        (Request { floats: Floats::Fp16, opset: 17, ..whole }, 2e-2),
    ]
}

fn label(kind: &str, request: &Request, output: &str) -> String {
    format!("{kind}, {:?}, operators {}, {output}", request.floats, request.opset)
}

#[test]
fn pictures_are_seen_as_transformers_sees_them() {
    let mut outside = Outside::python("vision_side.py");
    for (request, largest) in requests() {
        for (kind, output) in [("vit", "logits"), ("vit-bare", "last_hidden_state")] {
            // Gelu by a hyperbolic tangent is one operator from version 20 on, and refused before.
            if kind == "vit-bare" && request.opset < 20 {
                continue;
            }
            let made = made(&mut outside, kind, &request);
            let got = made.outputs("model", "pixel_values");
            assert_eq!(got.keys().collect::<Vec<_>>(), [output]);
            let expected = made.reference.floats(output);
            compare(&label(kind, &request, output), got[output].as_floats().unwrap(), &expected, largest);
        }
        for kind in ["clip", "clip-legacy"] {
            let made = made(&mut outside, kind, &request);
            for (part, input, output) in
                [("vision", "pixel_values", "image_embeds"), ("text", "input_ids", "text_embeds")]
            {
                let got = made.outputs(&format!("{part}_model"), input);
                let all = [
                    (output.to_string(), output),
                    (format!("{part}/last_hidden_state"), "last_hidden_state"),
                ];
                for (reference, output) in all {
                    let name = label(kind, &request, &reference);
                    let expected = made.reference.floats(&reference);
                    compare(&name, got[output].as_floats().unwrap(), &expected, largest);
                }
            }
        }
    }
}

#[test]
fn speech_is_decoded_step_by_step_with_the_cache() {
    let mut outside = Outside::python("vision_side.py");
    for (request, largest) in requests() {
        for kind in ["whisper", "whisper-wide"] {
            let made = made(&mut outside, kind, &request);
            let mut heard = made.outputs("encoder_model", "input_features");
            let expected = made.reference.floats("last_hidden_state");
            let name = label(kind, &request, "encoder");
            compare(&name, heard["last_hidden_state"].as_floats().unwrap(), &expected, largest);
            heard.remove("last_hidden_state");
            let logits = decode(&made, heard);
            compare(&label(kind, &request, "decoder"), &logits, &made.reference.floats("logits"), largest);
            let shared: usize = made.report.graphs.iter().map(|graph| graph.n_shared).sum();
            // Where the output is the embedding, it lies in the graph once, and no other weight is the same.
            assert_eq!(shared, 0, "{kind}");
        }
    }
}

/// Logits of all tokens, `[batch, tokens, vocabulary]`: five tokens at once, the others one by one.
fn decode(made: &Made, heard: BTreeMap<String, Value>) -> Vec<f32> {
    let mut session = made.session("decoder_with_past_model");
    let shape = &made.reference.get("input_ids").0;
    let tokens = made.reference.integers("input_ids");
    let (batch, n) = (shape[0] as usize, shape[1] as usize);
    let rename = |name: String| name.replacen("present", "past_key_values", 1);
    let mut caches: BTreeMap<String, Value> =
        heard.into_iter().map(|(name, value)| (rename(name), value)).collect();
    for port in session.inputs() {
        if port.name.contains(".decoder.") {
            let dims = [batch as i64, port.shape[1], 0, port.shape[3]];
            caches.insert(port.name.clone(), Value::of_bytes(&port.name, port.ty, &dims, &[]).unwrap());
        }
    }
    let names: Vec<String> = session.outputs().iter().map(|port| port.name.clone()).collect();
    let mut rows = vec![Vec::new(); batch];
    let mut at = 0;
    while at < n {
        let next = if at == 0 { 5 } else { at + 1 };
        let new: Vec<i64> =
            (0..batch).flat_map(|row| tokens[row * n + at..row * n + next].to_vec()).collect();
        let new = Value::integers(&[batch as i64, (next - at) as i64], new).unwrap();
        let mut inputs: Vec<(&str, &Value)> = vec![("input_ids", &new)];
        inputs.extend(caches.iter().map(|(name, value)| (name.as_str(), value)));
        let made = session.run(&inputs).unwrap();
        for (name, value) in names.iter().zip(made) {
            if name == "logits" {
                let width = value.as_floats().unwrap().len() / batch;
                let parts = value.as_floats().unwrap().chunks(width);
                rows.iter_mut().zip(parts).for_each(|(row, part)| row.extend_from_slice(part));
            } else {
                assert_eq!(value.shape()[2], next as i64, "{name}");
                caches.insert(rename(name.clone()), value);
            }
        }
        at = next;
    }
    rows.concat()
}
