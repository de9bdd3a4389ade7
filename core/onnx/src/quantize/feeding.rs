//! From pictures and sounds to a model's inputs, by what its ports say. Owns layouts, value scales, steps of sound and states
//! that are carried; knows pixels and samples as numbers, never files.

use super::{Architecture, Carried, Feed, Samples};
use crate::media::Mel;
use crate::{DataType, Error, Port};
use formats::onnx::{TensorProto, tensor_of_bytes, tensor_of_floats, tensor_of_integers};

/// What bytes of a picture become: `(byte − mean) / deviation`, by channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    /// What is taken off.
    pub mean: [f32; 3],
    /// What the rest is divided by.
    pub deviation: [f32; 3],
}

impl Scale {
    /// 0 to 1.
    pub const UNIT: Self = Self { mean: [0.0; 3], deviation: [255.0; 3] };
    /// −1 to 1.
    pub const SYMMETRIC: Self = Self { mean: [127.5; 3], deviation: [127.5; 3] };
    /// 0 to 255.
    pub const BYTES: Self = Self { mean: [0.0; 3], deviation: [1.0; 3] };
    /// The means and deviations of ImageNet.
    pub const IMAGENET: Self = Self { mean: [123.675, 116.28, 103.53], deviation: [58.395, 57.12, 57.375] };
}

/// What a model takes for a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureForm {
    /// The input.
    pub input: String,
    /// Pixels across; what was asked for where the model leaves it open.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// 1 for grey, 3 for colours.
    pub n_channels: usize,
    /// Whether channels come last.
    pub channels_last: bool,
    ty: DataType,
}

impl PictureForm {
    /// Of a model's only input. `open` is the size of pictures where the model leaves it open.
    ///
    /// # Errors
    /// Other inputs than one, or one that is no picture of 1 or 3 channels.
    pub fn of(inputs: &[Port], open: (u32, u32)) -> Result<Self, Error> {
        let [port] = inputs else {
            let names: Vec<&str> = inputs.iter().map(|port| port.name.as_str()).collect();
            return Err(wrong("one input, a picture", names.join(", ")));
        };
        let is_channels = |dim: i64| matches!(dim, 1 | 3);
        let (channels, height, width, channels_last) = match port.shape[..] {
            [_, channels, height, width] if is_channels(channels) => (channels, height, width, false),
            [_, height, width, channels] if is_channels(channels) => (channels, height, width, true),
            _ => {
                return Err(wrong(
                    "a picture of 1 or 3 channels",
                    format!("`{}` {:?}", port.name, port.shape),
                ));
            }
        };
        let size = |dim: i64, open: u32| u32::try_from(dim).ok().filter(|&dim| dim > 0).unwrap_or(open);
        if !matches!(port.ty, DataType::Float | DataType::Uint8) {
            return Err(wrong("a picture of floats or bytes", port.ty.as_str_name()));
        }
        Ok(Self {
            input: port.name.clone(),
            width: size(width, open.0),
            height: size(height, open.1),
            n_channels: channels as usize,
            channels_last,
            ty: port.ty,
        })
    }

    /// One picture: `rgb` is `height · width` pixels of three bytes; `bgr` turns their order around.
    ///
    /// # Errors
    /// Another number of bytes.
    pub fn feed(&self, rgb: &[u8], scale: Scale, bgr: bool) -> Result<Feed, Error> {
        let n_pixels = self.width as usize * self.height as usize;
        if rgb.len() != 3 * n_pixels {
            return Err(wrong(&format!("{} bytes of pixels", 3 * n_pixels), rgb.len()));
        }
        let value = |pixel: usize, channel: usize| -> f32 {
            let byte = |channel: usize| f32::from(rgb[3 * pixel + channel]);
            if self.n_channels == 1 {
                let grey = 0.299 * byte(0) + 0.587 * byte(1) + 0.114 * byte(2);
                return (grey - scale.mean[0]) / scale.deviation[0];
            }
            (byte(if bgr { 2 - channel } else { channel }) - scale.mean[channel]) / scale.deviation[channel]
        };
        let n = self.n_channels;
        let values: Vec<f32> = if self.channels_last {
            (0..n_pixels * n).map(|at| value(at / n, at % n)).collect()
        } else {
            (0..n_pixels * n).map(|at| value(at % n_pixels, at / n_pixels)).collect()
        };
        let (width, height, n) = (i64::from(self.width), i64::from(self.height), n as i64);
        let dims = if self.channels_last { [1, height, width, n] } else { [1, n, height, width] };
        let tensor = match self.ty {
            DataType::Uint8 => {
                let bytes: Vec<u8> =
                    values.iter().map(|&value| value.round().clamp(0.0, 255.0) as u8).collect();
                tensor_of_bytes(&self.input, DataType::Uint8, &dims, bytes)?
            }
            _ => tensor_of_floats(&self.input, &dims, &values)?,
        };
        Ok([(self.input.clone(), tensor)].into())
    }
}

/// How sound is cut for a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoundForm {
    /// Samples per second.
    pub rate: u32,
    /// New samples of a step.
    pub step: usize,
    /// Samples of the step before that each begins with.
    pub context: usize,
}

impl SoundForm {
    /// What the model's kind has by the table, where its first input leaves the length open; else the input's length.
    pub fn of(architecture: Option<&Architecture>, inputs: &[Port]) -> Option<Self> {
        let rate = architecture.and_then(|row| row.rate).unwrap_or(16000);
        let fixed = inputs.first().and_then(|port| port.shape.last()).filter(|&&dim| dim > 1);
        let context = architecture.and_then(|row| row.context).unwrap_or(0);
        match (architecture.and_then(|row| row.step), fixed) {
            (_, Some(&length)) => {
                Some(Self { rate, step: (length as usize).saturating_sub(context), context })
            }
            (Some(step), None) => Some(Self { rate, step, context }),
            (None, None) => None,
        }
    }
}

/// Spectrograms of sounds, one for each window of a model that takes one at once.
///
/// # Errors
/// Other inputs than one of three dimensions, or one of other bands and frames than `mel` makes.
pub fn spectrogram_samples(inputs: &[Port], mel: &Mel, sounds: &[Vec<f32>]) -> Result<Samples, Error> {
    let (bands, frames) = (mel.n_bands(), mel.window_frames());
    let fits = |port: &Port| port.shape.len() == 3 && port.shape[1..] == [bands as i64, frames as i64];
    let [port] = inputs else { return Err(wrong("one input, a spectrogram", inputs.len())) };
    if !fits(port) {
        return Err(wrong(
            &format!("{bands} bands and {frames} frames"),
            format!("`{}` {:?}", port.name, port.shape),
        ));
    }
    let mut sequences = Vec::new();
    for sound in sounds {
        let made = mel.spectrogram(sound);
        let n_frames = sound.len().div_ceil(mel.hop()).min(made.n_frames);
        for first in (0..n_frames).step_by(frames) {
            let dims = [1, bands as i64, frames as i64];
            let tensor = tensor_of_floats(&port.name, &dims, &made.part(first, frames))?;
            sequences.push(vec![[(port.name.clone(), tensor)].into()]);
        }
    }
    Ok(Samples { sequences, carried: Vec::new() })
}

/// Sounds cut into steps; states are carried from the output that is called like the input, whole numbers alone are the rate.
/// Gives the samples and the inputs that never change.
///
/// # Errors
/// A model whose first input is no row of samples, or with an input that is none of these.
pub fn sound_samples(
    inputs: &[Port],
    outputs: &[Port],
    form: SoundForm,
    sounds: &[Vec<f32>],
) -> Result<(Samples, Vec<String>), Error> {
    let Some((first, others)) = inputs.split_first() else { return Err(wrong("an input", "none")) };
    if first.ty != DataType::Float || !matches!(first.shape.len(), 1..=3) || form.step == 0 {
        return Err(wrong(
            "a row of samples as the first input",
            format!("`{}` {:?}", first.name, first.shape),
        ));
    }
    let (mut samples, mut fixed, mut constants) = (Samples::default(), Vec::new(), Vec::<TensorProto>::new());
    for port in others {
        let partner = outputs.iter().find(|output| carries(&output.name, &port.name) && output.ty == port.ty);
        if let Some(output) = partner.filter(|_| port.ty == DataType::Float) {
            let dims: Vec<i64> = port.shape.iter().map(|&dim| dim.max(1)).collect();
            let zeros = vec![0.0; dims.iter().product::<i64>() as usize];
            let start = tensor_of_floats(&port.name, &dims, &zeros)?;
            samples.carried.push(Carried { output: output.name.clone(), input: port.name.clone(), start });
        } else if port.ty == DataType::Int64 && port.shape.iter().all(|&dim| dim == 1) {
            constants.push(tensor_of_integers(&port.name, &port.shape, &[i64::from(form.rate)])?);
            fixed.push(port.name.clone());
        } else {
            return Err(wrong(
                "sound, states that are carried and a rate",
                format!("input `{}` {:?}", port.name, port.shape),
            ));
        }
    }
    let length = (form.step + form.context) as i64;
    let mut dims = vec![1; first.shape.len()];
    *dims.last_mut().expect("one to three dimensions") = length;
    for sound in sounds {
        let (mut steps, mut before) = (Vec::new(), vec![0.0; form.context]);
        for chunk in sound.chunks_exact(form.step) {
            let values: Vec<f32> = before.iter().chain(chunk).copied().collect();
            before = values[values.len() - form.context..].to_vec();
            let mut feed = Feed::from([(first.name.clone(), tensor_of_floats(&first.name, &dims, &values)?)]);
            feed.extend(constants.iter().map(|constant| (constant.name().to_string(), constant.clone())));
            steps.push(feed);
        }
        if !steps.is_empty() {
            samples.sequences.push(steps);
        }
    }
    Ok((samples, fixed))
}

/// `stateN`, `state_out`, `new_state` and the like for `state`; `hn` for `h0`.
fn carries(output: &str, input: &str) -> bool {
    let plain = |name: &str| {
        let name = name.to_lowercase();
        let name = name
            .strip_prefix("new_")
            .or(name.strip_prefix("present"))
            .or(name.strip_prefix("past"))
            .unwrap_or(&name);
        let ends = ["_out", "_in", "out", "n", "0"];
        ends.iter()
            .find_map(|end| name.strip_suffix(end))
            .unwrap_or(name)
            .trim_matches(['_', '.'])
            .to_string()
    };
    plain(output) == plain(input)
}

fn wrong(expected: &str, got: impl ToString) -> Error {
    Error::Setting { field: "inputs", expected: expected.into(), got: got.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::onnx::tensor_floats;

    fn port(name: &str, ty: DataType, shape: &[i64]) -> Port {
        Port { name: name.into(), ty, shape: shape.to_vec() }
    }

    #[test]
    fn pixels_go_where_the_model_has_them() {
        let pixels = [255, 0, 51, 0, 255, 102];
        let values = |shape: &[i64], bgr: bool| {
            let form = PictureForm::of(&[port("x", DataType::Float, shape)], (2, 1)).unwrap();
            tensor_floats(&form.feed(&pixels, Scale::UNIT, bgr).unwrap()["x"]).unwrap()
        };
        assert_eq!(values(&[1, 3, 1, 2], false), [1.0, 0.0, 0.0, 1.0, 0.2, 0.4]);
        assert_eq!(values(&[-1, 3, -1, -1], true), [0.2, 0.4, 0.0, 1.0, 1.0, 0.0]);
        assert_eq!(values(&[1, -1, -1, 3], false), [1.0, 0.0, 0.2, 0.0, 1.0, 0.4]);
        let error = PictureForm::of(&[port("x", DataType::Float, &[1, 5])], (2, 1)).unwrap_err().to_string();
        assert_eq!(error, "inputs: expected a picture of 1 or 3 channels, got `x` [1, 5]");
    }

    #[test]
    fn sound_is_cut_and_states_are_found() {
        let inputs = [
            port("input", DataType::Float, &[-1, -1]),
            port("state", DataType::Float, &[2, -1, 3]),
            port("sr", DataType::Int64, &[]),
        ];
        let outputs =
            [port("output", DataType::Float, &[-1, 1]), port("stateN", DataType::Float, &[-1, -1, -1])];
        let form = SoundForm { rate: 8000, step: 2, context: 1 };
        let sound = vec![vec![1.0, 2.0, 3.0, 4.0, 5.0]];
        let (samples, fixed) = sound_samples(&inputs, &outputs, form, &sound).unwrap();
        assert_eq!((fixed, samples.n_steps()), (vec!["sr".to_string()], 2));
        assert_eq!(tensor_floats(&samples.sequences[0][1]["input"]).unwrap(), [2.0, 3.0, 4.0]);
        assert_eq!(
            (samples.carried[0].output.as_str(), &samples.carried[0].start.dims[..]),
            ("stateN", &[2, 1, 3][..])
        );
        assert!(sound_samples(&inputs[..2], &outputs[..1], form, &sound).is_err());
        for (output, input) in
            [("hn", "h0"), ("new_h", "h"), ("state_out", "state_in"), ("present.k", "past.k")]
        {
            assert!(carries(output, input), "{output} {input}");
        }
    }
}
