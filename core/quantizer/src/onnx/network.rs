//! A model's graph: its layers from what their tensors are, in GGUF's names, and what its architecture computes with them.
//! Knows descriptions and tensors; which operators compute is the flavours' business.

use super::conventions::{Activation, Network};
use super::flavour::Operators;
use super::graph::{Graph, standard};
use super::recipe::Recipe;
use super::rotary::Turning;
use super::statics::Statics;
use super::stored::Stores;
use super::{LOGITS, MASK, TOKENS, past, present};
use crate::plan::Job;
use crate::source::TensorSource;
use crate::{Error, Result};
use families::{Attention, Description, FeedForward, Form, Mixer, Reach};
use formats::onnx::{DataType, attribute};

/// A graph, what lies beside it, and for how many tokens it is made.
pub(super) struct Built {
    pub(super) graph: Graph,
    pub(super) stores: Stores,
    pub(super) context_tokens: u64,
}

/// A graph under construction, with all that its parts ask for.
pub(super) struct Builder<'a> {
    pub(super) graph: Graph,
    pub(super) stores: Stores,
    pub(super) job: &'a Job,
    pub(super) source: &'a dyn TensorSource,
    pub(super) description: &'a Description,
    pub(super) network: &'static Network,
    pub(super) recipe: Recipe,
    pub(super) statics: Option<&'a Statics>,
    /// The floats that it computes in.
    pub(super) float: DataType,
    pub(super) epsilon: f32,
}

/// Builds the graph of `job`, whose matrices have the types that `recipe` gives them.
///
/// # Errors
/// A model whose graph is not known, or a part of it; a tensor that is missing or of another shape.
pub(super) fn build(
    source: &dyn TensorSource,
    description: &Description,
    job: &Job,
    recipe: Recipe,
    statics: Option<&Statics>,
) -> Result<Built> {
    let family = |error| Error::Family { path: source.path().into(), source: error };
    let network = Network::of(description).map_err(family)?;
    let key = format!("{}.attention.layer_norm_rms_epsilon", description.architecture);
    let epsilon = source.metadata().f64(&key);
    let mut builder = Builder {
        graph: Graph::default(),
        stores: Stores::default(),
        job,
        source,
        description,
        network,
        recipe,
        statics,
        float: recipe.float(),
        epsilon: epsilon.ok_or_else(|| family(families::Error::Missing { field: key }))? as f32,
    };
    if description.form != Form::Decoder {
        return Err(builder.unknown("what it makes of tokens", "a decoder"));
    }
    let turning = Turning::of(&mut builder)?;
    let context_tokens = turning.context_tokens;
    let operators = Operators::of(recipe, turning);
    builder.ports(&operators)?;
    builder.body(&operators)?;
    Ok(Built { graph: builder.graph, stores: builder.stores, context_tokens })
}

impl Builder<'_> {
    /// What is not known of this model.
    pub(super) fn unknown(&self, part: &str, expected: &str) -> Error {
        Error::Request {
            wish: format!("onnx: {part}"),
            expected: expected.into(),
            got: format!("{} ({})", self.source.path().display(), self.description.architecture),
        }
    }

    /// A number of the metadata's keys of this architecture.
    pub(super) fn stated(&self, key: &str) -> Option<f64> {
        self.source.metadata().f64(&format!("{}.{key}", self.description.architecture))
    }

    /// Number of the tensor of this name in the job.
    pub(super) fn find(&self, name: &str) -> Option<usize> {
        self.job.tensors.iter().position(|tensor| tensor.name == name)
    }

    /// The same, where there must be one.
    pub(super) fn need(&self, name: &str) -> Result<usize> {
        self.find(name).ok_or_else(|| Error::Tensor {
            path: self.source.path().into(),
            tensor: name.into(),
            problem: "expected it in this model, found nothing".into(),
        })
    }

    /// What goes in and comes out.
    fn ports(&mut self, operators: &Operators) -> Result<()> {
        let (batch, sequence, total) =
            (Err("batch_size"), Err("sequence_length"), Err("total_sequence_length"));
        self.graph.input(TOKENS, DataType::Int64, &[batch, sequence]);
        self.graph.input(MASK, DataType::Int64, &[batch, total]);
        let vocabulary = self.description.vocab_size as i64;
        self.graph.output(LOGITS, DataType::Float, &[batch, sequence, Ok(vocabulary)]);
        for (layer, of) in self.description.layers.iter().enumerate() {
            let attention = attention_of(of).ok_or_else(|| self.unknown("layers", "attention in each"))?;
            let (heads, width) = (Ok(i64::from(attention.n_kv_heads)), Ok(i64::from(attention.key_dim)));
            for kind in ["key", "value"] {
                let before = [batch, heads, Err("past_sequence_length"), width];
                self.graph.input(&past(layer, kind), self.float, &before);
                self.graph.output(&present(layer, kind), self.float, &[batch, heads, total, width]);
            }
        }
        operators.prepare(self)
    }

    fn body(&mut self, operators: &Operators) -> Result<()> {
        let mut x = operators.embed(self, "token_embd.weight", "x0")?;
        if self.network.scales_embedding {
            let scale = (self.description.hidden_size as f64).sqrt() as f32;
            let scale = self.graph.numbers("embedding_scale", self.float, &[], &[scale])?;
            x = self.graph.plain("Mul", &[&x, &scale], "x0/scaled");
        }
        for layer in 0..self.description.layers.len() {
            x = self.layer(operators, layer, &x)?;
        }
        let normed = operators.norm(self, "output_norm.weight", &x, "x/normed")?;
        let output = if self.find("output.weight").is_some() { "output" } else { "token_embd" };
        let cap = self.stated("final_logit_softcapping").filter(|cap| *cap > 0.0);
        let is_last = self.float == DataType::Float && cap.is_none();
        let mut logits =
            operators.linear(self, output, &normed, if is_last { LOGITS } else { "x/logits" })?;
        if self.float != DataType::Float {
            logits = self.graph.cast(
                &logits,
                DataType::Float,
                if cap.is_none() { LOGITS } else { "x/logits/f32" },
            );
        }
        if let Some(cap) = cap {
            let cap = self.graph.numbers("logit_cap", DataType::Float, &[], &[cap as f32])?;
            let divided = self.graph.plain("Div", &[&logits, &cap], "x/logits/divided");
            let bent = self.graph.plain("Tanh", &[&divided], "x/logits/bent");
            self.graph.plain("Mul", &[&bent, &cap], LOGITS);
        }
        Ok(())
    }

    fn layer(&mut self, operators: &Operators, layer: usize, x: &str) -> Result<String> {
        let (name, of) =
            (|part: &str| format!("blk.{layer}.{part}"), |part: &str| format!("l{layer}/{part}"));
        let attention = attention_of(&self.description.layers[layer])
            .ok_or_else(|| self.unknown("layers", "attention in each"))?;
        let normed = self.normed(operators, &name("attn_norm.weight"), x, &of("normed"))?;
        let seen = self.attention(operators, layer, &attention, &normed)?;
        let seen = self.normed(operators, &name("post_attention_norm.weight"), &seen, &of("seen/normed"))?;
        let middle = self.graph.plain("Add", &[x, &seen], &of("middle"));
        let normed = self.normed(operators, &name("ffn_norm.weight"), &middle, &of("middle/normed"))?;
        let made = match self.description.layers[layer].feed_forward {
            FeedForward::Dense { .. } => self.dense(operators, layer, &normed)?,
            FeedForward::Routed => operators.experts(self, layer, &normed)?,
            FeedForward::None => return Err(self.unknown("layers", "a feed-forward in each")),
        };
        let made = self.normed(operators, &name("post_ffw_norm.weight"), &made, &of("made/normed"))?;
        Ok(self.graph.plain("Add", &[&middle, &made], &format!("x{}", layer + 1)))
    }

    /// Normalised where the model has such a norm.
    fn normed(&mut self, operators: &Operators, norm: &str, x: &str, name: &str) -> Result<String> {
        match self.find(norm) {
            Some(_) => operators.norm(self, norm, x, name),
            None => Ok(x.into()),
        }
    }

    fn attention(
        &mut self,
        operators: &Operators,
        layer: usize,
        attention: &Attention,
        x: &str,
    ) -> Result<String> {
        let (name, of) =
            (|part: &str| format!("blk.{layer}.{part}"), |part: &str| format!("l{layer}/{part}"));
        if attention.key_dim != attention.value_dim {
            return Err(self.unknown("heads", "values as wide as keys"));
        }
        if matches!(attention.reach, Reach::Chunked { .. }) {
            return Err(self.unknown("attention", "no chunks"));
        }
        let (q, k, v) = if self.find(&name("attn_qkv.weight")).is_some() {
            let all = operators.linear(self, &name("attn_qkv"), x, &of("qkv"))?;
            let width = i64::from(attention.key_dim);
            let [heads, kv] = [attention.n_heads, attention.n_kv_heads].map(|n| i64::from(n) * width);
            let parts = self.graph.integers(&format!("split_{heads}_{kv}_{kv}"), &[heads, kv, kv])?;
            let [q, k, v] = ["q", "k", "v"].map(of);
            let axis = vec![attribute::int("axis", -1)];
            self.graph.add_many(standard("Split"), &[&all, &parts], &[&q, &k, &v], axis);
            (q, k, v)
        } else {
            (
                operators.linear(self, &name("attn_q"), x, &of("q"))?,
                operators.linear(self, &name("attn_k"), x, &of("k"))?,
                operators.linear(self, &name("attn_v"), x, &of("v"))?,
            )
        };
        let q = self.head_norm(operators, &name("attn_q_norm.weight"), attention.key_dim, q, &of("q"))?;
        let k = self.head_norm(operators, &name("attn_k_norm.weight"), attention.key_dim, k, &of("k"))?;
        let scale = self.network.attention_scale(self.description, attention.key_dim);
        let seen = operators.attend(self, layer, attention, scale, [&q, &k, &v])?;
        operators.linear(self, &name("attn_output"), &seen, &of("attention"))
    }

    /// Queries or keys with the norm of each head, or of all, where the model has one.
    fn head_norm(
        &mut self,
        operators: &Operators,
        norm: &str,
        head_dim: u32,
        x: String,
        name: &str,
    ) -> Result<String> {
        let Some(index) = self.find(norm) else { return Ok(x) };
        if self.job.tensors[index].dims[0] != u64::from(head_dim) {
            return operators.norm(self, norm, &x, &format!("{name}/normed"));
        }
        let heads = self.graph.integers(&format!("heads_of_{head_dim}"), &[0, 0, -1, i64::from(head_dim)])?;
        let apart = self.graph.plain("Reshape", &[&x, &heads], &format!("{name}/apart"));
        let normed = operators.norm(self, norm, &apart, &format!("{name}/normed"))?;
        let together = self.graph.integers("together", &[0, 0, -1])?;
        Ok(self.graph.plain("Reshape", &[&normed, &together], &format!("{name}/together")))
    }

    fn dense(&mut self, operators: &Operators, layer: usize, x: &str) -> Result<String> {
        let (name, of) =
            (|part: &str| format!("blk.{layer}.{part}"), |part: &str| format!("l{layer}/{part}"));
        let (gate, up) = if self.find(&name("ffn_gate.weight")).is_some() {
            (
                operators.linear(self, &name("ffn_gate"), x, &of("gate"))?,
                operators.linear(self, &name("ffn_up"), x, &of("up"))?,
            )
        } else {
            // Gate before up, in one matrix.
            let both = operators.linear(self, &name("ffn_up"), x, &of("both"))?;
            let width = self.job.tensors[self.need(&name("ffn_up.weight"))?].dims[1] as i64 / 2;
            let parts = self.graph.integers(&format!("split_{width}_{width}"), &[width, width])?;
            let [gate, up] = ["gate", "up"].map(of);
            let axis = vec![attribute::int("axis", -1)];
            self.graph.add_many(standard("Split"), &[&both, &parts], &[&gate, &up], axis);
            (gate, up)
        };
        let opened = self.activate(&gate, &of("opened"));
        let product = self.graph.plain("Mul", &[&opened, &up], &of("product"));
        operators.linear(self, &name("ffn_down"), &product, &of("made"))
    }

    fn activate(&mut self, x: &str, name: &str) -> String {
        match self.network.activation {
            Activation::Silu => {
                let share = self.graph.plain("Sigmoid", &[x], &format!("{name}/share"));
                self.graph.plain("Mul", &[x, &share], name)
            }
            Activation::GeluTanh => {
                self.graph.add(standard("Gelu"), &[x], name, vec![attribute::text("approximate", "tanh")])
            }
        }
    }
}

/// A layer's attention, where it has that and nothing else.
fn attention_of(layer: &families::Layer) -> Option<Attention> {
    match layer.mixer {
        Mixer::Attention(attention) => Some(attention),
        _ => None,
    }
}
