//! Codes of weights: 8-bit floats and integers, 4-bit floats, integers packed into words.
//! Owns where a code lies and what it stands for; must not know scales.

use super::Segment;

/// Places of a word's eight 4-bit integers in AWQ's order: of the first, the second and so on.
pub(super) const INTERLEAVED: [u32; 8] = [0, 4, 1, 5, 2, 6, 3, 7];

/// What an 8-bit float of 4 exponent bits stands for.
pub(super) static E4M3: [f32; 256] = e4m3();

/// What a 4-bit float stands for.
const E2M1: [f32; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// Kinds of codes and how matrices of them are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::source) enum Codes {
    /// 8-bit floats of 4 exponent bits without infinities.
    E4M3,
    /// 8-bit floats of 5 exponent bits.
    E5M2,
    /// 8-bit integers.
    I8,
    /// 4-bit floats, two in a byte, the first in the low half.
    E2M1,
    /// Unsigned integers in 32-bit words along the rows, each row of whole words (compressed-tensors).
    AlongRows { bits: u32 },
    /// Unsigned integers in 32-bit words along the columns, words in the order of rows (GPTQ).
    AlongColumns { bits: u32 },
    /// 4-bit unsigned integers of eight rows in one 32-bit word, interleaved (AWQ).
    AcrossRows,
}

impl Codes {
    /// Bytes of `matrices` of `[rows, columns]`; `None` where they do not fill words or bytes.
    pub(in crate::source) fn bytes(self, matrices: u64, [rows, columns]: [u64; 2]) -> Option<u64> {
        let whole = |n: u64, divisor: u64| n.is_multiple_of(divisor).then_some(n / divisor);
        let one = match self {
            Self::E4M3 | Self::E5M2 | Self::I8 => rows.checked_mul(columns)?,
            Self::E2M1 => rows.checked_mul(whole(columns, 2)?)?,
            Self::AlongRows { bits } => {
                rows.checked_mul(columns.div_ceil(u64::from(32 / bits)).checked_mul(4)?)?
            }
            Self::AlongColumns { bits } => {
                whole(columns, u64::from(32 / bits))?.checked_mul(rows)?.checked_mul(4)?
            }
            Self::AcrossRows => columns.checked_mul(whole(rows, 8)?)?.checked_mul(4)?,
        };
        one.checked_mul(matrices)
    }

    /// Fills `out` with the codes of `segment` as numbers.
    pub(super) fn read(self, bytes: &[u8], [rows, columns]: [u64; 2], segment: Segment, out: &mut [f32]) {
        let Segment { matrix, row, column, len } = segment;
        let first_row = matrix * rows + row;
        let first = (first_row * columns + column) as usize;
        let word = |index: u64| {
            let at = index as usize * 4;
            u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
        };
        let integer =
            |word: u32, place: u32, bits: u32| ((word >> (place * bits)) & ((1 << bits) - 1)) as f32;
        let numbered = out.iter_mut().zip(column..column + len);
        match self {
            Self::E4M3 => {
                let codes = &bytes[first..first + len as usize];
                out.iter_mut().zip(codes).for_each(|(value, code)| *value = E4M3[usize::from(*code)]);
            }
            Self::E5M2 => {
                let codes = &bytes[first..first + len as usize];
                out.iter_mut().zip(codes).for_each(|(value, code)| {
                    *value = half::f16::from_bits(u16::from(*code) << 8).to_f32();
                });
            }
            Self::I8 => {
                let codes = &bytes[first..first + len as usize];
                out.iter_mut().zip(codes).for_each(|(value, code)| *value = f32::from(code.cast_signed()));
            }
            Self::E2M1 => {
                let codes = first..first + len as usize;
                out.iter_mut()
                    .zip(codes)
                    .for_each(|(value, at)| *value = E2M1[usize::from(nibble(bytes, at))]);
            }
            Self::AlongRows { bits } => {
                let per_word = u64::from(32 / bits);
                let start = first_row * columns.div_ceil(per_word);
                numbered.for_each(|(value, column)| {
                    *value = integer(word(start + column / per_word), (column % per_word) as u32, bits);
                });
            }
            Self::AlongColumns { bits } => {
                let per_word = u64::from(32 / bits);
                numbered.for_each(|(value, column)| {
                    *value = integer(word(column / per_word * rows + row), (column % per_word) as u32, bits);
                });
            }
            Self::AcrossRows => {
                let (of_row, at) = (row / 8, place((row % 8) as u32, true));
                numbered
                    .for_each(|(value, column)| *value = integer(word(column * (rows / 8) + of_row), at, 4));
            }
        }
    }
}

/// Where the integer number `index` of a word stands in it.
pub(super) fn place(index: u32, is_interleaved: bool) -> u32 {
    if is_interleaved { INTERLEAVED[index as usize] } else { index }
}

/// The 4-bit code number `index`.
pub(super) fn nibble(bytes: &[u8], index: usize) -> u8 {
    (bytes[index / 2] >> (4 * (index % 2))) & 15
}

/// 2 to the power of `exponent - 127`; 255 stands for no number.
pub(super) fn power_of_two(exponent: u8) -> f32 {
    match exponent {
        0 => f32::from_bits(0x0040_0000),
        255 => f32::NAN,
        exponent => f32::from_bits(u32::from(exponent) << 23),
    }
}

const fn e4m3() -> [f32; 256] {
    let mut table = [0.0; 256];
    let mut code = 0;
    while code < 256 {
        let (exponent, mantissa) = ((code as u32 >> 3) & 15, code as u32 & 7);
        let magnitude = match (exponent, mantissa) {
            (15, 7) => f32::NAN,
            (0, mantissa) => mantissa as f32 / 512.0,
            (exponent, mantissa) => f32::from_bits((exponent + 120) << 23 | mantissa << 20),
        };
        table[code] = if code < 128 { magnitude } else { -magnitude };
        code += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_floats_stand_for_their_values() {
        assert_eq!((E4M3[0x38], E4M3[0x7e], E4M3[0x01], E4M3[0xb8]), (1.0, 448.0, 1.0 / 512.0, -1.0));
        assert!(E4M3[0x7f].is_nan() && E4M3[0x80].is_sign_negative());
        assert_eq!(
            (power_of_two(127), power_of_two(0), power_of_two(254)),
            (1.0, 2f32.powi(-127), 2f32.powi(127))
        );
        assert!(power_of_two(255).is_nan());
        let mut out = [0.0; 4];
        let segment = Segment { matrix: 0, row: 0, column: 1, len: 4 };
        Codes::E2M1.read(&[0x10, 0x7a, 0x0f], [1, 6], segment, &mut out);
        assert_eq!(out, [0.5, -1.0, 6.0, -6.0]);
        let segment = Segment { matrix: 0, row: 1, column: 0, len: 2 };
        let mut out = [0.0; 2];
        Codes::E5M2.read(&[0, 0, 0x3c, 0xc0], [2, 2], segment, &mut out);
        assert_eq!(out, [1.0, -2.0]);
        Codes::I8.read(&[0, 0, 127, 128], [2, 2], segment, &mut out);
        assert_eq!(out, [127.0, -128.0]);
    }

    #[test]
    fn integers_are_found_in_their_words() {
        // Row and column of each number in 16 × 16, by its value.
        let read = |codes: Codes, words: &[u32], row, column| {
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            let mut out = [0.0];
            codes.read(&bytes, [16, 16], Segment { matrix: 0, row, column, len: 1 }, &mut out);
            out[0]
        };
        let with = |at: usize, place: u32| {
            let mut words = [0u32; 32];
            words[at] = 9 << (4 * place);
            words
        };
        assert_eq!(read(Codes::AlongRows { bits: 4 }, &with(2 * 3 + 1, 5), 3, 13), 9.0);
        assert_eq!(read(Codes::AlongColumns { bits: 4 }, &with(16 + 3, 5), 3, 13), 9.0);
        assert_eq!(read(Codes::AcrossRows, &with(13 * 2 + 1, 4), 9, 13), 9.0);
        assert_eq!(Codes::AlongRows { bits: 4 }.bytes(1, [3, 17]), Some(3 * 3 * 4));
        assert_eq!(Codes::AlongColumns { bits: 4 }.bytes(1, [3, 17]), None);
        assert_eq!(Codes::AcrossRows.bytes(1, [12, 3]), None);
    }
}
