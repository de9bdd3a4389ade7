//! The stock recipe against llama-quantize of the engine's own sources: every tensor's type and bytes.

use llama_pajamas_tests::{GgufFile, differences, oracle, run, shared};
use quantizer::recipe::{FileType, Overrides};
use quantizer::source::{Checkpoint, GgufSource, TensorSource};
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

/// Types that llama.cpp refuses or advises against without an importance matrix get one, on both sides.
const WITH_IMATRIX: [&str; 13] = [
    "IQ4_XS", "Q3_K_M", "Q2_K", "Q2_K_S", "IQ3_XXS", "IQ3_XS", "IQ3_M", "IQ2_XXS", "IQ2_XS", "IQ2_S",
    "IQ2_M", "IQ1_M", "IQ1_S",
];

fn quantize(source: &dyn TensorSource, file_type: FileType, imatrix: Option<&Path>, out: &Path) {
    let imatrix = imatrix.map(|path| {
        let bytes = std::fs::read(path).unwrap();
        (path.to_string_lossy().into_owned(), formats::imatrix::read(&bytes).unwrap())
    });
    let job =
        quantizer::plan_file(source, file_type, &Overrides::default(), imatrix.as_ref(), false).unwrap();
    let file = std::io::BufWriter::new(std::fs::File::create(out).unwrap());
    let summary = quantizer::write_file(&job, source, file, 2, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(summary.file_bytes, std::fs::metadata(out).unwrap().len(), "predicted and written size");
}

fn check(model: &str) {
    let work = tempfile::tempdir().unwrap();
    let [base, imatrix, ours, theirs] =
        ["base", "imatrix", "ours", "theirs"].map(|n| work.path().join(format!("{n}.gguf")));
    let checkpoint = Checkpoint::open(&shared(&format!("models/{model}"))).unwrap();
    let file = std::io::BufWriter::new(std::fs::File::create(&base).unwrap());
    quantizer::convert(&checkpoint, families::OutputType::Bf16, file, 2, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    run(Command::new(oracle("build/bin/llama-imatrix"))
        .args([
            "-m".as_ref(),
            base.as_os_str(),
            "-f".as_ref(),
            shared("data/text/pajama_calibration.txt").as_os_str(),
        ])
        .args(["-o".as_ref(), imatrix.as_os_str()])
        .args(["-c", "256", "--chunks", "40", "-t", "2", "--no-ppl"]));
    let mut unequal = Vec::new();
    for &file_type in FileType::ALL {
        let name = file_type.name();
        let with = WITH_IMATRIX.contains(&name).then_some(imatrix.as_path());
        let mut command = Command::new(oracle("build/bin/llama-quantize"));
        if let Some(imatrix) = with {
            command.arg("--imatrix").arg(imatrix);
        }
        run(command.args([&base, &theirs]).args([name, "2"]));
        let theirs_file = GgufFile::read(&theirs);
        let gguf = GgufSource::open(&base).unwrap();
        let routes: [(&str, &dyn TensorSource); 2] = [("checkpoint", &checkpoint), ("gguf", &gguf)];
        for (route, source) in routes {
            quantize(source, file_type, with, &ours);
            let ours_file = GgufFile::read(&ours);
            let lines = differences(&ours_file, &theirs_file, &[]);
            let tensors = theirs_file.header.tensors.len();
            let bytes = std::fs::metadata(&ours).unwrap().len();
            println!(
                "{model:16} {name:9} {route:10} {tensors:4} tensors {bytes:9} bytes: {} differences",
                lines.len()
            );
            lines.iter().take(6).for_each(|line| println!("    {line}"));
            if !lines.is_empty() {
                unequal.push((name, route));
            }
        }
    }
    assert!(unequal.is_empty(), "{unequal:?}");
}

#[test]
fn dense_model_is_bit_identical() {
    check("pajama-7m");
}

#[test]
fn mixture_of_experts_is_bit_identical() {
    check("pajama-moe-21m");
}
