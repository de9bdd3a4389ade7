//! Divergence against `llama-perplexity --kl-divergence` of the engine's own sources: the same files, text, windows.
//! Knows the evaluator's passes; their tool keeps whole distributions where ours keeps the likeliest and a sample.

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

    /// Runs llama-perplexity; returns all it said.
    fn theirs(&self, model: &str, options: &[&str]) -> String {
        let logits = self.folder.path().join("theirs.logits");
        run(Command::new(oracle("build/bin/llama-perplexity"))
            .arg("-m")
            .arg(self.file(model))
            .args(["-c", "256", "-t", "1", "--kl-divergence-base"])
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

/// Both figures and by which share ours differs; the last number is the most that will do.
fn rows(ours: &Figures, said: &str) -> [(&'static str, f64, f64, f64); 7] {
    [
        ("KLD mean", ours.kld.mean, stated(said, "Mean    KLD"), 0.02),
        ("KLD median", ours.kld_median, stated(said, "Median  KLD"), 0.02),
        ("KLD 99 %", ours.kld_p99, stated(said, "99.0%   KLD"), 0.02),
        ("KLD 99.9 %", ours.kld_p999, stated(said, "99.9%   KLD"), 0.02),
        ("PPL", ours.ppl.mean, stated(said, "Mean PPL(Q)"), 0.001),
        ("PPL ratio", ours.ppl_ratio.mean, stated(said, "Mean PPL(Q)/PPL(base)"), 0.001),
        ("same top-1", ours.same_top.mean, stated(said, "Same top p") / 100.0, 0.005),
    ]
}

#[test]
fn figures_are_those_of_llama_perplexity() {
    let bench = Bench::new();
    let text = shared("data/text/pajama_eval.txt");
    let model = load(&bench.file("BF16"));
    let tokens = Vocabulary::encode(model.tokenizer(), &std::fs::read_to_string(&text).unwrap(), false).unwrap();
    let pass = Pass::cut(&Text { name: "eval".into(), tokens }, CONTEXT, Some(WINDOWS), None).unwrap();
    let chunks = WINDOWS.to_string();
    bench.theirs("BF16", &["-f", text.to_str().unwrap(), "--chunks", &chunks]);
    let (mut store, computing, cancel) = (Vec::new(), Computing { n_threads: 1 }, CancelToken::new());
    let mut watch = |_: evaluator::Progress<'_>| ControlFlow::Continue(());
    let of = ("BF16", "");
    let engine_model = model.engine_model();
    let keep = Keep::default();
    let header = collect(engine_model, of, &[pass], keep, &computing, &mut store, &cancel, &mut watch).unwrap();
    let theirs = std::fs::metadata(bench.folder.path().join("theirs.logits")).unwrap().len();
    println!("reference logits: ours {} bytes, theirs {theirs}", store.len());
    let mut unequal = Vec::new();
    for name in TYPES {
        bench.quantize(name);
        let said = bench.theirs(name, &["--kl-divergence"]);
        let model = load(&bench.file(name));
        let mut reader = Reader::open(store.as_slice()).unwrap();
        let samples =
            compare(model.engine_model(), &mut reader, &computing, name, &cancel, &mut watch).unwrap();
        for (what, ours, theirs, most) in rows(&overall(&header, &samples).unwrap(), &said) {
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
