//! Feed-forwards: one, or experts behind a router. Owns [`FeedForward`]; must not know attention.
//!
//! Formulas and the order of their operations: mlx-lm 0.32.2, mlx_lm/models/switch_layers.py, activations.py.

use super::linear::Linear;
use super::weights::Weights;
use super::{Outcome, number};
use crate::network::{Activation, Router};
use crate::{Error, Model};
use mlx_rs::Array;
use mlx_rs::ops::indexing::{TryIndexOp, take_along_axis, take_axis};
use mlx_rs::ops::{
    add, argpartition_axis, argsort_axis, clip, divide, floor_divide, minimum, multiply, negative, power,
    sigmoid, softmax_axis, sum_axis, tanh,
};

/// Choices from which on they are brought into order, so that each expert is read once.
const SORTED_FROM: usize = 64;

/// One layer's feed-forward.
pub(super) struct FeedForward {
    activation: Activation,
    gate: Linear,
    up: Linear,
    down: Linear,
    experts: Option<Experts>,
}

struct Experts {
    router: Linear,
    kind: Router,
    ranks_falling: bool,
    n_active: i32,
}

impl FeedForward {
    pub(super) fn read(model: &Model, weights: &Weights<'_>, layer: usize) -> Result<Self, Error> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let is_routed = model.description.layers[layer].is_routed();
        let end = if is_routed { "_exps" } else { "" };
        let experts = match (is_routed, model.description.moe) {
            (true, Some(moe)) => Some(Experts {
                router: weights.need(&name("ffn_gate_inp"))?,
                kind: model.network.router.ok_or_else(|| {
                    let path = model.folder().join("config.json");
                    Error::field(&path, "model_type", "one whose experts are computed", "another")
                })?,
                ranks_falling: model.network.ranks_falling,
                n_active: moe.n_active as i32,
            }),
            _ => None,
        };
        Ok(Self {
            activation: model.network.activation,
            gate: weights.need(&name(&format!("ffn_gate{end}")))?,
            up: weights.need(&name(&format!("ffn_up{end}")))?,
            down: weights.need(&name(&format!("ffn_down{end}")))?,
            experts,
        })
    }

    /// Of `x` [1, tokens, hidden].
    pub(super) fn of(&self, x: &Array) -> Outcome<Array> {
        match &self.experts {
            None => self.down.of(&activated(self.activation, &self.gate.of(x)?, &self.up.of(x)?)?),
            Some(experts) => {
                let (which, shares) = experts.choose(x)?;
                let made = self.of_chosen(x, &which)?;
                let weighed = multiply(&made, shares.expand_dims(-1)?)?;
                sum_axis(weighed, -2, None)?.as_dtype(made.dtype())
            }
        }
    }

    /// What the chosen experts make: [1, tokens, chosen, hidden].
    fn of_chosen(&self, x: &Array, which: &Array) -> Outcome<Array> {
        let x = x.expand_dims_axes(&[-2, -3])?;
        if which.size() < SORTED_FROM {
            return self.experts_of(&x, which, false)?.squeeze_axes(&[-2]);
        }
        let n_chosen = which.dim(-1);
        let flat = which.reshape(&[-1])?;
        let order = argsort_axis(&flat, -1)?;
        let back = argsort_axis(&order, -1)?;
        let tokens = x.reshape(&[-1, 1, x.dim(-1)])?;
        let own = floor_divide(&order, Array::from_int(n_chosen).as_dtype(order.dtype())?)?;
        let sorted = take_axis(tokens, own, 0)?;
        let made = self.experts_of(&sorted, &take_axis(&flat, &order, 0)?, true)?;
        let made = take_axis(made, back, 0)?;
        made.reshape(&[which.dim(0), which.dim(1), n_chosen, made.dim(-1)])
    }

    fn experts_of(&self, x: &Array, which: &Array, sorted: bool) -> Outcome<Array> {
        let up = self.up.of_chosen(x, which, sorted)?;
        let gate = self.gate.of_chosen(x, which, sorted)?;
        self.down.of_chosen(&activated(self.activation, &gate, &up)?, which, sorted)
    }
}

impl Experts {
    /// Which experts each token of `x` uses, and their shares: [1, tokens, chosen] each.
    fn choose(&self, x: &Array) -> Outcome<(Array, Array)> {
        let scores = self.router.of(x)?;
        let scores = match self.kind {
            Router::SoftmaxThenChoose => softmax_axis(scores, -1, true)?,
            Router::ChooseThenSoftmax => scores,
        };
        let n = scores.dim(-1);
        let which = match self.ranks_falling {
            true => argpartition_axis(negative(&scores)?, self.n_active - 1, -1)?.try_index((
                ..,
                ..,
                ..self.n_active,
            ))?,
            false => {
                argpartition_axis(&scores, -self.n_active, -1)?.try_index((.., .., n - self.n_active..))?
            }
        };
        let chosen = take_along_axis(&scores, &which, -1)?;
        let shares = match self.kind {
            Router::SoftmaxThenChoose => divide(&chosen, sum_axis(&chosen, -1, true)?)?,
            Router::ChooseThenSoftmax => softmax_axis(chosen, -1, true)?,
        };
        Ok((which, shares))
    }
}

/// What goes into the last matrix.
fn activated(activation: Activation, gate: &Array, up: &Array) -> Outcome<Array> {
    let of = |value: f32| number(value, gate.dtype());
    match activation {
        Activation::Silu => multiply(multiply(gate, sigmoid(gate)?)?, up),
        Activation::GeluTanh => {
            let cubed = multiply(of(0.044_715)?, power(gate, of(3.0)?)?)?;
            let root = of((2.0 / std::f64::consts::PI).sqrt() as f32)?;
            let bent = tanh(multiply(root, add(gate, cubed)?)?)?;
            multiply(multiply(multiply(of(0.5)?, gate)?, add(of(1.0)?, bent)?)?, up)
        }
        Activation::ClampedSilu => {
            let gate = minimum(gate, of(7.0)?)?;
            let up = clip(up, (&of(-7.0)?, &of(7.0)?))?;
            let opened = multiply(&gate, sigmoid(multiply(of(1.702)?, &gate)?)?)?;
            multiply(add(up, of(1.0)?)?, opened)
        }
    }
}
