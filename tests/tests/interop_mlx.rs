//! Directories for MLX against mlx-lm: packed bytes, tensors and greedy tokens are those of its own conversion, and grids chosen by
//! error are nearer to the original than its mixed recipes of the same bytes.
//! Knows scripts/oracles/mlx_side.py; must not know how either side quantizes.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use bundle::Bundle;
use llama_pajamas_tests::{Outside, committed, oracle, repository, run, shared, tiny_models_called};
use quantizer::mlx::{Grid, Recipe};
use quantizer::{BuildRequest, Calibration, build_bundle, collect_moments, open_source};
use serde_json::{Value, json};
use std::fs::File;
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Makes the variants of `recipes` and checks that every length is as foretold.
fn made(model: &Path, recipes: &[Recipe], moments: Option<&Path>, output: &Path) {
    let request = BuildRequest {
        model: model.into(),
        model_id: "model".into(),
        output: output.into(),
        mlx: recipes.to_vec(),
        moments: moments.map(PathBuf::from),
        threads: 2,
        ..BuildRequest::default()
    };
    let report = build_bundle(&request, &mut |_| {}, &mut |_| ControlFlow::Continue(()))
        .unwrap_or_else(|error| panic!("{}: {error}", model.display()));
    let bundle = Bundle::open(output).unwrap();
    assert!(bundle.verify(&mut |_| ControlFlow::Continue(())).unwrap().is_intact());
    for variant in &report.variants {
        let folder = output.join(&variant.id);
        let length = |entry: std::io::Result<std::fs::DirEntry>| entry.unwrap().metadata().unwrap().len();
        let bytes: u64 = std::fs::read_dir(&folder).unwrap().map(length).sum();
        assert_eq!(bytes, variant.file_bytes, "{}", folder.display());
    }
}

fn folder_of(bundle: &Path, recipe: Recipe) -> PathBuf {
    bundle.join("mlx").join(recipe.name())
}

/// Compares one grid's directory; true where every byte and token is the same.
fn is_same(outside: &mut Outside, checkpoint: &Path, bundle: &Path, grid: Grid, more: Value) -> bool {
    let mut job = json!({"job": "same", "checkpoint": checkpoint, "ours": folder_of(bundle, Recipe::Pure(grid)),
        "mode": grid.mode(), "bits": grid.bits(), "group": grid.group()});
    job.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let told = outside.job(&job);
    let unequal = told["differences"].as_array().unwrap();
    let same_tokens = told["ours"] == told["theirs"];
    let n_tokens = told["ours"].as_array().map_or(0, Vec::len);
    println!(
        "{:24} {:9} {:>3} tensors, {} differ; {n_tokens} tokens{}",
        checkpoint.file_name().unwrap().to_string_lossy(),
        grid.name(),
        told["n_tensors"],
        unequal.len(),
        if same_tokens { "" } else { " DIFFER" }
    );
    unequal.iter().take(8).for_each(|line| println!("    {line}"));
    unequal.is_empty() && same_tokens && n_tokens == job["n"].as_u64().unwrap_or(0) as usize
}

#[test]
fn every_grid_packs_what_mlx_packs() {
    let work = tempfile::tempdir().unwrap();
    let script = repository().join("scripts/oracles/mlx_side.py");
    run(Command::new(oracle("venv/bin/python")).arg(script).arg("checkpoints").arg(work.path()));
    let mut outside = Outside::python("mlx_side.py");
    let mut n_same = 0;
    for float in ["float32", "float16", "bfloat16"] {
        let checkpoint = work.path().join(float);
        for file in ["tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(committed("models/pajama-7m").join(file), checkpoint.join(file)).unwrap();
        }
        let output = work.path().join(format!("{float}-bundle"));
        made(&checkpoint, &Grid::all().map(Recipe::Pure).collect::<Vec<_>>(), None, &output);
        let same = |grid: &Grid| is_same(&mut outside, &checkpoint, &output, *grid, json!({}));
        n_same += Grid::all().filter(same).count();
    }
    assert_eq!(n_same, 3 * 21);
}

/// Tiny checkpoints, with the bits and groups that their shapes ask for.
const TINY: [(&str, u32); 29] = [
    ("llama", 32),
    ("llama-tied-sharded", 32),
    ("llama-bias", 64),
    ("llama-3-scaled", 32),
    ("mistral", 32),
    ("mixtral", 32),
    ("qwen2", 32),
    ("qwen2-moe", 32),
    ("qwen3-untied", 64),
    ("qwen3-moe", 32),
    ("qwen3-moe-tied", 32),
    ("olmoe", 32),
    ("olmo2", 32),
    ("phi3", 32),
    ("gpt-oss-mxfp4", 32),
    ("gpt-oss-bf16", 32),
    ("granite", 64),
    ("granite-4", 32),
    ("granite-4-moe", 32),
    ("granite-4-h", 32),
    ("granite-4-h-moe", 32),
    ("gemma2", 32),
    ("gemma3", 32),
    ("cohere", 32),
    ("cohere2", 32),
    ("ernie4.5", 32),
    ("nemotron", 32),
    ("seed-oss", 32),
    ("starcoder2", 32),
];

#[test]
fn mlx_lm_generates_the_same_tokens_as_from_its_own_conversion() {
    let work = tempfile::tempdir().unwrap();
    let names: Vec<&str> = TINY.iter().map(|(name, _)| *name).collect();
    let tiny = tiny_models_called(work.path(), &names);
    let mut models: Vec<(PathBuf, Grid, Value)> = Vec::new();
    for (model, (_, group)) in tiny.into_iter().zip(TINY) {
        let more = json!({"prompt": [5, 6, 7, 8], "n": 16, "laid_out": model.ends_with("gpt-oss-bf16")});
        models.push((model, Grid::Affine { bits: 4, group }, more));
    }
    let text = json!({"prompt": "The president of the United States", "n": 48});
    for name in ["pajama-7m", "pajama-moe-21m"] {
        for grid in [Grid::Affine { bits: 4, group: 64 }, Grid::Affine { bits: 3, group: 128 }, Grid::Mxfp4] {
            models.push((shared("models").join(name), grid, text.clone()));
        }
    }
    let mut outside = Outside::python("mlx_side.py");
    let mut unequal = Vec::new();
    for (at, (model, grid, more)) in models.iter().enumerate() {
        let output = work.path().join(format!("bundle-{at}"));
        made(model, &[Recipe::Pure(*grid)], None, &output);
        if !is_same(&mut outside, model, &output, *grid, more.clone()) {
            unequal.push(model.clone());
        }
    }
    assert!(unequal.is_empty(), "{unequal:#?}");
}

/// Moments of a model's inputs on the calibration text.
fn moments_of(model: &Path, out: &Path) {
    let source = open_source(model, &[]).unwrap();
    let gguf = out.with_extension("gguf");
    let checkpoint = quantizer::source::Checkpoint::open(model).unwrap();
    let file = BufWriter::new(File::create(&gguf).unwrap());
    let watch = &mut |_: quantizer::Progress<'_>| ControlFlow::Continue(());
    quantizer::convert(&checkpoint, families::OutputType::Bf16, file, 2, watch).unwrap();
    let text = std::fs::read_to_string(shared("data/text/pajama_calibration.txt")).unwrap();
    let tokenizer = llama_pajamas::Tokenizer::from_metadata(source.metadata()).unwrap();
    let tokens = tokenizer.encode(&text, false).unwrap();
    let step = (tokens.len() / 64).max(256);
    let chunks: Vec<Vec<i32>> =
        tokens.chunks(step).filter_map(|part| part.get(..256)).map(<[i32]>::to_vec).collect();
    let calibration = Calibration {
        model: &gguf,
        chunks: &chunks,
        dataset: "calibration",
        block: 1024,
        memory_bytes: 1 << 30,
        threads: 2,
    };
    let weights = source.tensors().iter().map(|tensor| tensor.name.clone());
    let file = BufWriter::new(File::create(out).unwrap());
    collect_moments(&calibration, weights, file, watch).unwrap();
}

#[test]
fn grids_by_error_diverge_less_than_mixed_recipes_of_the_same_bytes() {
    let work = tempfile::tempdir().unwrap();
    let mut outside = Outside::python("mlx_side.py");
    let mut worse = Vec::new();
    println!(
        "{:16} {:10} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "model", "recipe", "bytes", "theirs", "ours", "plain", "bytes"
    );
    for name in ["pajama-7m", "pajama-moe-21m"] {
        let model = shared("models").join(name);
        let moments = work.path().join(format!("{name}.moments"));
        moments_of(&model, &moments);
        let mut theirs = Vec::new();
        for recipe in ["mixed_2_6", "mixed_3_4", "mixed_3_6", "mixed_4_6"] {
            let out = work.path().join(format!("{name}-{recipe}"));
            let job = json!({"job": "mixed", "checkpoint": model, "recipe": recipe, "out": out});
            theirs.push((recipe, outside.job(&job)["weights_bytes"].as_u64().unwrap(), out));
        }
        let fitted: Vec<Recipe> =
            theirs.iter().map(|(_, bytes, _)| Recipe::Fitted { bytes: *bytes }).collect();
        let [ours, plain] = ["fed", "plain"].map(|kind| work.path().join(format!("{name}-{kind}")));
        made(&model, &fitted, Some(&moments), &ours);
        made(&model, &fitted, None, &plain);
        let (mut folders, mut rows) = (Vec::new(), Vec::new());
        for ((recipe, bytes, theirs), fitted) in theirs.into_iter().zip(fitted) {
            let [ours, plain] = [&ours, &plain].map(|bundle| folder_of(bundle, fitted));
            let own = std::fs::metadata(ours.join("model.safetensors")).unwrap().len();
            assert!(own <= bytes);
            folders.extend([theirs, ours, plain]);
            rows.push((recipe, bytes, own));
        }
        let told = outside.job(&json!({"job": "divergence", "checkpoint": model, "candidates": folders,
            "text": shared("data/text/pajama_eval.txt"), "window": 256, "windows": 40}));
        let klds: Vec<f64> =
            told["candidates"].as_array().unwrap().iter().map(|of| of["kld"].as_f64().unwrap()).collect();
        for ((recipe, bytes, own), klds) in rows.into_iter().zip(klds.chunks(3)) {
            println!(
                "{name:16} {recipe:10} {bytes:>9} {:>9.4} {:>9.4} {:>9.4} {own:>9}",
                klds[0], klds[1], klds[2]
            );
            if klds[1] >= klds[0] {
                worse.push(format!("{name} {recipe}: {} for {}", klds[1], klds[0]));
            }
        }
    }
    assert!(worse.is_empty(), "{worse:#?}");
}
