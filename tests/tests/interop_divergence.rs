//! Divergence against `llama-perplexity --kl-divergence` of the engine's own sources: the same files, text, windows.
//! Knows the evaluator's passes; their tool keeps whole distributions where ours keeps the likeliest and a sample.
//!
//! llama-perplexity is compiled with products and sums rounded one by one, as the engine's kernels are: with GCC's own setting,
//! which fuses them, the small divergences of Q8_0 differ by more than the two methods do.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use evaluator::divergence::{Computing, Figures, compare};
use evaluator::reference::{Keep, Reader, collect};
use evaluator::text::{Pass, Text};
use evaluator::{Vocabulary, overall};
use llama_pajamas::{CancelToken, LoadedModel, PlanRequest, Runtime, RuntimeSettings};
use llama_pajamas_tests::{committed, oracle, run, shared};
use quantizer::recipe::{FileType, Overrides};
use quantizer::source::Checkpoint;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;

const CONTEXT: usize = 256;
const WINDOWS: usize = 40;
const TYPES: [&str; 4] = ["Q8_0", "Q4_K_M", "IQ4_XS", "Q2_K"];

struct Bench {
    folder: tempfile::TempDir,
    checkpoint: Checkpoint,
}

impl Bench {
    fn new() -> Self {
        let checkpoint = Checkpoint::open(&committed("models/pajama-7m")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let bench = Self { folder, checkpoint };
        let file = std::io::BufWriter::new(std::fs::File::create(bench.file("BF16")).unwrap());
        let output = families::OutputType::Bf16;
        quantizer::convert(&bench.checkpoint, output, file, 2, &mut |_| ControlFlow::Continue(())).unwrap();
        bench
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.gguf"))
    }

    fn quantize(&self, name: &str) {
        let file_type = FileType::from_name(name).unwrap();
        let job =
            quantizer::plan_file(&self.checkpoint, file_type, &Overrides::default(), None, false).unwrap();
        let file = std::io::BufWriter::new(std::fs::File::create(self.file(name)).unwrap());
        quantizer::write_file(&job, &self.checkpoint, file, 2, &mut |_| ControlFlow::Continue(())).unwrap();
    }

    /// Runs llama-perplexity, with windows cut as the evaluator cuts them: one at a time, in halves. Returns what it said.
    fn theirs(&self, model: &str, options: &[&str]) -> String {
        let logits = self.folder.path().join("theirs.logits");
        run(Command::new(oracle("build-unfused/bin/llama-perplexity"))
            .arg("-m")
            .arg(self.file(model))
            .args(["-c", "256", "-b", "256", "-ub", "128", "-t", "1", "--kl-divergence-base"])
            .arg(&logits)
            .args(options))
    }
}

fn load(path: &Path) -> LoadedModel {
    let runtime = Runtime::open(path, RuntimeSettings::default()).unwrap();
    let request = PlanRequest { context_tokens: Some(CONTEXT as u64), ..PlanRequest::default() };
    runtime.plan_and_load(&request, &mut |_| {}, &CancelToken::new()).unwrap().1
}

/// The number behind `label` in a line of llama-perplexity's.
fn stated(said: &str, label: &str) -> f64 {
    let line = said.lines().find(|line| line.starts_with(label)).unwrap_or_else(|| panic!("{label}: {said}"));
    let number = line[label.len()..].trim_start_matches([' ', ':']).split_whitespace().next().unwrap();
    number.trim_end_matches('%').parse().unwrap()
}

/// Both tools' figures; the last number is the share by which ours may differ.
fn rows(ours: &Figures, said: &str) -> [(&'static str, f64, f64, f64); 7] {
    [
        ("KLD mean", ours.kld.mean, stated(said, "Mean    KLD"), 0.02),
        ("KLD median", ours.kld_median, stated(said, "Median  KLD"), 0.02),
        ("KLD 99 %", ours.kld_p99, stated(said, "99.0%   KLD"), 0.02),
        ("KLD 99.9 %", ours.kld_p999, stated(said, "99.9%   KLD"), 0.02),
        ("PPL", ours.ppl.mean, stated(said, "Mean PPL(Q)"), 0.0002),
        ("PPL ratio", ours.ppl_ratio.mean, stated(said, "Mean PPL(Q)/PPL(base)"), 0.0002),
        ("same top-1", ours.same_top.mean, stated(said, "Same top p") / 100.0, 0.0005),
    ]
}

/// Figures of the compact store and of whole distributions, which differ by the sample and the rounding of the store
/// alone.
fn compact_and_whole(compact: &Figures, whole: &Figures) -> [(&'static str, f64, f64); 5] {
    [
        ("KLD mean", compact.kld.mean, whole.kld.mean),
        ("KLD median", compact.kld_median, whole.kld_median),
        ("KLD 99 %", compact.kld_p99, whole.kld_p99),
        ("KLD 99.9 %", compact.kld_p999, whole.kld_p999),
        ("PPL ratio", compact.ppl_ratio.mean, whole.ppl_ratio.mean),
    ]
}

#[test]
fn figures_are_those_of_llama_perplexity() {
    let bench = Bench::new();
    let text = shared("data/text/pajama_eval.txt");
    let model = load(&bench.file("BF16"));
    let tokens =
        Vocabulary::encode(model.tokenizer(), &std::fs::read_to_string(&text).unwrap(), false).unwrap();
    let pass = Pass::cut(&Text { name: "eval".into(), tokens }, CONTEXT, Some(WINDOWS), None).unwrap();
    let chunks = WINDOWS.to_string();
    bench.theirs("BF16", &["-f", text.to_str().unwrap(), "--chunks", &chunks]);
    let (computing, cancel) = (Computing { n_threads: 1 }, CancelToken::new());
    let mut watch = |_: evaluator::Progress<'_>| ControlFlow::Continue(());
    let of = ("BF16", "");
    let passes = [pass];
    let n_vocab = model.engine_model().n_vocab();
    let [compact, whole] = [Keep::default(), Keep { n_top: n_vocab, ..Keep::default() }].map(|keep| {
        let mut store = Vec::new();
        let engine_model = model.engine_model();
        let header =
            collect(engine_model, of, &passes, keep, &computing, &mut store, &cancel, &mut watch).unwrap();
        (header, store)
    });
    let theirs = std::fs::metadata(bench.folder.path().join("theirs.logits")).unwrap().len();
    println!("reference logits: ours {} bytes, theirs {theirs}", compact.1.len());
    let mut unequal = Vec::new();
    for name in TYPES {
        bench.quantize(name);
        let said = bench.theirs(name, &["--kl-divergence"]);
        let model = load(&bench.file(name));
        let [compact, whole] = [&compact, &whole].map(|(header, store)| {
            let mut reader = Reader::open(store.as_slice()).unwrap();
            let engine_model = model.engine_model();
            let compared = compare(engine_model, &mut reader, &computing, name, &cancel, &mut watch).unwrap();
            overall(header, &compared.samples).unwrap()
        });
        for (what, compact, whole) in compact_and_whole(&compact, &whole) {
            println!(
                "{name:8} {what:11} compact {compact:10.6} whole {whole:10.6} {:+.3} %",
                100.0 * (compact / whole - 1.0)
            );
            if (compact / whole - 1.0).abs() > 0.02 {
                unequal.push(format!("{name} {what}: compact {compact}, whole {whole}"));
            }
        }
        for (what, ours, theirs, most) in rows(&compact, &said) {
            let apart = ours / theirs - 1.0;
            println!("{name:8} {what:11} ours {ours:10.6} theirs {theirs:10.6} {:+.3} %", 100.0 * apart);
            // Their figures are printed with six digits behind the point.
            if (ours - theirs).abs() > most * theirs + 1e-6 {
                unequal.push(format!("{name} {what}: ours {ours}, theirs {theirs}"));
            }
        }
    }
    assert!(unequal.is_empty(), "{unequal:#?}");
}
