//! 4-bit floats that GGUF has a block type for: moved into its blocks bit by bit.
//! Knows the engine's block layouts; must not know values.

use super::codes::nibble;
use super::{Coded, Codes, ScaleKind, Segment, Zeros};
use bundle::mapped_file::MappedFile;
use families::{Run, View};
use formats::gguf::GgmlType;

/// A block type that holds the same codes and scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum Block {
    /// A scale of 8 exponent bits for 32 codes.
    Mxfp4,
    /// A scale of 8 bits for each 16 of 64 codes.
    Nvfp4,
}

impl Block {
    /// The type in GGUF.
    pub(in crate::source) fn ggml_type(self) -> GgmlType {
        match self {
            Self::Mxfp4 => GgmlType::MXFP4,
            Self::Nvfp4 => GgmlType::NVFP4,
        }
    }

    /// The bits of a scale that count: there is no sign in NVFP4's.
    fn scale_bits(self) -> u8 {
        match self {
            Self::Mxfp4 => 0xff,
            Self::Nvfp4 => 0x7f,
        }
    }

    /// Codes in a block, and those that share a scale.
    fn lengths(self) -> (u64, u64) {
        match self {
            Self::Mxfp4 => (32, 32),
            Self::Nvfp4 => (64, 16),
        }
    }
}

impl Coded {
    /// The block type that holds codes and scales as they are.
    pub(in crate::source) fn block(&self) -> Option<Block> {
        let block = match self.scales.kind {
            ScaleKind::PowerOfTwo => Block::Mxfp4,
            ScaleKind::E4M3 => Block::Nvfp4,
            ScaleKind::Float(_) => return None,
        };
        let fits = self.codes == Codes::E2M1
            && matches!(self.zeros, Zeros::Constant(0.0))
            && self.scales.listed.is_none()
            && self.scales.group == [1, block.lengths().1];
        fits.then_some(block)
    }

    /// Whether `view` shows whole blocks in the order of their codes.
    pub(in crate::source) fn shows_blocks(&self, view: &View, block: Block) -> bool {
        let (len, _) = block.lengths();
        let mut whole = true;
        view.each_run(0..view.n_elements(), |run| {
            self.each_segment(run, |segment| {
                whole &= segment.column.is_multiple_of(len) && segment.len.is_multiple_of(len);
            });
        });
        whole
    }

    /// Fills `out` with the blocks of `run`, of which [`Coded::shows_blocks`] is true.
    pub(in crate::source) fn copy(&self, shards: &[MappedFile], run: Run, kind: Block, out: &mut [u8]) {
        let (len, of_scale) = kind.lengths();
        let codes = self.part.bytes(shards);
        let scales = self.scales.part.bytes(shards);
        let [of_matrix, of_row, of_group] = self.scales.strides;
        let mut blocks = out.chunks_exact_mut((len / of_scale + len / 2) as usize);
        self.each_segment(run, |Segment { matrix, row, column, len: n }| {
            for first in (column..column + n).step_by(len as usize) {
                let block = blocks.next().expect("a block for each of the run's");
                let (of_block, halves) = block.split_at_mut((len / of_scale) as usize);
                for (group, scale) in of_block.iter_mut().enumerate() {
                    let index =
                        matrix * of_matrix + row * of_row + (first / of_scale + group as u64) * of_group;
                    *scale = scales[index as usize] & kind.scale_bits();
                }
                // In each group, the first half of the codes is in the low halves of the bytes, the second in the high.
                let start = ((matrix * self.shape[0] + row) * self.shape[1] + first) as usize;
                let half = of_scale as usize / 2;
                for (at, byte) in halves.iter_mut().enumerate() {
                    let low = start + at / half * 2 * half + at % half;
                    *byte = nibble(codes, low) | nibble(codes, low + half) << 4;
                }
            }
        });
    }
}
