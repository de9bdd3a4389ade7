//! Speech to text and the helpers around sessions, against transformers: the same tokens and times from the same sound, the same
//! spectrogram, the same pixels.
//! Knows scripts/oracles/vision_side.py; must not know how a sound is heard.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use llama_pajamas::CancelToken;
use llama_pajamas::transcribe::{Error, TranscribeSettings, Transcriber, TranscriberSettings};
use llama_pajamas_tests::{Outside, Tensors, onnx_library, shared};
use onnx::Library;
use onnx::export::{Floats, Request, export};
use onnx::media::{Mel, PictureRule};
use serde_json::json;
use std::ops::ControlFlow;

fn largest(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    got.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn tokens_and_times_are_those_of_transformers() {
    let mut outside = Outside::python("vision_side.py");
    let folder = tempfile::tempdir().unwrap();
    let (model, output) = (folder.path().join("model"), folder.path().join("out"));
    let told = outside.job(&json!({"job": "speak", "folder": model}));
    let sounds = Tensors::read(&model.join("sounds.safetensors"));
    let library = Library::open(&onnx_library()).unwrap();
    for request in [Request::default(), Request { opset: 17, ..Request::default() }] {
        export(&model, &output, &request, &mut |_, _| ControlFlow::Continue(())).unwrap();
        let mut transcriber = Transcriber::open(&library, &output, &TranscriberSettings::default()).unwrap();
        assert_eq!((transcriber.rate(), transcriber.languages()), (16000, vec!["de", "en"]));
        let mut n_segments = 0;
        for answer in told["answers"].as_array().unwrap() {
            let settings = TranscribeSettings {
                language: answer["language"].as_str().map(Into::into),
                translate: answer["task"] == "translate",
                timestamps: answer["return_timestamps"] == true,
                max_tokens: None,
            };
            let sound = sounds.floats(answer["sound"].as_str().unwrap());
            let mut heard = Vec::new();
            let listener = &mut |segment: &llama_pajamas::transcribe::Segment| {
                heard.push(segment.clone());
                ControlFlow::Continue(())
            };
            let made = transcriber.transcribe(&sound, &settings, &CancelToken::new(), listener).unwrap();
            assert_eq!(made.segments, heard);
            let expected = answer["segments"].as_array().unwrap();
            assert_eq!(made.segments.len(), expected.len(), "{answer}\n{made:?}");
            for (got, expected) in made.segments.iter().zip(expected) {
                assert_eq!(json!(got.tokens), expected["tokens"], "{answer}");
                assert!((got.start - expected["start"].as_f64().unwrap()).abs() < 1e-6, "{answer}\n{got:?}");
                assert!((got.end - expected["end"].as_f64().unwrap()).abs() < 1e-6, "{answer}\n{got:?}");
                // Words of this tokenizer are their numbers.
                let words: Vec<String> = got
                    .tokens
                    .iter()
                    .filter(|token| **token < 100)
                    .map(|token| format!("w{token}"))
                    .collect();
                assert_eq!(got.text.split_whitespace().collect::<Vec<_>>(), words);
            }
            n_segments += expected.len();
        }
        println!("operators {}: {n_segments} segments are the same", request.opset);
    }
    refuses_and_ends(&library, &output, &sounds.floats("long"));
}

/// What cannot be done is an error; what is cancelled or broken off ends.
fn refuses_and_ends(library: &Library, folder: &std::path::Path, sound: &[f32]) {
    let mut transcriber = Transcriber::open(library, folder, &TranscriberSettings::default()).unwrap();
    let go_on = &mut |_: &llama_pajamas::transcribe::Segment| ControlFlow::Continue(());
    let cancel = CancelToken::new();
    let wrong = TranscribeSettings { language: Some("xx".into()), ..Default::default() };
    let error = transcriber.transcribe(sound, &wrong, &cancel, go_on).unwrap_err().to_string();
    assert_eq!(error, "language: expected one of de, en, got `xx`");
    cancel.cancel();
    let cancelled = transcriber.transcribe(sound, &TranscribeSettings::default(), &cancel, go_on);
    assert!(matches!(cancelled, Err(Error::Cancelled)));
    cancel.reset();
    let stop = &mut |_: &llama_pajamas::transcribe::Segment| ControlFlow::Break(());
    let first = transcriber.transcribe(sound, &TranscribeSettings::default(), &cancel, stop).unwrap();
    assert_eq!(first.segments.len(), 1);
    let silence = transcriber.transcribe(&[], &TranscribeSettings::default(), &cancel, go_on).unwrap();
    assert!(silence.segments.is_empty() && silence.text.is_empty());
    let elsewhere = TranscriberSettings { ending: "_fp16".into(), ..Default::default() };
    let error = Transcriber::open(library, folder, &elsewhere).unwrap_err().to_string();
    assert!(error.contains("encoder_model_fp16.onnx") && error.contains("export"), "{error}");
}

#[test]
fn halves_hear_the_same_words() {
    let mut outside = Outside::python("vision_side.py");
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model");
    let told = outside.job(&json!({"job": "speak", "folder": model}));
    let request = Request { floats: Floats::Fp16, ..Request::default() };
    export(&model, folder.path(), &request, &mut |_, _| ControlFlow::Continue(())).unwrap();
    let settings = TranscriberSettings { ending: "_fp16".into(), ..Default::default() };
    let library = Library::open(&onnx_library()).unwrap();
    let mut transcriber = Transcriber::open(&library, folder.path(), &settings).unwrap();
    let settings = TranscribeSettings { language: Some("en".into()), ..Default::default() };
    let sound = Tensors::read(&model.join("sounds.safetensors")).floats("one");
    let made = transcriber
        .transcribe(&sound, &settings, &CancelToken::new(), &mut |_| ControlFlow::Continue(()))
        .unwrap();
    let (got, expected) = (json!(made.segments[0].tokens), &told["answers"][0]["segments"][0]["tokens"]);
    let (got, expected) = (got.as_array().unwrap(), expected.as_array().unwrap());
    let same = got.iter().zip(expected).take_while(|(a, b)| a == b).count();
    println!("in 16 bits the first {same} of {} tokens are the same", expected.len());
    assert!(same >= 6, "{got:?}\n{expected:?}");
}

#[test]
fn spectrograms_are_those_of_transformers() {
    let mut outside = Outside::python("vision_side.py");
    let folder = tempfile::tempdir().unwrap();
    // A recording, whose header claims more than there is, and what lies below what one hears.
    let bytes = std::fs::read(shared("data/onnx/vad_test.wav")).unwrap();
    let at = bytes.windows(4).position(|part| part == b"data").unwrap() + 8;
    let speech: Vec<f32> =
        bytes[at..].as_chunks().0.iter().map(|two| f32::from(i16::from_le_bytes(*two)) / 32768.0).collect();
    let faint = |at: usize| (at as f32 * 0.05).sin() * 1e-3 * ((at / 8000) as f32);
    let sounds = [
        ("speech", speech),
        ("faint", (0..50_000).map(faint).collect()),
        ("long", (0..500_000).map(faint).collect()),
        ("silence", vec![0.0; 1000]),
    ];
    for (name, sound) in &sounds {
        let (path, out) = (folder.path().join("sound.f32"), folder.path().join("mel.safetensors"));
        std::fs::write(&path, sound.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>())
            .unwrap();
        for bands in [80, 128] {
            outside.job(&json!({"job": "mel", "sound": path, "bands": bands, "out": out}));
            let expected = Tensors::read(&out);
            let made = Mel::of(&json!({"feature_size": bands}).to_string()).unwrap().spectrogram(sound);
            assert_eq!(expected.get("torch").0, [made.n_bands as i64, made.n_frames as i64]);
            let torch = largest(&made.values, &expected.floats("torch"));
            let numpy = largest(&made.values, &expected.floats("numpy"));
            println!("{name}, {bands} bands: {torch:.1e} from PyTorch's, {numpy:.1e} from NumPy's");
            assert!(torch <= 1e-4 && numpy <= 1e-5, "{name}");
        }
    }
}

#[test]
fn pixels_are_those_of_transformers() {
    let mut outside = Outside::python("vision_side.py");
    let folder = tempfile::tempdir().unwrap();
    for kind in ["vit", "clip", "small", "lanczos"] {
        let own = folder.path().join(kind);
        let picture = shared("data/onnx/sample.jpg");
        outside.job(&json!({"job": "pixels", "picture": picture, "kind": kind, "folder": own}));
        let tensors = Tensors::read(&own.join("reference.safetensors"));
        let text = std::fs::read_to_string(own.join("preprocessor_config.json")).unwrap();
        let (shape, _, rgb) = tensors.get("rgb");
        let (made, extents) =
            PictureRule::of(&text).unwrap().tensor(rgb, shape[1] as usize, shape[0] as usize).unwrap();
        assert_eq!(extents.to_vec(), tensors.get("pixel_values").0, "{kind}");
        let difference = largest(&made, &tensors.floats("pixel_values"));
        println!("{kind}, {:?} to {:?}: {difference:.1e}", shape, extents);
        assert!(difference <= 1e-5, "{kind}");
    }
}
