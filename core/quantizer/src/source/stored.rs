//! Values of a checkpoint's tensors where they lie: runs of a view over mapped shards, as 32-bit floats or as blocks.
//! Knows encodings and views; must not know names' meaning.

use super::adapter::LowRank;
use super::coded::{Block, Coded, Part};
use super::rows::{Float, first_not_finite};
use crate::{Error, Result};
use bundle::mapped_file::MappedFile;
use families::{Run, ValueChange, View};
use formats::safetensors::TensorInfo;
use std::sync::Arc;

/// One tensor of a checkpoint, whatever it is stored as.
#[derive(Debug, Clone)]
pub(super) struct StoredTensor {
    pub(super) name: String,
    /// Slowest dimension first.
    pub(super) shape: Vec<u64>,
    pub(super) encoding: Encoding,
    /// What adapters add, in turn.
    pub(super) additions: Vec<LowRank>,
}

/// What the numbers are stored as.
#[derive(Debug, Clone)]
pub(super) enum Encoding {
    Plain { part: Part, float: Float },
    Coded(Box<Coded>),
}

impl StoredTensor {
    /// A tensor of plain floats.
    ///
    /// # Errors
    /// A type that is not read, or a dimension of 0.
    pub(super) fn plain(shard: usize, file: &MappedFile, info: TensorInfo) -> Result<Self> {
        let refuse =
            |problem: String| Error::Tensor { path: file.path().into(), tensor: info.name.clone(), problem };
        let float = Float::of(info.dtype)
            .ok_or_else(|| refuse(format!("dtype: expected F32, F16 or BF16, got {}", info.dtype.name())))?;
        if info.shape.contains(&0) {
            return Err(refuse(format!("shape: expected extents above 0, got {:?}", info.shape)));
        }
        let encoding = Encoding::Plain { part: Part { shard, range: info.range }, float };
        Ok(Self { name: info.name, shape: info.shape, encoding, additions: Vec::new() })
    }

    fn part(&self) -> &Part {
        match &self.encoding {
            Encoding::Plain { part, .. } => part,
            Encoding::Coded(coded) => &coded.part,
        }
    }

    /// Bytes that `n_elements` of it take where they lie, scales not counted.
    fn bytes_of(&self, n_elements: u64) -> u64 {
        let all = self.shape.iter().product::<u64>().max(1);
        (u128::from(self.part().len()) * u128::from(n_elements) / u128::from(all)) as u64
    }
}

/// Parts of stored tensors behind each other.
#[derive(Debug)]
pub(super) struct Pieces {
    /// Each with the place of its first element.
    pieces: Vec<(u64, Arc<StoredTensor>, View)>,
    value: ValueChange,
    /// What each piece is multiplied by, one after the other; none where nothing is.
    multiplied: Vec<Vec<f32>>,
    /// The block type that all of it is copied as.
    block: Option<Block>,
}

impl Pieces {
    pub(super) fn new(
        parts: impl IntoIterator<Item = (Arc<StoredTensor>, View)>,
        value: ValueChange,
    ) -> Self {
        let mut start = 0;
        let pieces = parts.into_iter().map(|(tensor, view)| {
            let first = start;
            start += view.n_elements();
            (first, tensor, view)
        });
        Self { pieces: pieces.collect(), value, multiplied: Vec::new(), block: None }
    }

    /// The same, each piece multiplied by its factors.
    pub(super) fn multiplied(mut self, factors: Vec<Vec<f32>>) -> Self {
        if factors.iter().any(|factors| !factors.is_empty()) {
            self.multiplied = factors;
        }
        self
    }

    /// The block type that holds all of it as it is, in rows of `columns`.
    pub(super) fn block(&self, columns: u64) -> Option<Block> {
        let block = match &self.pieces.first()?.1.encoding {
            Encoding::Plain { .. } => return None,
            Encoding::Coded(coded) => coded.block()?,
        };
        let fits = |(_, tensor, view): &(u64, Arc<StoredTensor>, View)| match &tensor.encoding {
            Encoding::Coded(coded) => {
                tensor.additions.is_empty()
                    && coded.block() == Some(block)
                    && view.n_elements().is_multiple_of(columns)
                    && coded.shows_blocks(view, block)
            }
            Encoding::Plain { .. } => false,
        };
        let rows = block.ggml_type().row_bytes(columns).is_some();
        let as_stored = self.value == ValueChange::None && self.multiplied.is_empty();
        (rows && as_stored && self.pieces.iter().all(fits)).then_some(block)
    }

    /// Copies `block` from now on, and reads what it stands for by itself, without the scale of the whole tensor.
    pub(super) fn keep(&mut self, block: Block) {
        self.block = Some(block);
    }

    /// The scale of the whole tensor beside each piece.
    pub(super) fn factors(&self) -> Vec<f32> {
        let factor = |(_, tensor, _): &(u64, Arc<StoredTensor>, View)| match &tensor.encoding {
            Encoding::Plain { .. } => 1.0,
            Encoding::Coded(coded) => coded.factor,
        };
        self.pieces.iter().map(factor).collect()
    }

    /// The name of each piece's tensor.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().map(|(_, tensor, _)| tensor.name.as_str())
    }

    /// Whether the pieces are copied as blocks.
    pub(super) fn is_kept(&self) -> bool {
        self.block.is_some()
    }

    /// Bytes that the parts take where they lie.
    pub(super) fn stored_bytes(&self) -> u64 {
        self.pieces.iter().map(|(_, tensor, view)| tensor.bytes_of(view.n_elements())).sum()
    }

    /// Fills `out` with the elements from `first` on.
    ///
    /// # Errors
    /// An element that is not a finite number, by tensor and place.
    pub(super) fn read(&self, shards: &[MappedFile], first: u64, out: &mut [f32]) -> Result<()> {
        let mut rest = out;
        self.each_piece(first, rest.len() as u64, |at, from, len| {
            let (_, tensor, view) = &self.pieces[at];
            let (part, later) = std::mem::take(&mut rest).split_at_mut(len as usize);
            tensor.read(shards, view, from, self.block.is_none(), part);
            self.value.apply(part);
            for factor in self.multiplied.get(at).into_iter().flatten() {
                match *factor {
                    // Of what is below zero as well.
                    0.0 => part.fill(0.0),
                    factor => part.iter_mut().for_each(|value| *value *= factor),
                }
            }
            rest = later;
            match first_not_finite(part) {
                None => Ok(()),
                Some(place) => Err(tensor.not_finite(shards, view, from + place as u64, part[place])),
            }
        })
    }

    /// Fills `out` with the blocks from element `first` on, where the pieces are kept as blocks.
    pub(super) fn copy(&self, shards: &[MappedFile], first: u64, out: &mut [u8]) {
        let Some(block) = self.block else { return };
        let ty = block.ggml_type();
        let (block_len, block_bytes) = (ty.block_len(), ty.block_bytes());
        let n_elements = out.len() as u64 / block_bytes * block_len;
        let mut rest = out;
        let copied: std::result::Result<(), std::convert::Infallible> =
            self.each_piece(first, n_elements, |at, from, len| {
                let (_, tensor, view) = &self.pieces[at];
                if let Encoding::Coded(coded) = &tensor.encoding {
                    view.each_run(from..from + len, |run| {
                        let bytes = (run.len / block_len * block_bytes) as usize;
                        let (now, later) = std::mem::take(&mut rest).split_at_mut(bytes);
                        coded.copy(shards, run, block, now);
                        rest = later;
                    });
                }
                Ok(())
            });
        copied.expect("copying cannot fail");
    }

    /// Calls `visit` with number, first element and number of elements of the pieces that make up `len` elements from
    /// `first` on.
    fn each_piece<E>(
        &self,
        first: u64,
        len: u64,
        mut visit: impl FnMut(usize, u64, u64) -> std::result::Result<(), E>,
    ) -> std::result::Result<(), E> {
        let mut at = self.pieces.partition_point(|(start, ..)| *start <= first) - 1;
        let mut done = 0;
        while done < len {
            let (start, _, view) = &self.pieces[at];
            let from = first + done - start;
            let n = (view.n_elements() - from).min(len - done);
            visit(at, from, n)?;
            done += n;
            at += 1;
        }
        Ok(())
    }
}

impl StoredTensor {
    /// Fills `out` with the elements of `view` from `first` on; `scaled`: the scale of the whole tensor counts.
    fn read(&self, shards: &[MappedFile], view: &View, first: u64, scaled: bool, out: &mut [f32]) {
        let mut rest = out;
        view.each_run(first..first + rest.len() as u64, |run| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(run.len as usize);
            match &self.encoding {
                Encoding::Plain { part, float } => float.read(part.bytes(shards), run, now),
                Encoding::Coded(coded) => {
                    coded.read(shards, run, if scaled { coded.factor } else { 1.0 }, now);
                }
            }
            self.add(shards, run, now);
            rest = later;
        });
    }

    /// Adds what adapters do to the elements of `run`.
    fn add(&self, shards: &[MappedFile], run: Run, out: &mut [f32]) {
        let columns = self.columns();
        let mut rest = out;
        let mut done = 0;
        while done < run.len && !self.additions.is_empty() {
            let element = run.start + done * run.stride;
            let (row, column) = (element / columns, element % columns);
            let len = if run.stride == 1 { (run.len - done).min(columns - column) } else { 1 };
            let (now, later) = std::mem::take(&mut rest).split_at_mut(len as usize);
            self.additions.iter().for_each(|addition| addition.add(shards, row, column, now));
            (rest, done) = (later, done + len);
        }
    }

    fn columns(&self) -> u64 {
        self.shape.last().copied().unwrap_or(1).max(1)
    }

    fn not_finite(&self, shards: &[MappedFile], view: &View, place: u64, got: f32) -> Error {
        let mut element = 0;
        view.each_run(place..place + 1, |run| element = run.start);
        let (row, column) = (element / self.columns(), element % self.columns());
        if let Some((shard, name)) = self.additions.iter().find_map(|addition| addition.not_finite(shards)) {
            let (path, problem) = (shards[shard].path().into(), "expected finite numbers".into());
            return Error::Tensor { path, tensor: name.into(), problem };
        }
        let problem = format!("row {row}, column {column}: expected a finite number, got {got}");
        let path = shards[self.part().shard].path().into();
        Error::Tensor { path, tensor: self.name.clone(), problem }
    }
}

impl Float {
    /// Fills `out` with the elements of `run`.
    fn read(self, bytes: &[u8], Run { start, stride, len }: Run, out: &mut [f32]) {
        let width = self.bytes();
        let element = |index: u64| (start + index * stride) as usize * width;
        if stride == 1 {
            return self.widen(&bytes[element(0)..element(len)], out);
        }
        for (index, value) in (0..len).zip(out) {
            let at = element(index);
            self.widen(&bytes[at..at + width], std::slice::from_mut(value));
        }
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

    fn tensor(file: &MappedFile, shape: &[u64]) -> Arc<StoredTensor> {
        let bytes = shape.iter().product::<u64>() * 4;
        let (name, shape, range) = ("t".into(), shape.to_vec(), 4..4 + bytes);
        Arc::new(
            StoredTensor::plain(0, file, TensorInfo { name, dtype: Dtype::F32, shape, range })
                .expect("a float"),
        )
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
        let refused = |info| StoredTensor::plain(0, &file, info).expect_err("refused").to_string();
        assert!(refused(info(Dtype::I32, &[1])).contains("expected F32, F16 or BF16, got I32"));
        assert!(refused(info(Dtype::F32, &[0, 4])).contains("extents above 0"));
    }
}
