//! Pictures made smaller or larger as Pillow makes them, whose bytes models were trained on. Knows pixels.
//! Source: Pillow's `Resample.c`: weights of a filter, widened where the picture gets smaller, in fixed point of 22 bits; rows first,
//! then columns, with bytes in between.

use serde::{Deserialize, Serialize};

/// What pixels are weighted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// A triangle over two pixels.
    Bilinear,
    /// Cubic pieces over four pixels (a = −0.5).
    Bicubic,
    /// A windowed sinc over six pixels.
    Lanczos,
}

/// Bits behind the point.
const POINT: u32 = 22;

impl Filter {
    /// By Pillow's number, as preprocessor configurations have it.
    pub fn of_number(number: u64) -> Option<Self> {
        [(1, Self::Lanczos), (2, Self::Bilinear), (3, Self::Bicubic)]
            .into_iter()
            .find_map(|(known, filter)| (known == number).then_some(filter))
    }

    /// Pixels on each side that count.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        let x = x.abs();
        let sinc = |x: f64| {
            if x == 0.0 { 1.0 } else { (x * std::f64::consts::PI).sin() / (x * std::f64::consts::PI) }
        };
        match self {
            Self::Bilinear => (1.0 - x).max(0.0),
            Self::Bicubic if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
            Self::Lanczos if x < 3.0 => sinc(x) * sinc(x / 3.0),
            _ => 0.0,
        }
    }
}

/// For each pixel of the result: the first that counts, and weights in fixed point.
fn weights(filter: Filter, from: usize, to: usize) -> Vec<(usize, Vec<i32>)> {
    let scale = from as f64 / to as f64;
    let wider = scale.max(1.0);
    let support = filter.support() * wider;
    let one = |at: usize| {
        let center = (at as f64 + 0.5) * scale;
        let first = ((center - support + 0.5) as i64).max(0) as usize;
        let last = ((center + support + 0.5) as i64).clamp(0, from as i64) as usize;
        let all: Vec<f64> =
            (first..last).map(|pixel| filter.weight((pixel as f64 - center + 0.5) / wider)).collect();
        let sum: f64 = all.iter().sum();
        let fixed = |weight: &f64| {
            let scaled = weight / sum * f64::from(1 << POINT);
            (scaled + if scaled < 0.0 { -0.5 } else { 0.5 }) as i32
        };
        (first, all.iter().map(fixed).collect())
    };
    (0..to).map(one).collect()
}

fn byte(sum: i64) -> u8 {
    ((sum + (1 << (POINT - 1))) >> POINT).clamp(0, 255) as u8
}

/// A picture of `from` pixels (across, down; three bytes each, rows from the top) in `to` pixels.
///
/// # Panics
/// Extents of 0, or other bytes than three for each pixel.
pub fn resize(rgb: &[u8], from: (usize, usize), to: (usize, usize), filter: Filter) -> Vec<u8> {
    assert!(from.0 * from.1 * to.0 * to.1 > 0 && rgb.len() == 3 * from.0 * from.1, "a picture of {from:?}");
    let mut across = rgb.to_vec();
    if from.0 != to.0 {
        let weights = weights(filter, from.0, to.0);
        across = Vec::with_capacity(3 * to.0 * from.1);
        for row in rgb.chunks_exact(3 * from.0) {
            for (first, weights) in &weights {
                across.extend((0..3).map(|channel| {
                    let pixels = row[3 * first..].iter().skip(channel).step_by(3);
                    byte(weights.iter().zip(pixels).map(|(w, p)| i64::from(*w) * i64::from(*p)).sum())
                }));
            }
        }
    }
    if from.1 == to.1 {
        return across;
    }
    let width = 3 * to.0;
    let mut down = Vec::with_capacity(width * to.1);
    for (first, weights) in &weights(filter, from.1, to.1) {
        down.extend((0..width).map(|column| {
            let pixels = across[first * width + column..].iter().step_by(width);
            byte(weights.iter().zip(pixels).map(|(w, p)| i64::from(*w) * i64::from(*p)).sum())
        }));
    }
    down
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_pictures_stay_even_and_halves_are_means() {
        for filter in [Filter::Bilinear, Filter::Bicubic, Filter::Lanczos] {
            for to in [(1, 1), (5, 2), (9, 13)] {
                let made = resize(&[77; 3 * 7 * 4], (7, 4), to, filter);
                assert_eq!(made, vec![77; 3 * to.0 * to.1], "{filter:?}");
            }
        }
        let two = [0, 0, 0, 100, 200, 50];
        assert_eq!(resize(&two, (2, 1), (1, 1), Filter::Bilinear), [50, 100, 25]);
        assert_eq!(resize(&two, (2, 1), (2, 1), Filter::Lanczos), two);
        assert_eq!(Filter::of_number(3), Some(Filter::Bicubic));
        assert_eq!(Filter::of_number(0), None);
    }
}
