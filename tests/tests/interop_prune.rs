//! A model without some of its experts: llama.cpp loads it and reads text with it, and the more experts are gone, the further it
//! is from the whole one.
//! Knows the small model with experts and outside tools; nothing here is the product's.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use formats::gguf::Header;
use llama_pajamas::Tokenizer;
use llama_pajamas_tests::{oracle, run, shared};
use quantizer::source::{Checkpoint, TensorSource};
use quantizer::{BuildRequest, Importance, Judging, build_bundle, prune_experts, pruning_loss};
use std::fs::File;
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::process::Command;

const CONTEXT: usize = 256;

#[test]
fn llama_cpp_reads_with_the_experts_that_are_left() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let model = shared("models/pajama-moe-21m");
    let checkpoint = Checkpoint::open(&model).unwrap();
    let file = BufWriter::new(File::create(path("whole.gguf")).unwrap());
    quantizer::convert(&checkpoint, families::OutputType::F16, file, 2, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    let text = shared("data/text/pajama_calibration.txt");
    run(Command::new(oracle("build/bin/llama-imatrix"))
        .args(["-m".as_ref(), path("whole.gguf").as_os_str(), "-o".as_ref(), path("imatrix").as_os_str()])
        .args(["-f".as_ref(), text.as_os_str()])
        .args(["-c", "256", "--chunks", "16", "-t", "2", "-ngl", "0"]));
    let importance = Importance::read(&path("imatrix")).unwrap();
    let tokenizer = Tokenizer::from_metadata(checkpoint.metadata()).unwrap();
    let held_out = std::fs::read_to_string(shared("data/text/pajama_eval.txt")).unwrap();
    let tokens = tokenizer.encode(&held_out, false).unwrap();
    let windows: Vec<Vec<i32>> = tokens.chunks_exact(CONTEXT).take(8).map(<[i32]>::to_vec).collect();
    let mut before = 0.0;
    for n in [1, 4, 12] {
        let source = Box::new(Checkpoint::open(&model).unwrap());
        let (pruned, pruning) = prune_experts(source, n, Some(&importance), None).unwrap();
        assert!(pruning.layers.iter().all(|layer| layer.removed.len() == n));
        let scratch = path(&format!("scratch-{n}"));
        std::fs::create_dir(&scratch).unwrap();
        let judging =
            Judging { original: &path("whole.gguf"), windows: &windows, scratch: &scratch, threads: 2 };
        let loss = pruning_loss(&pruned, &judging, &mut |_| ControlFlow::Continue(())).unwrap();
        println!(
            "{n} of {} experts gone: KLD {:.4} ± {:.4}",
            pruning.n_experts, loss.kld, loss.standard_error
        );
        assert!(loss.kld > before, "{} after {before}", loss.kld);
        before = loss.kld;
    }

    let request = BuildRequest {
        model,
        model_id: "pruned".into(),
        output: path("bundle"),
        precisions: vec![quantizer::recipe::FileType::Q8_0.into()],
        imatrix: Some(path("imatrix")),
        prune_experts: 4,
        threads: 2,
        ..BuildRequest::default()
    };
    let mut go_on = |_: quantizer::Progress<'_>| ControlFlow::Continue(());
    let report = build_bundle(&request, &mut |_| {}, &mut go_on).unwrap();
    let file = path("bundle").join(&report.variants[0].id).join("model.gguf");
    let length = std::fs::metadata(&file).unwrap().len();
    let header = Header::read(std::io::BufReader::new(File::open(&file).unwrap()), length).unwrap();
    assert_eq!(header.metadata.u64("qwen3moe.expert_count"), Some(12));
    assert_eq!(header.metadata.u64("qwen3moe.expert_used_count"), Some(2));
    assert_eq!(header.tensor("blk.0.ffn_gate_inp.weight").unwrap().dims[1], 12);
    assert_eq!(header.tensor("blk.0.ffn_down_exps.weight").unwrap().dims[2], 12);
    let output = Command::new(oracle("build/bin/llama-perplexity"))
        .args([
            "-m".as_ref(),
            file.as_os_str(),
            "-f".as_ref(),
            shared("data/text/pajama_eval.txt").as_os_str(),
        ])
        .args(["-c", "256", "--chunks", "8", "-t", "2", "-ngl", "0"])
        .output()
        .unwrap();
    let told =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let line = told.lines().find(|line| line.contains("Final estimate: PPL")).expect(&told);
    let perplexity: f64 = line.split(" = ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    println!("llama.cpp's perplexity without 4 of 16 experts: {perplexity}");
    assert!(perplexity.is_finite() && perplexity < 1000.0, "{line}");

    // Beside the whole model it would be taken for it.
    let whole = BuildRequest { prune_experts: 0, output: path("other"), ..request.clone() };
    build_bundle(&whole, &mut |_| {}, &mut go_on).unwrap();
    let beside = BuildRequest { output: path("other"), ..request };
    let refused = build_bundle(&beside, &mut |_| {}, &mut go_on).unwrap_err().to_string();
    assert!(refused.contains("expected a bundle of its own"), "{refused}");
}
