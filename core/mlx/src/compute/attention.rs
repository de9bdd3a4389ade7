//! Attention of one layer: heads in groups, norms of heads, sinks, windows. Owns [`Attention`]; must not know feed-forwards.

use super::cache::{Cache, Seen};
use super::linear::{Linear, Norm};
use super::rotary::Rotary;
use super::weights::Weights;
use super::{Outcome, extent};
use crate::{Error, Model};
use mlx_rs::Array;
use mlx_rs::fast::{ScaledDotProductAttentionMask as Mask, scaled_dot_product_attention};

/// One layer's attention.
pub(super) struct Attention {
    projections: Projections,
    output: Linear,
    norms: [Option<Norm>; 2],
    sinks: Option<Array>,
    rotary: Rotary,
    scale: f32,
    n_heads: i32,
    n_kv_heads: i32,
    width: i32,
}

/// Queries, keys and values: of three matrices, or of one.
enum Projections {
    Three([Linear; 3]),
    One(Linear),
}

impl Attention {
    pub(super) fn read(model: &Model, weights: &Weights<'_>, layer: usize) -> Result<Self, Error> {
        let name = |part: &str| format!("blk.{layer}.{part}");
        let shape = model.description.layers[layer].attention();
        let shape = shape.expect("every layer has attention: the model was checked");
        let projections = match weights.linear(&name("attn_qkv"))? {
            Some(one) => Projections::One(one),
            None => Projections::Three([
                weights.need(&name("attn_q"))?,
                weights.need(&name("attn_k"))?,
                weights.need(&name("attn_v"))?,
            ]),
        };
        Ok(Self {
            projections,
            output: weights.need(&name("attn_output"))?,
            norms: [weights.norm(&name("attn_q_norm"))?, weights.norm(&name("attn_k_norm"))?],
            sinks: weights.plain(&name("attn_sinks.weight"))?,
            rotary: Rotary::of(model, shape.reach)?,
            scale: model.network.attention_scale(&model.description, shape.key_dim),
            n_heads: shape.n_heads as i32,
            n_kv_heads: shape.n_kv_heads as i32,
            width: shape.key_dim as i32,
        })
    }

    /// What the tokens of `x` [1, tokens, hidden], the first at position `past`, see of what came before and of each other.
    pub(super) fn of(&self, x: &Array, cache: &mut Cache, past: usize) -> Outcome<Array> {
        let n = x.dim(1);
        let [queries, keys, values] = match &self.projections {
            Projections::Three([q, k, v]) => [q.of(x)?, k.of(x)?, v.of(x)?],
            Projections::One(all) => self.apart(&all.of(x)?)?,
        };
        let queries = self.heads(queries, self.n_heads, self.norms[0].as_ref())?;
        let keys = self.heads(keys, self.n_kv_heads, self.norms[1].as_ref())?;
        let values = self.heads(values, self.n_kv_heads, None)?;
        let position = extent(past)?;
        let queries = self.rotary.turn(&queries, position)?;
        let keys = self.rotary.turn(&keys, position)?;
        let seen = cache.append(&keys, &values, past)?;
        let mask = mask(&seen, n)?;
        let mask = match (&mask, n) {
            (Some(mask), _) => Some(Mask::Array(mask)),
            (None, 1) => None,
            (None, _) => Some(Mask::Causal),
        };
        let made = scaled_dot_product_attention(
            queries,
            &seen.keys,
            &seen.values,
            self.scale,
            mask,
            self.sinks.as_ref(),
        )?;
        self.output.of(&made.transpose_axes(&[0, 2, 1, 3])?.reshape(&[1, n, -1])?)
    }

    fn apart(&self, all: &Array) -> Outcome<[Array; 3]> {
        let (heads, kv) = (self.n_heads * self.width, self.n_kv_heads * self.width);
        let mut parts = all.split_at_indices(&[heads, heads + kv], -1)?.into_iter();
        match (parts.next(), parts.next(), parts.next()) {
            (Some(q), Some(k), Some(v)) => Ok([q, k, v]),
            _ => unreachable!("two places split into three parts"),
        }
    }

    /// [1, tokens, heads · width] as [1, heads, tokens, width], with the norm of each head, or of all, where there is one.
    fn heads(&self, x: Array, n_heads: i32, norm: Option<&Norm>) -> Outcome<Array> {
        let n = x.dim(1);
        let of_each = norm.filter(|norm| norm.width() == self.width as usize);
        let x = match norm.filter(|_| of_each.is_none()) {
            Some(norm) => norm.of(&x)?,
            None => x,
        };
        let x = x.reshape(&[1, n, n_heads, self.width])?;
        let x = match of_each {
            Some(norm) => norm.of(&x)?,
            None => x,
        };
        x.transpose_axes(&[0, 2, 1, 3])
    }
}

/// Which of what is shown each of the last `n` tokens sees, where that is not all before it.
fn mask(seen: &Seen, n: i32) -> Outcome<Option<Array>> {
    let Some(window) = seen.window.filter(|_| n > 1) else { return Ok(None) };
    let n = n as usize;
    let sees = |row: usize| {
        let own = seen.n - n + row;
        (0..seen.n).map(move |column| column <= own && own < column + window)
    };
    let flags: Vec<bool> = (0..n).flat_map(sees).collect();
    Ok(Some(Array::from_slice(&flags, &[extent(n)?, extent(seen.n)?])))
}
