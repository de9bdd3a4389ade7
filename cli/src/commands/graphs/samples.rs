//! Samples from folders: pictures decoded and resized, recordings read. Knows files; what a model makes of them is the library's.

use super::split;
use crate::args::{Graph, Speech, Vision};
use crate::recording;
use anyhow::{Context, Result, bail, ensure};
use llama_pajamas::onnx::Port;
use llama_pajamas::onnx::media::Mel;
use llama_pajamas::onnx::quantize::{
    Architecture, PictureForm, Samples, Scale, SoundForm, sound_samples, spectrogram_samples,
};
use std::path::{Path, PathBuf};

/// Samples that stand in where none are given: noise, the same each time.
const N_NOISE: usize = 4;

/// What a model is shown.
pub(super) struct Shown {
    pub(super) calibration: Samples,
    pub(super) held_out: Samples,
    /// Inputs that never change.
    pub(super) fixed: Vec<String>,
    /// One line for people.
    pub(super) about: String,
}

/// Files of these endings in folders and below, in order; a file that is named is taken whatever its ending.
fn files(places: &[PathBuf], endings: &[&str], most: usize) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for place in places {
        ensure!(place.exists(), "{}: expected a folder or a file, got nothing", place.display());
        let before = found.len();
        collect(place, endings, &mut found)?;
        ensure!(found.len() > before, "{}: expected {} files, got none", place.display(), endings.join(", "));
    }
    found.sort();
    found.dedup();
    // Spread over all of them: folders are often sorted by class.
    let stride = found.len().div_ceil(most.max(1)).max(1);
    Ok(found.into_iter().step_by(stride).collect())
}

fn collect(place: &Path, endings: &[&str], found: &mut Vec<PathBuf>) -> Result<()> {
    if place.is_file() {
        found.push(place.to_path_buf());
        return Ok(());
    }
    for entry in std::fs::read_dir(place).with_context(|| place.display().to_string())? {
        let path = entry?.path();
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_lowercase();
        if path.is_dir() {
            collect(&path, endings, found)?;
        } else if endings.contains(&ending.as_str()) {
            found.push(path);
        }
    }
    Ok(())
}

pub(super) fn pictures(args: &Vision, scale: Scale, inputs: &[Port]) -> Result<Shown> {
    let form = PictureForm::of(inputs, (args.size[0], args.size[1]))?;
    let read = |path: &PathBuf| -> Result<_> {
        let picture = image::open(path).with_context(|| path.display().to_string())?;
        let resized = picture.resize_exact(form.width, form.height, image::imageops::FilterType::Triangle);
        Ok(vec![form.feed(resized.to_rgb8().as_raw(), scale, args.bgr)?])
    };
    let read_all = |places: &[PathBuf]| -> Result<Vec<_>> {
        files(places, &["jpg", "jpeg", "png"], args.graph.max_samples)?.iter().map(read).collect()
    };
    let noise = || -> Result<Vec<_>> {
        let n_bytes = 3 * form.width as usize * form.height as usize;
        let feed = |seed: usize| Ok(vec![form.feed(&noise(seed, n_bytes), scale, args.bgr)?]);
        (0..N_NOISE).map(feed).collect()
    };
    let all = if args.graph.calibration.is_empty() { noise()? } else { read_all(&args.graph.calibration)? };
    let (calibration, held_out) = with_held_out(&args.graph, all, read_all)?;
    let about = format!(
        "{} pictures of {}\u{d7}{} to calibrate, {} to compare",
        calibration.n_steps(),
        form.width,
        form.height,
        held_out.n_steps()
    );
    Ok(Shown { calibration, held_out, fixed: Vec::new(), about })
}

type Sequences = Vec<Vec<llama_pajamas::onnx::quantize::Feed>>;

fn with_held_out(
    args: &Graph,
    all: Sequences,
    read: impl FnOnce(&[PathBuf]) -> Result<Sequences>,
) -> Result<(Samples, Samples)> {
    if args.held_out.is_empty() {
        return Ok(split(all));
    }
    let held_out = Samples { sequences: read(&args.held_out)?, carried: Vec::new() };
    Ok((Samples { sequences: all, carried: Vec::new() }, held_out))
}

pub(super) fn sounds(
    args: &Speech,
    architecture: Option<&Architecture>,
    inputs: &[Port],
    outputs: &[Port],
) -> Result<Shown> {
    if let [port] = inputs
        && port.shape.len() == 3
    {
        return spectrograms(args, inputs);
    }
    let known = SoundForm::of(architecture, inputs);
    let form = match (known, args.step) {
        (Some(form), step) => SoundForm {
            rate: args.rate.unwrap_or(form.rate),
            step: step.unwrap_or(form.step),
            context: args.context.unwrap_or(form.context),
        },
        (None, Some(step)) => {
            SoundForm { rate: args.rate.unwrap_or(16000), step, context: args.context.unwrap_or(0) }
        }
        (None, None) => bail!("--step: expected the samples of a step: the model leaves its length open"),
    };
    let read_all = |places: &[PathBuf]| -> Result<Vec<Vec<f32>>> {
        files(places, &["wav"], args.graph.max_samples)?
            .iter()
            .map(|path| recording::read(path, form.rate))
            .collect()
    };
    let all = if args.graph.calibration.is_empty() {
        let sound =
            |seed| noise(seed, form.step * 64).iter().map(|&byte| f32::from(byte) / 512.0 - 0.25).collect();
        (0..N_NOISE).map(sound).collect()
    } else {
        read_all(&args.graph.calibration)?
    };
    let (whole, fixed) = sound_samples(inputs, outputs, form, &all)?;
    let (mut calibration, mut held_out) = with_held_out(&args.graph, whole.sequences, |places| {
        Ok(sound_samples(inputs, outputs, form, &read_all(places)?)?.0.sequences)
    })?;
    ensure!(
        calibration.n_steps() > 0,
        "--calibration: expected recordings of at least {} samples",
        form.step
    );
    calibration.carried.clone_from(&whole.carried);
    held_out.carried = whole.carried;
    let about = format!(
        "{} steps of {} samples at {} Hz to calibrate, {} to compare{}",
        calibration.n_steps(),
        form.step,
        form.rate,
        held_out.n_steps(),
        if fixed.is_empty() { String::new() } else { format!("; fixed: {}", fixed.join(", ")) }
    );
    Ok(Shown { calibration, held_out, fixed, about })
}

/// Windows of recordings as spectrograms, for a model that takes one at once.
fn spectrograms(args: &Speech, inputs: &[Port]) -> Result<Shown> {
    let folders = args.graph.model.ancestors().skip(1).take(2);
    let places: Vec<PathBuf> = folders.map(|folder| folder.join("preprocessor_config.json")).collect();
    let Some(path) = places.iter().find(|path| path.is_file()) else {
        bail!("{}: expected it, or one in the folder above, to tell how sound is heard", places[0].display());
    };
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let mel = Mel::of(&text).with_context(|| path.display().to_string())?;
    let read_all = |places: &[PathBuf]| -> Result<Sequences> {
        let files = files(places, &["wav"], args.graph.max_samples)?;
        let sounds: Vec<Vec<f32>> =
            files.iter().map(|path| recording::read(path, mel.rate())).collect::<Result<_>>()?;
        Ok(spectrogram_samples(inputs, &mel, &sounds)?.sequences)
    };
    let all = if args.graph.calibration.is_empty() {
        let n = mel.rate() as usize;
        let sound = |seed| noise(seed, n).iter().map(|&byte| f32::from(byte) / 512.0 - 0.25).collect();
        spectrogram_samples(inputs, &mel, &(0..N_NOISE).map(sound).collect::<Vec<_>>())?.sequences
    } else {
        read_all(&args.graph.calibration)?
    };
    let (calibration, held_out) = with_held_out(&args.graph, all, read_all)?;
    let about = format!(
        "{} windows of {} frames to calibrate, {} to compare",
        calibration.n_steps(),
        mel.window_frames(),
        held_out.n_steps()
    );
    Ok(Shown { calibration, held_out, fixed: Vec::new(), about })
}

/// Bytes without a pattern, the same for a seed: xorshift.
fn noise(seed: usize, n: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64 ^ (seed as u64 + 1);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..n).map(|_| next()).collect()
}
