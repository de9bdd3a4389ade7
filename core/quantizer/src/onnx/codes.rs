//! ggml's blocks of 4 and 8 bits as the codes and scales that graphs take: the same numbers in another order.
//! Knows both layouts; must not know tensors.

use formats::onnx::DataType;

/// Weights of a block.
const LEN: usize = 32;
/// Bytes of a block's scale.
const SCALE: usize = 2;

/// Appends codes and scales of `blocks`, which are of 4 or 8 `bits`. Codes of 4 bits lie two to a byte, the first in the low
/// half. They stand around the middle of their range, or with `signed` around 0.
pub(super) fn split(
    bits: u8,
    blocks: &[u8],
    signed: bool,
    float: DataType,
    codes: &mut Vec<u8>,
    scales: &mut Vec<u8>,
) {
    let bytes = SCALE + LEN / 8 * usize::from(bits);
    for block in blocks.chunks_exact(bytes) {
        let (scale, own) = block.split_at(SCALE);
        match float {
            DataType::Float16 => scales.extend(scale),
            _ => {
                let scale = half::f16::from_le_bytes([scale[0], scale[1]]);
                scales.extend(scale.to_f32().to_le_bytes());
            }
        }
        if bits == 4 {
            // The first half of the weights lies in the low halves of the bytes, the second in the high ones.
            let code = |at: usize| if at < LEN / 2 { own[at] & 15 } else { own[at - LEN / 2] >> 4 };
            let turn = if signed { 0x88 } else { 0 };
            codes.extend((0..LEN).step_by(2).map(|at| (code(at) | code(at + 1) << 4) ^ turn));
        } else {
            let turn = if signed { 0 } else { 0x80 };
            codes.extend(own.iter().map(|code| code ^ turn));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::gguf::quantize::{dequantize_rows, quantize_rows};
    use formats::gguf::GgmlType;

    fn weights() -> Vec<f32> {
        (0..96).map(|n: i32| ((n * 37 % 61) as f32 - 30.0) * 0.013 * (1 + n / 32) as f32).collect()
    }

    fn check(ty: GgmlType, bits: u8, signed: bool) {
        let weights = weights();
        let mut blocks = vec![0u8; ty.row_bytes(96).expect("whole blocks") as usize];
        quantize_rows(ty, &weights, &mut blocks, 96, None).expect("finite");
        let mut expected = vec![0f32; 96];
        dequantize_rows(ty, &blocks, &mut expected).expect("whole blocks");
        let (mut codes, mut scales) = (Vec::new(), Vec::new());
        split(bits, &blocks, signed, DataType::Float, &mut codes, &mut scales);
        let scale =
            |at: usize| f32::from_le_bytes(scales[at / 32 * 4..][..4].try_into().expect("four bytes"));
        let code = |at: usize| match (bits, signed) {
            (4, false) => i32::from(codes[at / 2] >> (4 * (at % 2)) & 15) - 8,
            (4, true) => i32::from(((codes[at / 2] >> (4 * (at % 2))) << 4).cast_signed() >> 4),
            (_, false) => i32::from(codes[at]) - 128,
            (_, true) => i32::from(codes[at].cast_signed()),
        };
        let got: Vec<f32> = (0..96).map(|at| code(at) as f32 * scale(at)).collect();
        assert_eq!(got, expected);
        let (mut again, mut half) = (Vec::new(), Vec::new());
        split(bits, &blocks, signed, DataType::Float16, &mut again, &mut half);
        assert_eq!((again, half.len()), (codes, 6));
    }

    #[test]
    fn codes_and_scales_stand_for_the_same_weights() {
        for signed in [false, true] {
            check(GgmlType::Q4_0, 4, signed);
            check(GgmlType::Q8_0, 8, signed);
        }
    }
}
