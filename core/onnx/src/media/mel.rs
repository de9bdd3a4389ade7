//! Whisper's spectrogram: logarithms of energies in mel bands of overlapping windows of sound. Knows samples; no files.
//! Source: `WhisperFeatureExtractor` and `audio_utils` of transformers (Slaney's mel scale and norm, Hann's window, reflected ends).

use super::wrong;
use crate::Error;
use realfft::{RealFftPlanner, RealToComplex};
use serde::Deserialize;
use std::sync::Arc;

/// What is told apart below the loudest, in tenth parts of the logarithm's unit.
const FLOOR: f64 = 8.0;
/// No energy is less.
const LEAST: f64 = 1e-10;

/// Of `preprocessor_config.json`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(default)]
struct Config {
    feature_size: usize,
    sampling_rate: u32,
    hop_length: usize,
    chunk_length: usize,
    n_fft: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { feature_size: 80, sampling_rate: 16000, hop_length: 160, chunk_length: 30, n_fft: 400 }
    }
}

/// How sound becomes a spectrogram.
#[derive(Clone)]
pub struct Mel {
    config: Config,
    window: Vec<f64>,
    /// For each band: the first bin of its energies, and weights from there on.
    bands: Vec<(usize, Vec<f64>)>,
    transform: Arc<dyn RealToComplex<f64>>,
}

impl std::fmt::Debug for Mel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mel").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Logarithms of energies by band and frame, as the model wants them.
#[derive(Debug, Clone, PartialEq)]
pub struct Spectrogram {
    /// `[bands, frames]`, frames of a band beside each other.
    pub values: Vec<f32>,
    /// Bands.
    pub n_bands: usize,
    /// Frames.
    pub n_frames: usize,
}

impl Mel {
    /// By the text of a `preprocessor_config.json`; fields that it lacks are those of the first Whisper models.
    ///
    /// # Errors
    /// No such text, or numbers that give no spectrogram.
    pub fn of(json: &str) -> Result<Self, Error> {
        let config: Config = serde_json::from_str(json)
            .map_err(|error| wrong("preprocessor_config.json", "Whisper's fields", error))?;
        let sizes = [config.feature_size, config.hop_length, config.chunk_length, config.n_fft];
        let fits = sizes.iter().all(|size| (1..=1 << 16).contains(size)) && config.n_fft.is_multiple_of(2);
        if !fits || !(100..=1_000_000).contains(&config.sampling_rate) {
            return Err(wrong("preprocessor_config.json", "sizes of a spectrogram", format!("{config:?}")));
        }
        let n = config.n_fft as f64;
        let hann = |at: usize| 0.5 - 0.5 * (std::f64::consts::TAU * at as f64 / n).cos();
        Ok(Self {
            window: (0..config.n_fft).map(hann).collect(),
            bands: bands(config),
            transform: RealFftPlanner::new().plan_fft_forward(config.n_fft),
            config,
        })
    }

    /// Samples per second.
    pub fn rate(&self) -> u32 {
        self.config.sampling_rate
    }

    /// Bands.
    pub fn n_bands(&self) -> usize {
        self.config.feature_size
    }

    /// Samples from one frame to the next.
    pub fn hop(&self) -> usize {
        self.config.hop_length
    }

    /// Frames of the sound that a model takes at once.
    pub fn window_frames(&self) -> usize {
        self.config.chunk_length * self.config.sampling_rate as usize / self.config.hop_length
    }

    /// The spectrogram of a whole sound, of samples from −1 to 1; what is shorter than a window is followed by silence.
    pub fn spectrogram(&self, samples: &[f32]) -> Spectrogram {
        let (hop, n_fft) = (self.config.hop_length, self.config.n_fft);
        let window = self.config.chunk_length * self.config.sampling_rate as usize;
        let length = samples.len().max(window).max(n_fft);
        let n_frames = length / hop;
        // The ends are reflected, and everything behind the sound is silence.
        let sample = |at: isize| {
            let last = length as isize - 1;
            let at = if at < 0 { -at } else { at };
            let at = if at > last { 2 * last - at } else { at };
            samples.get(at as usize).map_or(0.0, |&sample| f64::from(sample))
        };
        let mut input = self.transform.make_input_vec();
        let mut bins = self.transform.make_output_vec();
        let mut scratch = self.transform.make_scratch_vec();
        let n_bands = self.bands.len();
        let mut logs = vec![0f64; n_bands * n_frames];
        let mut loudest = f64::NEG_INFINITY;
        for frame in 0..n_frames {
            let start = (frame * hop) as isize - (n_fft / 2) as isize;
            for (at, (value, weight)) in input.iter_mut().zip(&self.window).enumerate() {
                *value = sample(start + at as isize) * weight;
            }
            self.transform
                .process_with_scratch(&mut input, &mut bins, &mut scratch)
                .expect("buffers of the transform's own lengths");
            for (band, (first, weights)) in self.bands.iter().enumerate() {
                let energies = bins[*first..].iter().map(|bin| bin.norm_sqr());
                let sum: f64 = weights.iter().zip(energies).map(|(weight, energy)| weight * energy).sum();
                let log = sum.max(LEAST).log10();
                loudest = loudest.max(log);
                logs[band * n_frames + frame] = log;
            }
        }
        let scale = |log: &f64| ((log.max(loudest - FLOOR) + 4.0) / 4.0) as f32;
        Spectrogram { values: logs.iter().map(scale).collect(), n_bands, n_frames }
    }
}

impl Spectrogram {
    /// Frames from `first` on, `[bands, length]`, with zeros behind the end.
    pub fn part(&self, first: usize, length: usize) -> Vec<f32> {
        let n = self.n_frames.saturating_sub(first).min(length);
        let mut part = vec![0.0; self.n_bands * length];
        for band in 0..self.n_bands {
            let from = band * self.n_frames + first;
            part[band * length..][..n].copy_from_slice(&self.values[from..][..n]);
        }
        part
    }
}

/// Slaney's scale: even up to 1000 Hz, logarithmic above.
fn hertz(mel: f64) -> f64 {
    if mel < 15.0 { mel * 200.0 / 3.0 } else { 1000.0 * ((mel - 15.0) * 6.4f64.ln() / 27.0).exp() }
}

fn mel(hertz: f64) -> f64 {
    if hertz < 1000.0 { hertz * 3.0 / 200.0 } else { 15.0 + (hertz / 1000.0).ln() * 27.0 / 6.4f64.ln() }
}

/// Triangles between neighbouring thirds of the scale, each of the same area.
fn bands(config: Config) -> Vec<(usize, Vec<f64>)> {
    // Whatever the rate: what models were trained with.
    let highest = mel(8000.0);
    let n = config.feature_size;
    let edges: Vec<f64> = (0..n + 2).map(|at| hertz(highest * at as f64 / (n + 1) as f64)).collect();
    let n_bins = config.n_fft / 2 + 1;
    let half = f64::from(config.sampling_rate / 2);
    let band = |at: usize| {
        let [low, middle, high] = [edges[at], edges[at + 1], edges[at + 2]];
        let weight = |bin: usize| {
            let hertz = half * bin as f64 / (n_bins - 1) as f64;
            let slope = ((hertz - low) / (middle - low)).min((high - hertz) / (high - middle));
            slope.max(0.0) * 2.0 / (high - low)
        };
        let all: Vec<f64> = (0..n_bins).map(weight).collect();
        let first = all.iter().position(|weight| *weight > 0.0).unwrap_or(0);
        let last = all.iter().rposition(|weight| *weight > 0.0).map_or(first, |last| last + 1);
        (first, all[first..last].to_vec())
    };
    (0..n).map(band).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_loudest_in_its_band_and_silence_is_flat() {
        let mel = Mel::of(r#"{"chunk_length": 1, "feature_size": 80}"#).unwrap();
        assert_eq!((mel.window_frames(), mel.rate(), mel.hop()), (100, 16000, 160));
        let tone = |at: usize| (std::f32::consts::TAU * 1000.0 * at as f32 / 16000.0).sin() * 0.5;
        let sound: Vec<f32> = (0..24000).map(tone).collect();
        let made = mel.spectrogram(&sound);
        assert_eq!((made.n_bands, made.n_frames, made.values.len()), (80, 150, 80 * 150));
        let at = |band: usize| made.values[band * 150 + 75];
        let loudest = (0..80).max_by(|a, b| at(*a).total_cmp(&at(*b))).unwrap();
        // 1000 Hz is 15 of the 45.245 mels up to 8000 Hz.
        assert!((25..=27).contains(&loudest), "{loudest}");
        let silence = mel.spectrogram(&[]);
        assert!(silence.values.iter().all(|value| *value == -1.5), "{:?}", &silence.values[..3]);
        let part = made.part(140, 20);
        assert_eq!((part[9], part[10], part[20]), (made.values[149], 0.0, made.values[150 + 140]));
    }

    #[test]
    fn what_gives_no_spectrogram_is_refused() {
        for bad in
            [r#"{"n_fft": 0}"#, r#"{"n_fft": 401}"#, r#"{"hop_length": 0}"#, r#"{"sampling_rate": 1}"#, ""]
        {
            assert!(Mel::of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn scales_lead_back() {
        for value in [0.0, 200.0, 999.0, 1000.0, 7000.0] {
            assert!((hertz(mel(value)) - value).abs() < 1e-9);
        }
    }
}
