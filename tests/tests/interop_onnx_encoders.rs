//! Transformers that `export` wrote, in eight bits: what they answer beside the float graph and onnxruntime's own quantizer, and
//! what quantized Whisper graphs write.
//! Knows scripts/oracles/onnx_side.py and vision_side.py; must not know how a graph is quantized.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use formats::onnx::{tensor_of_bytes, tensor_of_floats};
use llama_pajamas::CancelToken;
use llama_pajamas::transcribe::{TranscribeSettings, Transcriber, TranscriberSettings};
use llama_pajamas_tests::{Outside, Tensors, onnx_library, oracle, repository, run};
use onnx::export::{self, export};
use onnx::media::Mel;
use onnx::quantize::{
    Carried, Feed, Goal, Precision, Quantized, Request, Samples, Target, quantize, spectrogram_samples,
};
use onnx::{Library, Options, Session, Value, files};
use serde_json::json;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

fn library() -> Library {
    Library::open(&onnx_library()).unwrap()
}

fn exported(kind: &str, opset: i64, folder: &Path) -> PathBuf {
    let mut outside = Outside::python("vision_side.py");
    let model = folder.join("model");
    let job = if kind == "speak" {
        json!({"job": "speak", "folder": model})
    } else {
        json!({"job": "make", "kind": kind, "folder": model})
    };
    outside.job(&job);
    let request = export::Request { opset, ..export::Request::default() };
    export(&model, folder, &request, &mut |_, _| ControlFlow::Continue(())).unwrap();
    folder.join("onnx")
}

/// A request whose result is judged by its answers, on a machine that does other things too.
fn request(precision: Precision) -> Request {
    Request {
        goal: Goal::Size,
        open_shapes: true,
        ..Request::new(precision, Target::of_name("cpu").unwrap())
    }
}

fn made(graph: &Path, request: &Request, calibration: &Samples, held_out: &Samples) -> Quantized {
    let model = files::read(graph).unwrap();
    quantize(&library(), &model, request, calibration, held_out, &mut |_, _, _| ControlFlow::Continue(()))
        .unwrap()
}

const SIDE: usize = 64;

/// Waves of several directions and colours, the same for a seed.
fn picture(seed: usize) -> Vec<f32> {
    let part = |number: usize| ((seed * 7919 + number * 104_729) % 1000) as f32 / 1000.0;
    let value = |at: usize| {
        let (channel, y, x) = (at / (SIDE * SIDE), at / SIDE % SIDE, at % SIDE);
        let (x, y) = (x as f32 / SIDE as f32, y as f32 / SIDE as f32);
        let wave = |number: usize| {
            let (across, down) = (part(number) * 30.0 - 15.0, part(number + 1) * 30.0 - 15.0);
            (x * across + y * down + part(number + 2 + channel) * 6.0).sin()
        };
        wave(0) + 0.6 * wave(5) + 0.4 * wave(10)
    };
    (0..3 * SIDE * SIDE).map(value).collect()
}

fn pictures(seeds: std::ops::Range<usize>) -> Samples {
    let dims = [1, 3, SIDE as i64, SIDE as i64];
    let feed = |seed| -> Vec<Feed> {
        vec![
            [("pixel_values".to_string(), tensor_of_floats("pixel_values", &dims, &picture(seed)).unwrap())]
                .into(),
        ]
    };
    Samples { sequences: seeds.map(feed).collect(), carried: vec![] }
}

/// Answers to pictures that nothing was calibrated on: the class, and all scores.
fn answers(model: &[u8]) -> Vec<(usize, Vec<f32>)> {
    let mut session = Session::of_bytes(&library(), model, &Options::default()).unwrap();
    let dims = [1, 3, SIDE as i64, SIDE as i64];
    let answer = |seed| {
        let pixels = Value::floats(&dims, picture(seed)).unwrap();
        let scores = session.run(&[("pixel_values", &pixels)]).unwrap()[0].as_floats().unwrap().to_vec();
        let best = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap();
        (best, scores)
    };
    (1000..1200).map(answer).collect()
}

/// Part of the classes that are the same, and squared error over spread.
fn compared(expected: &[(usize, Vec<f32>)], got: &[(usize, Vec<f32>)]) -> (f64, f64) {
    let same = expected.iter().zip(got).filter(|(a, b)| a.0 == b.0).count() as f64 / expected.len() as f64;
    let n = expected[0].1.len();
    let mean: Vec<f64> = (0..n)
        .map(|at| expected.iter().map(|one| f64::from(one.1[at])).sum::<f64>() / expected.len() as f64)
        .collect();
    let (mut error, mut spread) = (0.0, 0.0);
    for (a, b) in expected.iter().zip(got) {
        for ((a, b), mean) in a.1.iter().zip(&b.1).zip(&mean) {
            error += f64::from(a - b).powi(2);
            spread += (f64::from(*a) - mean).powi(2);
        }
    }
    (same, error / spread)
}

#[test]
fn a_vision_transformer_answers_the_same_in_eight_bits() {
    for opset in [23, 17] {
        let folder = tempfile::tempdir().unwrap();
        let graph = exported("vit-wide", opset, folder.path()).join("model.onnx");
        let (calibration, held_out) = (pictures(0..32), pictures(32..40));
        for seed in 0..32 {
            let bytes: Vec<u8> = picture(seed).iter().flat_map(|value| value.to_le_bytes()).collect();
            std::fs::write(folder.path().join(format!("picture_{seed:02}.f32")), bytes).unwrap();
        }
        let outside = |how: &str, more: &[&str]| {
            let out = folder.path().join("theirs.onnx");
            let script = repository().join("scripts/oracles/onnx_side.py");
            let mut command = Command::new(oracle("venv/bin/python"));
            run(command.arg(script).arg(how).arg(&graph).arg(&out).args(more));
            std::fs::read(out).unwrap()
        };
        let int8 = made(&graph, &request(Precision::Int8), &calibration, &held_out);
        let dynamic = made(&graph, &request(Precision::Dynamic), &calibration, &held_out);
        assert_eq!(int8.report.architecture.as_deref(), Some("ViT classifier"));
        // Of two sums in each of six layers; what comes before the first layer adds a constant.
        assert_eq!(int8.report.cleaning.n_skip_norms, 12);
        let expected = answers(&std::fs::read(&graph).unwrap());
        let exact = compared(&expected, &answers(&int8.plain));
        assert!(exact.1 < 1e-9, "made plain, it answers differently");
        let bytes = std::fs::metadata(&graph).unwrap().len() as f64;
        let inputs = folder.path().display().to_string();
        let judge = |name: &str, model: &[u8]| {
            let (same, error) = compared(&expected, &answers(model));
            let size = model.len() as f64 / bytes;
            let share = same * 100.0;
            println!(
                "ViT, operators {opset}, {name:<20} {size:.3} of the bytes, {share:.1} % the same, {error:.2e}"
            );
            (same, error, size)
        };
        let theirs = judge("onnxruntime static", &outside("static", &[&inputs, "pictures"]));
        let ranged = judge("int8", &int8.model);
        let found = judge("dynamic", &dynamic.model);
        for ours in [ranged, found] {
            // Classes of a random model are often all but equally likely.
            assert!(ours.0 >= 0.9 && ours.1 <= 0.02 && ours.2 <= 0.35, "{ours:?}");
        }
        // Not farther than theirs of the same kind.
        assert!(ranged.1 <= theirs.1 && ranged.0 >= theirs.0);
        // Of ONNX's own attention, its dynamic quantizer makes what its library refuses to load.
        if opset < 23 {
            let theirs = judge("onnxruntime dynamic", &outside("dynamic", &[]));
            assert!(found.1 <= theirs.1 * 1.1);
        }
        // Open extents stay: several pictures at once.
        let mut session = Session::of_bytes(&library(), &int8.model, &Options::default()).unwrap();
        let two =
            Value::floats(&[2, 3, SIDE as i64, SIDE as i64], [picture(1), picture(2)].concat()).unwrap();
        assert_eq!(session.run(&[("pixel_values", &two)]).unwrap()[0].shape(), [2, 10]);
    }
}

#[test]
fn whisper_writes_on_in_eight_bits() {
    let folder = tempfile::tempdir().unwrap();
    let graphs = exported("speak", 23, folder.path());
    let library = library();
    let sounds = Tensors::read(&folder.path().join("model/sounds.safetensors"));
    let sounds: Vec<Vec<f32>> = ["one", "other", "long"].map(|name| sounds.floats(name)).into();
    let text = std::fs::read_to_string(folder.path().join("preprocessor_config.json")).unwrap();
    let mel = Mel::of(&text).unwrap();
    let mut encoder =
        Session::open(&library, &graphs.join("encoder_model.onnx"), &Options::default()).unwrap();
    let heard = spectrogram_samples(encoder.inputs(), &mel, &sounds).unwrap();
    let int8 = made(&graphs.join("encoder_model.onnx"), &request(Precision::Int8), &heard, &heard);
    assert_eq!(int8.report.architecture.as_deref(), Some("Whisper encoder"));
    // The decoder is shown what the float encoder heard, and words.
    let decoder =
        Session::open(&library, &graphs.join("decoder_with_past_model.onnx"), &Options::default()).unwrap();
    let samples = written(&mut encoder, &decoder, &heard);
    let dynamic =
        made(&graphs.join("decoder_with_past_model.onnx"), &request(Precision::Dynamic), &samples, &samples);
    assert_eq!(dynamic.report.architecture.as_deref(), Some("Whisper decoder"));
    let (one, two) = (folder.path().join("encoder8.onnx"), folder.path().join("decoder8.onnx"));
    std::fs::write(&one, &int8.model).unwrap();
    std::fs::write(&two, &dynamic.model).unwrap();
    let settings = TranscribeSettings { language: Some("en".into()), ..Default::default() };
    let write = |settings_of: &TranscriberSettings| {
        let mut transcriber = Transcriber::open(&library, folder.path(), settings_of).unwrap();
        let made = transcriber
            .transcribe(&sounds[0], &settings, &CancelToken::new(), &mut |_| ControlFlow::Continue(()));
        made.unwrap().segments[0].tokens.clone()
    };
    let expected = write(&TranscriberSettings::default());
    let got = write(&TranscriberSettings { encoder: Some(one), decoder: Some(two), ..Default::default() });
    let same = expected.iter().zip(&got).take_while(|(a, b)| a == b).count();
    let error = |made: &Quantized| {
        made.report.verification.differences.iter().map(|one| one.relative_squared).fold(0.0, f64::max)
    };
    println!(
        "Whisper: encoder int8 {:.2e}, decoder dynamic {:.2e}; the first {same} of {} tokens are the same",
        error(&int8),
        error(&dynamic),
        expected.len()
    );
    assert!(error(&int8) < 0.05 && error(&dynamic) < 0.05 && same >= 3, "{expected:?}\n{got:?}");
}

/// Twelve tokens behind each window of sound, with caches that grow.
fn written(encoder: &mut Session, decoder: &Session, heard: &Samples) -> Samples {
    let mut sequences = Vec::new();
    for (number, window) in heard.sequences.iter().enumerate() {
        let features = Value::of_tensor(&window[0]["input_features"]).unwrap();
        let names: Vec<String> = encoder.outputs().iter().map(|port| port.name.clone()).collect();
        let made = encoder.run(&[("input_features", &features)]).unwrap();
        let mut fixed = Feed::new();
        for (name, value) in names.iter().zip(made).filter(|(name, _)| name.contains(".encoder.")) {
            let name = name.replacen("present", "past_key_values", 1);
            let bytes = value.to_bytes().unwrap();
            fixed.insert(
                name.clone(),
                tensor_of_bytes(name, value.element_type(), &value.shape(), bytes).unwrap(),
            );
        }
        let step = |at: usize| {
            let token = if at == 0 { 101 } else { (at * 31 + number * 17) as i64 % 100 };
            let mut feed = fixed.clone();
            let tensor = formats::onnx::tensor_of_integers("input_ids", &[1, 1], &[token]).unwrap();
            feed.insert("input_ids".into(), tensor);
            feed
        };
        sequences.push((0..12).map(step).collect());
    }
    let caches = decoder.inputs().iter().filter(|port| port.name.contains(".decoder."));
    let carried = caches
        .map(|port| Carried {
            output: port.name.replacen("past_key_values", "present", 1),
            input: port.name.clone(),
            start: tensor_of_floats(&port.name, &[1, port.shape[1], 0, port.shape[3]], &[]).unwrap(),
        })
        .collect();
    Samples { sequences, carried }
}
