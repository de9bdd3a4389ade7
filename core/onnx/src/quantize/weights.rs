//! Weights to eight bits: a scale per output channel or one for all, symmetric, chosen by squared error.
//! Knows the layout of weights; must not know graphs.

/// Quantized weights and what they stand for.
#[derive(Debug, Clone)]
pub(crate) struct Levels {
    /// −127 to 127, in the weight's own order.
    pub(crate) levels: Vec<i8>,
    /// One per channel, or one.
    pub(crate) scales: Vec<f32>,
}

/// Parts of the largest value that are tried as the range.
const PARTS: [f32; 9] = [1.0, 0.97, 0.94, 0.9, 0.86, 0.82, 0.78, 0.74, 0.7];

/// `axis` is that of the channels; without one all share a scale.
pub(crate) fn quantize(values: &[f32], dims: &[i64], axis: Option<usize>) -> Levels {
    let (n_channels, inner) = layout(dims, axis);
    let mut scales = Vec::with_capacity(n_channels);
    let mut channels: Vec<Vec<f32>> = vec![Vec::new(); n_channels];
    for (at, part) in values.chunks_exact(inner).enumerate() {
        channels[at % n_channels].extend(part);
    }
    for channel in &channels {
        scales.push(best_scale(channel));
    }
    let mut levels = Vec::with_capacity(values.len());
    for (at, part) in values.chunks_exact(inner).enumerate() {
        let scale = scales[at % n_channels];
        levels.extend(part.iter().map(|&value| level(value, scale)));
    }
    Levels { levels, scales }
}

/// Channels, and values that lie together of one.
pub(crate) fn layout(dims: &[i64], axis: Option<usize>) -> (usize, usize) {
    let product = |dims: &[i64]| dims.iter().map(|&dim| dim as usize).product::<usize>().max(1);
    match axis {
        Some(axis) => (product(&dims[axis..=axis]), product(&dims[axis + 1..])),
        None => (1, product(dims)),
    }
}

fn level(value: f32, scale: f32) -> i8 {
    (value / scale).round_ties_even().clamp(-127.0, 127.0) as i8
}

fn best_scale(values: &[f32]) -> f32 {
    let largest = values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    if largest <= 1e-12 {
        return 1.0;
    }
    let error = |scale: f32| -> f64 {
        values.iter().map(|&value| f64::from(value - f32::from(level(value, scale)) * scale).powi(2)).sum()
    };
    let tried = PARTS.map(|part| largest * part / 127.0).map(|scale| (error(scale), scale));
    tried
        .into_iter()
        .reduce(|best, next| if next.0 < best.0 { next } else { best })
        .expect("parts are tried")
        .1
}

impl Levels {
    /// `W − Wq` for each value.
    pub(crate) fn residuals(&self, values: &[f32], dims: &[i64], axis: Option<usize>) -> Vec<f32> {
        let (n_channels, inner) = layout(dims, axis);
        let scale = |at: usize| self.scales[(at / inner) % n_channels];
        values
            .iter()
            .zip(&self.levels)
            .enumerate()
            .map(|(at, (&value, &level))| value - f32::from(level) * scale(at))
            .collect()
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.levels.iter().map(|&level| level as u8).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_has_its_scale() {
        let values = [1.0, -0.5, 100.0, 50.0, 0.0, 0.0];
        let levels = quantize(&values, &[3, 2], Some(0));
        assert_eq!(levels.scales.len(), 3);
        let residuals = levels.residuals(&values, &[3, 2], Some(0));
        assert!(residuals.iter().zip(&values).all(|(error, value)| error.abs() <= value.abs() * 0.01 + 1e-9));
        let columns = quantize(&[1.0, 100.0, -1.0, 50.0], &[2, 2], Some(1));
        assert!(columns.scales[0] < 0.01 && columns.scales[1] > 0.5, "{columns:?}");
        assert_eq!(quantize(&values, &[3, 2], None).scales.len(), 1);
    }
}
