//! Turning queries and keys by their positions. Owns the frequencies of each scaling; must not know caches.
//!
//! Formulas and the order of their operations: mlx-lm 0.32.2, mlx_lm/models/rope_utils.py.

use super::{Outcome, number};
use crate::{Error, Model};
use families::{Reach, RopeScaling};
use mlx_rs::ops::indexing::TryIndexOp;
use mlx_rs::ops::{
    add, arange, clip, concatenate, divide, gt, logical_and, lt, multiply, power, select, subtract,
};
use mlx_rs::{Array, fast};
use serde_json::Value;

/// How heads are turned.
pub(super) struct Rotary {
    /// Elements of a head that are turned.
    n_turned: i32,
    base: Option<f32>,
    /// What positions are multiplied by.
    scale: f32,
    /// Periods over 2π, in place of those that follow from the base.
    periods: Option<Array>,
    /// What turned elements are multiplied by.
    magnitude: f32,
}

impl Rotary {
    /// Those of layers that see so far.
    pub(super) fn of(model: &Model, reach: Reach) -> Result<Self, Error> {
        let description = &model.description;
        let stated = model.number("rope.dimension_count").map(|count| count as u32);
        let n_turned = stated.filter(|count| *count > 0).unwrap_or(description.head_dim);
        let rope = &description.rope;
        let plain = |theta: f64| Self {
            n_turned: n_turned as i32,
            base: Some(theta as f32),
            scale: 1.0,
            periods: None,
            magnitude: 1.0,
        };
        if let Some(theta) = rope.local_theta.filter(|_| reach != Reach::Full) {
            return Ok(plain(theta));
        }
        let with = |periods: Array, magnitude: f64| -> Outcome<Self> {
            periods.eval()?;
            let magnitude = magnitude as f32;
            Ok(Self { base: None, periods: Some(periods), magnitude, ..plain(rope.theta) })
        };
        Ok(match &rope.scaling {
            RopeScaling::None => plain(rope.theta),
            RopeScaling::Linear { factor } => Self { scale: (1.0 / factor) as f32, ..plain(rope.theta) },
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => {
                let bounds = [*low_freq_factor, *high_freq_factor];
                with(llama3(rope.theta, n_turned, *factor, bounds, *original_context as f64)?, 1.0)?
            }
            RopeScaling::Yarn { factor, original_context } => {
                let stated = |field: &str| model.rope.get(field).and_then(Value::as_f64);
                let betas = [stated("beta_fast").unwrap_or(32.0), stated("beta_slow").unwrap_or(1.0)];
                let share = |of: f64| if *factor <= 1.0 { 1.0 } else { 0.1 * of * factor.ln() + 1.0 };
                let magnitude =
                    share(stated("mscale").unwrap_or(1.0)) / share(stated("mscale_all_dim").unwrap_or(0.0));
                with(yarn(rope.theta, n_turned, *factor, betas, *original_context as f64)?, magnitude)?
            }
            other => {
                let path = model.folder().join("config.json");
                let expected = "none, linear, llama3 or yarn";
                return Err(Error::field(&path, "rope_scaling", expected, format!("{other:?}")));
            }
        })
    }

    /// `x` [batch, heads, tokens, width], whose first token is at `position`.
    pub(super) fn turn(&self, x: &Array, position: i32) -> Outcome<Array> {
        let scaled = match self.magnitude {
            1.0 => None,
            magnitude => Some(self.scaled(x, magnitude)?),
        };
        let x = scaled.as_ref().unwrap_or(x);
        fast::rope(x, self.n_turned, false, self.base, self.scale, position, self.periods.as_ref())
    }

    /// The turned elements times `magnitude`.
    fn scaled(&self, x: &Array, magnitude: f32) -> Outcome<Array> {
        let by = number(magnitude, x.dtype())?;
        if x.dim(-1) == self.n_turned {
            return multiply(x, by);
        }
        let (turned, rest) =
            (x.try_index((.., .., .., ..self.n_turned))?, x.try_index((.., .., .., self.n_turned..))?);
        concatenate(&[multiply(turned, by)?, rest], -1)
    }
}

/// `base^(i / n)` for every second `i`.
fn plain_periods(theta: f64, n_turned: u32) -> Outcome<Array> {
    let places = arange::<f32, f32>(0.0, n_turned as f32, 2.0)?;
    power(float(theta), divide(places, float(f64::from(n_turned)))?)
}

fn float(value: f64) -> Array {
    Array::from_f32(value as f32)
}

/// Long periods are stretched by `factor`, short ones stay, those in between are mixed.
fn llama3(theta: f64, n_turned: u32, factor: f64, [low, high]: [f64; 2], original: f64) -> Outcome<Array> {
    let periods = plain_periods(theta, n_turned)?;
    let waves = multiply(float(2.0 * std::f64::consts::PI), &periods)?;
    let (longest, shortest) = (float(original / low), float(original / high));
    let periods = select(gt(&waves, &longest)?, multiply(&periods, float(factor))?, &periods)?;
    let is_between = logical_and(gt(&waves, &shortest)?, lt(&waves, &longest)?)?;
    let share = divide(subtract(divide(float(original), &waves)?, float(low))?, float(high - low))?;
    let stretched = divide(subtract(float(1.0), &share)?, float(factor))?;
    select(is_between, divide(&periods, add(stretched, share)?)?, &periods)
}

/// Periods that turn less than `slow` times within the original context are stretched by `factor`, those that turn more than
/// `fast` times stay.
fn yarn(theta: f64, n_turned: u32, factor: f64, [fast, slow]: [f64; 2], original: f64) -> Outcome<Array> {
    let n = f64::from(n_turned);
    let place = |turns: f64| n * (original / (turns * 2.0 * std::f64::consts::PI)).ln() / (2.0 * theta.ln());
    let low = place(fast).floor().max(0.0);
    let high = place(slow).ceil().min(n - 1.0);
    let high = if low == high { high + 0.001 } else { high };
    let kept = plain_periods(theta, n_turned)?;
    let stretched = multiply(float(factor), &kept)?;
    let places = arange::<f32, f32>(0.0, (n_turned / 2) as f32, 1.0)?;
    let ramp = divide(subtract(places, float(low))?, float(high - low))?;
    let share = subtract(float(1.0), clip(ramp, (0.0, 1.0))?)?;
    let rest = subtract(float(1.0), &share)?;
    let below = add(multiply(&stretched, share)?, multiply(&kept, rest)?)?;
    divide(multiply(&stretched, &kept)?, below)
}
