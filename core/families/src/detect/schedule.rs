//! Which layer does what, as data: lists of words, strings of letters, periods, leading dense layers.
//! Owns the grammar and its reading from a configuration; must not know tensors.

mod own_heads;

use crate::config::{Config, wrong};
use crate::detect::missing_width;
use crate::extent::Extent;
use crate::keys::key;
use crate::{Attention, Error, FeedForward, Latent, Layer, Mixer, Reach, Recurrence, Recurrent};
use own_heads::OwnHeads;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// A family's layers. Without it, every layer is attention over everything.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Schedule {
    /// Field with a list of one word per layer; words are names of `kind`.
    words: Option<String>,
    /// Field with a string of one letter per layer, and the kind that each letter stands for.
    letters: Option<Letters>,
    /// Every n-th layer is of another kind.
    period: Option<Period>,
    /// Field with a list of the numbers of layers of one kind, all others being of another.
    listed: Option<Listed>,
    /// Field with one number per layer, 0 for layers of the others' kind.
    flagged: Option<Listed>,
    /// Kinds of layers by name.
    #[serde(default)]
    kind: BTreeMap<String, Kind>,
    /// Length of the groups of layers whose last one alone sees everything, as the engine takes it where a GGUF file with
    /// a sliding window does not state it.
    pub(crate) engine_group: Option<u64>,
    /// It is the first layer of a group that sees everything, not the last.
    #[serde(default)]
    pub(crate) engine_full_first: bool,
    /// No norm stands before the attention of the first layer.
    #[serde(default)]
    pub(crate) first_without_norm: bool,
    /// Tokens of a chunk in the engine, where GGUF files do not state it and the layers of a group slide by chunks.
    pub(crate) engine_chunk: Option<u64>,
    /// Attention has biases by distance: of its own in the first layer, and in every one where this field is true.
    own_biases: Option<String>,
    /// Field with an object of what layers have for themselves, by their numbers.
    by_layer: Option<String>,
    /// Feed-forwards of layers that see the keys and values of an earlier one are twice as wide where this field is true.
    wide_with_shared_cache: Option<String>,
    /// Which layers are routed, where the checkpoint has experts.
    #[serde(default)]
    routing: Routing,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Letters {
    field: String,
    kinds: BTreeMap<char, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Period {
    /// Length of the period.
    every: Extent,
    /// Place of the other kind in it, from 0; the last one where it is not stated.
    at: Option<Extent>,
    kind: String,
    others: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    field: String,
    kind: String,
    others: String,
}

/// What layers of a kind do.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kind {
    #[serde(default)]
    mixer: MixerKind,
    /// Heads that are not the model's.
    #[serde(default)]
    attention: OwnHeads,
    /// Whether there is a feed-forward, and of which sort; not stated: dense or routed by `routing`.
    feed_forward: Option<FeedForwardKind>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum MixerKind {
    #[default]
    Attention,
    SlidingAttention,
    ChunkedAttention,
    LatentAttention,
    /// The same over tokens that an indexer of the layer's own chooses.
    IndexedLatentAttention,
    Mamba1,
    Mamba2,
    GatedDelta,
    ShortConvolution,
    /// Attention and a Mamba-2 beside each other.
    AttentionAndMamba2,
    None,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FeedForwardKind {
    Dense,
    Routed,
    None,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Routing {
    /// Every n-th layer, counted from the first of them on, is routed.
    every: Option<String>,
    /// Field with the numbers of layers that are not.
    dense: Option<String>,
    /// Field with one truth value per layer.
    flags: Option<String>,
    /// Field with one word per layer, `dense` for layers that are not.
    words: Option<String>,
}

/// What all layers of a model share.
pub(crate) struct Common<'a> {
    pub(crate) n_layers: usize,
    pub(crate) hidden_size: u64,
    /// Heads, where the configuration knows any.
    pub(crate) attention: Option<Attention>,
    /// Width of dense feed-forwards, where it states one.
    pub(crate) dense_width: Option<u64>,
    pub(crate) is_routed: bool,
    pub(crate) quantities: &'a BTreeMap<String, u64>,
}

impl Schedule {
    /// The layers of a model, first to last.
    ///
    /// # Errors
    /// A list of another length or with other words, or a kind whose numbers the configuration lacks.
    pub(crate) fn layers(&self, config: &Config<'_>, common: &Common<'_>) -> Result<Vec<Layer>, Error> {
        let kinds = self.kinds(config, common.n_layers)?;
        let routed = self.routing.routed(config, common)?;
        let biased = match &self.own_biases {
            None => 0,
            Some(field) if config.boolean(field)?.unwrap_or(false) => common.n_layers,
            Some(_) => 1,
        };
        let shared = common.quantities.get("shared_caches").copied().unwrap_or(0);
        let with_cache = (common.n_layers as u64).saturating_sub(shared);
        let wide = match &self.wide_with_shared_cache {
            Some(field) => config.boolean(field)?.unwrap_or(false),
            None => false,
        };
        let layers = kinds.into_iter().zip(routed).enumerate().map(|(index, (kind, routed))| {
            let shares_cache = index as u64 >= with_cache;
            let feed_forward = match kind.feed_forward {
                Some(FeedForwardKind::None) => FeedForward::None,
                Some(FeedForwardKind::Routed) => FeedForward::Routed,
                None if routed => FeedForward::Routed,
                None | Some(FeedForwardKind::Dense) => {
                    let width = common.dense_width.ok_or_else(missing_width)?;
                    FeedForward::Dense { width: if wide && shares_cache { 2 * width } else { width } }
                }
            };
            let mut mixer = common.mixer(kind.mixer)?;
            if let Mixer::Attention(attention) = &mut mixer {
                attention.own_bias = index < biased;
                attention.without_norm = self.first_without_norm && index == 0;
                attention.shares_cache = shares_cache;
                kind.attention.apply(config, attention)?;
                if let Some(field) = &self.by_layer {
                    own_heads::apply_stated(config, field, index, attention)?;
                }
            }
            Ok(Layer { mixer, feed_forward, predicts: false })
        });
        layers.collect()
    }

    /// How many layers the configuration lists, where it lists them.
    pub(crate) fn n_listed(&self, config: &Config<'_>) -> Option<u64> {
        let words = self.words.as_deref().and_then(|field| config.get(field)?.as_array());
        let letters = || self.letters.as_ref().and_then(|letters| config.get(&letters.field)?.as_str());
        words.map(Vec::len).or_else(|| Some(letters()?.chars().count())).map(|n| n as u64)
    }

    /// Checks that layers slide as the engine takes it where no key tells it otherwise.
    ///
    /// # Errors
    /// The first layer that does not.
    pub(crate) fn check_window_groups(&self, layers: &[Layer]) -> Result<(), Error> {
        let Some(group) = self.engine_group else { return Ok(()) };
        let slides = |layer: &Layer| layer.attention().is_some_and(|a| a.reach != Reach::Full);
        let full = if self.engine_full_first { 0 } else { group - 1 };
        let differs = |(index, layer): &(usize, &Layer)| slides(layer) == (*index as u64 % group == full);
        let Some((index, _)) = layers.iter().enumerate().find(differs) else { return Ok(()) };
        Err(Error::Field {
            field: "layer_types".into(),
            expected: format!("layers in groups of {group} of which number {full} alone sees everything"),
            got: format!("another kind of layer {index}"),
        })
    }

    fn kinds(&self, config: &Config<'_>, n_layers: usize) -> Result<Vec<Kind>, Error> {
        let kind = |field: &str, word: &str| match self.kind.get(word) {
            Some(kind) => Ok(kind.clone()),
            None => {
                let known: Vec<&str> = self.kind.keys().map(String::as_str).collect();
                Err(wrong(field, &format!("words of {}", known.join(", ")), &Value::from(word)))
            }
        };
        let of_length = |field: &str, kinds: Vec<Kind>| match kinds.len() >= n_layers {
            true => Ok(kinds),
            false => Err(wrong(
                field,
                &format!("one entry for each of {n_layers} layers"),
                &Value::from(kinds.len()),
            )),
        };
        if let Some((field, value)) =
            self.words.as_deref().and_then(|field| Some((field, config.get(field)?)))
        {
            let words = value
                .as_array()
                .and_then(|words| words.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
            let words = words.ok_or_else(|| wrong(field, "a list of words", value))?;
            let kinds = words.into_iter().map(|word| kind(field, word)).collect::<Result<_, _>>()?;
            return of_length(field, kinds);
        }
        if let Some(letters) = &self.letters
            && let Some(text) = config.string(&letters.field)?
        {
            let kinds = text.chars().map(|letter| {
                let known: String = letters.kinds.keys().collect();
                let word = letters.kinds.get(&letter);
                let word = word
                    .ok_or_else(|| wrong(&letters.field, &format!("letters of `{known}`"), &text.into()))?;
                kind(&letters.field, word)
            });
            return of_length(&letters.field, kinds.collect::<Result<_, _>>()?);
        }
        if let Some(listed) = &self.listed
            && let Some(value) = config.get(&listed.field)
        {
            let numbers = numbers(&listed.field, value)?;
            let word = |layer| if numbers.contains(&layer) { &listed.kind } else { &listed.others };
            return (0..n_layers as u64).map(|layer| kind(&listed.field, word(layer))).collect();
        }
        if let Some(flagged) = &self.flagged
            && let Some(value) = config.get(&flagged.field)
        {
            let word = |flag| if flag == 0 { &flagged.others } else { &flagged.kind };
            let kinds =
                numbers(&flagged.field, value)?.into_iter().map(|flag| kind(&flagged.field, word(flag)));
            return of_length(&flagged.field, kinds.collect::<Result<_, _>>()?);
        }
        if let Some(period) = &self.period {
            let field = period.every.text();
            let every = config.evaluate(&period.every, field)?;
            if every == 0 {
                return Err(wrong(field, "a number above 0", &Value::from(0)));
            }
            let at = match &period.at {
                Some(at) => config.evaluate(at, field)? % every,
                None => every - 1,
            };
            let word = |layer| if layer % every == at { &period.kind } else { &period.others };
            return (0..n_layers as u64).map(|layer| kind(field, word(layer))).collect();
        }
        Ok(vec![Kind::default(); n_layers])
    }
}

fn numbers(field: &str, value: &Value) -> Result<Vec<u64>, Error> {
    let numbers = value.as_array().and_then(|items| items.iter().map(Value::as_u64).collect());
    numbers.ok_or_else(|| wrong(field, "a list of layer numbers", value))
}

impl Routing {
    fn routed(&self, config: &Config<'_>, common: &Common<'_>) -> Result<Vec<bool>, Error> {
        let n_layers = common.n_layers as u64;
        if !common.is_routed {
            return Ok(vec![false; common.n_layers]);
        }
        let leading = common.quantities.get("leading_dense").copied().unwrap_or(0);
        let every = match &self.every {
            Some(field) => config.extent(field)?.unwrap_or(1),
            None => 1,
        };
        let dense = match self.dense.as_deref().and_then(|field| Some((field, config.get(field)?))) {
            Some((field, value)) => numbers(field, value)?,
            None => Vec::new(),
        };
        let flags = match self.flags.as_deref().and_then(|field| Some((field, config.get(field)?))) {
            Some((field, value)) => Some(numbers(field, value)?),
            None => None,
        };
        let words = self.words.as_deref().and_then(|field| config.get(field)?.as_array());
        let is_routed = |layer: u64| match (&flags, words) {
            (None, Some(words)) => words.get(layer as usize).is_some_and(|word| word != "dense"),
            (Some(flags), _) => flags.get(layer as usize).is_some_and(|&flag| flag != 0),
            (None, None) => layer >= leading && (layer + 1).is_multiple_of(every) && !dense.contains(&layer),
        };
        Ok((0..n_layers).map(is_routed).collect())
    }
}

impl Common<'_> {
    fn mixer(&self, kind: MixerKind) -> Result<Mixer, Error> {
        let missing = || Error::Missing { field: key("attention.head_count").called().into() };
        let heads = || self.attention.ok_or_else(missing);
        let attention = |reach| heads().map(|heads| Mixer::Attention(Attention { reach, ..heads }));
        let numbers = |kind| recurrent(kind, self.hidden_size, |name| self.quantity(name));
        let recurrent = |kind| numbers(kind).map(Mixer::Recurrent);
        Ok(match kind {
            MixerKind::Attention => attention(Reach::Full)?,
            MixerKind::SlidingAttention => attention(Reach::Sliding { window: self.quantity("window")? })?,
            MixerKind::ChunkedAttention => attention(Reach::Chunked { chunk: self.quantity("chunk")? })?,
            MixerKind::LatentAttention => Mixer::Latent(self.latent(heads()?)?),
            MixerKind::IndexedLatentAttention => {
                Mixer::Latent(Latent { indexer_dim: self.quantity("indexer_dim")?, ..self.latent(heads()?)? })
            }
            MixerKind::Mamba1 => recurrent(Recurrence::Mamba1)?,
            MixerKind::Mamba2 => recurrent(Recurrence::Mamba2)?,
            MixerKind::GatedDelta => recurrent(Recurrence::GatedDelta)?,
            MixerKind::ShortConvolution => recurrent(Recurrence::ShortConvolution)?,
            MixerKind::AttentionAndMamba2 => {
                Mixer::Parallel(Attention { reach: Reach::Full, ..heads()? }, numbers(Recurrence::Mamba2)?)
            }
            MixerKind::None => Mixer::None,
        })
    }

    fn latent(&self, heads: Attention) -> Result<Latent, Error> {
        let (kv_rank, rope_dim) = (self.quantity("kv_rank")?, self.quantity("rope_dim")?);
        Ok(Latent { n_heads: heads.n_heads, kv_rank, rope_dim, indexer_dim: 0 })
    }

    fn quantity(&self, name: &str) -> Result<u64, Error> {
        self.quantities.get(name).copied().ok_or_else(|| Error::Missing { field: name.into() })
    }
}

/// The recurrence of `kind` in a model of width `hidden_size`. Sizes: llama.cpp's `llama_hparams::n_embd_r` and
/// `n_embd_s`.
///
/// # Errors
/// Those of `quantity`.
pub(crate) fn recurrent<E>(
    kind: Recurrence,
    hidden_size: u64,
    quantity: impl Fn(&str) -> Result<u64, E>,
) -> Result<Recurrent, E> {
    let before = |kernel: u64| kernel.saturating_sub(1);
    let (convolution_len, state_len) = match kind {
        Recurrence::ShortConvolution => (before(quantity("short_conv")?).saturating_mul(hidden_size), 0),
        Recurrence::Mamba1 => {
            let (inner, state) = (quantity("ssm_inner")?, quantity("ssm_state")?);
            (before(quantity("conv_kernel")?).saturating_mul(inner), state.saturating_mul(inner))
        }
        Recurrence::Mamba2 | Recurrence::GatedDelta => {
            let (inner, state) = (quantity("ssm_inner")?, quantity("ssm_state")?);
            let channels =
                inner.saturating_add(quantity("ssm_groups")?.saturating_mul(state).saturating_mul(2));
            (before(quantity("conv_kernel")?).saturating_mul(channels), state.saturating_mul(inner))
        }
    };
    Ok(Recurrent { kind, convolution_len, state_len })
}

#[cfg(test)]
mod tests;
