//! Stored numbers to 32-bit floats. Knows element types; must not know tensors.

use formats::safetensors::Dtype;

/// The float types that are read, by width.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Float {
    F32,
    F16,
    Bf16,
}

impl Float {
    pub(crate) fn of(dtype: Dtype) -> Option<Self> {
        match dtype {
            Dtype::F32 => Some(Self::F32),
            Dtype::F16 => Some(Self::F16),
            Dtype::BF16 => Some(Self::Bf16),
            _ => None,
        }
    }

    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// The nearest number that this type has, of two the one whose last bit is 0.
    pub(crate) fn rounded(self, value: f32) -> f32 {
        match self {
            Self::F32 => value,
            Self::F16 => half::f16::from_f32(value).to_f32(),
            Self::Bf16 => half::bf16::from_f32(value).to_f32(),
        }
    }

    /// Appends the nearest number that this type has, little-endian.
    pub(crate) fn push(self, value: f32, out: &mut Vec<u8>) {
        match self {
            Self::F32 => out.extend(value.to_le_bytes()),
            Self::F16 => out.extend(half::f16::from_f32(value).to_le_bytes()),
            Self::Bf16 => out.extend(half::bf16::from_f32(value).to_le_bytes()),
        }
    }

    /// Its name in safetensors.
    pub(crate) fn dtype(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::F16 => Dtype::F16,
            Self::Bf16 => Dtype::BF16,
        }
    }

    /// Widens little-endian `bytes`; the lengths must agree.
    pub(crate) fn widen(self, bytes: &[u8], out: &mut [f32]) {
        debug_assert_eq!(bytes.len(), out.len() * self.bytes());
        match self {
            Self::F32 => {
                for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                    *value = f32::from_le_bytes(*bytes);
                }
            }
            Self::F16 => {
                for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *value = half::f16::from_le_bytes(*bytes).to_f32();
                }
            }
            Self::Bf16 => {
                for (value, bytes) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *value = f32::from_bits(u32::from(u16::from_le_bytes(*bytes)) << 16);
                }
            }
        }
    }
}

/// Index of the first value that is not a finite number.
pub(crate) fn first_not_finite(values: &[f32]) -> Option<usize> {
    if largest_magnitude(values).is_finite() {
        return None;
    }
    values.iter().position(|value| !value.is_finite())
}

/// The largest magnitude, 0 of nothing; infinite or not a number where one of the values is.
pub(crate) fn largest_magnitude(values: &[f32]) -> f32 {
    // Without their sign, floats are ordered like their bits. Without an early exit the loop is vectorised.
    f32::from_bits(
        values.iter().fold(0i32, |most, value| most.max(value.abs().to_bits().cast_signed())).cast_unsigned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_float_type_is_widened_exactly() {
        let mut out = [0f32; 2];
        Float::F32.widen(&[0, 0, 128, 63, 0, 0, 0, 192], &mut out);
        assert_eq!(out, [1.0, -2.0]);
        Float::F16.widen(&half::f16::from_f32(0.333).to_le_bytes().repeat(2), &mut out);
        assert_eq!(out[0], half::f16::from_f32(0.333).to_f32());
        Float::Bf16.widen(&[128, 63, 0, 192], &mut out);
        assert_eq!(out, [1.0, -2.0]);
    }

    #[test]
    fn bad_numbers_are_found() {
        assert_eq!(first_not_finite(&[1.0, f32::MAX, -0.0]), None);
        assert_eq!(first_not_finite(&[1.0, f32::NAN]), Some(1));
        assert_eq!(first_not_finite(&[f32::NEG_INFINITY]), Some(0));
        assert_eq!(largest_magnitude(&[1.0, -2.5, 0.5]), 2.5);
        assert_eq!(largest_magnitude(&[]), 0.0);
        assert!(largest_magnitude(&[f32::INFINITY, -f32::NAN, 1.0]).is_nan());
    }
}
