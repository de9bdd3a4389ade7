//! Rounding against plain rounding, on inputs whose columns go together.

use super::*;
use engine::gguf::quantize::{dequantize_rows, quantize_rows};
use formats::gguf::GgmlType;

/// Numbers in -1 .. 1, evenly spread.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Second moments of inputs that a third as many causes mix into `n` columns of unlike strength.
fn moments(n: usize) -> Vec<f32> {
    let mut random = Random(7);
    let n_causes = n / 3;
    let mix: Vec<f32> = (0..n * n_causes).map(|_| random.next()).collect();
    let strength: Vec<f32> = (0..n).map(|_| (1.5 * random.next()).exp()).collect();
    let mut moments = vec![0f32; n * n];
    for i in 0..n {
        for j in 0..n {
            let shared: f32 =
                (0..n_causes).map(|cause| mix[i * n_causes + cause] * mix[j * n_causes + cause]).sum();
            let own = if i == j { n_causes as f32 / 10.0 } else { 0.0 };
            moments[i * n + j] = (shared + own) * strength[i] * strength[j];
        }
    }
    moments
}

/// Error of plain rounding, and what rounding with feedback leaves of it.
fn gain(ty: GgmlType, n_columns: usize, block: usize) -> (f64, f64) {
    let whole = moments(n_columns);
    let mut of_blocks = Vec::new();
    for first in (0..n_columns).step_by(block) {
        for row in first..(first + block).min(n_columns) {
            of_blocks
                .extend(&whole[row * n_columns + first..row * n_columns + (first + block).min(n_columns)]);
        }
    }
    let mut random = Random(3);
    let weights: Vec<f32> =
        (0..n_columns * 40).map(|_| random.next() + random.next() + random.next()).collect();
    let input = Input::new(n_columns, block, &of_blocks, 0.02);
    let judge = |values: &[f32]| error(n_columns, &whole, &weights, values, n_columns);
    let importance: Vec<f32> = (0..n_columns).map(|column| whole[column * (n_columns + 1)]).collect();
    let scheme = Scheme::of(ty).unwrap();
    let mut bytes = vec![0; ty.row_bytes(n_columns as u64).unwrap() as usize * 40];
    quantize_rows(ty, &weights, &mut bytes, n_columns, Some(&importance)).unwrap();
    let mut values = vec![0f32; weights.len()];
    dequantize_rows(ty, &bytes, &mut values).unwrap();
    let plain = judge(&values);
    round_rows(&scheme, &input, &weights, n_columns, &mut bytes);
    dequantize_rows(ty, &bytes, &mut values).unwrap();
    (plain, judge(&values) / plain)
}

#[test]
fn every_type_gains() {
    use GgmlType as T;
    for (ty, most) in [
        (T::Q2_K, 0.5),
        (T::Q3_K, 0.5),
        (T::Q4_K, 0.5),
        (T::Q5_K, 0.5),
        (T::Q6_K, 0.5),
        (T::IQ4_XS, 0.5),
        (T::IQ4_NL, 0.5),
        (T::Q4_0, 0.5),
        (T::Q4_1, 0.5),
        (T::Q5_0, 0.5),
        (T::Q5_1, 0.5),
        (T::Q8_0, 0.5),
        (T::IQ2_XXS, 0.5),
        (T::IQ2_XS, 0.5),
        (T::IQ2_S, 0.5),
        (T::IQ3_XXS, 0.5),
        (T::IQ3_S, 0.5),
    ] {
        let (plain, left) = gain(ty, 512, 512);
        let (_, left_by_block) = gain(ty, 512, 256);
        println!("{ty}: {plain:.3} of it {left:.3}, by block {left_by_block:.3}");
        assert!(left < most, "{ty}: {left} of the error is left");
        assert!(left < left_by_block && left_by_block < 1.0, "{ty}: {left_by_block} by blocks");
    }
}
