//! Layouts of the four-bit types with uneven levels.
//! Knows bit fields and the sixteen levels; must not know values.

use super::{Block, Place, counted};

/// `kvalues_iq4nl` of ggml.
pub(crate) const UNEVEN: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// A level ↔ its place among the sixteen.
fn uneven(place: &mut impl Place, at: usize, shift: u32, level: &mut i8) {
    let mut code = UNEVEN.iter().position(|value| value == level).unwrap_or(0) as u32;
    place.bits(at, shift, 4, &mut code, 0);
    *level = UNEVEN[code as usize];
}

pub(super) fn iq4_nl(place: &mut impl Place, block: &mut Block) {
    place.half(0, &mut block.d);
    for (index, level) in block.levels[..32].iter_mut().enumerate() {
        uneven(place, 2 + index % 16, 4 * (index / 16) as u32, level);
    }
}

pub(super) fn iq4_xs(place: &mut impl Place, block: &mut Block) {
    place.half(0, &mut block.d);
    for group in 0..8 {
        counted(&mut block.scales[group], -32, |field| {
            place.bits(4 + group / 2, 4 * (group % 2) as u32, 4, field, 0);
            place.bits(2 + group / 4, 2 * (group % 4) as u32, 2, field, 4);
        });
    }
    for (index, level) in block.levels.iter_mut().enumerate() {
        let (group, half, column) = (index / 32, index / 16 % 2, index % 16);
        uneven(place, 8 + group * 16 + column, 4 * half as u32, level);
    }
}
