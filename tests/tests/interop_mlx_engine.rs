//! The MLX engine on this system's processor against mlx-lm: the same tokens from the same directories, and what contexts
//! promise: going back, states, breaking off.
//! Knows tests/mlx, the engine as a program, and scripts/oracles/mlx/side.py; must not know how either computes.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use llama_pajamas_tests::{Outside, oracle, repository, run, shared, tiny_models_called};
use quantizer::mlx::{Grid, Recipe};
use quantizer::{BuildRequest, build_bundle};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The engine, compiled once.
fn engine() -> Outside {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| {
        let script = repository().join("scripts/oracles/mlx/build");
        run(Command::new(script).arg(oracle("mlx"))).trim().into()
    });
    let searched = std::fs::read_to_string(oracle("mlx/mlx-sys/link-search.txt")).unwrap();
    Outside::start(Command::new(program).env("LD_LIBRARY_PATH", searched.trim().replace('\n', ":")))
}

fn mlx_lm() -> Outside {
    let script = repository().join("scripts/oracles/mlx/side.py");
    Outside::start(Command::new(oracle("mlx/venv/bin/python")).arg(script))
}

/// The directory of `grid`, made of `model`.
fn made(model: &Path, grid: Grid, output: &Path) -> PathBuf {
    let recipe = Recipe::Pure(grid);
    let request = BuildRequest {
        model: model.into(),
        model_id: "model".into(),
        output: output.into(),
        mlx: vec![recipe],
        threads: 2,
        ..BuildRequest::default()
    };
    build_bundle(&request, &mut |_| {}, &mut |_| ControlFlow::Continue(()))
        .unwrap_or_else(|error| panic!("{}: {error}", model.display()));
    output.join("mlx").join(recipe.name())
}

const PROMPTS: [&[i32]; 4] = [
    &[5, 6, 7, 8],
    &[11],
    &[100, 200, 300, 17, 25, 44, 7, 7, 9],
    &[31, 17, 25, 44, 100, 7, 7, 9, 200, 31, 17, 25, 44],
];

/// What is asked of mlx-lm, and how many tokens of both.
type Asked = (&'static str, usize);

/// Whether both write the same after every prompt.
fn agree(
    engine: &mut Outside,
    mlx_lm: &mut Outside,
    folder: &Path,
    asked: Asked,
    prompts: &[&[i32]],
) -> bool {
    let unequal = prompts.iter().filter(|prompt| {
        let job = |job: &str| json!({"job": job, "folder": folder, "prompt": prompt, "n": asked.1});
        let ours = engine.job(&job("greedy"));
        let theirs = mlx_lm.job(&job(asked.0));
        let same = ours["tokens"].is_array() && ours["tokens"] == theirs["tokens"];
        if !same {
            println!("    {prompt:?}\n    ours   {ours}\n    theirs {theirs}");
        }
        !same
    });
    let n_unequal = unequal.count();
    println!("{:52} {} of {} prompts", folder.display(), prompts.len() - n_unequal, prompts.len());
    n_unequal == 0
}

const WHOLE: [&str; 2] = ["pajama-7m", "pajama-moe-21m"];

#[test]
fn what_is_written_is_what_mlx_lm_writes() {
    let work = tempfile::tempdir().unwrap();
    let (mut engine, mut mlx_lm) = (engine(), mlx_lm());
    // MLX's products of floats' codes take long on a processor.
    let grids = [
        (Grid::Affine { bits: 4, group: 64 }, 64, 4),
        (Grid::Affine { bits: 3, group: 128 }, 64, 4),
        (Grid::Mxfp4, 16, 1),
        (Grid::Mxfp8, 16, 1),
        (Grid::Nvfp4, 16, 1),
    ];
    let mut unequal = Vec::new();
    for name in WHOLE {
        for (grid, n, n_prompts) in grids {
            let output = work.path().join(format!("{name}-{}", grid.name()));
            let folder = made(&shared("models").join(name), grid, &output);
            if !agree(&mut engine, &mut mlx_lm, &folder, ("generate", n), &PROMPTS[..n_prompts]) {
                unequal.push(folder);
            }
        }
    }
    assert!(unequal.is_empty(), "{unequal:#?}");
}

/// Tiny random checkpoints, with groups that divide their rows.
const TINY: [(&str, u32); 16] = [
    ("llama", 32),
    ("llama-tied-sharded", 32),
    ("llama-bias", 64),
    ("llama-linear", 32),
    ("llama-3-scaled", 32),
    ("llama-yarn", 32),
    ("mistral", 32),
    ("mixtral", 32),
    ("qwen2", 32),
    ("qwen3", 32),
    ("qwen3-untied", 64),
    ("qwen3-moe", 32),
    ("qwen3-moe-tied", 32),
    ("gpt-oss-bf16", 32),
    ("gpt-oss-mxfp4", 32),
    ("gemma3", 32),
];

#[test]
fn logits_of_random_models_choose_the_tokens_of_mlx_lm() {
    let work = tempfile::tempdir().unwrap();
    let names: Vec<&str> = TINY.iter().map(|(name, _)| *name).collect();
    let (mut engine, mut mlx_lm) = (engine(), mlx_lm());
    let mut unequal = Vec::new();
    for (model, (name, group)) in tiny_models_called(work.path(), &names).iter().zip(TINY) {
        let folder =
            made(model, Grid::Affine { bits: 4, group }, &work.path().join(format!("{name}-bundle")));
        // In many more tokens mlx-lm's windows go round: it sums the same in another order, which in 16-bit floats is another
        // sum, and between two tokens of a random model another choice.
        if !agree(&mut engine, &mut mlx_lm, &folder, ("greedy", 32), &PROMPTS[1..]) {
            unequal.push(name);
        }
    }
    assert!(unequal.is_empty(), "{unequal:#?}");
}

#[test]
fn contexts_go_back_and_go_on() {
    let work = tempfile::tempdir().unwrap();
    let tiny = tiny_models_called(work.path(), &["gpt-oss-mxfp4", "gemma3"]);
    let whole = WHOLE.map(|name| shared("models").join(name));
    let mut engine = engine();
    let mut failed = Vec::new();
    for (at, model) in whole.iter().chain(&tiny).enumerate() {
        let group = if at < WHOLE.len() { 64 } else { 32 };
        let folder = made(model, Grid::Affine { bits: 4, group }, &work.path().join(format!("bundle-{at}")));
        let told = engine.job(&json!({"job": "steps", "folder": folder, "prompt": PROMPTS[3], "n": 32}));
        let checks = told["checks"].as_object().unwrap_or_else(|| panic!("{}: {told}", folder.display()));
        println!("{}: {}", model.display(), told["checks"]);
        let slides = at >= WHOLE.len();
        assert_eq!(checks.contains_key("tells that a window moved on"), slides);
        failed.extend(
            checks
                .iter()
                .filter(|(_, holds)| **holds != json!(true))
                .map(|(name, _)| format!("{at}: {name}")),
        );
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn what_cannot_be_computed_is_refused_by_field_or_tensor() {
    let work = tempfile::tempdir().unwrap();
    let folder = made(&shared("models/pajama-7m"), Grid::Affine { bits: 4, group: 64 }, work.path());
    let mut engine = engine();
    let config = folder.join("config.json");
    let whole: Value = serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    let mut refused = |field: &str, value: Value| {
        let mut changed = whole.clone();
        changed[field] = value;
        std::fs::write(&config, changed.to_string()).unwrap();
        let told = engine.job(&json!({"job": "refuse", "folder": folder}));
        told["error"].as_str().unwrap_or_else(|| panic!("{field}: {told}")).to_string()
    };
    for (field, value, expected) in [
        ("model_type", json!("mamba2"), vec!["config.json", "`model_type`", "mamba2"]),
        ("model_type", json!("olmo2"), vec!["config.json", "`model_type`", "qwen3", "got `olmo2`"]),
        ("hidden_size", json!(192), vec!["model.safetensors", "embed_tokens", "192"]),
        ("num_hidden_layers", json!(50), vec!["model.safetensors", "blk.", "found none"]),
        ("quantization", json!({"bits": 4, "group_size": 32}), vec!["model.safetensors", "scales"]),
        ("quantization", json!({"bits": 9}), vec!["config.json", "`quantization.bits`", "9"]),
    ] {
        let error = refused(field, value);
        assert!(expected.iter().all(|part| error.contains(part)), "{field}: {error}");
    }
    std::fs::write(&config, whole.to_string()).unwrap();
    let weights = folder.join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    let told = engine.job(&json!({"job": "refuse", "folder": folder}));
    assert!(told["error"].as_str().is_some_and(|error| error.contains("model.safetensors")), "{told}");
}
