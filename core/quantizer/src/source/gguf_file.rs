//! A GGUF file as a [`TensorSource`]. Knows the container and the engine's de-quantizers.

use super::rows::{Float, first_not_finite};
use super::{SourceTensor, TensorSource};
use crate::{Error, Result};
use bundle::mapped_file::MappedFile;
use engine::gguf::quantize::dequantize_rows;
use formats::gguf::{GgmlType, Header, Metadata};
use std::path::Path;

/// An opened GGUF file.
pub struct GgufSource {
    file: MappedFile,
    header: Header,
    tensors: Vec<SourceTensor>,
}

impl GgufSource {
    /// Opens and checks the file at `path`.
    ///
    /// # Errors
    /// A file that cannot be read or is no valid GGUF file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = MappedFile::open(path)?;
        let header = Header::read(&file[..], file.len() as u64)
            .map_err(|source| Error::Gguf { path: path.into(), source })?;
        if header.metadata.u64("split.count").is_some_and(|count| count > 1) {
            return Err(Error::checkpoint(path, "is one part of a split file: merge the parts first"));
        }
        let tensors = header.tensors.iter().map(|tensor| SourceTensor {
            name: tensor.name.clone(),
            dims: tensor.dims.clone(),
            ty: tensor.ty,
            source_bytes: tensor.bytes,
        });
        Ok(Self { tensors: tensors.collect(), file, header })
    }

    fn bytes(&self, index: usize) -> &[u8] {
        let tensor = &self.header.tensors[index];
        let start = (self.header.data_offset + tensor.offset) as usize;
        &self.file[start..start + tensor.bytes as usize]
    }
}

impl TensorSource for GgufSource {
    fn path(&self) -> &Path {
        self.file.path()
    }

    fn metadata(&self) -> &Metadata {
        &self.header.metadata
    }

    fn tensors(&self) -> &[SourceTensor] {
        &self.tensors
    }

    fn read_rows(&self, index: usize, first_row: u64, out: &mut [f32]) -> Result<()> {
        let tensor = &self.header.tensors[index];
        let refuse = |problem: String| Error::Tensor {
            path: self.path().into(),
            tensor: tensor.name.clone(),
            problem,
        };
        let width = tensor.dims[0];
        let row_bytes = tensor.ty.row_bytes(width).expect("the header reader checked the row") as usize;
        let start = first_row as usize * row_bytes;
        let bytes = &self.bytes(index)[start..start + out.len() / width as usize * row_bytes];
        match tensor.ty {
            GgmlType::F32 => Float::F32.widen(bytes, out),
            GgmlType::F16 => Float::F16.widen(bytes, out),
            GgmlType::BF16 => Float::Bf16.widen(bytes, out),
            ty => dequantize_rows(ty, bytes, out)
                .map_err(|source| Error::Engine { tensor: tensor.name.clone(), source })?,
        }
        match first_not_finite(out) {
            None => Ok(()),
            Some(at) => {
                let (row, column) = (first_row + at as u64 / width, at as u64 % width);
                Err(refuse(format!("row {row}, column {column}: expected a finite number, got {}", out[at])))
            }
        }
    }

    fn is_stored(&self, _index: usize) -> bool {
        true
    }

    fn copy_rows(&self, index: usize, first_row: u64, out: &mut [u8]) {
        let tensor = &self.header.tensors[index];
        let row_bytes =
            tensor.ty.row_bytes(tensor.dims[0]).expect("the header reader checked the row") as usize;
        let start = first_row as usize * row_bytes;
        out.copy_from_slice(&self.bytes(index)[start..start + out.len()]);
    }

    fn precision(&self) -> String {
        let largest = self.tensors.iter().max_by_key(|tensor| tensor.source_bytes);
        largest.map_or_else(|| "F32".into(), |tensor| tensor.ty.name().into())
    }
}
