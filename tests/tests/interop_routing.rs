//! Choice of experts: the reference's histogram against transformers' routers on the same tokens, and how the agreement of
//! variants falls with their bits. Knows the evaluator's passes and its store.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use evaluator::Vocabulary;
use evaluator::divergence::{Comparison, Computing, compare};
use evaluator::reference::{Keep, Reader, collect};
use evaluator::text::{Pass, Text};
use llama_pajamas::{CancelToken, LoadedModel, PlanRequest, Runtime, RuntimeSettings};
use llama_pajamas_tests::{oracle, repository, run, shared};
use quantizer::recipe::{FileType, Overrides};
use quantizer::source::Checkpoint;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

const MODEL: &str = "models/pajama-moe-21m";
const CONTEXT: usize = 256;
const WINDOWS: usize = 20;

fn load(path: &Path) -> LoadedModel {
    let runtime = Runtime::open(path, RuntimeSettings::default()).unwrap();
    let request = PlanRequest { context_tokens: Some(CONTEXT as u64), ..PlanRequest::default() };
    runtime.plan_and_load(&request, &mut |_| {}, &CancelToken::new()).unwrap().1
}

fn quantize(checkpoint: &Checkpoint, precision: &str, out: &Path) {
    let file_type = FileType::from_name(precision).unwrap();
    let job = quantizer::plan_file(checkpoint, file_type, &Overrides::default(), None, false).unwrap();
    let file = std::io::BufWriter::new(std::fs::File::create(out).unwrap());
    quantizer::write_file(&job, checkpoint, file, 2, &mut |_| ControlFlow::Continue(())).unwrap();
}

/// How often transformers' routers choose each expert of each layer.
fn theirs(passes: &[Pass], n_used: usize, folder: &Path) -> Vec<Vec<u64>> {
    let windows: Vec<_> = passes.iter().flat_map(|pass| &pass.windows).collect();
    let tokens = folder.join("tokens.json");
    std::fs::write(&tokens, serde_json::to_vec(&windows).unwrap()).unwrap();
    let mut command = Command::new(oracle("venv/bin/python"));
    command.arg(repository().join("scripts/oracles/routers.py")).arg(shared(MODEL)).arg(tokens);
    serde_json::from_str(&run(command.arg(n_used.to_string()))).unwrap()
}

#[test]
fn experts_are_those_of_transformers_and_agreement_falls_with_bits() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint::open(&shared(MODEL)).unwrap();
    let file = |name: &str| folder.path().join(format!("{name}.gguf"));
    quantize(&checkpoint, "BF16", &file("BF16"));
    let model = load(&file("BF16"));
    let text = std::fs::read_to_string(shared("data/text/pajama_eval.txt")).unwrap();
    let tokens = Vocabulary::encode(model.tokenizer(), &text, false).unwrap();
    let passes = [Pass::cut(&Text { name: "eval".into(), tokens }, CONTEXT, Some(WINDOWS), None).unwrap()];
    let (computing, cancel) = (Computing { n_threads: 1 }, CancelToken::new());
    let mut watch = |_: evaluator::Progress<'_>| ControlFlow::Continue(());
    let keep = Keep { routers: true, ..Keep::default() };
    let mut store = Vec::new();
    let engine_model = model.engine_model();
    let header =
        collect(engine_model, ("BF16", ""), &passes, keep, &computing, &mut store, &cancel, &mut watch)
            .unwrap();
    assert!(!header.routers.is_empty());
    let mut against = |model: &LoadedModel| -> Comparison {
        let mut reader = Reader::open(store.as_slice()).unwrap();
        compare(model.engine_model(), &mut reader, &computing, "", &cancel, &mut watch).unwrap()
    };

    let floor = against(&model).routing.remove(0);
    assert_eq!((floor.agreement.mean, floor.same_set, floor.usage_correlation), (1.0, 1.0, 1.0));
    let n_used = header.routers[0].n_used;
    let theirs = theirs(&passes, n_used, folder.path());
    assert_eq!(theirs.len(), floor.layers.len());
    for (layer, theirs) in floor.layers.iter().zip(&theirs) {
        let apart: u64 = layer.reference.iter().zip(theirs).map(|(a, b)| a.abs_diff(*b)).sum();
        let all: u64 = theirs.iter().sum();
        let share = apart as f64 / 2.0 / all as f64;
        println!("layer {}: {:.3} % of {all} choices other than transformers'", layer.layer, 100.0 * share);
        assert_eq!(all, floor.n_tokens * n_used as u64);
        assert!(share < 0.005, "layer {}: ours {:?}, theirs {theirs:?}", layer.layer, layer.reference);
    }

    let mut last = 1.0;
    for name in ["Q8_0", "Q4_K_M", "Q2_K"] {
        quantize(&checkpoint, name, &file(name));
        let routing = against(&load(&file(name))).routing.remove(0);
        let mean = routing.agreement;
        println!(
            "{name:8} same experts {:.2} % ± {:.2}, same choices {:.2} %, use r {:.5}; by layer {:?}",
            100.0 * mean.mean,
            100.0 * mean.reach(),
            100.0 * routing.same_set,
            routing.usage_correlation,
            routing.layers.iter().map(|layer| (1e4 * layer.agreement).round() / 1e2).collect::<Vec<_>>()
        );
        assert!(mean.mean < last && routing.same_set < mean.mean, "{name}: {mean:?}");
        last = mean.mean;
    }
    assert!(last > 0.5, "more than chance at Q2_K, {last}");
}
