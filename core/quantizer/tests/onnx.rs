//! Graphs of ONNX made from a model of this project: whole, in order, as long as foretold, and refused where a network is not known.
//! Knows the format; whether others compute the same of it is the interoperability suite's question.

#![allow(clippy::unwrap_used, missing_docs, reason = "a test")]

use bundle::Bundle;
use families::OutputType;
use formats::onnx::{Location, ModelProto, element_bits, read_model};
use llama_pajamas_quantizer::onnx::{Learning, Recipe, learn};
use llama_pajamas_quantizer::{BuildRequest, build_bundle, convert, open_source};
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn pajama() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/pajama-7m")
}

fn request(model: PathBuf, recipes: &[&str], output: &Path) -> BuildRequest {
    BuildRequest {
        model,
        model_id: "model".into(),
        output: output.into(),
        onnx: recipes.iter().map(|name| Recipe::from_name(name).unwrap()).collect(),
        threads: 2,
        ..BuildRequest::default()
    }
}

/// The graph of a folder, and the length of the file beside it.
fn graph(folder: &Path) -> (ModelProto, u64) {
    let mut files = folder.join("onnx").read_dir().unwrap().flatten().map(|entry| entry.path());
    let path = files.find(|path| path.extension().is_some_and(|kind| kind == "onnx")).unwrap();
    let beside = PathBuf::from(format!("{}_data", path.display()));
    let model = read_model(std::fs::read(&path).unwrap()).unwrap();
    (model, std::fs::metadata(beside).unwrap().len())
}

#[test]
fn graphs_are_whole_and_as_long_as_foretold() {
    let work = tempfile::tempdir().unwrap();
    let recipes = ["int4", "int8-exact", "int4-fp16", "int4-portable", "fp16"];
    let request = request(pajama(), &recipes, work.path());
    let report = build_bundle(&request, &mut |_| {}, &mut |_| ControlFlow::Continue(())).unwrap();
    let bundle = Bundle::open(work.path()).unwrap();
    for (told, recipe) in report.variants.iter().zip(recipes) {
        assert_eq!(told.id, format!("onnx/{recipe}"));
        let variant = bundle.variant(&told.id).unwrap();
        assert_eq!(variant.files.iter().map(|file| file.bytes).sum::<u64>(), told.file_bytes);
        assert!(variant.files[0].path.as_str().ends_with(".onnx"));
        let (model, beside_bytes) = graph(&work.path().join(&told.id));
        check(&model, beside_bytes, recipe);
    }
}

/// Every name is made once and before it is asked for, and every place lies in the file and at a multiple of 64.
fn check(model: &ModelProto, beside_bytes: u64, recipe: &str) {
    let graph = model.graph.as_ref().unwrap();
    let mut known: HashSet<&str> = graph.input.iter().map(|port| port.name()).collect();
    let mut end = 0;
    for tensor in &graph.initializer {
        assert!(known.insert(tensor.name()), "{recipe}: {}", tensor.name());
        if !tensor.is_external() {
            assert!(tensor.raw_data.as_ref().unwrap().len() <= 4096, "{}", tensor.name());
            continue;
        }
        let Location { offset, length, .. } = Location::of(tensor).unwrap();
        let bits = element_bits(tensor.element_type()).unwrap();
        assert_eq!(length, Some((tensor.n_elements().unwrap() * bits).div_ceil(8)), "{}", tensor.name());
        assert_eq!(offset % 64, 0);
        end = end.max(offset + length.unwrap());
    }
    assert_eq!(end, beside_bytes, "{recipe}");
    for node in &graph.node {
        let missing = node.input.iter().find(|name| !name.is_empty() && !known.contains(name.as_str()));
        assert_eq!(missing, None, "{recipe}: {}", node.name());
        node.output.iter().for_each(|name| assert!(known.insert(name), "{recipe}: {name}"));
        let is_standard = recipe.ends_with("portable") || recipe.ends_with("qdq");
        assert!(node.domain().is_empty() || !is_standard, "{recipe}: {}", node.name());
    }
    assert!(graph.output.iter().all(|port| known.contains(port.name())));
}

#[test]
fn products_of_learned_ranges_take_codes_of_both_sides() {
    let work = tempfile::tempdir().unwrap();
    let bundle = work.path().join("bundle");
    let mut request = request(pajama(), &["int8-qdq"], &bundle);
    let go_on = |_: llama_pajamas_quantizer::Progress<'_>| ControlFlow::Continue(());
    let refused = build_bundle(&request, &mut |_| {}, &mut { go_on }).unwrap_err().to_string();
    assert!(refused.contains("int8-qdq") && refused.contains("text to learn ranges from"), "{refused}");
    let source = open_source(&pajama(), &[]).unwrap();
    let original = work.path().join("original.gguf");
    convert(source.as_ref(), OutputType::F32, std::fs::File::create(&original).unwrap(), 2, &mut { go_on })
        .unwrap();
    let chunks: Vec<Vec<i32>> =
        (0..4).map(|chunk| (0..16).map(|at| 7 + chunk * 97 + at * 31).collect()).collect();
    let learning = Learning { model: &original, chunks: &chunks, smooth: false, threads: 1 };
    let statics = learn(source.as_ref(), &learning, &mut { go_on }).unwrap();
    let n_coded: usize =
        statics.inputs.iter().filter(|input| input.is_coded).map(|input| input.readers.len()).sum();
    request.statics = Some(Arc::new(statics));
    let report = build_bundle(&request, &mut |_| {}, &mut { go_on }).unwrap();
    let folder = bundle.join("onnx/int8-qdq");
    let variant = Bundle::open(&bundle).unwrap();
    let variant = variant.variant("onnx/int8-qdq").unwrap();
    assert_eq!(variant.files.iter().map(|file| file.bytes).sum::<u64>(), report.variants[0].file_bytes);
    assert_eq!(
        (variant.method.as_str(), variant.compatible_backends[0].as_str()),
        ("learned ranges", "tensorrt")
    );
    let (model, beside_bytes) = graph(&folder);
    check(&model, beside_bytes, "int8-qdq");
    let nodes = &model.graph.as_ref().unwrap().node;
    let made_by = |name: &str| {
        let node = nodes.iter().find(|node| node.output.iter().any(|output| output == name));
        node.map_or("", |node| node.op_type())
    };
    let both_coded = nodes.iter().filter(|node| {
        node.op_type() == "MatMul" && node.input.iter().all(|input| made_by(input) == "DequantizeLinear")
    });
    assert_eq!(both_coded.count(), n_coded);
    assert!(n_coded > 40);
}

#[test]
fn the_embedding_that_is_the_output_too_lies_there_once() {
    let work = tempfile::tempdir().unwrap();
    let request = request(pajama(), &["int4"], work.path());
    build_bundle(&request, &mut |_| {}, &mut |_| ControlFlow::Continue(())).unwrap();
    let (model, _) = graph(&work.path().join("onnx/int4"));
    let place = |name: &str| {
        let tensor = model.graph.as_ref().unwrap().initializer.iter().find(|tensor| tensor.name() == name);
        Location::of(tensor.unwrap()).unwrap()
    };
    assert_eq!(place("token_embd.weight"), place("token_embd.weight.rows"));
    assert_eq!(place("token_embd.weight.scales"), place("token_embd.weight.rows.scales"));
}

#[test]
fn cancelling_leaves_nothing() {
    let work = tempfile::tempdir().unwrap();
    let request = request(pajama(), &["int4"], &work.path().join("bundle"));
    let error = build_bundle(&request, &mut |_| {}, &mut |_| ControlFlow::Break(())).unwrap_err();
    assert_eq!(error.to_string(), "cancelled");
    assert!(!Bundle::is_bundle(&request.output));
}
