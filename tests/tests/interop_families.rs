//! Every family end to end on tiny checkpoints: our conversion in our engine computes what transformers computes, every
//! role is stored as it must be, and a restored state goes on as if nothing had happened.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use engine::gguf::{EngineOptions, GgufEngine};
use engine::{CancelToken, Context, ContextSettings, Engine, KvType, LoadSettings, Logits};
use families::memory::{kv_bytes, state_bytes};
use families::{Description, Mixer, OutputType, Reach, Role, RopeScaling, role_of};
use formats::gguf::GgmlType;
use llama_pajamas_tests::{GgufFile, Reference, tiny_models};
use quantizer::recipe::{FileType, Overrides, Preset, Recipe};
use quantizer::source::{Checkpoint, TensorSource};
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

/// Tokens of a context, a multiple of what the engine rounds to.
const N_CTX: u32 = 256;
/// What files of models without positions state as their longest context.
const NO_LIMIT: u64 = 1 << 20;

struct Bench {
    engine: GgufEngine,
    work: tempfile::TempDir,
}

/// What one checkpoint came to.
struct Row {
    error: f32,
    same_top: usize,
    n_positions: usize,
    problems: Vec<String>,
}

impl Bench {
    fn file(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// A context in which what an encoder reads is read.
    fn context(&self, path: &Path, prompt: &[engine::Token], n_tokens: usize) -> Box<dyn Context> {
        let load = LoadSettings { repack: false, ..LoadSettings::default() };
        let model = self
            .engine
            .load(path, &load, &mut |_| ControlFlow::Continue(()))
            .unwrap_or_else(|e| panic!("{e}"));
        let settings = ContextSettings {
            n_ctx: N_CTX,
            n_batch: N_CTX,
            n_ubatch: N_CTX,
            n_threads: 1,
            n_threads_batch: 1,
            n_outputs_max: n_tokens as u32,
            type_k: KvType::F32,
            type_v: KvType::F32,
            flash_attention: Some(false),
            ..ContextSettings::default()
        };
        let mut context = model.new_context(&settings).unwrap_or_else(|e| panic!("{e}"));
        if !prompt.is_empty() {
            let early = context.decode(&[0], Logits::Last, &CancelToken::new());
            assert!(matches!(early, Err(engine::Error::NothingRead)), "{early:?}");
            context.encode(prompt, &CancelToken::new()).unwrap();
        }
        context
    }

    fn check(&self, model: &Path) -> Row {
        let checkpoint = Checkpoint::open(model).unwrap_or_else(|e| panic!("{e}"));
        let reference = Reference::read(&model.join("reference.st"));
        let mut row =
            Row { error: 0.0, same_top: 0, n_positions: reference.tokens.len(), problems: Vec::new() };
        let converted = self.file("converted.gguf");
        let out = BufWriter::new(std::fs::File::create(&converted).unwrap());
        if (0..checkpoint.tensors().len()).any(|index| checkpoint.is_stored(index)) {
            // Blocks that the checkpoint ships in multiply rounded activations: what they stand for does not.
            let job = plan(&checkpoint, FileType::F32);
            quantizer::write_file(&job, &checkpoint, out, 2, &mut |_| ControlFlow::Continue(())).unwrap();
            row.problems.extend(self.check_blocks(&checkpoint, &reference));
        } else {
            convert(&checkpoint, out);
        }
        let context_bytes;
        (row.error, row.same_top, context_bytes) = self.compare(&converted, &reference);
        self.check_description(model, &converted, context_bytes, &mut row.problems);
        if row.error > reference.max_error || row.same_top != row.n_positions {
            row.problems.push(format!(
                "expected an error of at most {:.0e} and the same top token everywhere",
                reference.max_error
            ));
        }
        self.check_state(&converted, &reference, &mut row.problems);
        for recipe in [FileType::Q4_K_M.into(), FileType::Q2_K.into(), Preset::Balanced.into()] {
            self.check_quantized(&checkpoint, recipe, &reference, &mut row.problems);
        }
        row
    }

    /// What is read from the file is what is read from the configuration, and the context's buffers are as long as both
    /// say.
    fn check_description(
        &self,
        model: &Path,
        converted: &Path,
        context_bytes: u64,
        problems: &mut Vec<String>,
    ) {
        let config = std::fs::read(model.join("config.json")).unwrap();
        let mut stated = families::detect_config(&serde_json::from_slice(&config).unwrap()).unwrap();
        let mut read = families::detect_gguf(&GgufFile::read(converted).header).unwrap();
        // What the format has no place for, or states where configurations do not.
        read.warnings.clone_from(&stated.warnings);
        read.name.clone_from(&stated.name);
        read.model_type.clone_from(&stated.model_type);
        stated.quantities.remove("prediction_layers");
        stated.rope.theta = f64::from(stated.rope.theta as f32);
        for made_by_conversion in ["scale_decoder_outputs", "in_sections"] {
            stated.flags.remove(made_by_conversion);
        }
        read.quantities.retain(|name, _| stated.quantities.contains_key(name));
        read.modalities = stated.modalities;
        if read.layers.iter().any(|layer| layer.predicts) {
            // Whether that layer has an embedding and an output of its own only its tensors say.
            read.parameters = stated.parameters;
        }
        read.factors.clone_from(&stated.factors);
        read.native_quantization.clone_from(&stated.native_quantization);
        if read.max_context == NO_LIMIT {
            read.max_context = stated.max_context;
        }
        if read.rope.scaling == RopeScaling::Stored {
            read.rope.scaling.clone_from(&stated.rope.scaling);
        }
        let (stated, read) = (serde_json::to_value(&stated).unwrap(), serde_json::to_value(&read).unwrap());
        for (field, value) in
            stated.as_object().unwrap().iter().filter(|(field, value)| read[*field] != **value)
        {
            problems.push(format!("{field}: {value} in config.json, {} in the file", read[field]));
        }
        let mut description: Description = serde_json::from_value(stated).unwrap();
        // They read along where they are asked to alone.
        description.layers.retain(|layer| !layer.predicts);
        // The windows are shorter than the engine's smallest cache.
        for layer in description.layers.iter_mut().chain(&mut description.encoder_layers) {
            if let Some(attention) = layer.attention_mut() {
                attention.reach = Reach::Full;
            }
        }
        let cache = kv_bytes(&description, u64::from(N_CTX), GgmlType::F32, GgmlType::F32).unwrap();
        let state = state_bytes(&description);
        let cache = cache + padding_of_values(&description);
        if cache + state != context_bytes {
            problems
                .push(format!("memory: {cache} + {state} bytes expected, {context_bytes} in the context"));
        }
    }

    /// The largest difference of logits relative to the largest logit, and at how many positions the top token is the
    /// same; bytes of the context.
    fn compare(&self, path: &Path, reference: &Reference) -> (f32, usize, u64) {
        let mut context = self.context(path, &reference.prompt, reference.tokens.len());
        context.decode(&reference.tokens, Logits::All, &CancelToken::new()).unwrap();
        let largest = reference.logits.iter().flatten().fold(0f32, |most, logit| most.max(logit.abs()));
        let (mut most, mut same_top) = (0f32, 0);
        for (position, theirs) in reference.logits.iter().enumerate() {
            let ours = context.logits(position).unwrap();
            let error = ours.iter().zip(theirs).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
            most = most.max(error / largest);
            same_top += usize::from(top(ours) == top(theirs));
        }
        (most, same_top, context.memory().context_bytes)
    }

    /// The same with the checkpoint's own blocks, by which the engine multiplies activations of 8 bits.
    fn check_blocks(&self, checkpoint: &Checkpoint, reference: &Reference) -> Option<String> {
        let path = self.file("blocks.gguf");
        convert(checkpoint, BufWriter::new(std::fs::File::create(&path).unwrap()));
        let (error, ..) = self.compare(&path, reference);
        println!("    its own blocks: error {error:.1e}");
        (error > 3e-2).then(|| format!("its own blocks: error {error}"))
    }

    /// The second half of the tokens after the first, straight on and in another context from a snapshot.
    fn check_state(&self, path: &Path, reference: &Reference, problems: &mut Vec<String>) {
        let (cancel, tokens) = (CancelToken::new(), &reference.tokens);
        let (first, second) = tokens.split_at(tokens.len() / 2);
        let mut straight = self.context(path, &reference.prompt, 1);
        straight.decode(first, Logits::None, &cancel).unwrap();
        let state = straight.state().unwrap();
        let mut restored = self.context(path, &reference.prompt, 1);
        restored.restore(&state).unwrap();
        for (position, token) in second.iter().enumerate() {
            for context in [&mut straight, &mut restored] {
                context.decode(&[*token], Logits::Last, &cancel).unwrap();
            }
            if straight.logits(0).unwrap() != restored.logits(0).unwrap() {
                problems.push(format!("state: other logits {position} tokens after restoring"));
                return;
            }
        }
    }

    /// Quantizes, reads the written types and decodes.
    fn check_quantized(
        &self,
        checkpoint: &Checkpoint,
        recipe: Recipe,
        reference: &Reference,
        problems: &mut Vec<String>,
    ) {
        let path = self.file("quantized.gguf");
        let job = plan(checkpoint, recipe);
        let out = BufWriter::new(std::fs::File::create(&path).unwrap());
        quantizer::write_file(&job, checkpoint, out, 2, &mut |_| ControlFlow::Continue(())).unwrap();
        for tensor in &GgufFile::read(&path).header.tensors {
            if is_kept(role_of(&tensor.name), tensor.dims.len()) && tensor.ty.is_quantized() {
                problems.push(format!("{}: {} is stored as {}", recipe.name(), tensor.name, tensor.ty));
            }
        }
        let mut context = self.context(&path, &reference.prompt, 1);
        context.decode(&reference.tokens, Logits::Last, &CancelToken::new()).unwrap();
        if !context.logits(0).unwrap().iter().all(|logit| logit.is_finite()) {
            problems.push(format!("{}: logits that are not finite", recipe.name()));
        }
    }
}

fn convert(checkpoint: &Checkpoint, out: impl std::io::Write) {
    quantizer::convert(checkpoint, OutputType::F32, out, 2, &mut |_| ControlFlow::Continue(())).unwrap();
}

fn plan(checkpoint: &Checkpoint, recipe: impl Into<Recipe>) -> quantizer::Job {
    quantizer::plan_file(checkpoint, recipe, &Overrides::default(), None, true).unwrap()
}

/// Without flash attention the engine caches values of all layers in rows as wide as the widest.
fn padding_of_values(description: &Description) -> u64 {
    let rows = description.layers.iter().filter(|layer| matches!(layer.mixer, Mixer::Attention(_)));
    let rows: Vec<u64> = rows.map(|layer| layer.cache_row().1).filter(|width| *width > 0).collect();
    let widest = rows.iter().copied().max().unwrap_or(0);
    rows.iter().map(|width| (widest - width) * 4 * u64::from(N_CTX)).sum()
}

/// Whether tensors of this role never become blocks.
fn is_kept(role: Role, n_dims: usize) -> bool {
    n_dims == 1
        || matches!(role, Role::Router | Role::Norm | Role::SsmState | Role::Convolution | Role::RelativeBias)
}

fn top(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).expect("a vocabulary")
}

#[test]
fn every_family_computes_what_transformers_computes() {
    let engine = GgufEngine::start(EngineOptions::default()).unwrap();
    let bench = Bench { engine, work: tempfile::tempdir().unwrap() };
    let models = tiny_models(bench.work.path());
    println!("{:28} {:>9} {:>10}", "model", "error", "top token");
    let mut failed = Vec::new();
    let writes = |model: &&PathBuf| {
        let reference = model.join("reference.st");
        reference.is_file() && !Reference::read(&reference).logits.is_empty()
    };
    for model in models.iter().filter(writes) {
        let name = model.file_name().unwrap().to_string_lossy();
        let row = bench.check(model);
        println!("{name:28} {:9.1e} {:>4} of {:>3}", row.error, row.same_top, row.n_positions);
        row.problems.iter().for_each(|problem| println!("    {problem}"));
        if !row.problems.is_empty() {
            failed.push(name.into_owned());
        }
    }
    assert!(failed.is_empty(), "{failed:?}");
}
