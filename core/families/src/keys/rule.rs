//! A family's own metadata keys as data: a field, an expression, a constant or a fact of every layer.
//! Owns the grammar and its evaluation; must not know which keys there are.

mod number;
mod quantile;

use crate::config::{Config, number, whole, wrong};
use crate::detect::narrow;
use crate::extent::Extent;
use crate::tensors::rule::Condition;
use crate::{Description, Error, Layer};
use formats::gguf::{Array, Value};
use number::{EntriesOf, InverseOf, PeriodOf, numbers};
use serde::Deserialize;
use std::collections::BTreeMap;

/// One key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyRule {
    /// Behind `<architecture>.`; a name with `general.` or `tokenizer.` in front stands alone.
    #[serde(default)]
    pub(crate) name: String,
    #[serde(flatten)]
    pub(crate) value: ValueRule,
    /// Conditions of the model that must all hold, with spaces between.
    #[serde(default)]
    when: String,
    /// Nothing stands in front of the name.
    #[serde(default)]
    alone: bool,
}

/// What a family does with a key that every decoder has.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Replacement {
    /// `false`: it is not written.
    Written(bool),
    Value(Box<ValueRule>),
}

/// Where a value comes from, by the type it gets.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ValueRule {
    /// A field, or an expression over the model's numbers and the configuration's fields.
    U32(NumberRule),
    /// A field, or a constant; a field of the RoPE settings, multiplied.
    F32(FloatRule),
    Bool(FieldOr<bool>),
    String(FieldOr<String>),
    /// One flag per layer: whether these conditions hold in it.
    Bools(String),
    /// One number per layer: an expression over its numbers, 0 where it has none of them.
    I32s(Extent),
    /// The same; one U32 where all layers agree.
    U32s(Extent),
    /// Labels of a classifier in their order, where they are not two that nobody named.
    Labels(String),
    /// A list of numbers, by its field.
    F32s(String),
    /// Below which number each of a list of shares of a standard normal distribution lies, by its field.
    Quantiles(String),
    /// One flag per layer: whether a list holds its number.
    Listed(ListedLayers),
}

/// Layers whose numbers a list holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListedLayers {
    field: String,
    /// How many layers there are.
    of: Extent,
}

/// A number that may have a fraction.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum FloatRule {
    OfRope { rope: String, times: f64 },
    Plain(FieldOr<f64>),
}

/// Fields in the order of preference, then what stands in for them.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum FieldOr<T> {
    Constant(Constant<T>),
    Field(String),
    FieldElse(FieldElse<T>),
    FieldIs(FieldIs<T>),
}

/// A value where a field is a text.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FieldIs<T> {
    from: String,
    is: String,
    then: T,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Constant<T> {
    constant: T,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FieldElse<T> {
    from: String,
    #[serde(rename = "else")]
    otherwise: Option<T>,
    /// The value for which alone the key is written.
    only: Option<T>,
}

/// A whole number.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum NumberRule {
    Expression(Extent),
    Rule(NumberFrom),
    Entries(EntriesOf),
    Period(PeriodOf),
    Inverse(InverseOf),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NumberFrom {
    from: Extent,
    /// What counts where a field of `from` is not there; without it, no key.
    #[serde(rename = "else")]
    otherwise: Option<Extent>,
    /// A field with a fraction by which the number is multiplied, and the fraction where it is not there. The product is
    /// cut to a whole number.
    times: Option<(String, f64)>,
    /// Numbers that words of the field stand for.
    #[serde(default)]
    words: BTreeMap<String, u32>,
    /// The number that readers take where there is no key.
    unless: Option<u64>,
}

/// The model that a value is written for.
#[derive(Clone, Copy)]
pub(crate) struct Model<'a> {
    pub(crate) config: &'a Config<'a>,
    pub(crate) description: &'a Description,
}

impl KeyRule {
    /// The whole key in a file of `architecture`.
    pub(crate) fn key(&self, architecture: &str) -> String {
        let of_all = ["general.", "tokenizer."].iter().any(|prefix| self.name.starts_with(prefix));
        if self.alone || of_all { self.name.clone() } else { format!("{architecture}.{}", self.name) }
    }

    /// Its value; `None` where there is no such key.
    pub(crate) fn value(&self, model: Model<'_>) -> Result<Option<Value>, Error> {
        let outside = model.description.outside_layers();
        self.value_where(model, |condition| model.description.holds(condition, &outside))
    }

    /// Its value where its conditions hold; `None` where there is no such key.
    pub(crate) fn value_where(
        &self,
        model: Model<'_>,
        holds: impl Fn(&Condition) -> bool,
    ) -> Result<Option<Value>, Error> {
        match self.when.split_whitespace().all(|word| holds(&Condition::of(word))) {
            true => self.value.value(model),
            false => Ok(None),
        }
    }
}

impl ValueRule {
    /// The value; `None` where there is none.
    pub(crate) fn value(&self, model: Model<'_>) -> Result<Option<Value>, Error> {
        Ok(match self {
            Self::U32(rule) => rule.number(model)?.map(Value::U32),
            Self::F32(rule) => {
                let read = |field: &str, value: &serde_json::Value| number(field, value);
                let found = match rule {
                    FloatRule::OfRope { rope, times } => model.fraction(rope)?.map(|number| number * times),
                    FloatRule::Plain(rule) => rule.read(model.config, read)?,
                };
                found.map(|number| Value::F32(number as f32))
            }
            Self::Bool(rule) => {
                let read = |field: &str, value: &serde_json::Value| {
                    value.as_bool().ok_or_else(|| wrong(field, "true or false", value))
                };
                rule.read(model.config, read)?.map(Value::Bool)
            }
            Self::String(rule) => {
                let read = |field: &str, value: &serde_json::Value| {
                    value.as_str().map(String::from).ok_or_else(|| wrong(field, "a string", value))
                };
                rule.read(model.config, read)?.map(Value::String)
            }
            Self::Bools(conditions) => {
                let conditions: Vec<Condition> = conditions.split_whitespace().map(Condition::of).collect();
                let layers = model.description.layers.iter();
                let flags = layers.map(|layer| model.description.has(&conditions, layer));
                Some(Value::Array(Array::Bool(flags.collect())))
            }
            Self::Labels(field) => {
                let scores = model.description.quantities.get("classes");
                // What nobody named are two, and are called so.
                let labels = model.config.labels(field).or(scores.map(|_| vec!["LABEL_0", "LABEL_1"]));
                let labels = labels.unwrap_or_default();
                let unnamed = labels.len() == 2 && labels[0] == "LABEL_0" && scores.is_none();
                let labels: Vec<String> = labels.into_iter().map(str::to_owned).collect();
                (!labels.is_empty() && !unnamed).then_some(Value::Array(Array::String(labels)))
            }
            Self::I32s(expression) => {
                let numbers = model.by_layer(expression)?;
                Some(Value::Array(Array::I32(signed(expression, numbers)?)))
            }
            Self::U32s(expression) => {
                let numbers = model.by_layer(expression)?;
                match numbers.first() {
                    Some(&first) if numbers.iter().all(|&number| number == first) => Some(Value::U32(first)),
                    _ => Some(Value::Array(Array::I32(signed(expression, numbers)?))),
                }
            }
            Self::F32s(field) => Some(model.f32s(field, |number| number)?),
            Self::Quantiles(field) => Some(model.f32s(field, quantile::of)?),
            Self::Listed(ListedLayers { field, of }) => {
                let listed = match model.config.get(field) {
                    Some(value) => numbers(field, value)?,
                    None => Vec::new(),
                };
                let n_layers = model.evaluate(of, &model.description.outside_layers())?.unwrap_or(0);
                Some(Value::Array(Array::Bool((0..n_layers).map(|layer| listed.contains(&layer)).collect())))
            }
        })
    }
}

fn signed(expression: &Extent, numbers: Vec<u32>) -> Result<Vec<i32>, Error> {
    let numbers = numbers
        .into_iter()
        .map(|n| i32::try_from(n).map_err(|_| wrong(expression.text(), "a number below 2^31", &n.into())));
    numbers.collect()
}

impl<T: Clone + PartialEq> FieldOr<T> {
    fn read(
        &self,
        config: &Config<'_>,
        read: impl Fn(&str, &serde_json::Value) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        let stated = |field: &str| config.get(field).map(|value| read(field, value)).transpose();
        match self {
            Self::Constant(Constant { constant }) => Ok(Some(constant.clone())),
            Self::Field(field) => stated(field),
            Self::FieldIs(FieldIs { from, is, then }) => {
                Ok((config.get(from).and_then(serde_json::Value::as_str) == Some(is.as_str()))
                    .then(|| then.clone()))
            }
            Self::FieldElse(FieldElse { from, otherwise, only }) => {
                let value = stated(from)?.or_else(|| otherwise.clone());
                Ok(value.filter(|value| only.as_ref().is_none_or(|only| only == value)))
            }
        }
    }
}

impl NumberRule {
    fn number(&self, model: Model<'_>) -> Result<Option<u32>, Error> {
        let (from, rule) = match self {
            Self::Expression(expression) => (expression, None),
            Self::Rule(rule) => (&rule.from, Some(rule)),
            Self::Entries(rule) => return rule.number(model).map(Some),
            Self::Period(rule) => return rule.number(model).map(Some),
            Self::Inverse(rule) => return rule.number(model).map(Some),
        };
        let field = from.text();
        if let Some((rule, text)) = rule.zip(model.config.get(field).and_then(serde_json::Value::as_str)) {
            let known: Vec<&str> = rule.words.keys().map(String::as_str).collect();
            let number = rule.words.get(text).copied();
            return number.map(Some).ok_or_else(|| wrong(field, &known.join(" or "), &text.into()));
        }
        let outside = model.description.outside_layers();
        let number = match model.evaluate(from, &outside)? {
            Some(number) => Some(number),
            None => match rule.and_then(|rule| rule.otherwise.as_ref()) {
                Some(otherwise) => model.evaluate(otherwise, &outside)?,
                None => None,
            },
        };
        let Some(number) = number else { return Ok(None) };
        let number = match rule.and_then(|rule| rule.times.as_ref()) {
            Some((fraction, default)) => {
                (number as f64 * model.fraction(fraction)?.unwrap_or(*default)) as u64
            }
            None => number,
        };
        if rule.is_some_and(|rule| rule.unless == Some(number)) {
            return Ok(None);
        }
        narrow(field, number).map(Some)
    }
}

impl Model<'_> {
    /// What `change` makes of the numbers of a list.
    fn f32s(&self, field: &str, change: impl Fn(f64) -> f64) -> Result<Value, Error> {
        let value = self.config.get(field).ok_or_else(|| Error::Missing { field: field.into() })?;
        let items = value.as_array().ok_or_else(|| wrong(field, "a list of numbers", value))?;
        let items = items.iter().map(|item| number(field, item).map(|number| change(number) as f32));
        Ok(Value::Array(Array::F32(items.collect::<Result<_, _>>()?)))
    }

    /// The value of `expression` in `layer`; `None` where a name in it stands for nothing.
    fn evaluate(&self, expression: &Extent, layer: &Layer) -> Result<Option<u64>, Error> {
        let value_of = |name: &str| match self.config.get(name) {
            Some(value) => whole(name, value).map(u64::from),
            None => self.description.extent(name, layer),
        };
        if expression.names().any(|name| matches!(value_of(name), Err(Error::Missing { .. }))) {
            return Ok(None);
        }
        expression.evaluate(value_of).map(Some).map_err(|failure| Error::Field {
            field: expression.text().into(),
            expected: "a whole number".into(),
            got: format!("{failure:?}"),
        })
    }

    /// A fraction that the configuration states by itself or among its RoPE settings.
    fn fraction(&self, field: &str) -> Result<Option<f64>, Error> {
        if let Some(stated) = self.config.stated(field) {
            return number(field, stated).map(Some);
        }
        let found = match crate::detect::rope::settings(self.config)? {
            Some((place, settings)) => crate::config::number_in(place, settings, field)?,
            None => None,
        };
        if found.is_some() { Ok(found) } else { self.config.number(field) }
    }

    /// The value of `expression` in every layer, 0 where its names stand for nothing there.
    fn by_layer(&self, expression: &Extent) -> Result<Vec<u32>, Error> {
        let layers = self.description.layers.iter().map(|layer| {
            let number = expression.evaluate(|name| self.description.extent_in(name, layer));
            narrow(expression.text(), number.unwrap_or(0))
        });
        layers.collect()
    }
}

#[cfg(test)]
mod tests;
