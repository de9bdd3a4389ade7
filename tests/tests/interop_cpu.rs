//! One binary on processors of several levels: all CPU variants choose the same tokens, and on an emulated
//! processor without AVX2 the command starts, plans, checks hashes and generates with the variant that fits.
//! Knows the command line, and the engine for how near a choice was; emulation needs qemu's user mode, and is skipped with a printed line without it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests that print what they compare")]

use llama_pajamas::engine::gguf::{EngineOptions, GgufEngine};
use llama_pajamas::engine::{ContextSettings, Engine, LoadSettings, Logits};
use llama_pajamas::{CancelToken, Token, Tokenizer};
use llama_pajamas_tests::{GgufFile, committed, repository, run, shared};
use serde_json::Value;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Emulated processors, from the plainest that x86-64 allows, and the variant that fits each.
const PROCESSORS: [(&str, &str); 3] = [("qemu64", "x64"), ("Nehalem", "x64"), ("Haswell", "haswell")];
const EMULATOR: &str = "qemu-x86_64";
const PRECISIONS: [&str; 2] = ["Q8_0", "Q4_K_M"];
const PROMPT: &str = "Once upon a time";
/// What all variants are compared on.
const MODELS: [&str; 3] = ["pajama-stories-4m", "pajama-7m", "pajama-moe-21m"];
const ALL_PRECISIONS: [&str; 7] = ["BF16", "F16", "Q8_0", "Q5_0", "Q4_1", "Q4_K_M", "IQ4_XS"];
const PROMPTS: [&str; 3] = [PROMPT, "The little dog was", "fn main() {"];

/// The command, on this processor or an emulated one.
struct Cli {
    binary: PathBuf,
    processor: Option<&'static str>,
}

impl Cli {
    /// Builds the command that is tested, beside this test.
    fn build() -> Self {
        run(Command::new(env!("CARGO"))
            .args(["build", "--quiet", "-p", "llama-pajamas-cli"])
            .current_dir(repository()));
        let test = std::env::current_exe().unwrap();
        let folder = test.parent().and_then(Path::parent).unwrap();
        Self { binary: folder.join("llama-pajamas"), processor: None }
    }

    fn on(&self, processor: &'static str) -> Self {
        Self { binary: self.binary.clone(), processor: Some(processor) }
    }

    fn json(&self, args: &[&str]) -> Value {
        let mut command = match self.processor {
            None => Command::new(&self.binary),
            Some(processor) => {
                let mut command = Command::new(EMULATOR);
                command.args(["-cpu", processor]).arg(&self.binary);
                command
            }
        };
        serde_json::from_str(&run(command.arg("--json").args(args))).unwrap()
    }

    /// Greedy tokens of `precision`, with the best variant or a forced one.
    fn tokens(&self, bundle: &str, precision: &str, prompt: &str, variant: Option<&str>) -> Vec<Token> {
        let id = format!("gguf/{precision}");
        let mut args = vec!["run", bundle, "--variant", &id, "--prompt", prompt];
        args.extend(["--temperature", "0", "--max-tokens", "32", "--threads", "2", "--context", "128"]);
        args.extend(variant.iter().flat_map(|variant| ["--cpu-variant", variant]));
        let answer = self.json(&args);
        let tokens: Vec<Token> = serde_json::from_value(answer["tokens"].clone()).unwrap();
        assert!(tokens.len() > 8, "{answer}");
        tokens
    }

    fn best_variant(&self) -> String {
        self.json(&["hardware"])["cpu_variants"]["best"].as_str().unwrap().to_owned()
    }
}

fn make_bundle(cli: &Cli, checkpoint: &Path, precisions: &[&str], folder: &Path) -> String {
    let bundle = folder.join("bundle").display().to_string();
    let checkpoint = checkpoint.display().to_string();
    cli.json(&["quantize", &checkpoint, "--precision", &precisions.join(","), "--output", &bundle]);
    bundle
}

fn prompt_tokens(file: &Path, prompt: &str) -> Vec<Token> {
    Tokenizer::from_metadata(&GgufFile::read(file).header.metadata).unwrap().encode(prompt, true).unwrap()
}

/// By how much the best variant prefers `a` to `b` after `tokens`.
fn preference(file: &Path, tokens: &[Token], a: Token, b: Token) -> f32 {
    let engine = GgufEngine::start(EngineOptions::default()).unwrap();
    let model = engine.load(file, &LoadSettings::default(), &mut |_| ControlFlow::Continue(())).unwrap();
    let mut context =
        model.new_context(&ContextSettings { n_ctx: 128, ..ContextSettings::default() }).unwrap();
    context.decode(tokens, Logits::Last, &CancelToken::new()).unwrap();
    let logits = context.logits(0).unwrap();
    logits[a as usize] - logits[b as usize]
}

/// Variants whose sums have the same terms in the same order, so that no token may differ (`cpu_variants.rs` compares
/// their logits bit by bit).
const ALIKE: [&str; 2] = ["x64", "haswell"];

/// A preference, in logits, that the order of a sum may turn: a last bit can move an activation by 1/127 of its
/// block's largest value.
const NEAR_TIE: f32 = 0.1;

/// Every variant chooses the same tokens. Vectors of 512 bits sum in another order than those of 256: where such a variant
/// parts from the best it is printed, and must have been a near tie over rounded activations.
#[test]
fn every_variant_chooses_the_same_tokens() {
    let cli = Cli::build();
    let hardware = cli.json(&["hardware"]);
    let variants = hardware["cpu_variants"]["all"].as_array().unwrap();
    let usable = variants.iter().filter(|variant| variant["usable"] == true);
    let names: Vec<&str> = usable.map(|variant| variant["name"].as_str().unwrap()).collect();
    let best_name = hardware["cpu_variants"]["best"].as_str().unwrap();
    for model in MODELS {
        let work = tempfile::tempdir().unwrap();
        let bundle = make_bundle(&cli, &shared(&format!("models/{model}")), &ALL_PRECISIONS, work.path());
        let mut equal = 0;
        for precision in ALL_PRECISIONS {
            let file = Path::new(&bundle).join(format!("gguf/{precision}/model.gguf"));
            for prompt in PROMPTS {
                let best = cli.tokens(&bundle, precision, prompt, None);
                for name in &names {
                    let tokens = cli.tokens(&bundle, precision, prompt, Some(name));
                    if tokens == best {
                        equal += 1;
                        continue;
                    }
                    let same = best.iter().zip(&tokens).take_while(|(a, b)| a == b);
                    let at = same.count().min(best.len().min(tokens.len()) - 1);
                    let before = [prompt_tokens(&file, prompt).as_slice(), &best[..at]].concat();
                    let apart = preference(&file, &before, best[at], tokens[at]);
                    println!("{model} {precision} {name}: {at} tokens equal, then logits apart by {apart}");
                    let rounds = !["BF16", "F16"].contains(&precision);
                    let alike = ALIKE.contains(name) && ALIKE.contains(&best_name);
                    assert!(
                        !alike && rounds && apart.abs() < NEAR_TIE,
                        "{model} {precision} {name} {prompt:?}"
                    );
                }
            }
        }
        println!("{model}: {equal} runs of up to 32 tokens equal to the best variant's");
    }
}

#[test]
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
fn processors_without_the_best_instructions_run_the_variant_that_fits() {
    if Command::new(EMULATOR).arg("--version").output().is_err() {
        println!("skipped: no {EMULATOR} (Debian: qemu-user)");
        return;
    }
    let (cli, work) = (Cli::build(), tempfile::tempdir().unwrap());
    let checkpoint = committed("models/pajama-stories-4m");
    let bundle = make_bundle(&cli, &checkpoint, &PRECISIONS, work.path());
    for (processor, fitting) in PROCESSORS {
        let emulated = cli.on(processor);
        assert_eq!(emulated.best_variant(), fitting, "{processor}");
        let verified = emulated.json(&["bundle", "verify", &bundle]);
        let plan = emulated.json(&["plan", &bundle]);
        let chosen = plan["chosen"]["id"].as_str().unwrap_or_else(|| panic!("{plan}"));
        for precision in PRECISIONS {
            let tokens = emulated.tokens(&bundle, precision, PROMPT, None);
            assert_eq!(
                tokens,
                cli.tokens(&bundle, precision, PROMPT, Some(fitting)),
                "{precision} on {processor}"
            );
        }
        println!(
            "{processor:8} picked {fitting}, planned {chosen}, verified {verified}, generated {PRECISIONS:?} equal"
        );
    }
}
