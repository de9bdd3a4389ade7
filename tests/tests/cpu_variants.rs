//! All variants of the CPU kernels in one library: every logit of a quantized model is the same in every bit, whichever
//! computes it, and the same for a few tokens together. A process has one variant, so the test starts itself once for each that the
//! processor can run.
//!
//! Knows the engine and the quantizer; must not know how variants are built.

#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "the child answers on standard output")]

mod small;

use llama_pajamas::CancelToken;
use llama_pajamas::engine::gguf::{EngineOptions, GgufEngine};
use llama_pajamas::engine::{ContextSettings, Engine, LoadSettings, Logits, Token};
use small::{PRECISIONS, small_bundle};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

/// Tells a child which variant to use, and the bundle.
const VARIANT: &str = "LLAMA_PAJAMAS_TEST_CPU_VARIANT";
const BUNDLE: &str = "LLAMA_PAJAMAS_TEST_BUNDLE";
const ANSWER: &str = "logits:";
/// Tokens that are read at once, and one by one behind them.
const READ: usize = 37;
const WRITTEN: usize = 12;
/// Tokens behind them that are computed together once more.
const TOGETHER: [usize; 4] = [2, 4, 6, 8];

#[test]
fn all_variants_give_the_same_logits_bit_by_bit() {
    let usable: Vec<_> =
        GgufEngine::cpu_variants().all.into_iter().filter(|variant| variant.usable).collect();
    println!("variants: {}", usable.iter().map(|variant| variant.name).collect::<Vec<_>>().join(", "));
    let work = tempfile::tempdir().unwrap();
    let bundle = work.path().join("bundle");
    small_bundle(&PRECISIONS, &bundle);
    let baseline = child(usable[0].name, &bundle);
    assert_eq!(baseline.len(), PRECISIONS.len());
    for variant in &usable[1..] {
        assert_eq!(child(variant.name, &bundle), baseline, "{} beside {}", variant.name, usable[0].name);
    }
}

/// A line for each precision with a digest of all logits, as `variant` computes them.
fn child(variant: &str, bundle: &Path) -> Vec<String> {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "as_a_child", "--ignored", "--nocapture"])
        .env(VARIANT, variant)
        .env(BUNDLE, bundle)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{variant}: {}: {text}", output.status);
    text.lines().filter_map(|line| Some(line.split_once(ANSWER)?.1.to_owned())).collect()
}

#[test]
#[ignore = "the other half of `all_variants_give_the_same_logits_bit_by_bit`"]
fn as_a_child() {
    let cpu_variant = std::env::var(VARIANT).ok();
    let bundle = std::env::var_os(BUNDLE).expect("the other half sets it");
    let engine = GgufEngine::start(EngineOptions { cpu_variant, log: None }).unwrap();
    for precision in PRECISIONS {
        let path = Path::new(&bundle).join(format!("gguf/{}/model.gguf", precision.name()));
        let model = engine.load(&path, &LoadSettings::default(), &mut |_| ControlFlow::Continue(())).unwrap();
        let settings = ContextSettings {
            n_ctx: 64,
            n_threads: 1,
            n_threads_batch: 1,
            n_outputs_max: READ as u32,
            ..ContextSettings::default()
        };
        let n_vocab = model.n_vocab();
        let mut context = model.new_context(&settings).unwrap();
        let tokens: Vec<Token> = (0..READ + WRITTEN).map(|at| (at * 7919 % n_vocab) as Token).collect();
        let (mut digest, cancel) = (0xcbf2_9ce4_8422_2325_u64, CancelToken::new());
        let mut add = |logits: &[f32]| {
            for logit in logits {
                digest = (digest ^ u64::from(logit.to_bits())).wrapping_mul(0x0000_0100_0000_01b3);
            }
        };
        context.decode(&tokens[..READ], Logits::All, &cancel).unwrap();
        (0..READ).for_each(|row| add(context.logits(row).unwrap()));
        let mut alone = Vec::new();
        for token in &tokens[READ..] {
            context.decode(&[*token], Logits::Last, &cancel).unwrap();
            alone.push(context.logits(0).unwrap().to_vec());
            add(context.logits(0).unwrap());
        }
        for together in TOGETHER {
            context.truncate(READ).unwrap();
            for (call, alone) in tokens[READ..].chunks(together).zip(alone.chunks(together)) {
                context.decode(call, Logits::All, &cancel).unwrap();
                for (row, alone) in alone.iter().enumerate() {
                    assert!(
                        context.logits(row).unwrap() == alone,
                        "{} by {together}, {row}",
                        precision.name()
                    );
                }
            }
        }
        println!("{ANSWER} {} {digest:016x}", precision.name());
    }
}
