//! Values of a checkpoint's tensors where they lie: runs of a view over mapped shards, widened to 32-bit floats.
//! Knows element types and views; must not know names' meaning.

use super::rows::{Float, first_not_finite};
use crate::{Error, Result};
use bundle::mapped_file::MappedFile;
use families::{Run, ValueChange, View};
use formats::safetensors::TensorInfo;
use std::ops::Range;

/// One tensor of a shard.
#[derive(Debug, Clone)]
pub(super) struct StoredTensor {
    /// Number of the shard.
    pub(super) shard: usize,
    /// Its bytes in the shard.
    pub(super) range: Range<u64>,
    pub(super) float: Float,
    pub(super) name: String,
    /// Slowest dimension first.
    pub(super) shape: Vec<u64>,
}

impl StoredTensor {
    /// # Errors
    /// A type that is not read, or a dimension of 0.
    pub(super) fn new(shard: usize, file: &MappedFile, info: TensorInfo) -> Result<Self> {
        let refuse =
            |problem: String| Error::Tensor { path: file.path().into(), tensor: info.name.clone(), problem };
        let float = Float::of(info.dtype)
            .ok_or_else(|| refuse(format!("dtype: expected F32, F16 or BF16, got {}", info.dtype.name())))?;
        if info.shape.contains(&0) {
            return Err(refuse(format!("shape: expected extents above 0, got {:?}", info.shape)));
        }
        Ok(Self { shard, range: info.range, float, name: info.name, shape: info.shape })
    }
}

/// Parts of stored tensors behind each other.
#[derive(Debug)]
pub(super) struct Pieces {
    /// Each with the place of its first element.
    pieces: Vec<(u64, StoredTensor, View)>,
    value: ValueChange,
}

impl Pieces {
    pub(super) fn new(parts: impl IntoIterator<Item = (StoredTensor, View)>, value: ValueChange) -> Self {
        let mut start = 0;
        let pieces = parts.into_iter().map(|(tensor, view)| {
            let first = start;
            start += view.n_elements();
            (first, tensor, view)
        });
        Self { pieces: pieces.collect(), value }
    }

    /// Bytes that the parts take where they lie.
    pub(super) fn stored_bytes(&self) -> u64 {
        let bytes =
            |(_, tensor, view): &(u64, StoredTensor, View)| view.n_elements() * tensor.float.bytes() as u64;
        self.pieces.iter().map(bytes).sum()
    }

    /// Fills `out` with the elements from `first` on.
    ///
    /// # Errors
    /// An element that is not a finite number, by tensor and place.
    pub(super) fn read(&self, shards: &[MappedFile], first: u64, out: &mut [f32]) -> Result<()> {
        let mut at = self.pieces.partition_point(|(start, ..)| *start <= first) - 1;
        let mut done = 0usize;
        while done < out.len() {
            let (start, tensor, view) = &self.pieces[at];
            let from = first + done as u64 - start;
            let len = (view.n_elements() - from).min((out.len() - done) as u64);
            let shard = &shards[tensor.shard];
            let part = &mut out[done..done + len as usize];
            tensor.read(shard, view, from, part);
            self.value.apply(part);
            if let Some(place) = first_not_finite(part) {
                return Err(tensor.not_finite(shard, view, from + place as u64, part[place]));
            }
            done += len as usize;
            at += 1;
        }
        Ok(())
    }
}

impl StoredTensor {
    /// Fills `out` with the elements of `view` from `first` on.
    fn read(&self, shard: &MappedFile, view: &View, first: u64, out: &mut [f32]) {
        let bytes = &shard[self.range.start as usize..self.range.end as usize];
        let width = self.float.bytes();
        let mut rest = out;
        view.each_run(first..first + rest.len() as u64, |Run { start, stride, len }| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(len as usize);
            let element = |index: u64| (start + index * stride) as usize * width;
            if stride == 1 {
                self.float.widen(&bytes[element(0)..element(len)], now);
            } else {
                for (index, value) in (0..len).zip(now.iter_mut()) {
                    let at = element(index);
                    self.float.widen(&bytes[at..at + width], std::slice::from_mut(value));
                }
            }
            rest = later;
        });
    }

    fn not_finite(&self, shard: &MappedFile, view: &View, place: u64, got: f32) -> Error {
        let mut element = 0;
        view.each_run(place..place + 1, |run| element = run.start);
        let columns = self.shape.last().copied().unwrap_or(1).max(1);
        let (row, column) = (element / columns, element % columns);
        let problem = format!("row {row}, column {column}: expected a finite number, got {got}");
        Error::Tensor { path: shard.path().into(), tensor: self.name.clone(), problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::safetensors::Dtype;

    /// A shard of 2 × 6 numbers 0 … 11 at byte 4, then one infinity.
    fn shard(directory: &std::path::Path) -> MappedFile {
        let values = (0..12).map(|n| n as f32).chain([f32::INFINITY]);
        let bytes: Vec<u8> = [0u8; 4].into_iter().chain(values.flat_map(f32::to_le_bytes)).collect();
        let path = directory.join("shard");
        std::fs::write(&path, bytes).expect("written");
        MappedFile::open(&path).expect("mapped")
    }

    fn tensor(file: &MappedFile, shape: &[u64]) -> StoredTensor {
        let bytes = shape.iter().product::<u64>() * 4;
        let (name, shape, range) = ("t".into(), shape.to_vec(), 4..4 + bytes);
        StoredTensor::new(0, file, TensorInfo { name, dtype: Dtype::F32, shape, range }).expect("a float")
    }

    #[test]
    fn parts_follow_each_other_and_may_be_cut_anywhere() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let shards = [shard(directory.path())];
        let whole = || (tensor(&shards[0], &[2, 6]), View::whole(12));
        let pieces = Pieces::new([whole(), whole()], ValueChange::AddOne);
        assert_eq!(pieces.stored_bytes(), 96);
        let expected: Vec<f32> = (0..24).map(|n| (n % 12) as f32 + 1.0).collect();
        for (first, len) in [(0, 24), (0, 5), (5, 12), (11, 2), (12, 12), (23, 1)] {
            let mut out = vec![0.0; len];
            pieces.read(&shards, first as u64, &mut out).expect("finite");
            assert_eq!(out, expected[first..first + len]);
        }
    }

    #[test]
    fn what_is_not_finite_is_named_with_its_place() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let shards = [shard(directory.path())];
        let pieces = Pieces::new([(tensor(&shards[0], &[13, 1]), View::whole(13))], ValueChange::None);
        let error = pieces.read(&shards, 4, &mut [0.0; 9]).expect_err("infinite").to_string();
        assert!(error.contains("`t`") && error.contains("row 12, column 0"), "{error}");
        let log = Pieces::new([(tensor(&shards[0], &[2, 6]), View::whole(12))], ValueChange::NegativeExp);
        log.read(&shards, 0, &mut [0.0; 12]).expect("exp(11) is finite");
    }

    #[test]
    fn other_types_are_refused() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = shard(directory.path());
        let info =
            |dtype, shape: &[u64]| TensorInfo { name: "t".into(), dtype, shape: shape.to_vec(), range: 0..4 };
        let refused = |info| StoredTensor::new(0, &file, info).expect_err("refused").to_string();
        assert!(refused(info(Dtype::I32, &[1])).contains("expected F32, F16 or BF16, got I32"));
        assert!(refused(info(Dtype::F32, &[0, 4])).contains("extents above 0"));
    }
}
