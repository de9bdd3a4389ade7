//! Affine groups: a line `scale * code + bias` through the weights of a group, and the codes nearest to them.
//! Owns the arithmetic, all of it in 32-bit floats in MLX's order (`mlx/backend/cpu/quantized.cpp`, `quantize`); must not
//! know how codes are packed.

/// Smallest scale.
const LEAST_SCALE: f32 = 1e-7;

/// What codes of a group stand for: `scale * code + bias`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line {
    pub(crate) scale: f32,
    pub(crate) bias: f32,
}

/// MLX's line for `group`, and the code nearest to each weight on it. The end of larger magnitude is met exactly, and zero is
/// a code; scale and bias are rounded to the matrix's floats only when they are stored.
pub(crate) fn nearest(group: &[f32], bits: u32, codes: &mut [u8]) -> Line {
    let (least, most) = group.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), &weight| {
        (least.min(weight), most.max(weight))
    });
    let line = through(least, most, bits);
    onto(group, line, bits, codes);
    line
}

/// MLX's line for weights from `least` to `most`.
pub(crate) fn through(least: f32, most: f32, bits: u32) -> Line {
    let last = last_code(bits);
    let scale = ((most - least) / last).max(LEAST_SCALE);
    let (edge, scale) = if least.abs() > most.abs() { (least, scale) } else { (most, -scale) };
    let code_of_zero = (edge / scale).round_ties_even();
    if code_of_zero == 0.0 {
        Line { scale, bias: 0.0 }
    } else {
        Line { scale: edge / code_of_zero, bias: edge }
    }
}

/// The codes nearest to the weights of `group` on `line`.
pub(crate) fn onto(group: &[f32], line: Line, bits: u32, codes: &mut [u8]) {
    let last = last_code(bits);
    for (weight, code) in group.iter().zip(codes) {
        *code = ((weight - line.bias) / line.scale).round_ties_even().clamp(0.0, last) as u8;
    }
}

/// The highest code.
pub(crate) fn last_code(bits: u32) -> f32 {
    ((1u32 << bits) - 1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Groups of which `mlx.core.quantize` (0.32.4) was asked.
    #[test]
    fn lines_are_those_of_mlx() {
        let line = |weights: &[f32], bits: u32| {
            let mut group = [0f32; 32];
            group[..weights.len()].copy_from_slice(weights);
            let mut codes = [0; 32];
            let line = nearest(&group, bits, &mut codes);
            (line.scale, line.bias, [codes[0], codes[1], codes[31]])
        };
        assert_eq!(line(&[], 4), (-1e-7, 0.0, [0, 0, 0]));
        assert_eq!(line(&[5.0, 5.0, 5.0], 2), (-5.0 / 3.0, 5.0, [0, 0, 3]));
        assert_eq!(line(&[1.0, -1.0], 2), (-0.5, 1.0, [0, 3, 2]));
        assert_eq!(line(&[1.0, -1.0], 4), (-1.0 / 7.0, 1.0, [0, 14, 7]));
        assert_eq!(line(&[1e-7, -1e-7], 4), (-1e-7, 1e-7, [0, 2, 1]));
        assert_eq!(line(&[-1.0; 32], 2), (-1e-7, -1.0, [0, 0, 0]));
    }

    proptest::proptest! {
        /// The end of larger magnitude is on the line, and so is zero where both signs occur.
        #[test]
        fn the_far_end_is_met(weights in proptest::collection::vec(-4f32..4.0, 32), bits in 2u32..9) {
            let mut codes = [0; 32];
            let line = nearest(&weights, bits, &mut codes);
            let (at, far) = weights.iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs())).expect("some");
            let value = |code: u8| line.scale * f32::from(code) + line.bias;
            proptest::prop_assert!((value(codes[at]) - far).abs() <= far.abs() * 1e-6 || line.bias == 0.0);
            let step = line.scale.abs();
            for (weight, code) in weights.iter().zip(codes) {
                proptest::prop_assert!((value(code) - weight).abs() <= step * 1.0001 + 1e-6);
            }
            let has_both = weights.iter().any(|w| *w > 0.0) && weights.iter().any(|w| *w < 0.0);
            if has_both && line.bias != 0.0 {
                let zero = -line.bias / line.scale;
                proptest::prop_assert!((zero - zero.round()).abs() < 1e-3, "zero is code {zero}");
            }
        }
    }
}
