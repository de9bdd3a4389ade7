//! What the test suites share: where outside tools and data are, running them, comparing GGUF files.
//! Knows paths and the GGUF container; must not hold a test.

mod command;
pub mod intended;
mod outside;
pub mod random_text;
mod tensors;
mod tiny;

pub use command::{command, command_json};
pub use outside::Outside;
pub use tensors::{Stored, Tensors};
pub use tiny::{Reference, tiny_model, tiny_models, tiny_models_called};

use formats::gguf::{GgmlType, Header, Metadata, TensorInfo};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the repository").to_path_buf()
}

/// A folder that comes with the repository, e.g. `models/pajama-7m`.
pub fn committed(path: &str) -> PathBuf {
    repository().join(path)
}

/// Shared data outside the repository (`LLAMA_PAJAMAS_SHARED`).
pub fn shared(path: &str) -> PathBuf {
    let root =
        std::env::var("LLAMA_PAJAMAS_SHARED").expect("LLAMA_PAJAMAS_SHARED: run ./scripts/test --interop");
    let path = Path::new(&root).join(path);
    assert!(path.exists(), "{} is not there", path.display());
    path
}

/// Outside tools (`LLAMA_PAJAMAS_ORACLE`), prepared by `scripts/oracles/prepare`.
pub fn oracle(path: &str) -> PathBuf {
    let root =
        std::env::var("LLAMA_PAJAMAS_ORACLE").expect("LLAMA_PAJAMAS_ORACLE: run ./scripts/test --interop");
    let path = Path::new(&root).join(path);
    assert!(path.exists(), "{} is not there", path.display());
    path
}

/// The library of ONNX Runtime, from the outside tools' Python.
pub fn onnx_library() -> PathBuf {
    let packages = std::fs::read_dir(oracle("venv/lib")).expect("a folder").flatten();
    let folders = packages.map(|python| python.path().join("site-packages/onnxruntime/capi"));
    let files = folders.filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let is_library = |path: &PathBuf| {
        path.file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("libonnxruntime.so"))
    };
    files.map(|file| file.path()).find(is_library).expect("the wheel `onnxruntime` has its library")
}

/// Runs a program to its end; panics with its output when it fails.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}\n{}\n{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// Converts a checkpoint with llama.cpp's own converter; `pre` overrides its pre-tokenizer lookup, which raises on
/// tokenizers it has never seen.
pub fn convert_outside(model: &Path, out_type: &str, pre: &str, out: &Path) {
    convert_all_outside([OutsideConversion { model, out, out_type, pre, part: Part::Model }]);
}

/// One run of llama.cpp's own converter.
pub struct OutsideConversion<'a> {
    /// Checkpoint directory.
    pub model: &'a Path,
    /// The file to write.
    pub out: &'a Path,
    /// `f32`, `f16`, `bf16` or `auto`.
    pub out_type: &'a str,
    /// The pre-tokenizer's name.
    pub pre: &'a str,
    /// What of it.
    pub part: Part,
}

/// A checkpoint's parts that become files of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The model.
    Model,
    /// Its projector.
    Projector,
}

impl Part {
    /// What the converter calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Projector => "mmproj",
        }
    }
}

/// Several conversions in one process, whose start takes longer than a small conversion.
pub fn convert_all_outside<'a>(conversions: impl IntoIterator<Item = OutsideConversion<'a>>) {
    let mut command = Command::new(oracle("venv/bin/python"));
    command.arg(repository().join("scripts/oracles/convert.py")).arg(oracle("src"));
    for conversion in conversions {
        command.arg(conversion.model).arg(conversion.out);
        command.args([conversion.out_type, conversion.pre, conversion.part.name()]);
    }
    run(&mut command);
}

/// A GGUF file in memory.
pub struct GgufFile {
    /// Its header.
    pub header: Header,
    bytes: Vec<u8>,
}

impl GgufFile {
    /// Reads the file at `path`.
    pub fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let header = Header::read(bytes.as_slice(), bytes.len() as u64)
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { header, bytes }
    }

    /// Adds a tensor in front of the one called `before`.
    fn insert_before(&mut self, before: &str, name: &str, dims: Vec<u64>, ty: GgmlType, data: &[u8]) {
        let offset = self.bytes.len() as u64 - self.header.data_offset;
        self.bytes.extend_from_slice(data);
        let at = self.header.tensors.iter().position(|tensor| tensor.name == before).expect("there");
        let info = TensorInfo { name: name.into(), dims, ty, offset, bytes: data.len() as u64 };
        self.header.tensors.insert(at, info);
    }

    /// Puts other data of the same length in the place of a tensor's.
    fn replace(&mut self, name: &str, data: &[u8]) {
        let tensor = self.header.tensor(name).expect("there");
        let start = (self.header.data_offset + tensor.offset) as usize;
        self.bytes[start..start + data.len()].copy_from_slice(data);
    }

    /// Data of the tensor called `name`.
    pub fn data(&self, name: &str) -> Option<&[u8]> {
        let tensor = self.header.tensor(name)?;
        let start = (self.header.data_offset + tensor.offset) as usize;
        Some(&self.bytes[start..start + tensor.bytes as usize])
    }
}

/// What differs between two files, one line each; `intended` keys are passed over.
pub fn differences(ours: &GgufFile, theirs: &GgufFile, intended: &[&str]) -> Vec<String> {
    let mut lines = metadata_differences(&ours.header.metadata, &theirs.header.metadata, intended);
    let names =
        |file: &GgufFile| file.header.tensors.iter().map(|tensor| tensor.name.clone()).collect::<Vec<_>>();
    if names(ours) != names(theirs) {
        lines.push(format!("tensor order: ours {:?}, theirs {:?}", names(ours), names(theirs)));
    }
    for tensor in &theirs.header.tensors {
        match ours.header.tensor(&tensor.name) {
            None => lines.push(format!("tensor {}: missing", tensor.name)),
            Some(own) if (own.ty, &own.dims) != (tensor.ty, &tensor.dims) => {
                lines.push(format!(
                    "tensor {}: ours {} {:?}, theirs {} {:?}",
                    tensor.name, own.ty, own.dims, tensor.ty, tensor.dims
                ));
            }
            Some(_) if is_rounded(&tensor.name) && same_but_last_bit(ours, theirs, &tensor.name) => {}
            Some(_) if ours.data(&tensor.name) != theirs.data(&tensor.name) => {
                lines.push(format!("tensor {}: other bytes", tensor.name));
            }
            Some(_) => {}
        }
    }
    lines
}

/// Decay rates and scales of audio attention are made with exponentials, which libraries round differently.
fn is_rounded(name: &str) -> bool {
    name.ends_with(".ssm_a") || name.ends_with(".per_dim_scale.weight")
}

/// Whether a tensor of 32-bit floats is the same but for the last bit.
fn same_but_last_bit(ours: &GgufFile, theirs: &GgufFile, name: &str) -> bool {
    let bits = |file: &GgufFile| -> Vec<u32> {
        let data = file.data(name).unwrap_or_default();
        data.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect()
    };
    let (ours, theirs) = (bits(ours), bits(theirs));
    ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(a, b)| a.abs_diff(*b) <= 1)
}

fn metadata_differences(ours: &Metadata, theirs: &Metadata, intended: &[&str]) -> Vec<String> {
    let mut lines = Vec::new();
    let short =
        |value: Option<&formats::gguf::Value>| format!("{value:?}").chars().take(120).collect::<String>();
    let keys = theirs.iter().chain(ours.iter()).map(|(key, _)| key);
    for key in keys.collect::<std::collections::BTreeSet<_>>() {
        if !intended.contains(&key) && ours.get(key) != theirs.get(key) {
            lines.push(format!(
                "key {key}: ours {}, theirs {}",
                short(ours.get(key)),
                short(theirs.get(key))
            ));
        }
    }
    lines
}
