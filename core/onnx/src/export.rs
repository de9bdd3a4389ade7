//! Vision and speech models as graphs of ONNX, straight from a checkpoint's safetensors: ViT, CLIP, Whisper.
//! Owns the order of the work and where files go. Knows paths that are handed in; must not know operators.

mod activation;
mod attention;
mod checkpoint;
mod graph;
mod network;
mod table;
mod write;

pub use write::Written;

use crate::{DataType, Error};
use checkpoint::Checkpoint;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use table::Architecture;

/// The folder of the graphs, where transformers.js looks.
const FOLDER: &str = "onnx";
/// Versions of ONNX's operators that graphs can be of.
const OPSETS: std::ops::RangeInclusive<i64> = 17..=23;

/// Which floats weights are, and what computes with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Floats {
    /// 32 bits.
    #[default]
    Fp32,
    /// 16 bits; what goes in and comes out keeps 32, but for caches.
    Fp16,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Which floats.
    pub floats: Floats,
    /// Version of ONNX's operators, 17 to 23. From 23 on, attention is one operator; from 20 on, so is gelu.
    pub opset: i64,
    /// Weights of more bytes lie in a file beside the graph.
    pub inline_bytes: u64,
}

impl Default for Request {
    fn default() -> Self {
        Self { floats: Floats::Fp32, opset: 23, inline_bytes: 256 << 20 }
    }
}

/// What was made.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    /// As the configuration calls the model.
    pub model_type: String,
    /// Which floats.
    pub floats: Floats,
    /// Version of the operators.
    pub opset: i64,
    /// The graphs.
    pub graphs: Vec<Written>,
    /// Files that went along, by name.
    pub companions: Vec<String>,
}

/// Writes the graphs of the checkpoint in `model` below `output`/onnx, and what is read beside them into `output`.
/// Files that are there are replaced, when all are made.
///
/// `progress` is told the bytes of weights that are done, of how many, and may end the work.
///
/// # Errors
/// A model that is not known; a configuration or a tensor that does not fit it; what the system says; [`Error::Cancelled`].
pub fn export(
    model: &Path,
    output: &Path,
    request: &Request,
    progress: &mut dyn FnMut(u64, u64) -> ControlFlow<()>,
) -> Result<Report, Error> {
    if !OPSETS.contains(&request.opset) {
        return Err(Error::Setting {
            field: "opset",
            expected: format!("{} to {}", OPSETS.start(), OPSETS.end()),
            got: request.opset.to_string(),
        });
    }
    let mut checkpoint = Checkpoint::open(model)?;
    let model_type = checkpoint.model_type()?.to_string();
    let architecture = Architecture::of(&model_type)?;
    checkpoint.allow_without(&architecture.optional_prefix);
    let (float, ending) = match request.floats {
        Floats::Fp32 => (DataType::Float, ""),
        Floats::Fp16 => (DataType::Float16, "_fp16"),
    };
    let mut graphs = Vec::new();
    for row in &architecture.graphs {
        let graph = network::build(row, &checkpoint, float, request.opset)?;
        graphs.push((format!("{}{ending}.onnx", row.file), graph));
    }
    let total = graphs.iter().map(|(_, graph)| write::weight_bytes(graph)).sum();
    let mut done = 0;
    let mut advance = |bytes: u64| {
        done += bytes;
        progress(done, total)
    };
    let staged = Staged::new(output)?;
    let mut written = Vec::new();
    for (file, graph) in graphs {
        written.push(write::write(graph, &checkpoint, &staged.0, &file, request, &mut advance)?);
    }
    let companions = staged.publish(output, &checkpoint.companions())?;
    for graph in &mut written {
        graph.file = format!("{FOLDER}/{}", graph.file);
    }
    Ok(Report { model_type, floats: request.floats, opset: request.opset, graphs: written, companions })
}

/// A folder beside the one that files go to when all are made; it goes with whatever is left in it.
struct Staged(PathBuf);

impl Staged {
    fn new(output: &Path) -> Result<Self, Error> {
        let path = output.join(format!(".export.{}.part", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|error| failed(&path, error))?;
        Ok(Self(path))
    }

    fn publish(&self, output: &Path, companions: &[PathBuf]) -> Result<Vec<String>, Error> {
        let folder = output.join(FOLDER);
        std::fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
        let entries = std::fs::read_dir(&self.0).map_err(|error| failed(&self.0, error))?;
        let mut made: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        // What lies beside a graph comes before it.
        made.sort_by_key(|path| path.extension().is_some_and(|kind| kind == "onnx"));
        for path in made {
            let place = folder.join(path.file_name().unwrap_or_default());
            std::fs::rename(&path, &place).map_err(|error| failed(&place, error))?;
        }
        let mut names = Vec::new();
        for path in companions {
            let name = path.file_name().unwrap_or_default();
            let place = output.join(name);
            let text = std::fs::read(path).map_err(|error| failed(path, error))?;
            // A checkpoint may be exported into its own folder.
            if std::fs::read(&place).ok().as_ref() != Some(&text) {
                crate::files::write(&place, &text)?;
            }
            names.push(name.to_string_lossy().into_owned());
        }
        Ok(names)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Nothing can be done about a folder that does not go.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::File { path: path.into(), reason: error.to_string() }
}

#[cfg(test)]
mod tests;
