//! What tells a model without its weights: a GGUF file's header, or the one that lies beside a graph of ONNX or MLX's weights;
//! and a digest of both.
//! Knows where either lies; must not know what it says.

use crate::{Error, Result};
use bundle::Sha256Digest;
use formats::gguf::Header;
use std::fmt::Write as _;
use std::io::{BufReader, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes of a part that stands for its surroundings.
const PART_BYTES: u64 = 4096;
/// Parts of a file of weights that is no GGUF.
const N_PARTS: u64 = 256;

/// The header of a model's file; of a graph, the header that lies beside its folder, of MLX's weights, the one beside them.
pub(crate) fn read_header(path: &Path) -> Result<Header> {
    let beside = header_beside(path);
    let path = beside.as_deref().unwrap_or(path);
    let (reader, bytes) = open_reader(path)?;
    let header = if beside.is_some() { Header::read_beginning } else { Header::read };
    header(reader, bytes).map_err(|source| Error::Gguf { path: path.into(), source })
}

/// Where the header of what is no GGUF file lies; `None` where `path` is one.
pub(super) fn header_beside(path: &Path) -> Option<PathBuf> {
    let kind = path.extension().and_then(|kind| kind.to_str());
    let folder = match kind {
        Some("onnx") => path.parent().and_then(Path::parent),
        Some("safetensors") => path.parent(),
        _ => return None,
    };
    Some(folder.unwrap_or(Path::new("")).join(bundle::MODEL_HEADER))
}

pub(super) fn open_reader(path: &Path) -> Result<(BufReader<std::fs::File>, u64)> {
    let io = |source| Error::Io { path: path.into(), source };
    let file = std::fs::File::open(path).map_err(io)?;
    let bytes = file.metadata().map_err(io)?.len();
    Ok((BufReader::with_capacity(1 << 16, file), bytes))
}

/// A digest of the model at `path`: its header, and the beginning and the middle of every tensor; of other formats, parts of
/// the file that has weights.
pub(crate) fn digest_of(path: &Path) -> Result<String> {
    let header = read_header(path)?;
    let mut text = String::new();
    for (key, value) in header.metadata.iter() {
        let _ = writeln!(text, "{key} {value:?}"); // a String takes everything
    }
    let _ = write!(text, "{:?}", header.tensors);
    let mut digests = Sha256Digest::of(text.as_bytes()).as_bytes().to_vec();
    let is_other = header_beside(path).is_some();
    let is_graph = path.extension().is_some_and(|kind| kind == "onnx");
    let weights =
        if is_graph { PathBuf::from(format!("{}_data", path.display())) } else { path.to_path_buf() };
    let io = |source| Error::Io { path: weights.clone(), source };
    let mut file = std::fs::File::open(&weights).map_err(io)?;
    let parts: Vec<(u64, u64)> = if is_other {
        let length = file.metadata().map_err(io)?.len();
        (0..N_PARTS).map(|part| (length / N_PARTS * part, length / N_PARTS)).collect()
    } else {
        let tensors = header.tensors.iter().map(|tensor| (header.data_offset + tensor.offset, tensor.bytes));
        tensors.flat_map(|(begin, bytes)| [(begin, bytes), (begin + bytes / 2, bytes - bytes / 2)]).collect()
    };
    let mut bytes = Vec::new();
    for (begin, length) in parts {
        file.seek(SeekFrom::Start(begin)).map_err(io)?;
        bytes.clear();
        (&mut file).take(PART_BYTES.min(length)).read_to_end(&mut bytes).map_err(io)?;
        digests.extend_from_slice(Sha256Digest::of(&bytes).as_bytes());
    }
    Ok(Sha256Digest::of(&digests).to_string())
}
