//! Recordings as samples of the rate that a model takes. Knows WAV files and resampling; must not know models.

use anyhow::{Context, Result, ensure};
use rubato::{FftFixedIn, Resampler};
use std::path::Path;

/// Frames that are resampled at a time.
const CHUNK: usize = 4096;

/// The mean of a recording's channels, -1 to 1, at `rate` samples per second. A header that claims more than the file has is not
/// believed.
pub(crate) fn read(path: &Path, rate: u32) -> Result<Vec<f32>> {
    let mut reader = hound::WavReader::open(path).with_context(|| path.display().to_string())?;
    let spec = reader.spec();
    let channels = usize::from(spec.channels).max(1);
    let samples: Vec<f32> = match spec.sample_format {
        hound::SampleFormat::Float => reader.samples::<f32>().map_while(Result::ok).collect(),
        hound::SampleFormat::Int => {
            let largest = 2f32.powi(i32::from(spec.bits_per_sample) - 1);
            reader.samples::<i32>().map_while(Result::ok).map(|sample| sample as f32 / largest).collect()
        }
    };
    let mixed: Vec<f32> =
        samples.chunks_exact(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32).collect();
    ensure!(
        (100..=1_000_000).contains(&spec.sample_rate),
        "{}: expected 100 to 1000000 samples per second, got {}",
        path.display(),
        spec.sample_rate
    );
    if spec.sample_rate == rate {
        return Ok(mixed);
    }
    resampled(&mixed, spec.sample_rate, rate).with_context(|| path.display().to_string())
}

fn resampled(samples: &[f32], from: u32, to: u32) -> Result<Vec<f32>> {
    let mut resampler = FftFixedIn::<f32>::new(from as usize, to as usize, CHUNK, 1, 1)?;
    let ratio = f64::from(to) / f64::from(from);
    let wanted = (samples.len() as f64 * ratio).round() as usize;
    let delay = resampler.output_delay();
    let mut made: Vec<f32> = Vec::with_capacity(wanted + delay + CHUNK);
    let mut chunks = samples.chunks_exact(resampler.input_frames_next());
    for chunk in &mut chunks {
        made.extend(&resampler.process(&[chunk], None)?[0]);
    }
    made.extend(&resampler.process_partial(Some(&[chunks.remainder()]), None)?[0]);
    // What the filter still holds.
    while made.len() < wanted + delay {
        made.extend(&resampler.process_partial(None::<&[&[f32]]>, None)?[0]);
    }
    Ok(made[delay..delay + wanted].to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_stays_one_at_any_rate() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("tone.wav");
        let tone =
            |at: usize, rate: u32| (std::f32::consts::TAU * 440.0 * at as f32 / rate as f32).sin() * 0.5;
        for rate in [8000, 16000, 22050, 44100, 48000] {
            let spec = hound::WavSpec {
                channels: 2,
                sample_rate: rate,
                bits_per_sample: 16,
                sample_format: hound::SampleFormat::Int,
            };
            let mut writer = hound::WavWriter::create(&path, spec).expect("written");
            for at in 0..rate as usize {
                // Both channels together are the tone.
                writer.write_sample((tone(at, rate) * 32767.0 * 1.5) as i16).expect("written");
                writer.write_sample((tone(at, rate) * 32767.0 * 0.5) as i16).expect("written");
            }
            writer.finalize().expect("written");
            let samples = read(&path, 16000).expect("a recording");
            assert_eq!(samples.len(), 16000);
            // 38 times 11 whole waves: what is there of the tone, and how far it is shifted.
            let wave = |at: usize| std::f32::consts::TAU * 440.0 * at as f32 / 16000.0;
            let share =
                |of: &dyn Fn(usize) -> f32| (400..15600).map(|at| samples[at] * of(at)).sum::<f32>() / 7600.0;
            let (sine, cosine) = (share(&|at| wave(at).sin()), share(&|at| wave(at).cos()));
            let rest = |at: usize| (samples[at] - sine * wave(at).sin() - cosine * wave(at).cos()).abs();
            let worst = (400..15600).map(rest).fold(0.0, f32::max);
            assert!((sine.hypot(cosine) - 0.5).abs() < 2e-3 && worst < 2e-3, "{rate}: {sine}, {worst}");
            assert!(cosine.atan2(sine).abs() <= wave(1), "{rate}: more than a sample off: {cosine}");
        }
        std::fs::write(&path, b"RIFF").expect("written");
        assert!(read(&path, 16000).expect_err("broken").to_string().contains("tone.wav"));
    }
}
