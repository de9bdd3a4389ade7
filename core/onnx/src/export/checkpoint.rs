//! A checkpoint's folder: its configuration, and tensors read one at a time as 32-bit floats. Knows safetensors and paths;
//! must not know what a tensor is for.

use super::table::{Number, Text};
use crate::Error;
use formats::safetensors::{Dtype, Header, Index, TensorInfo};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.json";
const INDEX: &str = "model.safetensors.index.json";
const SINGLE: &str = "model.safetensors";

/// An opened checkpoint.
#[derive(Debug)]
pub(super) struct Checkpoint {
    folder: PathBuf,
    config: Value,
    /// By name: which file, and where in it.
    tensors: BTreeMap<String, (usize, TensorInfo)>,
    files: Vec<PathBuf>,
    optional_prefix: String,
}

impl Checkpoint {
    /// Reads the configuration and the headers.
    ///
    /// # Errors
    /// Files that are missing or broken, by name.
    pub(super) fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(CONFIG);
        let text = std::fs::read(&path).map_err(|error| failed(&path, error))?;
        let config = serde_json::from_slice(&text).map_err(|error| failed(&path, error))?;
        let index = folder.join(INDEX);
        let mut names = vec![SINGLE.to_string()];
        if index.is_file() {
            let text = std::fs::read(&index).map_err(|error| failed(&index, error))?;
            let index = Index::parse(&text).map_err(|error| failed(&index, error))?;
            names = index.weight_map.into_values().collect();
            names.sort();
            names.dedup();
        }
        let mut opened = Self {
            folder: folder.into(),
            config,
            tensors: BTreeMap::new(),
            files: names.iter().map(|name| folder.join(name)).collect(),
            optional_prefix: String::new(),
        };
        for (number, path) in opened.files.iter().enumerate() {
            let file = File::open(path).map_err(|error| failed(path, error))?;
            let bytes = file.metadata().map_err(|error| failed(path, error))?.len();
            let header =
                Header::read(std::io::BufReader::new(file), bytes).map_err(|error| failed(path, error))?;
            opened.tensors.extend(header.tensors.into_iter().map(|info| (info.name.clone(), (number, info))));
        }
        Ok(opened)
    }

    /// Names may lack this at their beginning from now on.
    pub(super) fn allow_without(&mut self, prefix: &str) {
        self.optional_prefix = prefix.into();
    }

    /// The configuration's `model_type`.
    ///
    /// # Errors
    /// None there.
    pub(super) fn model_type(&self) -> Result<&str, Error> {
        self.config
            .get("model_type")
            .and_then(Value::as_str)
            .ok_or_else(|| failed(&self.folder.join(CONFIG), "model_type: expected a text, got none"))
    }

    fn value(&self, part: &str, key: &str) -> Option<&Value> {
        let part = if part.is_empty() { Some(&self.config) } else { self.config.get(part) };
        part?.get(key).filter(|value| !value.is_null())
    }

    fn wrong(&self, part: &str, key: &str, expected: &str, got: &Value) -> Error {
        let field = if part.is_empty() { key.to_string() } else { format!("{part}.{key}") };
        failed(&self.folder.join(CONFIG), format!("{field}: expected {expected}, got {got}"))
    }

    /// A number of a part of the configuration.
    ///
    /// # Errors
    /// Something else than a number.
    pub(super) fn number(&self, part: &str, Number(key, default): &Number) -> Result<f64, Error> {
        let Some(value) = self.value(part, key) else { return Ok(*default) };
        value.as_f64().ok_or_else(|| self.wrong(part, key, "a number", value))
    }

    /// A count: a whole number from 1 up to 2^24.
    ///
    /// # Errors
    /// Something else.
    pub(super) fn count(&self, part: &str, number: &Number) -> Result<i64, Error> {
        let Some(value) = self.value(part, &number.0) else { return Ok(number.1 as i64) };
        let count = value.as_i64().filter(|count| (1..=1 << 24).contains(count));
        count.ok_or_else(|| self.wrong(part, &number.0, "a whole number from 1 to 16777216", value))
    }

    /// A text of a part of the configuration.
    ///
    /// # Errors
    /// Something else than a text.
    pub(super) fn text(&self, part: &str, Text(key, default): &Text) -> Result<String, Error> {
        let Some(value) = self.value(part, key) else { return Ok(default.clone()) };
        let text = value.as_str().ok_or_else(|| self.wrong(part, key, "a text", value))?;
        Ok(text.into())
    }

    /// A tensor, under its name or without the prefix.
    pub(super) fn find(&self, name: &str) -> Option<&TensorInfo> {
        let short = name.strip_prefix(&self.optional_prefix).unwrap_or(name);
        self.tensors.get(name).or_else(|| self.tensors.get(short)).map(|(_, info)| info)
    }

    /// A tensor of this shape.
    ///
    /// # Errors
    /// None, or one of another shape or no floats.
    pub(super) fn need(&self, name: &str, shape: &[i64]) -> Result<&TensorInfo, Error> {
        let wrong = |expected: String, got: String| Error::Value { name: name.into(), expected, got };
        let spelled = format!("a tensor {shape:?} in {}", self.folder.display());
        let info = self.find(name).ok_or_else(|| wrong(spelled.clone(), "none".into()))?;
        let fits = info.shape.len() == shape.len()
            && info.shape.iter().zip(shape).all(|(got, expected)| *got == *expected as u64);
        if !fits {
            return Err(wrong(spelled, format!("{:?}", info.shape)));
        }
        if !matches!(info.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            return Err(wrong("F32, F16 or BF16".into(), info.dtype.name().into()));
        }
        Ok(info)
    }

    /// The numbers of a tensor that [`Self::need`] gave.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(super) fn read(&self, name: &str) -> Result<Vec<f32>, Error> {
        let short = name.strip_prefix(&self.optional_prefix).unwrap_or(name);
        let found = self.tensors.get(name).or_else(|| self.tensors.get(short));
        let (number, info) = found.ok_or_else(|| Error::Value {
            name: name.into(),
            expected: format!("a tensor in {}", self.folder.display()),
            got: "none".into(),
        })?;
        let path = &self.files[*number];
        let mut file = File::open(path).map_err(|error| failed(path, error))?;
        file.seek(SeekFrom::Start(info.range.start)).map_err(|error| failed(path, error))?;
        // The header was held against the file's length.
        let mut bytes = vec![0; (info.range.end - info.range.start) as usize];
        file.read_exact(&mut bytes).map_err(|error| failed(path, error))?;
        Ok(match info.dtype {
            Dtype::F16 => {
                bytes.as_chunks().0.iter().map(|two| half::f16::from_le_bytes(*two).to_f32()).collect()
            }
            Dtype::BF16 => {
                bytes.as_chunks().0.iter().map(|two| half::bf16::from_le_bytes(*two).to_f32()).collect()
            }
            _ => bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four)).collect(),
        })
    }

    /// Files that go along with the graphs, where they are there.
    pub(super) fn companions(&self) -> Vec<PathBuf> {
        let names = COMPANIONS.iter().map(|name| self.folder.join(name));
        names.filter(|path| path.is_file()).collect()
    }
}

/// What users of the graphs read beside them.
const COMPANIONS: [&str; 10] = [
    CONFIG,
    "preprocessor_config.json",
    "processor_config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
];

fn failed(path: &Path, reason: impl std::fmt::Display) -> Error {
    Error::File { path: path.into(), reason: reason.to_string() }
}
