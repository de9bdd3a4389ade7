//! What reads and does not write, end to end on tiny checkpoints: our conversion in our engine gives transformers'
//! vectors, pools them as the files say, scores like them, and does so quantized.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use engine::gguf::{EngineOptions, GgufEngine};
use engine::{
    CancelToken, Context, ContextSettings, Engine, KvType, LoadSettings, Pooling, Purpose, Vectors,
};
use families::{Form, OutputType, Role, role_of};
use llama_pajamas::{EmbedSettings, PlanRequest, Runtime, RuntimeSettings};
use llama_pajamas_tests::{GgufFile, Reference, oracle, repository, run, tiny_model, tiny_models};
use quantizer::recipe::{FileType, Overrides, Preset, Recipe};
use quantizer::source::{Checkpoint, TensorSource};
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

struct Bench {
    engine: GgufEngine,
    work: tempfile::TempDir,
}

impl Bench {
    fn file(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    fn context(&self, path: &Path, pooling: Option<Pooling>) -> Box<dyn Context> {
        let load = LoadSettings { repack: false, ..LoadSettings::default() };
        let model = self.engine.load(path, &load, &mut |_| ControlFlow::Continue(()));
        let settings = ContextSettings {
            purpose: Purpose::Vectors(pooling),
            n_ctx: 256,
            n_batch: 256,
            n_ubatch: 256,
            n_threads: 1,
            n_threads_batch: 1,
            type_k: KvType::F32,
            type_v: KvType::F32,
            flash_attention: Some(false),
            ..ContextSettings::default()
        };
        model.unwrap_or_else(|e| panic!("{e}")).new_context(&settings).unwrap_or_else(|e| panic!("{e}"))
    }

    fn embed(&self, path: &Path, pooling: Option<Pooling>, tokens: &[engine::Token]) -> Vectors {
        let mut context = self.context(path, pooling);
        // Twice: nothing of a text is left to the next.
        context.embed(&tokens[..tokens.len() / 2], &CancelToken::new()).unwrap();
        context.embed(tokens, &CancelToken::new()).unwrap()
    }

    /// The largest error, how many vectors are nearest to their own, and what is wrong.
    fn check(&self, model: &Path, reference: &Reference) -> (f32, usize, Vec<String>) {
        let checkpoint = Checkpoint::open(model).unwrap_or_else(|e| panic!("{e}"));
        let (converted, mut problems) = (self.file("converted.gguf"), Vec::new());
        let out = BufWriter::new(std::fs::File::create(&converted).unwrap());
        quantizer::convert(&checkpoint, OutputType::F32, out, 2, &mut |_| ControlFlow::Continue(())).unwrap();
        check_description(model, &converted, &mut problems);
        let theirs = &reference.vectors;
        let ours = self.embed(&converted, Some(Pooling::None), &reference.tokens);
        let ours: Vec<&[f32]> = ours.rows().collect();
        let flat = |rows: &[&[f32]]| rows.concat();
        let mut error = relative(&flat(&ours), &theirs.concat());
        let nearest = (0..ours.len()).filter(|&row| nearest(ours[row], theirs) == row).count();
        for (pooling, expected) in [
            (Pooling::Mean, mean(theirs)),
            (Pooling::Cls, theirs[0].clone()),
            (Pooling::Last, theirs[theirs.len() - 1].clone()),
        ] {
            let pooled = self.embed(&converted, Some(pooling), &reference.tokens);
            error = error.max(relative(&pooled.values, &expected));
            let stated = families::detect_gguf(&GgufFile::read(&converted).header).unwrap().pooling;
            if stated.map(|stated| stated.number()) == Some(pooling as u32) {
                println!("    pooled as the file says: {pooling:?}");
                let unasked = self.embed(&converted, None, &reference.tokens);
                error = error.max(relative(&unasked.values, &expected));
            }
        }
        if !reference.scores.is_empty() {
            let scores = self.embed(&converted, Some(Pooling::Rank), &reference.tokens).values;
            println!("    scores {scores:?}, theirs {:?}", reference.scores);
            error = error.max(relative(&scores, &reference.scores));
        }
        for recipe in [FileType::Q4_K_M.into(), FileType::Q2_K.into(), Preset::Balanced.into()] {
            self.check_quantized(&checkpoint, recipe, &reference.tokens, &mut problems);
        }
        if error > reference.max_error || nearest != theirs.len() {
            problems.push(format!("expected an error of at most {:.0e}", reference.max_error));
        }
        (error, nearest, problems)
    }

    fn check_quantized(
        &self,
        checkpoint: &dyn TensorSource,
        recipe: Recipe,
        tokens: &[engine::Token],
        problems: &mut Vec<String>,
    ) {
        let path = self.file("quantized.gguf");
        let job = quantizer::plan_file(checkpoint, recipe, &Overrides::default(), None, true).unwrap();
        let out = BufWriter::new(std::fs::File::create(&path).unwrap());
        quantizer::write_file(&job, checkpoint, out, 2, &mut |_| ControlFlow::Continue(())).unwrap();
        for tensor in &GgufFile::read(&path).header.tensors {
            let role = role_of(&tensor.name);
            let kept = tensor.dims.len() == 1
                || matches!(role, Role::Norm | Role::Router | Role::PositionEmbedding | Role::RelativeBias);
            if kept && tensor.ty.is_quantized() {
                problems.push(format!("{}: {} is stored as {}", recipe.name(), tensor.name, tensor.ty));
            }
        }
        let vectors = self.embed(&path, Some(Pooling::Mean), tokens);
        if !vectors.values.iter().all(|value| value.is_finite()) {
            problems.push(format!("{}: vectors that are not finite", recipe.name()));
        }
    }
}

/// What is read from the file is what is read from the configuration.
fn check_description(model: &Path, converted: &Path, problems: &mut Vec<String>) {
    let config = std::fs::read(model.join("config.json")).unwrap();
    let mut stated = families::detect_config(&serde_json::from_slice(&config).unwrap()).unwrap();
    let mut read = families::detect_gguf(&GgufFile::read(converted).header).unwrap();
    // What the format has no place for, or another file states.
    stated.quantities.remove("unused_positions");
    stated.pooling = read.pooling;
    if stated.form == Form::Decoder && read.pooling == Some(families::Pooling::Rank) {
        // The name of a model tells that it is a reranker, not its configuration.
        (stated.tied_embeddings, stated.parameters) = (read.tied_embeddings, read.parameters);
    }
    read.quantities.retain(|name, _| stated.quantities.contains_key(name));
    read.warnings.clone_from(&stated.warnings);
    read.name.clone_from(&stated.name);
    read.model_type.clone_from(&stated.model_type);
    let (stated, read) = (serde_json::to_value(&stated).unwrap(), serde_json::to_value(&read).unwrap());
    for (field, value) in stated.as_object().unwrap().iter().filter(|(field, value)| read[*field] != **value)
    {
        problems.push(format!("{field}: {value} in config.json, {} in the file", read[field]));
    }
}

/// The largest difference, relative to the largest of theirs.
fn relative(ours: &[f32], theirs: &[f32]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let largest = theirs.iter().fold(0f32, |most, value| most.max(value.abs()));
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max) / largest
}

fn mean(vectors: &[Vec<f32>]) -> Vec<f32> {
    let sum = |at: usize| vectors.iter().map(|vector| f64::from(vector[at])).sum::<f64>();
    (0..vectors[0].len()).map(|at| (sum(at) / vectors.len() as f64) as f32).collect()
}

/// Least cosine of a vector and theirs.
const LEAST_COSINE: f64 = 0.9999;

/// The cosine of two vectors.
fn cosine(ours: &[f32], theirs: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(ours, theirs) / (dot(ours, ours) * dot(theirs, theirs)).sqrt()
}

/// The place of the vector with the greatest cosine.
fn nearest(vector: &[f32], vectors: &[Vec<f32>]) -> usize {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    let cosine = |other: &[f32]| dot(vector, other) / dot(other, other).sqrt();
    let at = (0..vectors.len()).max_by(|&a, &b| cosine(&vectors[a]).total_cmp(&cosine(&vectors[b])));
    at.expect("at least one")
}

#[test]
fn every_reader_gives_the_vectors_of_transformers() {
    let engine = GgufEngine::start(EngineOptions::default()).unwrap();
    let bench = Bench { engine, work: tempfile::tempdir().unwrap() };
    let models = tiny_models(bench.work.path());
    println!("{:28} {:>9} {:>10}", "model", "error", "nearest");
    let mut failed = Vec::new();
    for model in models.iter().filter(|model| model.join("reference.st").is_file()) {
        let reference = Reference::read(&model.join("reference.st"));
        if reference.vectors.is_empty() {
            continue;
        }
        let name = model.file_name().unwrap().to_string_lossy();
        let (error, nearest, problems) = bench.check(model, &reference);
        println!("{name:28} {error:9.1e} {nearest:>4} of {:>3}", reference.vectors.len());
        problems.iter().for_each(|problem| println!("    {problem}"));
        if !problems.is_empty() {
            failed.push(name.into_owned());
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}

/// Texts as people write them, through the runtime.
const TEXTS: [&str; 6] = [
    "How do llamas keep warm?",
    "Llamas have a double coat of wool.",
    "Naïve café — 3.5 % of 12 pajamas!",
    "日本語の文",
    "  spaces   and\ttabs  ",
    "x",
];

#[test]
fn texts_through_the_runtime_are_what_transformers_makes_of_them() {
    let work = tempfile::tempdir().unwrap();
    let texts = work.path().join("texts.json");
    std::fs::write(&texts, serde_json::to_vec(&TEXTS).unwrap()).unwrap();
    for (name, pooling) in [
        ("bert-mean", "mean"),
        ("qwen3-embedding", "last"),
        ("xlm-roberta-cls", "cls"),
        ("xlm-roberta-scores", "rank"),
        ("bert-scores", "rank"),
    ] {
        let model = tiny_model(work.path(), name);
        let (converted, rows) = (work.path().join("converted.gguf"), work.path().join("rows.json"));
        let script = repository().join("scripts/oracles/sentence_vectors.py");
        let mut command = Command::new(oracle("venv/bin/python"));
        run(command.arg(script).arg(&model).arg(pooling).args([&texts, &rows]));
        let theirs: Vec<Vec<f32>> = serde_json::from_slice(&std::fs::read(&rows).unwrap()).unwrap();
        let checkpoint = Checkpoint::open(&model).unwrap_or_else(|e| panic!("{e}"));
        let out = BufWriter::new(std::fs::File::create(&converted).unwrap());
        quantizer::convert(&checkpoint, OutputType::F32, out, 2, &mut |_| ControlFlow::Continue(())).unwrap();
        let runtime = Runtime::open(&converted, RuntimeSettings::default()).unwrap();
        let plan = runtime.plan(&PlanRequest { n_threads: Some(1), ..PlanRequest::default() });
        let cancel = CancelToken::new();
        let loaded = runtime.load(&plan, &mut |_| {}, &cancel).unwrap();
        let settings = EmbedSettings::default();
        let ours: Vec<Vec<f32>> = match pooling {
            "rank" => {
                let mut ranker = loaded.ranker(&settings).unwrap();
                TEXTS.iter().map(|text| ranker.scores(TEXTS[0], text, &cancel).unwrap()).collect()
            }
            _ => {
                let mut embedder = loaded.embedder(&settings).unwrap();
                TEXTS.iter().flat_map(|text| embedder.embed(text, &cancel).unwrap().vectors).collect()
            }
        };
        let error = relative(&ours.concat(), &theirs.concat());
        let cosines = ours.iter().zip(&theirs).map(|(ours, theirs)| cosine(ours, theirs));
        let least = if pooling == "rank" { 1.0 } else { cosines.fold(1.0, f64::min) };
        println!(
            "{name:28} {error:9.1e}, cosine at least {least:.8} over {} texts through the runtime",
            TEXTS.len()
        );
        assert!(error < 1e-3 && least >= LEAST_COSINE, "{name}: {error}, {least}");
    }
}
