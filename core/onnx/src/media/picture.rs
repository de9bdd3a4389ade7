//! A picture's pixels as a model's input, by the text of its `preprocessor_config.json`. Knows pixels and that text; no files.
//! Source: transformers' image processors: resize, centre crop, rescale, normalise, in this order.

use super::{Filter, resize, wrong};
use crate::Error;
use serde::Deserialize;

/// The most pixels of a side.
const LARGEST: u64 = 1 << 14;

/// An extent: one number, or several by name.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Size {
    One(u64),
    Named { height: Option<u64>, width: Option<u64>, shortest_edge: Option<u64> },
}

/// Of `preprocessor_config.json`.
#[derive(Debug, Clone, Deserialize)]
struct Config {
    do_resize: Option<bool>,
    size: Option<Size>,
    resample: Option<u64>,
    do_center_crop: Option<bool>,
    crop_size: Option<Size>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<Vec<f32>>,
    image_std: Option<Vec<f32>>,
}

/// To which extents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// Across and down, whatever the shape.
    Exact(usize, usize),
    /// The shorter side, the other in proportion.
    Shorter(usize),
}

/// How pixels become numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct PictureRule {
    target: Option<Target>,
    filter: Filter,
    /// Across and down.
    crop: Option<(usize, usize)>,
    scale: f32,
    mean: [f32; 3],
    deviation: [f32; 3],
}

fn side(field: &'static str, value: Option<u64>) -> Result<usize, Error> {
    let value = value.ok_or_else(|| wrong(field, "height and width, or shortest_edge", "neither"))?;
    let fits = (1..=LARGEST).contains(&value);
    if fits { Ok(value as usize) } else { Err(wrong(field, format!("1 to {LARGEST}"), value)) }
}

fn three(field: &'static str, values: Option<&Vec<f32>>) -> Result<[f32; 3], Error> {
    let values = values.ok_or_else(|| wrong(field, "three numbers", "none"))?;
    <[f32; 3]>::try_from(values.as_slice()).map_err(|_| wrong(field, "three numbers", format!("{values:?}")))
}

impl PictureRule {
    /// By the text of a `preprocessor_config.json`. Fields that say `do_…` are true where they are missing, but for the crop,
    /// which is made where there is a size for it.
    ///
    /// # Errors
    /// No such text; a field that gives no picture.
    pub fn of(json: &str) -> Result<Self, Error> {
        let config: Config = serde_json::from_str(json)
            .map_err(|error| wrong("preprocessor_config.json", "an image processor's fields", error))?;
        let crops = config.do_center_crop.unwrap_or(config.crop_size.is_some());
        let target = match config.size.filter(|_| config.do_resize != Some(false)) {
            None => None,
            // One number is the shorter side where a crop follows, else both.
            Some(Size::One(one)) if crops => Some(Target::Shorter(side("size", Some(one))?)),
            Some(Size::One(one)) => Some(Target::Exact(side("size", Some(one))?, one as usize)),
            Some(Size::Named { shortest_edge: Some(edge), .. }) => {
                Some(Target::Shorter(side("size.shortest_edge", Some(edge))?))
            }
            Some(Size::Named { height, width, .. }) => {
                Some(Target::Exact(side("size.width", width)?, side("size.height", height)?))
            }
        };
        let crop = match config.crop_size.filter(|_| crops) {
            None => None,
            Some(Size::One(one)) => Some((side("crop_size", Some(one))?, one as usize)),
            Some(Size::Named { height, width, .. }) => {
                Some((side("crop_size.width", width)?, side("crop_size.height", height)?))
            }
        };
        let number = config.resample.unwrap_or(2);
        let filter = Filter::of_number(number)
            .ok_or_else(|| wrong("resample", "1 (Lanczos), 2 (bilinear) or 3 (bicubic)", number))?;
        let (mean, deviation) = if config.do_normalize == Some(false) {
            ([0.0; 3], [1.0; 3])
        } else {
            (three("image_mean", config.image_mean.as_ref())?, three("image_std", config.image_std.as_ref())?)
        };
        if deviation.iter().any(|value| value.is_nan() || *value <= 0.0) {
            return Err(wrong("image_std", "numbers above 0", format!("{deviation:?}")));
        }
        let factor = config.rescale_factor.unwrap_or(1.0 / 255.0) as f32;
        let scale = if config.do_rescale == Some(false) { 1.0 } else { factor };
        Ok(Self { target, filter, crop, scale, mean, deviation })
    }

    /// The numbers of a picture and their extents, `[1, 3, height, width]`: `rgb` has three bytes for each pixel, rows from the top.
    ///
    /// # Errors
    /// Other bytes than three for each pixel, no pixels, or a side that would be too long.
    pub fn tensor(&self, rgb: &[u8], width: usize, height: usize) -> Result<(Vec<f32>, [i64; 4]), Error> {
        let n = width.checked_mul(height).and_then(|n| n.checked_mul(3));
        if n != Some(rgb.len()) || rgb.is_empty() {
            return Err(wrong("picture", format!("{n:?} bytes of {width} by {height} pixels"), rgb.len()));
        }
        let (to_width, to_height) = match self.target {
            None => (width, height),
            Some(Target::Exact(width, height)) => (width, height),
            Some(Target::Shorter(edge)) => {
                let longer = |of: usize, by: usize| (edge as u64 * of as u64 / by as u64) as usize;
                if width <= height { (edge, longer(height, width)) } else { (longer(width, height), edge) }
            }
        };
        if to_width.max(to_height) as u64 > LARGEST {
            return Err(wrong(
                "picture",
                format!("sides up to {LARGEST}"),
                format!("{to_width} by {to_height}"),
            ));
        }
        let pixels = resize(rgb, (width, height), (to_width, to_height), self.filter);
        let (out_width, out_height) = self.crop.unwrap_or((to_width, to_height));
        // What lies outside is black.
        let before = |of: usize, crop: usize| (of as i64 - crop as i64).div_euclid(2);
        let (left, top) = (before(to_width, out_width), before(to_height, out_height));
        let mut values = Vec::with_capacity(3 * out_width * out_height);
        for channel in 0..3 {
            for row in 0..out_height as i64 {
                for column in 0..out_width as i64 {
                    let (x, y) = (column + left, row + top);
                    let inside = (0..to_width as i64).contains(&x) && (0..to_height as i64).contains(&y);
                    let place = (y * to_width as i64 + x) * 3 + channel as i64;
                    let byte = if inside { f32::from(pixels[place as usize]) } else { 0.0 };
                    values.push((byte * self.scale - self.mean[channel]) / self.deviation[channel]);
                }
            }
        }
        Ok((values, [1, 3, out_height as i64, out_width as i64]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_a_configuration_are_read() {
        let rule = |more: &str| {
            PictureRule::of(&format!(
                r#"{{"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.25, 1]{more}}}"#
            ))
        };
        let square = rule(r#", "size": 4"#).unwrap();
        assert_eq!((square.target, square.crop), (Some(Target::Exact(4, 4)), None));
        let clip = rule(r#", "size": 8, "crop_size": 6, "resample": 3"#).unwrap();
        assert_eq!(
            (clip.target, clip.crop, clip.filter),
            (Some(Target::Shorter(8)), Some((6, 6)), Filter::Bicubic)
        );
        let named = rule(r#", "size": {"height": 2, "width": 4}"#).unwrap();
        assert_eq!(named.target, Some(Target::Exact(4, 2)));
        for bad in
            [r#", "size": 0"#, r#", "size": {"height": 3}"#, r#", "resample": 0"#, r#", "image_mean": [1]"#]
        {
            assert!(rule(bad).is_err(), "{bad}");
        }
        assert!(PictureRule::of("{}").unwrap_err().to_string().starts_with("image_mean: expected three"));
    }
}
