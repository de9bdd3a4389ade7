//! One row of a family's tensor table: where a tensor's values come from, what it is called, what shape it has, when.
//! Owns the row's grammar; must not know a model.

use crate::detect::quantities::quantities;
use crate::extent::{Extent, Failure};
use crate::tensors::arrangement::Arrangement;
use crate::tensors::value::ValueRule;
use crate::{Error, Recurrence, Role, role_of};
use serde::Deserialize;

/// Rows of one table: tensors outside the layers, and those of every layer.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TensorTable {
    #[serde(default)]
    pub(crate) outside: Vec<Row>,
    #[serde(default)]
    pub(crate) layer: Vec<Row>,
}

/// A row as it is written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Row {
    from: String,
    to: String,
    /// Extents, contiguous dimension first, with spaces between.
    dims: String,
    #[serde(default)]
    view: Views,
    /// How many equal parts the slowest axis has, each of which `view` arranges for itself.
    each: Option<Extent>,
    /// Rows that the stored tensor lacks at its end are zeros.
    #[serde(default)]
    padded: bool,
    #[serde(default)]
    value: ValueRule,
    #[serde(default)]
    floats: Floats,
    /// Fields of the configuration that are multiplied onto what each view shows, with spaces between; `list.n` for a
    /// place in a list.
    #[serde(default)]
    times: Vec<String>,
    /// Conditions that must all hold, with spaces between.
    #[serde(default)]
    when: String,
    #[serde(default)]
    presence: Presence,
    /// Conditions under which four numbers, the bounds of what goes in and out, are stored beside the matrix.
    bounded: Option<String>,
}

/// What a matrix's bounds are called.
const BOUNDS: [&str; 4] = ["input_max", "input_min", "output_max", "output_min"];

/// What it means that a tensor is stored, or is not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Presence {
    /// It is asked for where its conditions hold, and written where it is stored.
    #[default]
    Required,
    /// It is stored for another purpose as well, and left out where its conditions do not hold.
    Conditional,
    /// It is never asked for, and written where it is stored.
    Optional,
    /// It is written where no other row has given the same tensor.
    Alternative,
}

/// Where the tensors of a row are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tower {
    /// Once in the model.
    Outside,
    /// In every layer; of the decoder, where there is one.
    Layers,
    /// In every layer of the encoder in front of the decoder.
    Encoder,
}

/// One arrangement of the stored values, or several behind each other along the slowest axis; none: as stored.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(untagged)]
enum Views {
    #[default]
    AsStored,
    One(Arrangement),
    Several(Vec<Arrangement>),
}

/// A tensor of a family.
#[derive(Debug, Clone)]
pub(crate) struct TensorRule {
    /// Name in the checkpoint, with places for `{layer}`, `{expert}` and `{part}`.
    pub(crate) from: String,
    /// Name in GGUF.
    pub(crate) to: String,
    pub(crate) role: Role,
    /// Contiguous dimension first.
    pub(crate) dims: Vec<Extent>,
    /// Empty where the values stand as they are stored.
    pub(crate) views: Vec<Arrangement>,
    /// How many equal parts the slowest axis has, each of which the views arrange for itself.
    pub(crate) each: Option<Extent>,
    /// Whether rows that the stored tensor lacks at its end are zeros.
    pub(crate) padded: bool,
    pub(crate) value: ValueRule,
    pub(crate) floats: Floats,
    /// Fields that are multiplied onto what each view shows; fewer than views where the rest stays.
    pub(crate) times: Vec<Vec<String>>,
    pub(crate) when: Vec<Condition>,
    pub(crate) presence: Presence,
    pub(crate) tower: Tower,
}

/// What a tensor's existence depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Condition {
    /// The output does not share the embedding.
    Untied,
    /// In layers with a feed-forward of either sort.
    FeedForward,
    /// In layers with a feed-forward and without a router.
    Dense,
    /// In layers with a router.
    Routed,
    /// In layers of plain attention.
    Attention,
    /// In layers of attention that sees a part of the context.
    Sliding,
    /// In layers with a norm before their attention.
    Normed,
    /// In layers of attention that cache keys and values.
    OwnCache,
    /// In those of them whose values are no keys.
    OwnValues,
    /// In layers with relative position biases of their own.
    OwnBias,
    /// In layers of latent attention.
    Latent,
    /// In those of them with an indexer.
    Indexed,
    /// In layers that predict tokens beyond the next.
    Predicts,
    /// In layers of this recurrence.
    Recurrence(Recurrence),
    /// The model has this number (`data/quantities.toml`).
    Quantity(String),
    /// A true or false field of the configuration.
    Flag(String),
    /// The other does not hold.
    Not(Box<Condition>),
}

/// Floats that a tensor may be stored as, where its shape and name do not say it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Floats {
    /// What the file's matrices are.
    #[default]
    Any,
    /// F32.
    F32,
    /// F16.
    F16,
    /// F16 where the file's matrices are, else F32: what convolutions are computed in.
    F16OrF32,
}

impl TensorTable {
    /// The rules of the table; rows of layers get `layer_from` and `layer_to` in front of their names.
    ///
    /// # Errors
    /// A row whose extents do not parse, by its name.
    pub(crate) fn rules(&self, layer_from: &str, layer_to: &str) -> Result<Vec<TensorRule>, String> {
        let outside = self.outside.iter().map(|row| row.rule("", "", Tower::Outside));
        outside.chain(self.layer.iter().map(|row| row.rule(layer_from, layer_to, Tower::Layers))).collect()
    }

    /// The rows of layers alone, as those of an encoder in front of a decoder.
    ///
    /// # Errors
    /// As [`TensorTable::rules`].
    pub(crate) fn encoder_rules(&self, layer_from: &str, layer_to: &str) -> Result<Vec<TensorRule>, String> {
        self.layer.iter().map(|row| row.rule(layer_from, layer_to, Tower::Encoder)).collect()
    }
}

impl TensorRule {
    /// Its extents, contiguous dimension first, with `value_of` for the names.
    ///
    /// # Errors
    /// A name without a number, or a number beyond 2^64.
    pub(crate) fn extents(
        &self,
        value_of: impl Fn(&str) -> Result<u64, Error> + Copy,
    ) -> Result<Vec<u64>, Error> {
        let evaluate = |extent: &Extent| {
            extent.evaluate(value_of).map_err(|failure| match failure {
                Failure::Name(error) => error,
                other => Error::Field {
                    field: extent.text().into(),
                    expected: format!("an extent of {}", self.to),
                    got: format!("{other:?}"),
                },
            })
        };
        self.dims.iter().map(evaluate).collect()
    }
}

impl Row {
    /// The rows of the bounds beside its matrix.
    pub(crate) fn bounds(&self) -> impl Iterator<Item = Row> {
        let stem =
            |name: &str, part: &str| name.trim_end_matches(".weight").trim_end_matches(part).to_string();
        self.bounded.iter().flat_map(move |when| {
            BOUNDS.into_iter().map(move |bound| Row {
                from: format!("{}.{bound}", stem(&self.from, ".linear")),
                to: format!("{}.{bound}", stem(&self.to, "")),
                dims: "1".into(),
                view: Views::AsStored,
                each: None,
                padded: false,
                value: ValueRule::None,
                floats: Floats::F32,
                times: Vec::new(),
                when: when.clone(),
                presence: self.presence,
                bounded: None,
            })
        })
    }

    pub(crate) fn rule(
        &self,
        before_from: &str,
        before_to: &str,
        tower: Tower,
    ) -> Result<TensorRule, String> {
        let to = format!("{before_to}{}", self.to);
        // Some checkpoints spell the names of their layers in another way.
        let tower = if to.contains("{layer}") && tower == Tower::Outside { Tower::Layers } else { tower };
        let dims = self.dims.split_whitespace().map(|word| Extent::try_from(word.to_string()));
        let views = match &self.view {
            Views::AsStored => Vec::new(),
            Views::One(view) => vec![view.clone()],
            Views::Several(views) => views.clone(),
        };
        Ok(TensorRule {
            from: format!("{before_from}{}", self.from),
            role: role_of(&to.replace("{layer}", "0")),
            to,
            dims: dims.collect::<Result<_, _>>().map_err(|error| format!("{}: {error}", self.from))?,
            views,
            each: self.each.clone(),
            padded: self.padded,
            value: self.value,
            floats: self.floats,
            times: self.times.iter().map(|fields| words(fields).collect()).collect(),
            when: self.when.split_whitespace().map(Condition::of).collect(),
            presence: self.presence,
            tower,
        })
    }
}

fn words(text: &str) -> impl Iterator<Item = String> {
    text.split_whitespace().map(String::from)
}

impl Condition {
    /// Whether it differs from layer to layer.
    pub(crate) fn is_of_layer(&self) -> bool {
        match self {
            Self::FeedForward
            | Self::Dense
            | Self::Routed
            | Self::Attention
            | Self::Sliding
            | Self::Latent
            | Self::Predicts
            | Self::Indexed => true,
            Self::OwnCache | Self::OwnValues | Self::Normed | Self::OwnBias | Self::Recurrence(_) => true,
            Self::Untied | Self::Quantity(_) | Self::Flag(_) => false,
            Self::Not(other) => other.is_of_layer(),
        }
    }

    /// The configuration field that decides.
    pub(crate) fn flag(&self) -> Option<&str> {
        match self {
            Self::Flag(flag) => Some(flag),
            Self::Not(other) => other.flag(),
            _ => None,
        }
    }

    /// The condition that a word of a table stands for.
    pub(crate) fn of(word: &str) -> Self {
        if let Some(other) = word.strip_prefix('!') {
            return Self::Not(Box::new(Self::of(other)));
        }
        match word {
            "untied" => Self::Untied,
            "feed_forward" => Self::FeedForward,
            "dense" => Self::Dense,
            "routed" => Self::Routed,
            "attention" => Self::Attention,
            "sliding" => Self::Sliding,
            "normed" => Self::Normed,
            "own_cache" => Self::OwnCache,
            "own_values" => Self::OwnValues,
            "own_bias" => Self::OwnBias,
            "latent" => Self::Latent,
            "indexed" => Self::Indexed,
            "predicts" => Self::Predicts,
            "mamba1" => Self::Recurrence(Recurrence::Mamba1),
            "mamba2" => Self::Recurrence(Recurrence::Mamba2),
            "gated_delta" => Self::Recurrence(Recurrence::GatedDelta),
            "short_convolution" => Self::Recurrence(Recurrence::ShortConvolution),
            name if quantities().contains_key(name) => Self::Quantity(name.into()),
            flag => Self::Flag(flag.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_layers_get_their_place_in_the_names() {
        let table: TensorTable = toml::from_str(
            r#"layer = [{ from = "q.weight", to = "attn_q.weight", dims = "a 2*b", when = "routed !use_bias" }]"#,
        )
        .expect("parses");
        let rules = table.rules("h.{layer}.", "blk.{layer}.").expect("sound");
        assert_eq!(
            (rules[0].from.as_str(), rules[0].to.as_str()),
            ("h.{layer}.q.weight", "blk.{layer}.attn_q.weight")
        );
        assert_eq!(rules[0].role, Role::AttentionQ);
        assert_eq!(
            rules[0].when,
            [Condition::Routed, Condition::Not(Box::new(Condition::Flag("use_bias".into())))]
        );
        let broken: TensorTable =
            toml::from_str(r#"outside = [{ from = "x", to = "y", dims = "a**" }]"#).expect("parses");
        assert!(broken.rules("", "").is_err_and(|error| error.starts_with("x: ")));
    }
}
