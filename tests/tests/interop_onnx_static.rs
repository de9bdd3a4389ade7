//! Graphs whose products take codes by learned ranges, against what others make of the same model: onnxruntime's Python package
//! computes what our engine does, and diverges less from the original than after its own quantizer.
//! Knows scripts/oracles/onnx_static_side.py; must not know how ranges are found.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use engine::onnx::{EngineOptions, OnnxEngine};
use engine::{CancelToken, ContextSettings, Engine, Logits, Token};
use families::OutputType;
use llama_pajamas::Tokenizer;
use llama_pajamas_tests::{Outside, onnx_library, shared, tiny_model};
use quantizer::onnx::{Learning, Recipe, Statics, learn};
use quantizer::source::TensorSource;
use quantizer::{BuildRequest, build_bundle, convert, open_source};
use serde_json::{Value, json};
use std::fs::File;
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const WINDOW: usize = 256;

/// Windows of a text of the shared data.
fn windows(source: &dyn TensorSource, text: &str, n: usize) -> Vec<Vec<Token>> {
    let text = std::fs::read_to_string(shared("data/text").join(text)).unwrap();
    let tokens = Tokenizer::from_metadata(source.metadata()).unwrap().encode(&text, false).unwrap();
    let all = tokens.len() / WINDOW;
    assert!(all >= n, "{all} windows");
    (0..n).map(|at| tokens[at * all / n * WINDOW..][..WINDOW].to_vec()).collect()
}

/// What is learned of a model.
fn learned(source: &dyn TensorSource, work: &Path, chunks: &[Vec<Token>], smooth: bool) -> Arc<Statics> {
    let original = work.join("original.gguf");
    let file = BufWriter::new(File::create(&original).unwrap());
    convert(source, OutputType::F32, file, 2, &mut |_| ControlFlow::Continue(())).unwrap();
    let learning = Learning { model: &original, chunks, smooth, threads: 2 };
    Arc::new(learn(source, &learning, &mut |_| ControlFlow::Continue(())).unwrap())
}

/// The graph of a recipe.
fn made(model: &Path, recipe: &str, statics: Option<&Arc<Statics>>, output: &Path) -> PathBuf {
    let request = BuildRequest {
        model: model.into(),
        model_id: "model".into(),
        output: output.into(),
        onnx: vec![Recipe::from_name(recipe).unwrap()],
        statics: statics.cloned(),
        threads: 2,
        ..BuildRequest::default()
    };
    build_bundle(&request, &mut |_| {}, &mut |_| ControlFlow::Continue(())).unwrap();
    let mut entries = output.join("onnx").join(recipe).join("onnx").read_dir().unwrap().flatten();
    entries.find(|entry| entry.path().extension().is_some_and(|kind| kind == "onnx")).unwrap().path()
}

fn our_tokens(graph: &Path, prompt: &[i32], n: usize) -> Vec<i32> {
    let library = onnx::Library::open(&onnx_library()).unwrap();
    let engine = OnnxEngine::start(EngineOptions { library, threads: 2 });
    let model = engine.load(graph, &Default::default(), &mut |_| ControlFlow::Continue(())).unwrap();
    let settings = ContextSettings { n_ctx: 128, n_outputs_max: 1, ..ContextSettings::default() };
    let (mut context, cancel) = (model.new_context(&settings).unwrap(), CancelToken::new());
    context.decode(prompt, Logits::Last, &cancel).unwrap();
    let mut made = Vec::new();
    while made.len() < n {
        let row = context.logits(0).unwrap();
        let best = (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]).then(b.cmp(a))).unwrap() as i32;
        made.push(best);
        context.decode(&[best], Logits::Last, &cancel).unwrap();
    }
    made
}

/// How far a graph is from the original on text that nothing was learned from.
struct Judge {
    outside: Outside,
    model: PathBuf,
    held_out: Vec<Vec<Token>>,
}

impl Judge {
    fn told(&mut self, what: &str, graph: &Path) -> f64 {
        let (model, held_out) = (&self.model, &self.held_out);
        let job = json!({"job": "divergence", "checkpoint": model, "graph": graph, "windows": held_out});
        let answer = self.outside.job(&job);
        let (kld, same) = (answer["kld"].as_f64().unwrap(), answer["same"].as_f64().unwrap());
        let name = model.file_name().unwrap().to_string_lossy();
        println!("{name:10} {what:32} {:>9} bytes  KLD {kld:.6}  same {:.2} %", bytes(graph), 100.0 * same);
        kld
    }
}

fn bytes(graph: &Path) -> u64 {
    let beside = PathBuf::from(format!("{}_data", graph.display()));
    [graph.to_path_buf(), beside].iter().filter_map(|file| Some(std::fs::metadata(file).ok()?.len())).sum()
}

#[test]
fn learned_ranges_diverge_less_than_those_of_others() {
    let work = tempfile::tempdir().unwrap();
    let mut checker = Outside::python("onnx_llm_side.py");
    for (model, n_windows) in
        [(shared("models").join("pajama-7m"), 24), (tiny_model(work.path(), "llama"), 12)]
    {
        let name = model.file_name().unwrap().to_string_lossy().into_owned();
        let folder = work.path().join(format!("made-{name}"));
        std::fs::create_dir(&folder).unwrap();
        let source = open_source(&model, &[]).unwrap();
        let chunks = windows(source.as_ref(), "pajama_calibration.txt", n_windows);
        let held_out = windows(source.as_ref(), "pajama_eval.txt", 16);
        let mut judge =
            Judge { outside: Outside::python("onnx_static_side.py"), model: model.clone(), held_out };
        let float = made(&model, "fp32-portable", None, &folder.join("float"));
        assert!(judge.told("fp32-portable", &float) < 1e-6);
        judge.told(
            "int8-portable (weights alone)",
            &made(&model, "int8-portable", None, &folder.join("weights")),
        );
        let mut klds = Vec::new();
        for smooth in [false, true] {
            let statics = learned(source.as_ref(), &folder, &chunks, smooth);
            let graph = made(&model, "int8-qdq", Some(&statics), &folder.join(format!("smooth-{smooth}")));
            klds.push(judge.told(if smooth { "int8-qdq" } else { "int8-qdq without smoothing" }, &graph));
            let checked = checker.job(&json!({"job": "check", "graph": graph}));
            assert_eq!(checked["domains"], json!([""]));
            let prompt: Vec<i32> = judge.held_out[0][..24].to_vec();
            let theirs =
                judge.outside.job(&json!({"job": "greedy", "graph": graph, "prompt": prompt, "n": 24}));
            assert_eq!(json!(our_tokens(&graph, &prompt, 24)), theirs["tokens"], "{name}");
            println!(
                "{name:12} operators {}",
                judge.outside.job(&json!({"job": "operators", "graph": graph, "work": folder}))
            );
        }
        let mut others = Vec::new();
        for smooth in [false, true] {
            let out = folder.join(format!("theirs-{smooth}.onnx"));
            let job = json!({"job": "quantize", "graph": float, "windows": chunks, "work": folder, "out": out,
                "smooth": smooth, "leave": ["logits"]});
            let answer: Value = judge.outside.job(&job);
            match answer["refused"].as_str() {
                Some(reason) => println!("{name:12} onnxruntime static with SmoothQuant: refused: {reason}"),
                None => {
                    let what = if smooth { "onnxruntime static, SmoothQuant" } else { "onnxruntime static" };
                    others.push(judge.told(what, &out));
                }
            }
        }
        let [plain, smoothed] = klds[..] else { unreachable!("two were made") };
        assert!(smoothed <= plain, "{name}: {smoothed} {plain}");
        assert!(others.iter().all(|other| smoothed < *other), "{name}: {smoothed} {others:?}");
    }
}
