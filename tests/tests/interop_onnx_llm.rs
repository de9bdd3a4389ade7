//! Directories of graphs against those who read them: transformers computes the same logits from the same codes, and
//! onnxruntime-genai, transformers.js and our own engine generate the same tokens.
//! Knows scripts/oracles/onnx_llm_side.py and onnx_llm.mjs; must not know how a graph is built.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use bundle::Bundle;
use engine::onnx::{EngineOptions, OnnxEngine};
use engine::{CancelToken, Context, ContextSettings, Engine, Logits};
use llama_pajamas_tests::{Outside, onnx_library, oracle, repository, shared, tiny_models_called};
use quantizer::onnx::{Flavour, Precision, Recipe};
use quantizer::{BuildRequest, build_bundle};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

/// transformers.js.
fn javascript() -> Outside {
    let script = repository().join("scripts/oracles/onnx_llm.mjs");
    Outside::start(Command::new("node").arg(script).current_dir(oracle("transformers-js")))
}

fn engine() -> Arc<OnnxEngine> {
    static ENGINE: OnceLock<Arc<OnnxEngine>> = OnceLock::new();
    Arc::clone(ENGINE.get_or_init(|| {
        let library = onnx::Library::open(&onnx_library()).unwrap();
        Arc::new(OnnxEngine::start(EngineOptions { library, threads: 2 }))
    }))
}

/// A recipe's directory, whose length is as foretold.
fn made(model: &Path, recipe: &str, output: &Path) -> PathBuf {
    let recipe = Recipe::from_name(recipe).unwrap();
    let request = BuildRequest {
        model: model.into(),
        model_id: "model".into(),
        output: output.into(),
        onnx: vec![recipe],
        threads: 2,
        ..BuildRequest::default()
    };
    let report = build_bundle(&request, &mut |_| {}, &mut |_| ControlFlow::Continue(()))
        .unwrap_or_else(|error| panic!("{}: {error}", model.display()));
    let bundle = Bundle::open(output).unwrap();
    assert!(bundle.verify(&mut |_| ControlFlow::Continue(())).unwrap().is_intact());
    let id = format!("onnx/{}", recipe.name());
    let files = &bundle.variant(&id).unwrap().files;
    let told = report.variants.iter().find(|variant| variant.id == id).unwrap();
    assert_eq!(files.iter().map(|file| file.bytes).sum::<u64>(), told.file_bytes);
    output.join(id)
}

fn graph(folder: &Path) -> PathBuf {
    let mut entries = folder.join("onnx").read_dir().unwrap().flatten().map(|entry| entry.path());
    entries.find(|path| path.extension().is_some_and(|kind| kind == "onnx")).unwrap()
}

fn context(folder: &Path, n_outputs_max: u32) -> Box<dyn Context> {
    let model =
        engine().load(&graph(folder), &Default::default(), &mut |_| ControlFlow::Continue(())).unwrap();
    let settings = ContextSettings { n_ctx: 256, n_outputs_max, ..ContextSettings::default() };
    model.new_context(&settings).unwrap()
}

/// Logits after each token, computed in parts, with a step back in between.
fn our_logits(folder: &Path, tokens: &[i32]) -> Vec<Vec<f32>> {
    let mut context = context(folder, 64);
    let cancel = CancelToken::new();
    let mut rows = Vec::new();
    let mut read = |context: &mut dyn Context, part: &[i32]| {
        context.decode(part, Logits::All, &cancel).unwrap();
        rows.extend((0..part.len()).map(|row| context.logits(row).unwrap().to_vec()));
    };
    let (first, rest) = tokens.split_at(tokens.len() / 2);
    context.decode(&tokens[..first.len() + 3], Logits::None, &cancel).unwrap();
    context.truncate(0).unwrap();
    read(&mut *context, first);
    // What is cut off leaves no trace.
    context.decode(&[7, 8, 9], Logits::Last, &cancel).unwrap();
    context.truncate(first.len()).unwrap();
    let state = context.state().unwrap();
    let (middle, last) = rest.split_at(rest.len() / 2);
    read(&mut *context, middle);
    context.restore(&state).unwrap();
    assert_eq!(context.n_past(), first.len());
    context.decode(middle, Logits::None, &cancel).unwrap();
    last.iter().for_each(|token| read(&mut *context, &[*token]));
    rows
}

fn our_tokens(folder: &Path, prompt: &[i32], n: usize) -> Vec<i32> {
    let mut context = context(folder, 1);
    let cancel = CancelToken::new();
    context.decode(prompt, Logits::Last, &cancel).unwrap();
    let mut made = Vec::new();
    while made.len() < n {
        let row = context.logits(0).unwrap();
        let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]).then(b.cmp(a))).unwrap();
        made.push(best as i32);
        context.decode(&[best as i32], Logits::Last, &cancel).unwrap();
    }
    made
}

fn prompt(n: usize, vocabulary: usize) -> Vec<i32> {
    (0..n).map(|at| 5 + ((at * 7919 + at * at * 31) % (vocabulary - 5)) as i32).collect()
}

fn vocabulary(model: &Path) -> usize {
    let config: Value = serde_json::from_slice(&std::fs::read(model.join("config.json")).unwrap()).unwrap();
    config["vocab_size"].as_u64().unwrap() as usize
}

/// ggml's grid of a recipe's matrices, and of the embedding where that is another.
fn grids(recipe: Recipe) -> (Option<&'static str>, Option<&'static str>) {
    match recipe.precision {
        Precision::Int4 => (Some("Q4_0"), (recipe.flavour == Flavour::Portable).then_some("Q8_0")),
        Precision::Int8 => (Some("Q8_0"), None),
        Precision::Fp16 | Precision::Fp32 => (None, None),
    }
}

/// Tiny checkpoints and recipes whose logits are compared.
const TINY: [(&str, &[&str]); 7] = [
    ("llama", &["int4-exact", "int8-exact", "fp32", "int4-portable", "fp32-portable"]),
    ("llama-3-scaled", &["int8-exact", "fp32-portable"]),
    ("qwen2", &["int4-exact", "int8-portable"]),
    ("phi3", &["int4-exact", "fp32-portable"]),
    ("gemma2", &["int4-exact", "int4-portable"]),
    ("gemma3", &["int4-exact", "int4-portable"]),
    ("mixtral", &["int4-exact"]),
];

/// Models with a vocabulary, whose answers are compared too.
const WHOLE: [(&str, &[&str]); 2] = [
    ("pajama-7m", &["int4-exact", "int8-exact", "fp32", "int4-portable"]),
    ("pajama-moe-21m", &["int4-exact"]),
];

#[test]
fn logits_are_those_of_transformers_on_the_same_codes() {
    let work = tempfile::tempdir().unwrap();
    let names: Vec<&str> = TINY.iter().map(|(name, _)| *name).collect();
    let mut models: Vec<(PathBuf, &[&str])> =
        tiny_models_called(work.path(), &names).into_iter().zip(TINY.map(|(_, recipes)| recipes)).collect();
    models.extend(WHOLE.map(|(name, recipes)| (shared("models").join(name), recipes)));
    let mut outside = Outside::python("onnx_llm_side.py");
    let mut unequal = Vec::new();
    for (model, recipes) in models {
        let tokens = prompt(40, vocabulary(&model));
        for recipe in recipes {
            let name = model.file_name().unwrap().to_string_lossy().into_owned();
            let folder = made(&model, recipe, &work.path().join(format!("{name}-{recipe}")));
            let (grid, rows) = grids(Recipe::from_name(recipe).unwrap());
            let out = work.path().join("logits");
            let job = json!({"job": "logits", "checkpoint": model, "grid": grid, "rows": rows, "tokens": tokens,
                "n": 16, "out": out});
            let theirs = outside.job(&job);
            let bytes = std::fs::read(&out).unwrap();
            let expected: Vec<f32> =
                bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
            let got = our_logits(&folder, &tokens).concat();
            assert_eq!(got.len(), expected.len());
            let most = got.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            let same = json!(our_tokens(&folder, &tokens, 16)) == theirs["tokens"];
            println!("{name:16} {recipe:16} {most:.1e}{}", if same { "" } else { "  other tokens" });
            if most > 1e-4 || !same {
                unequal.push(format!("{name} {recipe}: {most}"));
            }
            if recipe.ends_with("portable") {
                let told = outside.job(&json!({"job": "check", "graph": graph(&folder)}));
                assert_eq!(told["domains"], json!([""]), "{name} {recipe}");
            }
        }
    }
    assert!(unequal.is_empty(), "{unequal:#?}");
}

#[test]
fn others_generate_the_same_tokens() {
    let work = tempfile::tempdir().unwrap();
    let tiny = tiny_models_called(work.path(), &["phi3", "gemma2", "gemma3"]);
    let whole = ["pajama-7m", "pajama-moe-21m"].map(|name| shared("models").join(name));
    let (mut python, mut javascript) = (Outside::python("onnx_llm_side.py"), javascript());
    let mut unequal = Vec::new();
    for (at, model) in whole.iter().chain(&tiny).enumerate() {
        let folder = made(model, "int4", &work.path().join(format!("bundle-{at}")));
        let (prompt, n) = (prompt(12, vocabulary(model)), 32);
        let ours = json!(our_tokens(&folder, &prompt, n));
        let genai = python.job(&json!({"job": "serve", "folder": folder, "prompt": prompt, "n": n}));
        let js = javascript.job(&json!({"folder": folder, "dtype": "q4", "prompt": prompt, "n": n}));
        let name = model.file_name().unwrap().to_string_lossy();
        println!("{name:16} genai {} transformers.js {}", genai["tokens"] == ours, js["tokens"] == ours);
        if genai["tokens"] != ours || js["tokens"] != ours {
            unequal.push(format!("{name}: {ours} {genai} {js}"));
        }
    }
    assert!(unequal.is_empty(), "{unequal:#?}");
}

#[test]
fn a_tied_model_stores_its_embedding_once() {
    let work = tempfile::tempdir().unwrap();
    let model = shared("models").join("pajama-7m");
    let config: Value = serde_json::from_slice(&std::fs::read(model.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["tie_word_embeddings"], json!(true));
    let n = |name: &str| config[name].as_u64().unwrap();
    let (d, layers, vocabulary) = (n("hidden_size"), n("num_hidden_layers"), n("vocab_size"));
    let heads = (n("num_attention_heads") + 2 * n("num_key_value_heads")) * n("head_dim");
    let attention = d * heads + d * n("num_attention_heads") * n("head_dim");
    let matrices = vocabulary * d + layers * (attention + 3 * d * n("intermediate_size"));
    // Half a byte for a code, and four bytes for the scale of 32.
    let arithmetic = matrices / 2 + matrices / 32 * 4;
    let folder = made(&model, "int4", &work.path().join("bundle"));
    let graph = graph(&folder);
    let files = [graph.clone(), PathBuf::from(format!("{}_data", graph.display()))];
    let bytes: u64 = files.iter().map(|file| std::fs::metadata(file).unwrap().len()).sum();
    println!(
        "{bytes} bytes, {arithmetic} by arithmetic, {:+.2} %",
        100.0 * (bytes as f64 / arithmetic as f64 - 1.0)
    );
    assert!(bytes.abs_diff(arithmetic) * 50 <= arithmetic);
}
