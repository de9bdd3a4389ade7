//! The files of weights in a directory: which tensor lies in which, by their headers alone.
//! Owns finding them; must not know what a tensor does.

use crate::Error;
use formats::safetensors::{Dtype, Header, Index, MAX_INDEX_BYTES};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};

const WHOLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// A tensor as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    /// Number of its file.
    pub(crate) file: usize,
    /// Slowest dimension first.
    pub(crate) shape: Vec<u64>,
    pub(crate) dtype: Dtype,
    pub(crate) bytes: u64,
}

/// All of a directory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) tensors: BTreeMap<String, Stored>,
}

impl Files {
    /// Those of `folder`: one file, or shards with their index.
    ///
    /// # Errors
    /// Files that are missing or broken, a tensor that is in two of them or not where the index has it.
    pub(crate) fn of(folder: &Path) -> Result<Self, Error> {
        let index_path = folder.join(INDEX);
        let (names, placed) = match index_path.is_file() {
            false => (BTreeSet::from([WHOLE.to_string()]), None),
            true => {
                let index = Index::parse(&read(&index_path, MAX_INDEX_BYTES)?)
                    .map_err(|error| Error::invalid(&index_path, error.to_string()))?;
                (index.weight_map.values().cloned().collect(), Some(index.weight_map))
            }
        };
        let mut files = Self::default();
        for name in names {
            let path = folder.join(&name);
            let io = |source| Error::Read { path: path.clone(), source };
            let file = File::open(&path).map_err(io)?;
            let bytes = file.metadata().map_err(io)?.len();
            let header = Header::read(BufReader::new(file), bytes)
                .map_err(|error| Error::invalid(&path, error.to_string()))?;
            for tensor in header.tensors {
                let place = placed.as_ref().map(|placed| placed.get(&tensor.name));
                if place.is_some_and(|place| place != Some(&name)) {
                    let reason =
                        format!("tensor `{}`: the index has it elsewhere or not at all", tensor.name);
                    return Err(Error::invalid(&path, reason));
                }
                let bytes = tensor.range.end - tensor.range.start;
                let stored =
                    Stored { file: files.paths.len(), shape: tensor.shape, dtype: tensor.dtype, bytes };
                files.tensors.insert(tensor.name, stored);
            }
            files.paths.push(path);
        }
        let missing = placed.iter().flatten().find(|(tensor, _)| !files.tensors.contains_key(*tensor));
        if let Some((tensor, file)) = missing {
            return Err(Error::invalid(
                &folder.join(file),
                format!("expected tensor `{tensor}`, found none"),
            ));
        }
        Ok(files)
    }
}

/// The bytes of a file of at most `limit` bytes.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, Error> {
    let io = |source| Error::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(limit + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(Error::invalid(path, format!("expected at most {limit} bytes, got more")));
    }
    Ok(bytes)
}
