//! Layouts of the plain types: 32 weights, one scale.
//! Knows bit fields; must not know values.

use super::{Block, Place, counted};

/// Low halves of the bytes from `at` on are the first sixteen levels, high halves the others.
fn halves(place: &mut impl Place, at: usize, index: usize, field: &mut u32) {
    place.bits(at + index % 16, 4 * (index / 16) as u32, 4, field, 0);
}

pub(super) fn q4_0(place: &mut impl Place, block: &mut Block) {
    place.half(0, &mut block.d);
    for (index, level) in block.levels[..32].iter_mut().enumerate() {
        counted(level, -8, |field| halves(place, 2, index, field));
    }
}

pub(super) fn q4_1(place: &mut impl Place, block: &mut Block) {
    scale_and_start(place, block);
    for (index, level) in block.levels[..32].iter_mut().enumerate() {
        counted(level, 0, |field| halves(place, 4, index, field));
    }
}

pub(super) fn q5_0(place: &mut impl Place, block: &mut Block) {
    place.half(0, &mut block.d);
    for (index, level) in block.levels[..32].iter_mut().enumerate() {
        counted(level, -16, |field| {
            halves(place, 6, index, field);
            place.bits(2 + index / 8, (index % 8) as u32, 1, field, 4);
        });
    }
}

pub(super) fn q5_1(place: &mut impl Place, block: &mut Block) {
    scale_and_start(place, block);
    for (index, level) in block.levels[..32].iter_mut().enumerate() {
        counted(level, 0, |field| {
            halves(place, 8, index, field);
            place.bits(4 + index / 8, (index % 8) as u32, 1, field, 4);
        });
    }
}

/// These types add where the K types subtract.
fn scale_and_start(place: &mut impl Place, block: &mut Block) {
    place.half(0, &mut block.d);
    let mut start = -block.m;
    place.half(2, &mut start);
    block.m = -start;
    block.mins[0] = 1;
}

pub(super) fn q8_0(place: &mut impl Place, block: &mut Block) {
    place.half(0, &mut block.d);
    for (index, level) in block.levels[..32].iter_mut().enumerate() {
        let mut byte = u32::from(level.cast_unsigned());
        place.bits(2 + index, 0, 8, &mut byte, 0);
        *level = (byte as u8).cast_signed();
    }
}
