//! Our conversion against llama.cpp's own converter: every tensor in its order and every metadata key.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use families::OutputType;
use llama_pajamas_tests::{
    GgufFile, OutsideConversion, Part, convert_all_outside, differences, intended, shared, tiny_models,
};
use quantizer::source::{Checkpoint, TensorSource};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

const TYPES: [&str; 4] = ["f32", "f16", "bf16", "auto"];

/// One checkpoint as one type, by us and by them.
struct Pair {
    model: PathBuf,
    out_type: &'static str,
    part: Part,
    ours: PathBuf,
    theirs: PathBuf,
    pre: String,
}

impl Pair {
    /// Converts with our side.
    fn new(checkpoint: &Checkpoint, part: Part, out_type: &'static str, work: &Path, index: usize) -> Self {
        let output = match out_type {
            "f32" => OutputType::F32,
            "f16" => OutputType::F16,
            "bf16" => OutputType::Bf16,
            _ => checkpoint.output_type(),
        };
        let ours = work.join(format!("{index}-ours.gguf"));
        let file = std::io::BufWriter::new(std::fs::File::create(&ours).unwrap());
        let summary =
            quantizer::convert(checkpoint, output, file, 2, &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(summary.file_bytes, std::fs::metadata(&ours).unwrap().len(), "predicted size");
        let pre = checkpoint.metadata().str("tokenizer.ggml.pre").unwrap_or("default").to_string();
        let theirs = work.join(format!("{index}-theirs.gguf"));
        Self { model: checkpoint.path().into(), out_type, part, ours, theirs, pre }
    }

    /// Prints one row of the table and what differs; true when nothing does.
    fn compare(&self) -> bool {
        let (ours, mut theirs) = (GgufFile::read(&self.ours), GgufFile::read(&self.theirs));
        let intended = match self.part {
            Part::Model => intended::apply(&mut theirs, &self.model),
            Part::Projector => intended::apply_to_projector(&mut theirs, &self.model),
        };
        let lines = differences(&ours, &theirs, &[]);
        let equal =
            |kind: &str, all: usize| all - lines.iter().filter(|l| l.starts_with(kind)).count().min(all);
        let (tensors, n_keys) = (theirs.header.tensors.len(), theirs.header.metadata.iter().count());
        println!(
            "{:28} {:6} {:5} {:>3} of {tensors:>3} {:>5} of {n_keys:>2}  {}",
            self.model.file_name().unwrap().to_string_lossy(),
            self.part.name(),
            self.out_type,
            equal("tensor ", tensors),
            equal("key ", n_keys),
            intended.join(", "),
        );
        lines.iter().take(12).for_each(|line| println!("    {line}"));
        lines.is_empty()
    }
}

/// The models at hand and a tiny one per mechanism.
fn models(work: &Path) -> Vec<PathBuf> {
    let mut models: Vec<PathBuf> = ["pajama-7m", "pajama-stories-4m", "pajama-moe-21m", "tinystories-656k"]
        .map(|name| shared("models").join(name))
        .into();
    let only = std::env::var("LLAMA_PAJAMAS_ONLY").unwrap_or_default();
    models.retain(|model| model.to_string_lossy().contains(&only));
    models.extend(tiny_models(work).into_iter().filter(|model| !model.join("unconverted").exists()));
    models.sort();
    models
}

#[test]
fn conversion_equals_the_outside_converter() {
    let work = tempfile::tempdir().unwrap();
    let mut pairs = Vec::new();
    for model in models(work.path()) {
        let whole = Checkpoint::open(&model).unwrap_or_else(|error| panic!("{error}"));
        let projector = Checkpoint::open_projector(&model).unwrap_or_else(|error| panic!("{error}"));
        for (part, checkpoint) in [(Part::Model, Some(whole)), (Part::Projector, projector)] {
            let Some(checkpoint) = checkpoint else { continue };
            for out_type in TYPES {
                pairs.push(Pair::new(&checkpoint, part, out_type, work.path(), pairs.len()));
            }
        }
    }
    convert_all_outside(pairs.iter().map(|pair| OutsideConversion {
        model: &pair.model,
        out: &pair.theirs,
        out_type: pair.out_type,
        pre: &pair.pre,
        part: pair.part,
    }));
    println!(
        "{:28} {:6} {:5} {:>10} {:>11}  intended differences",
        "model", "part", "type", "tensors", "keys"
    );
    let unequal: Vec<String> = pairs
        .iter()
        .filter(|pair| !pair.compare())
        .map(|pair| format!("{} of {} as {}", pair.part.name(), pair.model.display(), pair.out_type))
        .collect();
    println!("{} of {} files are as they should be", pairs.len() - unequal.len(), pairs.len());
    assert!(unequal.is_empty(), "{unequal:#?}");
}
