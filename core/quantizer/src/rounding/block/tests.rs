//! Blocks read as ggml reads them, and written as they were.

use super::*;
use engine::gguf::quantize::{dequantize_rows, quantize_rows};

const TYPES: [GgmlType; 17] = [
    GgmlType::Q2_K,
    GgmlType::Q3_K,
    GgmlType::Q4_K,
    GgmlType::Q5_K,
    GgmlType::Q6_K,
    GgmlType::IQ4_XS,
    GgmlType::IQ4_NL,
    GgmlType::Q4_0,
    GgmlType::Q4_1,
    GgmlType::Q5_0,
    GgmlType::Q5_1,
    GgmlType::Q8_0,
    GgmlType::IQ2_XXS,
    GgmlType::IQ2_XS,
    GgmlType::IQ2_S,
    GgmlType::IQ3_XXS,
    GgmlType::IQ3_S,
];

proptest::proptest! {
    #[test]
    fn a_block_is_what_ggml_reads_and_stays_what_it_was(
        weights in proptest::collection::vec(-1.0f32..1.5, 512),
        power in -12i32..6,
    ) {
        let weights: Vec<f32> = weights.iter().map(|weight| weight * 2f32.powi(power)).collect();
        for ty in TYPES {
            let scheme = Scheme::of(ty).unwrap();
            let mut bytes = vec![0; ty.row_bytes(512).unwrap() as usize];
            quantize_rows(ty, &weights, &mut bytes, 512, Some(&[1.0; 512])).unwrap();
            let mut expected = vec![0f32; 512];
            dequantize_rows(ty, &bytes, &mut expected).unwrap();
            let mut again = vec![0xffu8; bytes.len()];
            for ((bytes, again), expected) in bytes
                .chunks(scheme.n_bytes())
                .zip(again.chunks_mut(scheme.n_bytes()))
                .zip(expected.chunks(scheme.n_weights))
            {
                let block = scheme.read(bytes);
                let values: Vec<f32> = (0..scheme.n_weights)
                    .map(|index| {
                        let group = index / scheme.group;
                        block.scale(group) * f32::from(block.levels[index]) - block.min(group)
                    })
                    .collect();
                proptest::prop_assert_eq!(&values[..], expected, "{}", ty);
                scheme.write(&block, again);
            }
            // A level that nothing tells apart is the only bit that may differ: there is none.
            proptest::prop_assert_eq!(&bytes, &again, "{}", ty);
        }
    }
}
