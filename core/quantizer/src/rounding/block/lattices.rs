//! Layouts of the lattice types: 256 weights, codes for eight or four magnitudes each, signs by eights.
//! Knows bit fields; must not know what codes stand for.

use super::Place;

/// A block's fields.
#[derive(Debug, Clone)]
pub(crate) struct Fields {
    /// Unit of the scales.
    pub(crate) d: f32,
    /// Scale by group, as a count.
    pub(crate) scales: [u32; 16],
    /// Codes, of eight weights or of four.
    pub(crate) codes: [u32; 64],
    /// Signs of eight weights, a bit for each that is negative; of seven where the eighth follows from them.
    pub(crate) signs: [u32; 32],
}

impl Default for Fields {
    fn default() -> Self {
        Self { d: 0.0, scales: [0; 16], codes: [0; 64], signs: [0; 32] }
    }
}

/// Four times seven signs and a scale in the four bytes from `at` on.
fn signs_and_scale(place: &mut impl Place, at: usize, group: usize, fields: &mut Fields) {
    for (index, signs) in fields.signs[4 * group..][..4].iter_mut().enumerate() {
        for bit in 0..7 {
            let from = 7 * index + bit;
            place.bits(at + from / 8, (from % 8) as u32, 1, signs, bit as u32);
        }
    }
    place.bits(at + 3, 4, 4, &mut fields.scales[group], 0);
}

/// Scales of four bits, two a byte.
fn scales(place: &mut impl Place, at: usize, scales: &mut [u32]) {
    for (group, scale) in scales.iter_mut().enumerate() {
        place.bits(at + group / 2, 4 * (group % 2) as u32, 4, scale, 0);
    }
}

pub(super) fn iq2_xxs(place: &mut impl Place, fields: &mut Fields) {
    place.half(0, &mut fields.d);
    for group in 0..8 {
        for index in 0..4 {
            place.bits(2 + 8 * group + index, 0, 8, &mut fields.codes[4 * group + index], 0);
        }
        signs_and_scale(place, 2 + 8 * group + 4, group, fields);
    }
}

pub(super) fn iq2_xs(place: &mut impl Place, fields: &mut Fields) {
    place.half(0, &mut fields.d);
    for (index, (code, signs)) in fields.codes.iter_mut().zip(&mut fields.signs).enumerate() {
        place.bits(2 + 2 * index, 0, 8, code, 0);
        place.bits(3 + 2 * index, 0, 1, code, 8);
        place.bits(3 + 2 * index, 1, 7, signs, 0);
    }
    scales(place, 66, &mut fields.scales);
}

pub(super) fn iq2_s(place: &mut impl Place, fields: &mut Fields) {
    place.half(0, &mut fields.d);
    for (index, (code, signs)) in fields.codes.iter_mut().zip(&mut fields.signs).enumerate() {
        place.bits(2 + index, 0, 8, code, 0);
        place.bits(34 + index, 0, 8, signs, 0);
        place.bits(66 + index / 4, 2 * (index % 4) as u32, 2, code, 8);
    }
    scales(place, 74, &mut fields.scales);
}

pub(super) fn iq3_xxs(place: &mut impl Place, fields: &mut Fields) {
    place.half(0, &mut fields.d);
    for (index, code) in fields.codes.iter_mut().enumerate() {
        place.bits(2 + index, 0, 8, code, 0);
    }
    for group in 0..8 {
        signs_and_scale(place, 66 + 4 * group, group, fields);
    }
}

pub(super) fn iq3_s(place: &mut impl Place, fields: &mut Fields) {
    place.half(0, &mut fields.d);
    for (index, code) in fields.codes.iter_mut().enumerate() {
        place.bits(2 + index, 0, 8, code, 0);
        place.bits(66 + index / 8, (index % 8) as u32, 1, code, 8);
    }
    for (index, signs) in fields.signs.iter_mut().enumerate() {
        place.bits(74 + index, 0, 8, signs, 0);
    }
    scales(place, 106, &mut fields.scales[..8]);
}
