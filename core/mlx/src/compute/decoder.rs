//! A decoder that is ready to compute. Owns [`Decoder`]; must not know how tokens are chosen.

use super::attention::Attention;
use super::cache::Sequence;
use super::feed_forward::FeedForward;
use super::linear::{Linear, Norm};
use super::weights::Weights;
use super::{Outcome, extent, number};
use crate::{Error, Model};
use half::bf16;
use mlx_rs::ops::indexing::TryIndexOp;
use mlx_rs::ops::{add, clip, divide, multiply, tanh};
use mlx_rs::transforms::eval;
use mlx_rs::{Array, Dtype};
use std::ops::ControlFlow;

/// Tokens from which on a part is computed layer by layer, and the caller asked in between.
const LAYER_BY_LAYER_FROM: usize = 16;

/// Which logits are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// None.
    None,
    /// Those after the last token.
    Last,
    /// Those after every token.
    All,
}

/// A model with its weights.
pub struct Decoder {
    model: Model,
    embedding: Linear,
    embedding_scale: Option<f32>,
    layers: Vec<Layer>,
    norm: Option<Norm>,
    output: Option<Linear>,
    cap: Option<f32>,
    dtype: Dtype,
}

struct Layer {
    before_attention: Option<Norm>,
    attention: Attention,
    after_attention: Option<Norm>,
    before_feed_forward: Option<Norm>,
    feed_forward: FeedForward,
    after_feed_forward: Option<Norm>,
}

impl Decoder {
    /// Reads the weights of `model`; `progress` gets the fraction and may end it.
    ///
    /// # Errors
    /// A file that MLX does not read, [`Error::Cancelled`].
    pub fn load(model: Model, progress: &mut dyn FnMut(f32) -> ControlFlow<()>) -> Result<Self, Error> {
        let weights = Weights::read(&model, progress)?;
        let n_layers = model.description.layers.len();
        let layers: Vec<Layer> =
            (0..n_layers).map(|layer| Layer::read(&model, &weights, layer)).collect::<Result<_, _>>()?;
        let embedding = weights.need("token_embd")?;
        let norm = weights.norm("output_norm")?;
        let output = weights.linear("output")?;
        let scale = model.network.scales_embedding.then(|| {
            let root = (model.description.hidden_size as f64).sqrt();
            bf16::from_f64(root).to_f32()
        });
        let cap = model.number("final_logit_softcapping").filter(|cap| *cap > 0.0).map(|cap| cap as f32);
        let dtype = embedding.matrix.rows(&Array::from_slice(&[0i32], &[1]))?.dtype();
        Ok(Self { embedding, embedding_scale: scale, layers, norm, output, cap, dtype, model })
    }

    /// What it was read of.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// A sequence of nothing; with `keeps_all`, sliding windows keep what is before them, so that it can go back anywhere.
    #[must_use]
    pub fn sequence(&self, keeps_all: bool) -> Sequence {
        Sequence::new(&self.model, keeps_all)
    }

    /// Lets `sequence` hold what [`Sequence::state`] wrote.
    ///
    /// # Errors
    /// [`Error::State`] for a state of another model, a damaged one, or one of more than `n_ctx` tokens; the sequence is
    /// unchanged then.
    pub fn restore(&self, sequence: &mut Sequence, state: &[u8], n_ctx: usize) -> Result<(), Error> {
        sequence.restore(state, &self.model, self.dtype, n_ctx)
    }

    /// Appends `tokens`, which are ids of the model's, to `sequence`, all at once, and gives the wanted logits, one row of
    /// the vocabulary's size after the other. Of many tokens the layers are computed one by one; where `stop` is true in
    /// between, or before, nothing is appended.
    ///
    /// # Errors
    /// [`Error::Cancelled`], and what MLX refuses; nothing is appended then either.
    pub fn append(
        &self,
        sequence: &mut Sequence,
        tokens: &[i32],
        rows: Rows,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<Vec<f32>, Error> {
        if stop() {
            return Err(Error::Cancelled);
        }
        let past = sequence.n_past;
        let ids = Array::from_slice(tokens, &[1, extent(tokens.len())?]);
        let mut x = self.embedding.matrix.rows(&ids)?;
        if let Some(scale) = self.embedding_scale {
            x = multiply(&x, number(scale, x.dtype())?)?;
        }
        let bounds = self.model.network.bounds_half_sums;
        for (layer, cache) in self.layers.iter().zip(&mut sequence.layers) {
            x = layer.of(&x, cache, past, bounds)?;
            if tokens.len() >= LAYER_BY_LAYER_FROM {
                x.eval()?;
                if stop() {
                    return Err(Error::Cancelled);
                }
            }
        }
        let logits = match rows {
            Rows::None => None,
            Rows::Last => Some(self.logits(&x.try_index((.., -1.., ..))?)?),
            Rows::All => Some(self.logits(&x)?),
        };
        eval(logits.iter().chain(sequence.arrays()))?;
        let logits = match &logits {
            None => Vec::new(),
            Some(logits) => {
                let slice = logits.try_as_slice::<f32>();
                slice.map_err(|error| Error::Compute { reason: error.to_string() })?.to_vec()
            }
        };
        sequence.n_past = past + tokens.len();
        Ok(logits)
    }

    fn logits(&self, x: &Array) -> Outcome<Array> {
        let normed = self.norm.as_ref().map(|norm| norm.of(x)).transpose()?;
        let x = normed.as_ref().unwrap_or(x);
        let mut logits = self.output.as_ref().unwrap_or(&self.embedding).of(x)?;
        if let Some(cap) = self.cap {
            let cap = number(cap, logits.dtype())?;
            logits = multiply(tanh(divide(logits, &cap)?)?, cap)?;
        }
        logits.as_dtype(Dtype::Float32)?.contiguous()
    }
}

impl Layer {
    fn read(model: &Model, weights: &Weights<'_>, layer: usize) -> Result<Self, Error> {
        let norm = |name: &str| weights.norm(&format!("blk.{layer}.{name}"));
        let before = model.network.feed_forward_norm.as_str();
        let after_attention =
            if before == "post_attention_norm" { None } else { norm("post_attention_norm")? };
        Ok(Self {
            before_attention: norm("attn_norm")?,
            attention: Attention::read(model, weights, layer)?,
            after_attention,
            before_feed_forward: norm(before)?,
            feed_forward: FeedForward::read(model, weights, layer)?,
            after_feed_forward: norm("post_ffw_norm")?,
        })
    }

    fn of(&self, x: &Array, cache: &mut super::cache::Cache, past: usize, bounds: bool) -> Outcome<Array> {
        let seen = self.attention.of(&normed(self.before_attention.as_ref(), x)?, cache, past)?;
        let middle = sum(x, &normed(self.after_attention.as_ref(), &seen)?, bounds)?;
        let made = self.feed_forward.of(&normed(self.before_feed_forward.as_ref(), &middle)?)?;
        sum(&middle, &normed(self.after_feed_forward.as_ref(), &made)?, bounds)
    }
}

/// Normalised where there is a norm.
fn normed(norm: Option<&Norm>, x: &Array) -> Outcome<Array> {
    norm.map_or_else(|| Ok(x.clone()), |norm| norm.of(x))
}

/// The sum; with `bounds`, one of 16-bit floats ends at their largest number.
fn sum(x: &Array, more: &Array, bounds: bool) -> Outcome<Array> {
    if !bounds || x.dtype() != Dtype::Float16 {
        return add(x, more);
    }
    let most = half::f16::MAX.to_f32();
    let whole = add(x.as_dtype(Dtype::Float32)?, more.as_dtype(Dtype::Float32)?)?;
    clip(whole, (-most, most))?.as_dtype(Dtype::Float16)
}
