//! Real vision and speech models quantized, and judged by what they are for, beside onnxruntime's own quantizer in the same run.
//! Knows scripts/oracles/onnx_side.py; must not know how either side quantizes.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

#[path = "interop_onnx_models/metrics.rs"]
mod metrics;

use formats::onnx::{read_model, tensor_of_floats};
use llama_pajamas_tests::{onnx_library, oracle, repository, run, shared};
use metrics::{Inputs, Judged, compare_faces, same_decisions};
use onnx::quantize::{Choice, Goal, Precision, Quantized, Report, Request, Samples, Target, quantize};
use onnx::{Error, Library};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

/// Timings of a busy machine spread: what counts as 0.9 and as 1.3.
const NOT_SLOWER: f64 = 0.9;

fn library() -> Library {
    Library::open(&onnx_library()).unwrap()
}

fn attempt(
    path: &Path,
    request: &Request,
    calibration: &Samples,
    held_out: &Samples,
) -> Result<Quantized, Error> {
    let model = read_model(std::fs::read(path).unwrap()).unwrap();
    quantize(&library(), &model, request, calibration, held_out, &mut |_, _, _| ControlFlow::Continue(()))
}

fn made(name: &str, request: &Request, calibration: &Samples, held_out: &Samples) -> Quantized {
    let quantized = attempt(&shared("data/onnx").join(name), request, calibration, held_out);
    let quantized = quantized.unwrap_or_else(|error| panic!("{name} {:?}: {error}", request.precision));
    check(name, &quantized.report);
    quantized
}

/// What holds of every result.
fn check(name: &str, report: &Report) {
    let verification = &report.verification;
    assert!(verification.extremes_are_finite, "{name}");
    assert!(verification.coverage.is_none_or(|coverage| coverage.macs > 0.0), "{name}");
    assert!(report.bytes < report.bytes_plain, "{name}");
}

fn request(precision: Precision) -> Request {
    Request::new(precision, Target::of_name("cpu").unwrap())
}

fn line(name: &str, bytes: usize, speed: f64, quality: &str) {
    println!("{name:<44} {:>7.1} kB  {speed:>5.2}x  {quality}", bytes as f64 / 1e3);
}

#[test]
fn digits_are_read_by_fewer_bytes_and_faster() {
    let (inputs, library) = (Inputs::new(), library());
    let digits = inputs.digits();
    let sample = |range: std::ops::Range<usize>| Samples {
        sequences: digits[range].iter().map(|(feed, _)| vec![feed.clone()]).collect(),
        carried: vec![],
    };
    let (calibration, held_out) = (sample(9800..10000), sample(0..200));
    let ours = made("mnist.onnx", &request(Precision::Int8), &calibration, &held_out);
    let theirs = inputs.outside("static", &shared("data/onnx/mnist.onnx"), "digits");
    let mut plain = Judged::new(&library, &ours.plain);
    let mut judge = |name: &str, model: &[u8]| {
        let mut judged = Judged::new(&library, model);
        let (accuracy, speed) = (judged.accuracy(&digits), judged.speed(&mut plain, &held_out, 3000));
        line(name, model.len(), speed, &format!("{:.2} % of {} digits", accuracy * 100.0, digits.len()));
        (accuracy, speed)
    };
    judge("digits, float made plain", &ours.plain);
    judge("digits, onnxruntime static", &theirs);
    let (accuracy, speed) = judge("digits, int8", &ours.model);
    assert!(ours.model.len() <= 405_000 && accuracy >= 0.991 && speed >= 1.3);
    let again = made("mnist.onnx", &request(Precision::Int8), &calibration, &held_out);
    assert!(again.model == ours.model, "made twice, it is not the same");
    // Nothing but a plan that was written down.
    let plan = ours.report.plan.clone();
    let followed = made("mnist.onnx", &Request { plan, ..request(Precision::Int8) }, &calibration, &held_out);
    assert!(followed.model == ours.model, "its plan gives another file");
}

#[test]
fn faces_are_found_where_they_were() {
    let (inputs, library) = (Inputs::new(), library());
    let (crops, photo) = (inputs.crops(), inputs.photo());
    let of = |precision| made("version-RFB-320.onnx", &request(precision), &crops, &photo);
    let (int8, fp16) = (of(Precision::Int8), of(Precision::Fp16));
    // As shipped, the file is too old for scales by channel: theirs gets the one made plain.
    let flat = inputs.path("flat.onnx");
    std::fs::write(&flat, &int8.plain).unwrap();
    let theirs = inputs.outside("static", &flat, "faces");
    let mut plain = Judged::new(&library, &int8.plain);
    let expected = plain.faces(&photo);
    assert!(expected.len() > 5, "{} faces", expected.len());
    let mut judge = |name: &str, model: &[u8]| {
        let mut judged = Judged::new(&library, model);
        let (recall, precision, overlap) = compare_faces(&expected, &judged.faces(&photo));
        let speed = judged.speed(&mut plain, &photo, 300);
        let quality = format!(
            "recall {recall:.3}, precision {precision:.3}, IoU {overlap:.3} of {} faces",
            expected.len()
        );
        line(name, model.len(), speed, &quality);
        (recall.min(precision), overlap, speed)
    };
    judge("faces, float made plain", &int8.plain);
    judge("faces, onnxruntime static", &theirs);
    let half = judge("faces, fp16", &fp16.model);
    let whole = judge("faces, int8", &int8.model);
    // What accelerators compute in half precision, computed here by the processor.
    for target in ["coreml", "tensorrt"] {
        let request = Request::new(Precision::Fp16, Target::of_name(target).unwrap());
        let made = made("version-RFB-320.onnx", &request, &crops, &photo);
        let computed = judge(&format!("faces, fp16 for {target}"), &made.model);
        assert!(computed.0 >= 0.995 && computed.1 >= 0.985);
    }
    for target in ["tensorrt", "qnn", "nnapi", "xnnpack"] {
        let request = Request::new(Precision::Int8, Target::of_name(target).unwrap());
        let made = made("version-RFB-320.onnx", &request, &crops, &photo);
        let computed = judge(&format!("faces, int8 for {target}"), &made.model);
        assert!(computed.1 >= 0.7, "{target}");
    }
    assert!(half.0 >= 0.995 && half.1 >= 0.985 && half.2 >= NOT_SLOWER);
    assert!(int8.model.len() <= 520_000 && whole.0 >= 0.995 && whole.1 >= 0.975 && whole.2 >= NOT_SLOWER);
}

#[test]
fn speech_is_heard_when_it_was() {
    let (inputs, library) = (Inputs::new(), library());
    // The whole recording, of which the first eight seconds calibrate: the states are each model's own throughout.
    let (calibration, held_out) = (inputs.speech(0.0..8.0), inputs.speech(0.0..60.0));
    let request = |precision, goal| Request { goal, fixed: vec!["sr".into()], ..request(precision) };
    let made = |precision, goal| made("silero_vad.onnx", &request(precision, goal), &calibration, &held_out);
    let small = made(Precision::Int8, Goal::Size);
    let (balanced, dynamic) =
        (made(Precision::Int8, Goal::Balanced), made(Precision::Dynamic, Goal::Balanced));
    let (shipped, flat) = (shared("data/onnx/silero_vad.onnx"), inputs.path("flat.onnx"));
    std::fs::write(&flat, &small.plain).unwrap();
    let mut plain = Judged::new(&library, &small.plain);
    let expected = plain.speech(&held_out);
    let mut judge = |name: &str, model: &[u8]| {
        let mut judged = Judged::new(&library, model);
        let same = same_decisions(&expected, &judged.speech(&held_out));
        let speed = judged.speed(&mut plain, &held_out, 2000);
        line(name, model.len(), speed, &format!("{:.2} % of {} steps", same * 100.0, expected.len()));
        (same, speed)
    };
    let as_shipped = judge("speech, as shipped", &std::fs::read(&shipped).unwrap());
    assert!(as_shipped.0 == 1.0, "made plain, it answers differently");
    judge("speech, float made plain", &small.plain);
    judge("speech, onnxruntime dynamic, as shipped", &inputs.outside("dynamic", &shipped, ""));
    judge("speech, onnxruntime dynamic, made plain", &inputs.outside("dynamic", &flat, ""));
    judge("speech, onnxruntime static, made plain", &inputs.outside("static", &flat, "speech"));
    let found = judge("speech, dynamic", &dynamic.model);
    assert!(found.0 >= 0.995 && found.1 >= NOT_SLOWER);
    let found = judge("speech, int8, balanced", &balanced.model);
    assert!(found.0 >= 0.995 && found.1 >= NOT_SLOWER);
    let found = judge("speech, int8, for size", &small.model);
    assert!(small.model.len() <= 360_000 && found.0 >= 0.995);
}

#[test]
fn a_yolo_shaped_graph_keeps_its_head() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("yolo.onnx");
    let script = repository().join("scripts/oracles/onnx_side.py");
    run(Command::new(oracle("venv/bin/python")).arg(script).arg("yolo").arg(&path));
    let image = |seed: u32| {
        let value =
            |at: u32| (at.wrapping_mul(2_654_435_761).wrapping_add(seed * 97) >> 16 & 255) as f32 / 255.0;
        let values: Vec<f32> = (0..3 * 160 * 160).map(|at| value(at / 40 + seed)).collect();
        vec![[("images".to_string(), tensor_of_floats("images", &[1, 3, 160, 160], &values).unwrap())].into()]
    };
    let samples =
        |seeds: std::ops::Range<u32>| Samples { sequences: seeds.map(image).collect(), carried: vec![] };
    let (calibration, held_out) = (samples(0..8), samples(8..12));
    let request = Request { goal: Goal::Size, ..request(Precision::Int8) };
    let made = attempt(&path, &request, &calibration, &held_out).unwrap();
    check("yolo", &made.report);
    assert_eq!(made.report.architecture.as_deref(), Some("detector"));
    // Boxes in pixels and scores below one share the last Concat: had it a scale, all scores would be one level.
    let model = read_model(made.model.clone()).unwrap();
    let graph = model.graph.as_ref().unwrap();
    let last = graph.node.iter().find(|node| node.name() == "output_concat").unwrap();
    for input in &last.input {
        let maker = graph.node.iter().find(|node| node.output.contains(input)).unwrap();
        assert!(matches!(maker.op_type(), "Mul" | "Sigmoid"), "{input} comes from {}", maker.op_type());
    }
    assert!(made.report.plan.as_ref().unwrap().nodes.values().any(|choice| *choice == Choice::Int8));
    let difference = &made.report.verification.differences[0];
    println!("yolo: {} of {} bytes, {difference:?}", made.report.bytes, made.report.bytes_plain);
    assert!(difference.relative_squared < 0.01);
    // A graph of convolutions has nothing whose range could be found while running.
    let error =
        attempt(&path, &self::request(Precision::Dynamic), &calibration, &held_out).unwrap_err().to_string();
    assert!(error.contains("nothing was quantized: 0 of 20 nodes with weights (20 Conv)"), "{error}");
}
