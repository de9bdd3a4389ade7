//! Groups of small floats: E2M1 and E4M3 codes with a scale per group that is a power of two (`mxfp4`, `mxfp8`) or an E4M3
//! (`nvfp4`).
//! Owns the arithmetic in MLX's order, where what a group's scale is found from is a number of the matrix's floats (`mlx/backend/metal/kernels/fp4.h`, `fp8.h`, and the CPU's where they differ); must
//! not know how codes are packed.

use crate::source::Float;

/// Largest E2M1.
const E2M1_MOST: f32 = 6.0;
/// Largest E4M3.
const E4M3_MOST: f32 = 448.0;
/// What E8M0 exponents are stored above: 127 means 1.
const EXPONENT_OF_ONE: i32 = 127;
/// Largest finite E4M3's code.
const E4M3_LAST: u8 = 0x7E;
/// From these bits of a 32-bit float on, E4M3 has no number (480).
const E4M3_OVER: u32 = 543 << 21;
/// Below these bits E4M3s are subnormal (2^-6).
const E4M3_NORMAL: u32 = 121 << 23;
/// A float whose last bits count in units of E4M3's subnormals.
const E4M3_UNITS: u32 = 141 << 23;

/// Codes of `group`, which is of `float`, in E2M1; gives the exponent of the scale.
pub(super) fn mxfp4(group: &[f32], float: Float, codes: &mut [u8]) -> u8 {
    let exponent = exponent(float.rounded(largest(group) / E2M1_MOST));
    let scale = power(exponent);
    group.iter().zip(codes).for_each(|(weight, code)| *code = e2m1(weight / scale));
    exponent
}

/// Codes of `group` in E4M3; gives the exponent of the scale.
pub(super) fn mxfp8(group: &[f32], float: Float, codes: &mut [u8]) -> u8 {
    let exponent = exponent(float.rounded(largest(group) / E4M3_MOST));
    let scale = power(exponent);
    group.iter().zip(codes).for_each(|(weight, code)| *code = e4m3(weight / scale));
    exponent
}

/// Codes of `group` in E2M1; gives the scale in E4M3, 0 where it is too small for it.
pub(super) fn nvfp4(group: &[f32], float: Float, codes: &mut [u8]) -> u8 {
    let stored = e4m3(float.rounded(largest(group) / E2M1_MOST));
    let scale = e4m3_value(stored);
    let code = |weight: &f32| if scale == 0.0 { 0 } else { e2m1(weight / scale) };
    group.iter().zip(codes).for_each(|(weight, out)| *out = code(weight));
    stored
}

fn largest(group: &[f32]) -> f32 {
    group.iter().fold(0f32, |most, weight| most.max(weight.abs()))
}

/// The smallest power of two that is at least `scale`, by its stored exponent; of no weights 1. MLX's CPU wraps around below
/// 2^-127, where its GPU ends there, as this does.
fn exponent(scale: f32) -> u8 {
    if scale == 0.0 {
        return EXPONENT_OF_ONE as u8;
    }
    let exponent = scale.log2().ceil() as i32;
    (exponent + EXPONENT_OF_ONE).clamp(0, 254) as u8
}

/// 2 to the exponent that is stored as `exponent`.
pub(super) fn power(exponent: u8) -> f32 {
    f32::from_bits(if exponent == 0 { 0x40_0000 } else { u32::from(exponent) << 23 })
}

/// The nearest E2M1, of two the smaller magnitude; larger ones are the largest. What becomes zero has no sign.
fn e2m1(value: f32) -> u8 {
    let magnitude = value.abs();
    let code = match () {
        () if magnitude > 5.0 => 7,
        () if magnitude > 3.5 => 6,
        () if magnitude > 2.5 => 5,
        () if magnitude > 1.75 => 4,
        () if magnitude > 1.25 => 3,
        () if magnitude > 0.75 => 2,
        () if magnitude > 0.25 => 1,
        () => return 0,
    };
    code | if value.is_sign_negative() { 8 } else { 0 }
}

/// What an E2M1 stands for.
#[cfg(test)]
pub(super) fn e2m1_value(code: u8) -> f32 {
    let magnitude = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0][usize::from(code & 7)];
    if code & 8 == 0 { magnitude } else { -magnitude }
}

/// The nearest E4M3, of two the one with an even code; larger magnitudes are the largest.
fn e4m3(value: f32) -> u8 {
    let sign = (value.to_bits() >> 24 & 0x80) as u8;
    let bits = value.abs().to_bits();
    let code = match bits {
        E4M3_OVER.. => E4M3_LAST,
        0..E4M3_NORMAL => {
            let sum = f32::from_bits(bits) + f32::from_bits(E4M3_UNITS);
            (sum.to_bits() - E4M3_UNITS) as u8
        }
        _ => {
            let is_odd = bits >> 20 & 1;
            ((bits - (120 << 23) + 0x7_FFFF + is_odd) >> 20) as u8
        }
    };
    code | sign
}

/// What an E4M3 stands for.
pub(super) fn e4m3_value(code: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(code >> 3 & 15), f32::from(code & 7));
    let magnitude = match exponent {
        0 => mantissa * 2f32.powi(-9),
        _ => (1.0 + mantissa / 8.0) * 2f32.powi(exponent - 7),
    };
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_leads_back_to_itself() {
        for code in 0..16 {
            let value = e2m1_value(code);
            assert_eq!(e2m1(value), if value == 0.0 { 0 } else { code });
        }
        for code in (0..=255u8).filter(|code| code & 0x7F != 0x7F) {
            assert_eq!(e4m3(e4m3_value(code)), code);
        }
    }

    /// Groups of which `mlx.core.quantize` (0.32.4) was asked.
    #[test]
    fn groups_are_those_of_mlx() {
        let codes_of = |quantize: fn(&[f32], Float, &mut [u8]) -> u8, weights: &[f32]| {
            let mut group = [0f32; 16];
            group[..weights.len()].copy_from_slice(weights);
            let mut codes = [0; 16];
            (quantize(&group, Float::F32, &mut codes), codes[..weights.len()].to_vec())
        };
        assert_eq!(codes_of(mxfp4, &[6.0, 5.0, 2.5, -0.25, 0.25, 0.26]), (127, vec![7, 6, 4, 0, 0, 1]));
        assert_eq!(codes_of(mxfp4, &[7.0, 3.5, 1.75, -1.75]), (128, vec![5, 3, 2, 10]));
        assert_eq!(codes_of(mxfp4, &[]), (127, vec![]));
        assert_eq!(codes_of(mxfp8, &[449.0, -447.0, 20.0, 0.001]), (128, vec![118, 246, 82, 0]));
        assert_eq!(codes_of(nvfp4, &[7.0, 3.5, 1.75, -1.75, -0.3]), (57, vec![7, 5, 3, 11, 9]));
        assert_eq!(codes_of(nvfp4, &[3000.0, -2999.0]), (126, vec![7, 15]));
        assert_eq!(codes_of(nvfp4, &[1e-4, 2e-5]), (0, vec![0, 0]));
        assert_eq!(codes_of(nvfp4, &[0.02, 0.005, -0.002]), (2, vec![7, 3, 9]));
    }

    proptest::proptest! {
        /// Nothing is nearer than what was chosen.
        #[test]
        fn the_nearest_is_chosen(value in -500f32..500.0) {
            let check = |code: u8, values: &mut dyn Iterator<Item = f32>, chosen: f32| {
                let least = values.map(|other| (other - value).abs()).fold(f32::INFINITY, f32::min);
                (chosen - value).abs() <= least || panic!("{value}: {code}")
            };
            proptest::prop_assert!(check(e2m1(value), &mut (0..16).map(e2m1_value), e2m1_value(e2m1(value))));
            let finite = || (0..=255u8).filter(|code| code & 0x7F != 0x7F).map(e4m3_value);
            proptest::prop_assert!(check(e4m3(value), &mut finite(), e4m3_value(e4m3(value))));
        }
    }
}
