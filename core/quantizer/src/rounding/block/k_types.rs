//! Layouts of the K types: 256 weights, scales of groups in units of the block's.
//! Knows bit fields; must not know values.

use super::{Block, Place, counted};

pub(super) fn q2_k(place: &mut impl Place, block: &mut Block) {
    for group in 0..16 {
        counted(&mut block.scales[group], 0, |field| place.bits(group, 0, 4, field, 0));
        counted(&mut block.mins[group], 0, |field| place.bits(group, 4, 4, field, 0));
    }
    for (index, level) in block.levels.iter_mut().enumerate() {
        let (half, step, column) = (index / 128, index / 32 % 4, index % 32);
        counted(level, 0, |field| place.bits(16 + half * 32 + column, 2 * step as u32, 2, field, 0));
    }
    place.half(80, &mut block.d);
    place.half(82, &mut block.m);
}

pub(super) fn q3_k(place: &mut impl Place, block: &mut Block) {
    for (index, level) in block.levels.iter_mut().enumerate() {
        let (half, step, column) = (index / 128, index / 32 % 4, index % 32);
        counted(level, -4, |field| {
            place.bits(32 + half * 32 + column, 2 * step as u32, 2, field, 0);
            place.bits(column, (half * 4 + step) as u32, 1, field, 2);
        });
    }
    for group in 0..16 {
        counted(&mut block.scales[group], -32, |field| {
            place.bits(96 + group % 8, 4 * (group / 8) as u32, 4, field, 0);
            place.bits(104 + group % 4, 2 * (group / 4) as u32, 2, field, 4);
        });
    }
    place.half(108, &mut block.d);
}

/// Scales and minima of 6 bits each in the twelve bytes of Q4_K and Q5_K.
fn six_bits(place: &mut impl Place, block: &mut Block) {
    for group in 0..4 {
        counted(&mut block.scales[group], 0, |field| place.bits(4 + group, 0, 6, field, 0));
        counted(&mut block.mins[group], 0, |field| place.bits(8 + group, 0, 6, field, 0));
    }
    for group in 4..8 {
        counted(&mut block.scales[group], 0, |field| {
            place.bits(8 + group, 0, 4, field, 0);
            place.bits(group, 6, 2, field, 4);
        });
        counted(&mut block.mins[group], 0, |field| {
            place.bits(8 + group, 4, 4, field, 0);
            place.bits(4 + group, 6, 2, field, 4);
        });
    }
    place.half(0, &mut block.d);
    place.half(2, &mut block.m);
}

pub(super) fn q4_k(place: &mut impl Place, block: &mut Block) {
    six_bits(place, block);
    for (index, level) in block.levels.iter_mut().enumerate() {
        let (pair, half, column) = (index / 64, index / 32 % 2, index % 32);
        counted(level, 0, |field| place.bits(16 + pair * 32 + column, 4 * half as u32, 4, field, 0));
    }
}

pub(super) fn q5_k(place: &mut impl Place, block: &mut Block) {
    six_bits(place, block);
    for (index, level) in block.levels.iter_mut().enumerate() {
        let (pair, half, column) = (index / 64, index / 32 % 2, index % 32);
        counted(level, 0, |field| {
            place.bits(48 + pair * 32 + column, 4 * half as u32, 4, field, 0);
            place.bits(16 + column, (index / 32) as u32, 1, field, 4);
        });
    }
}

pub(super) fn q6_k(place: &mut impl Place, block: &mut Block) {
    for (index, level) in block.levels.iter_mut().enumerate() {
        let (half, quarter, column) = (index / 128, index / 32 % 4, index % 32);
        counted(level, -32, |field| {
            let low = half * 64 + quarter % 2 * 32 + column;
            place.bits(low, 4 * (quarter / 2) as u32, 4, field, 0);
            place.bits(128 + half * 32 + column, 2 * quarter as u32, 2, field, 4);
        });
    }
    for group in 0..16 {
        let mut byte = u32::from(i8::try_from(block.scales[group]).unwrap_or(0).cast_unsigned());
        place.bits(192 + group, 0, 8, &mut byte, 0);
        block.scales[group] = i16::from((byte as u8).cast_signed());
    }
    place.half(208, &mut block.d);
}
