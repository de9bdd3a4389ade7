//! The stock recipe against llama-quantize of the engine's own sources: every tensor's type and bytes, every key.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use llama_pajamas_tests::{GgufFile, differences, oracle, run, shared};
use quantizer::recipe::{FileType, Overrides};
use quantizer::source::{Checkpoint, GgufSource, TensorSource, parse_metadata};
use quantizer::{Importance, Job};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Types that llama.cpp refuses or advises against without an importance matrix get one, on both sides.
const WITH_IMATRIX: [&str; 13] = [
    "IQ4_XS", "Q3_K_M", "Q2_K", "Q2_K_S", "IQ3_XXS", "IQ3_XS", "IQ3_M", "IQ2_XXS", "IQ2_XS", "IQ2_S",
    "IQ2_M", "IQ1_M", "IQ1_S",
];
/// What llama-quantize says when rows do not divide into blocks of 64 or 128 weights, where we write F16.
const NO_FALLBACK: &str = "no tensor type fallback is defined";

/// A model, converted, with an importance matrix, in a folder of its own.
struct Bench {
    model: &'static str,
    checkpoint: Checkpoint,
    importance: Arc<Importance>,
    folder: tempfile::TempDir,
}

/// What llama-quantize made.
enum Outside {
    Made(GgufFile),
    /// It refused, in these words.
    Refused(String),
}

impl Bench {
    fn new(model: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [base, imatrix] = ["base", "imatrix"].map(|name| folder.path().join(format!("{name}.gguf")));
        let checkpoint = Checkpoint::open(&shared(&format!("models/{model}"))).unwrap();
        let file = std::io::BufWriter::new(std::fs::File::create(&base).unwrap());
        let output = families::OutputType::Bf16;
        quantizer::convert(&checkpoint, output, file, 2, &mut |_| ControlFlow::Continue(())).unwrap();
        run(Command::new(oracle("build/bin/llama-imatrix"))
            .args(["-m".as_ref(), base.as_os_str(), "-o".as_ref(), imatrix.as_os_str()])
            .args(["-f".as_ref(), shared("data/text/pajama_calibration.txt").as_os_str()])
            .args(["-c", "256", "--chunks", "40", "-t", "2", "--no-ppl"]));
        let importance = Arc::new(Importance::read(&imatrix).unwrap());
        Self { model, checkpoint, importance, folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.gguf"))
    }

    fn outside(&self, input: &Path, options: &[&str], file_type: &str, with_imatrix: bool) -> Outside {
        let mut command = Command::new(oracle("build/bin/llama-quantize"));
        if with_imatrix {
            command.arg("--imatrix").arg(self.file("imatrix"));
        }
        let theirs = self.file("theirs");
        let output = command.args(options).args([input, &theirs]).args([file_type, "2"]).output().unwrap();
        if output.status.success() {
            return Outside::Made(GgufFile::read(&theirs));
        }
        let log = [output.stdout, output.stderr].concat();
        let log = String::from_utf8_lossy(&log).into_owned();
        let said = log.lines().rfind(|line| line.contains("failed") || line.contains("ERROR"));
        Outside::Refused(said.unwrap_or("nothing").to_string())
    }

    fn write(&self, job: &Job, source: &dyn TensorSource) -> GgufFile {
        let path = self.file("ours");
        let file = std::io::BufWriter::new(std::fs::File::create(&path).unwrap());
        let summary =
            quantizer::write_file(job, source, file, 2, &mut |_| ControlFlow::Continue(())).unwrap();
        let written = std::fs::metadata(&path).unwrap().len();
        assert_eq!(summary.file_bytes, written, "predicted and written size");
        GgufFile::read(&path)
    }

    /// Prints how many tensors and keys are equal; returns what is not.
    fn compare(&self, what: &str, ours: &GgufFile, theirs: &GgufFile) -> Vec<String> {
        let lines = differences(ours, theirs, &[]);
        let (n_tensors, n_keys) = (theirs.header.tensors.len(), theirs.header.metadata.len());
        let model = self.model;
        println!("{model:16} {what:24} {n_tensors:4} tensors {n_keys:3} keys: {} differences", lines.len());
        lines.iter().take(6).for_each(|line| println!("    {line}"));
        lines.into_iter().map(|line| format!("{what}: {line}")).collect()
    }
}

fn check_every_file_type(model: &'static str) {
    let bench = Bench::new(model);
    let gguf = GgufSource::open(&bench.file("base")).unwrap();
    let routes: [(&str, &dyn TensorSource); 2] = [("checkpoint", &bench.checkpoint), ("gguf", &gguf)];
    let (mut unequal, mut refused, mut equal) = (Vec::new(), Vec::new(), 0);
    for &file_type in FileType::ALL {
        let name = file_type.name();
        let with = WITH_IMATRIX.contains(&name);
        let theirs = match bench.outside(&bench.file("base"), &[], name, with) {
            Outside::Made(theirs) => theirs,
            Outside::Refused(said) => {
                println!("{model:16} {name:9} llama-quantize refuses: {said}");
                assert!(said.contains(NO_FALLBACK), "{name}: {said}");
                refused.push(name);
                continue;
            }
        };
        for (route, source) in routes {
            let importance = with.then_some(&bench.importance);
            let job =
                quantizer::plan_file(source, file_type, &Overrides::default(), importance, false).unwrap();
            let lines = bench.compare(&format!("{name} from {route}"), &bench.write(&job, source), &theirs);
            equal += usize::from(lines.is_empty());
            unequal.extend(lines);
        }
    }
    let n_types = FileType::ALL.len();
    println!(
        "{model}: {n_types} file types by 2 routes: {equal} files equal, refused by llama-quantize: {refused:?}"
    );
    assert!(unequal.is_empty(), "{unequal:#?}");
    assert_eq!(equal + 2 * refused.len(), 2 * n_types);
}

#[test]
fn dense_model_is_bit_identical() {
    check_every_file_type("pajama-7m");
}

#[test]
fn mixture_of_experts_is_bit_identical() {
    check_every_file_type("pajama-moe-21m");
}

/// Options of llama-quantize, the same as wishes, and whether the importance matrix is used.
type Wish = (&'static str, &'static [&'static str], fn(&mut Overrides), bool);

#[test]
fn wishes_are_carried_out_alike() {
    use formats::gguf::GgmlType::{F16, IQ4_XS, Q5_K, Q8_0};
    let wishes: [Wish; 8] = [
        ("Q4_K_M", &["--pure"], |wishes| wishes.pure = true, true),
        ("Q2_K_S", &[], |_| {}, true),
        ("IQ4_NL", &[], |_| {}, true),
        ("Q4_0", &[], |_| {}, true),
        ("Q5_0", &["--leave-output-tensor"], |wishes| wishes.leave_output_tensor = true, true),
        ("Q4_K_M", &["--token-embedding-type", "q8_0"], |wishes| wishes.token_embedding = Some(Q8_0), false),
        ("Q3_K_S", &["--output-tensor-type", "q5_K"], |wishes| wishes.output = Some(Q5_K), false),
        (
            "Q4_K_M",
            &[
                "--tensor-type",
                "attn_v=q8_0",
                "--tensor-type",
                "ffn_down=iq4_xs",
                "--tensor-type",
                "blk.1=f16",
            ],
            |wishes| {
                let types = [("attn_v", Q8_0), ("ffn_down", IQ4_XS), ("blk.1", F16)];
                types
                    .iter()
                    .for_each(|(name, ty)| wishes.add_by_name(&format!("{name}={}", ty.name())).unwrap());
            },
            true,
        ),
    ];
    let mut unequal = Vec::new();
    for model in ["pajama-7m", "pajama-moe-21m"] {
        let bench = Bench::new(model);
        let gguf = GgufSource::open(&bench.file("base")).unwrap();
        for (file_type, options, set, with) in &wishes {
            let Outside::Made(theirs) = bench.outside(&bench.file("base"), options, file_type, *with) else {
                panic!("llama-quantize refuses {file_type} with {options:?}");
            };
            let mut overrides = Overrides::default();
            set(&mut overrides);
            let importance = with.then_some(&bench.importance);
            let file_type = FileType::from_name(file_type).unwrap();
            let job = quantizer::plan_file(&gguf, file_type, &overrides, importance, false).unwrap();
            let what = format!("{} {}", file_type.name(), options.join(" "));
            unequal.extend(bench.compare(&what, &bench.write(&job, &gguf), &theirs));
        }
        unequal.extend(requantized_and_copied(&bench));
        unequal.extend(shortened_and_restated(&bench));
    }
    assert!(unequal.is_empty(), "{unequal:#?}");
}

/// A quantized file as the input: quantized again, and copied.
fn requantized_and_copied(bench: &Bench) -> Vec<String> {
    let Outside::Made(_) = bench.outside(&bench.file("base"), &[], "Q8_0", false) else {
        panic!("llama-quantize refuses Q8_0");
    };
    let quantized = bench.file("quantized");
    std::fs::rename(bench.file("theirs"), &quantized).unwrap();
    let source = GgufSource::open(&quantized).unwrap();
    let copy = Overrides { copy: true, ..Overrides::default() };
    let mut lines = Vec::new();
    for (name, options, file_type, overrides) in [
        ("Q4_K_M", &["--allow-requantize"][..], FileType::Q4_K_M, Overrides::default()),
        ("COPY", &[], FileType::Q8_0, copy),
    ] {
        let Outside::Made(theirs) = bench.outside(&quantized, options, name, false) else {
            panic!("llama-quantize refuses {name} of a quantized file");
        };
        let job = quantizer::plan_file(&source, file_type, &overrides, None, true).unwrap();
        lines.extend(bench.compare(&format!("{name} of Q8_0"), &bench.write(&job, &source), &theirs));
    }
    lines
}

/// Layers taken out, and metadata stated anew: llama-quantize's files, tensor for tensor and key for key. Its mixtures
/// count layers that are gone; ours are those of what is left, which is what llama-quantize makes of it in two steps.
fn shortened_and_restated(bench: &Bench) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, options, prune_layers, stated, with, two_steps) in [
        ("Q4_K_M", &["--prune-layers", "1,4"][..], &[1, 4][..], &[][..], false, true),
        ("Q3_K_S", &["--prune-layers", "0"], &[0], &[], false, false),
        (
            "Q5_K_M",
            &["--override-kv", "general.name=str:another", "--override-kv", "some.number=int:7"],
            &[],
            &["general.name=str:another", "some.number=int:7"],
            false,
            false,
        ),
        (
            "Q6_K",
            &[
                "--override-kv",
                "some.share=float:0.25",
                "--override-kv",
                "some.truth=bool:true",
                "--prune-layers",
                "3",
            ],
            &[3],
            &["some.share=float:0.25", "some.truth=bool:true"],
            true,
            false,
        ),
    ] {
        let made =
            |input: &Path, options: &[&str], name: &str| match bench.outside(input, options, name, with) {
                Outside::Made(made) => made,
                Outside::Refused(said) => panic!("llama-quantize refuses {name} with {options:?}: {said}"),
            };
        let theirs = if two_steps {
            made(&bench.file("base"), options, "BF16");
            std::fs::rename(bench.file("theirs"), bench.file("shortened")).unwrap();
            made(&bench.file("shortened"), &[], name)
        } else {
            made(&bench.file("base"), options, name)
        };
        let request = quantizer::BuildRequest {
            model: bench.file("base"),
            model_id: bench.model.into(),
            output: bench.folder.path().join(format!("shortened-{name}")),
            precisions: vec![FileType::from_name(name).unwrap().into()],
            prune_layers: prune_layers.to_vec(),
            metadata: stated.iter().map(|text| parse_metadata(text).unwrap()).collect(),
            imatrix: with.then(|| bench.file("imatrix")),
            threads: 2,
            ..quantizer::BuildRequest::default()
        };
        let report =
            quantizer::build_bundle(&request, &mut |_| {}, &mut |_| ControlFlow::Continue(())).unwrap();
        let ours = request.output.join(&report.variants[0].id).join("model.gguf");
        let what = format!("{name} {}", options.join(" "));
        lines.extend(bench.compare(&what, &GgufFile::read(&ours), &theirs));
    }
    lines
}
