//! What lies in the file beside a graph: rows of the model's tensors, as floats or as codes with scales.
//! Knows places and lengths; reads no weight.

use crate::plan::Job;
use formats::gguf::GgmlType;
use formats::onnx::DataType;
use std::collections::HashMap;

use super::graph::Part;

/// Weights that share a scale.
pub(super) const BLOCK: u64 = 32;
/// What tensors begin at multiples of, in bytes.
const ALIGNMENT: u64 = 64;

/// How weights lie there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Floats of this type, row by row.
    Floats(DataType),
    /// Codes of so many bits, row by row, and behind them a scale per block in floats of this type.
    Codes {
        /// 4 or 8.
        bits: u8,
        /// Floats of the scales.
        scales: DataType,
        /// Whether codes are numbers around 0, not around the middle of their range.
        signed: bool,
    },
    /// 8-bit codes around 0, column by column, and behind them a 32-bit scale for each row.
    ByRow,
}

/// Rows of tensors as one matrix or stack.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Rows {
    /// Tensors of the job: one, or two of equal shape whose rows alternate.
    pub(super) tensors: Vec<usize>,
}

/// Something that is stored.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stored {
    pub(super) rows: Rows,
    pub(super) form: Form,
    pub(super) columns: u64,
    pub(super) n_rows: u64,
    /// Where each part lies.
    pub(super) values_at: u64,
    pub(super) scales_at: u64,
}

impl Stored {
    pub(super) fn n_weights(&self) -> u64 {
        self.columns * self.n_rows
    }

    /// Bytes of a part.
    pub(super) fn bytes(&self, part: Part) -> u64 {
        let float = |ty| if ty == DataType::Float16 { 2 } else { 4 };
        match (self.form, part) {
            (Form::Floats(ty), Part::Values) => self.n_weights() * float(ty),
            (Form::Floats(_), Part::Scales) => 0,
            (Form::Codes { bits, .. }, Part::Values) => self.n_weights() / 8 * u64::from(bits),
            (Form::Codes { scales, .. }, Part::Scales) => self.n_weights() / BLOCK * float(scales),
            (Form::ByRow, Part::Values) => self.n_weights(),
            (Form::ByRow, Part::Scales) => self.n_rows * 4,
        }
    }

    /// Where a part begins.
    pub(super) fn offset(&self, part: Part) -> u64 {
        match part {
            Part::Values => self.values_at,
            Part::Scales => self.scales_at,
        }
    }
}

/// All that is stored, in the order of the file.
#[derive(Debug, Clone, Default)]
pub(super) struct Stores {
    pub(super) all: Vec<Stored>,
    known: HashMap<(Rows, Option<u8>), usize>,
    /// Length of the file so far.
    pub(super) bytes: u64,
}

impl Stores {
    /// Number of the stored rows of `tensors`: stored once, however often they are asked for in one kind of form.
    pub(super) fn of(&mut self, job: &Job, tensors: &[usize], form: Form) -> usize {
        let rows = Rows { tensors: tensors.to_vec() };
        let bits = match form {
            Form::Floats(_) => None,
            Form::Codes { bits, .. } => Some(bits),
            Form::ByRow => Some(8),
        };
        if let Some(known) = self.known.get(&(rows.clone(), bits)) {
            return *known;
        }
        let first = &job.tensors[tensors[0]];
        let n_rows = first.n_rows() * tensors.len() as u64;
        let mut stored =
            Stored { rows: rows.clone(), form, columns: first.dims[0], n_rows, values_at: 0, scales_at: 0 };
        stored.values_at = self.bytes.next_multiple_of(ALIGNMENT);
        self.bytes = stored.values_at + stored.bytes(Part::Values);
        stored.scales_at = self.bytes;
        if stored.bytes(Part::Scales) > 0 {
            stored.scales_at = self.bytes.next_multiple_of(ALIGNMENT);
            self.bytes = stored.scales_at + stored.bytes(Part::Scales);
        }
        self.all.push(stored);
        self.known.insert((rows, bits), self.all.len() - 1);
        self.all.len() - 1
    }
}

/// Bits of the codes of ggml's grids that graphs have operators for.
pub(super) fn bits_of(ty: GgmlType) -> Option<u8> {
    match ty {
        GgmlType::Q4_0 => Some(4),
        GgmlType::Q8_0 => Some(8),
        _ => None,
    }
}
