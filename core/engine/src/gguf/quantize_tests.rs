//! Tests of the quantizer wrappers. Own: lengths, ranges, errors and round trips of every type.
//! May know: the wrappers. Must not know: the formats' bits, which interop tests compare.

use super::*;

/// A pseudo-random wave in -1 ..= 1, the same every time.
fn weights(count: usize) -> Vec<f32> {
    let mut state = 0x2545_f491_u32;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

fn quantized(ty: GgmlType, src: &[f32], n_per_row: usize, imatrix: Option<&[f32]>) -> Vec<u8> {
    let bytes = ty.row_bytes(n_per_row as u64).expect("whole blocks") as usize * (src.len() / n_per_row);
    let mut dst = vec![0; bytes];
    let written = quantize_rows(ty, src, &mut dst, n_per_row, imatrix).expect("quantizes");
    assert_eq!(written, bytes, "{ty:?}");
    dst
}

/// The types that can be made, without those whose tables take seconds to build.
fn quick_types() -> impl Iterator<Item = GgmlType> {
    use GgmlType as T;
    let slow = [T::IQ1_S, T::IQ1_M, T::IQ2_XS, T::IQ2_S];
    GgmlType::ALL.iter().copied().filter(move |ty| can_quantize(*ty) && !slow.contains(ty))
}

/// Root mean square error over root mean square.
fn relative_error(a: &[f32], b: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>();
    let error = square(&mut a.iter().zip(b).map(|(a, b)| a - b));
    (error / square(&mut a.iter().copied())).sqrt()
}

#[test]
fn every_type_comes_back_close_to_what_went_in() {
    let src = weights(4 * 512);
    let importance = vec![1.0; 512];
    for ty in quick_types() {
        let bytes = quantized(ty, &src, 512, Some(&importance));
        let mut back = vec![0.0; src.len()];
        dequantize_rows(ty, &bytes, &mut back).expect("expands");
        // A uniform quantizer of b bits has a relative error near 2^-b; floats spend bits on range.
        let bits = ty.bits_per_weight().min(8.0);
        let limit = (3.0 * (-bits).exp2()).min(0.95);
        let error = relative_error(&src, &back);
        assert!(error <= limit, "{ty:?}: error {error} > {limit}");
    }
}

#[test]
fn rows_are_independent() {
    let src = weights(3 * 256);
    let importance = weights(256).iter().map(|weight| weight.abs()).collect::<Vec<_>>();
    for ty in [GgmlType::Q4_K, GgmlType::Q8_0, GgmlType::IQ3_XXS, GgmlType::IQ4_XS, GgmlType::BF16] {
        let whole = quantized(ty, &src, 256, Some(&importance));
        let by_row: Vec<u8> =
            src.chunks(256).flat_map(|row| quantized(ty, row, 256, Some(&importance))).collect();
        assert_eq!(whole, by_row, "{ty:?}");
    }
}

#[test]
fn expanding_needs_no_alignment() {
    let bytes = quantized(GgmlType::Q6_K, &weights(256), 256, None);
    let mut shifted = vec![0_u8; 1];
    shifted.extend_from_slice(&bytes);
    let (mut aligned_result, mut shifted_result) = (vec![0.0; 256], vec![0.0; 256]);
    dequantize_rows(GgmlType::Q6_K, &bytes, &mut aligned_result).expect("expands");
    dequantize_rows(GgmlType::Q6_K, &shifted[1..], &mut shifted_result).expect("expands");
    assert_eq!(aligned_result, shifted_result);
}

#[test]
fn importance_is_required_where_ggml_stops_without() {
    let src = weights(256);
    for ty in quick_types() {
        let mut dst = vec![0; ty.row_bytes(256).expect("whole blocks") as usize];
        let outcome = quantize_rows(ty, &src, &mut dst, 256, None);
        assert_eq!(outcome.is_err(), requires_imatrix(ty), "{ty:?}: {outcome:?}");
    }
}

#[test]
fn wrong_lengths_and_values_are_refused() {
    let check = |src: &[f32], bytes: usize, n_per_row: usize, imatrix: Option<&[f32]>, part: &str| {
        let outcome = quantize_rows(GgmlType::Q4_K, src, &mut vec![0; bytes], n_per_row, imatrix);
        let message = outcome.expect_err(part).to_string();
        assert!(message.contains(part), "{message}");
    };
    let row = weights(256);
    check(&row, 143, 256, None, "dst has length 143");
    check(&row, 144, 255, None, "row has length 255");
    check(&row, 144, 0, None, "row has length 0");
    check(&[], 0, 256, None, "src has length 0");
    check(&row[..250], 144, 256, None, "src has length 250");
    check(&row, 144, 256, Some(&row[..8]), "imatrix has length 8");
    check(&row, 144, 256, Some(&vec![-1.0; 256]), "importance 0 is -1");
    for bad in [f32::NAN, f32::INFINITY, 1e20] {
        let mut src = row.clone();
        src[200] = bad;
        check(&src, 144, 256, None, "weight 200 is");
    }
    let outcome = quantize_rows(GgmlType::I32, &row, &mut [0; 1024], 256, None);
    assert!(matches!(outcome, Err(Error::UnsupportedType { ty: "I32", .. })), "{outcome:?}");
    let outcome = dequantize_rows(GgmlType::I64, &[0; 8], &mut [0.0]);
    assert!(matches!(outcome, Err(Error::UnsupportedType { ty: "I64", .. })), "{outcome:?}");
}
