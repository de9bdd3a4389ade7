//! Weights stored as codes of few bits with a scale per group of them: `(code - zero) * scale`.
//! Owns the layouts of scales and zero points and the arithmetic; must not know names.

mod blocks;
mod codes;

pub(super) use blocks::Block;
pub(super) use codes::Codes;

use super::rows::Float;
use bundle::mapped_file::MappedFile;
use families::Run;
use std::ops::Range;

/// Bytes of one stored tensor.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Number of the shard.
    pub(super) shard: usize,
    /// Its bytes in the shard.
    pub(super) range: Range<u64>,
}

impl Part {
    /// The bytes.
    pub(super) fn bytes<'s>(&self, shards: &'s [MappedFile]) -> &'s [u8] {
        &shards[self.shard][self.range.start as usize..self.range.end as usize]
    }

    /// How many they are.
    pub(super) fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// The little-endian word number `index`.
    fn word(&self, shards: &[MappedFile], index: u64) -> u32 {
        let at = index as usize * 4;
        u32::from_le_bytes(self.bytes(shards)[at..at + 4].try_into().expect("four bytes"))
    }
}

/// Matrices of codes with their scales.
#[derive(Debug, Clone)]
pub(super) struct Coded {
    pub(super) codes: Codes,
    pub(super) part: Part,
    /// Rows and columns of each matrix.
    pub(super) shape: [u64; 2],
    /// Whether the tensor is named by its matrices' transposes: its rows are the columns here.
    pub(super) is_transposed: bool,
    pub(super) scales: Scales,
    pub(super) zeros: Zeros,
    /// One more scale, of the whole tensor.
    pub(super) factor: f32,
}

/// A scale per group of codes: number `matrix*m + row/rows*r + group*g` of those stored, where `(m, r, g)` are the
/// strides and a group is so many columns wide, or listed column by column.
#[derive(Debug, Clone)]
pub(super) struct Scales {
    pub(super) kind: ScaleKind,
    pub(super) part: Part,
    /// Rows and columns that share one.
    pub(super) group: [u64; 2],
    /// Of matrices, groups of rows, groups of columns.
    pub(super) strides: [u64; 3],
    /// The group of each column, where they are not in order: 32-bit words.
    pub(super) listed: Option<Part>,
}

/// What a scale is stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ScaleKind {
    Float(Float),
    /// A power of two by its exponent, 127 meaning 1.
    PowerOfTwo,
    /// An 8-bit float whose sign is not looked at.
    E4M3,
}

/// What is subtracted from each code.
#[derive(Debug, Clone)]
pub(super) enum Zeros {
    Constant(f32),
    Stored(StoredZeros),
}

/// A zero per row and group of columns, several rows in one 32-bit word: number
/// `row/rows_per_word * r + group * g`, where `(r, g)` are the strides.
#[derive(Debug, Clone)]
pub(super) struct StoredZeros {
    pub(super) part: Part,
    pub(super) bits: u32,
    pub(super) strides: [u64; 2],
    /// The rows of a word stand in the order of [`codes::INTERLEAVED`].
    pub(super) is_interleaved: bool,
    /// Added to each.
    pub(super) offset: f32,
}

/// Neighbouring columns of one row.
#[derive(Debug, Clone, Copy)]
struct Segment {
    matrix: u64,
    row: u64,
    column: u64,
    len: u64,
}

impl Coded {
    /// Fills `out` with the elements of `run`; `factor` is multiplied onto each.
    pub(super) fn read(&self, shards: &[MappedFile], run: Run, factor: f32, out: &mut [f32]) {
        let mut rest = out;
        self.each_segment(run, |segment| {
            let (now, later) = std::mem::take(&mut rest).split_at_mut(segment.len as usize);
            self.read_segment(shards, segment, now);
            rest = later;
            if factor != 1.0 {
                now.iter_mut().for_each(|value| *value *= factor);
            }
        });
    }

    /// Calls `visit` with the stretches of rows that make up `run`, in order.
    fn each_segment(&self, run: Run, mut visit: impl FnMut(Segment)) {
        let [rows, columns] = self.shape;
        let along = if self.is_transposed { rows } else { 1 };
        let mut done = 0;
        while done < run.len {
            let element = run.start + done * run.stride;
            let (matrix, within) = (element / (rows * columns), element % (rows * columns));
            let (row, column) = match self.is_transposed {
                false => (within / columns, within % columns),
                true => (within % rows, within / rows),
            };
            let len = if run.stride == along { (run.len - done).min(columns - column) } else { 1 };
            visit(Segment { matrix, row, column, len });
            done += len;
        }
    }

    fn read_segment(&self, shards: &[MappedFile], segment: Segment, out: &mut [f32]) {
        self.codes.read(self.part.bytes(shards), self.shape, segment, out);
        let end = segment.column + segment.len;
        let mut column = segment.column;
        let mut rest = out;
        while column < end {
            let group = self.scales.group_of(shards, column);
            let scale = self.scales.get(shards, segment.matrix, segment.row, group);
            let zero = match &self.zeros {
                Zeros::Constant(zero) => *zero,
                Zeros::Stored(zeros) => zeros.get(shards, segment.row, group),
            };
            let until = match self.scales.listed {
                Some(_) => column + 1,
                None => (column / self.scales.group[1] + 1).saturating_mul(self.scales.group[1]).min(end),
            };
            let (now, later) = std::mem::take(&mut rest).split_at_mut((until - column) as usize);
            now.iter_mut().for_each(|value| *value = (*value - zero) * scale);
            (rest, column) = (later, until);
        }
    }
}

impl Scales {
    fn group_of(&self, shards: &[MappedFile], column: u64) -> u64 {
        match &self.listed {
            Some(listed) => u64::from(listed.word(shards, column)),
            None => column / self.group[1],
        }
    }

    fn get(&self, shards: &[MappedFile], matrix: u64, row: u64, group: u64) -> f32 {
        let [of_matrix, of_row, of_group] = self.strides;
        let index = (matrix * of_matrix + row / self.group[0] * of_row + group * of_group) as usize;
        self.kind.read(self.part.bytes(shards), index)
    }
}

impl ScaleKind {
    /// Bytes of one.
    pub(super) fn bytes(self) -> u64 {
        match self {
            Self::Float(float) => float.bytes() as u64,
            Self::PowerOfTwo | Self::E4M3 => 1,
        }
    }

    fn read(self, bytes: &[u8], index: usize) -> f32 {
        match self {
            Self::Float(float) => {
                let (mut value, width) = ([0.0], float.bytes());
                float.widen(&bytes[index * width..(index + 1) * width], &mut value);
                value[0]
            }
            Self::PowerOfTwo => codes::power_of_two(bytes[index]),
            Self::E4M3 => codes::E4M3[usize::from(bytes[index] & 0x7f)],
        }
    }
}

impl StoredZeros {
    fn get(&self, shards: &[MappedFile], row: u64, group: u64) -> f32 {
        let per_word = u64::from(32 / self.bits);
        let word = self.part.word(shards, row / per_word * self.strides[0] + group * self.strides[1]);
        let place = codes::place((row % per_word) as u32, self.is_interleaved);
        ((word >> (place * self.bits)) & ((1 << self.bits) - 1)) as f32 + self.offset
    }
}
