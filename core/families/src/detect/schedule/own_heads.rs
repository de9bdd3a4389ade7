//! Heads of layers that have others than most: by the kind of a layer, or layer by layer.
//! Owns the grammar and its reading from a configuration; must not know which layer is of which kind.

use crate::config::{self, Config, wrong};
use crate::detect::narrow;
use crate::extent::Extent;
use crate::{Attention, Error};
use serde::Deserialize;
use serde_json::Value;

/// Heads of a kind of layers: expressions over the configuration's fields. Where a field is not there, the model's count.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OwnHeads {
    heads: Option<Extent>,
    kv_heads: Option<Extent>,
    key_dim: Option<Extent>,
    value_dim: Option<Extent>,
    /// A field that is true where keys are the values as well.
    keys_as_values: Option<String>,
}

impl OwnHeads {
    /// Gives `attention` what its kind has for itself.
    ///
    /// # Errors
    /// An expression without a value, or query heads that do not share key heads evenly.
    pub(super) fn apply(&self, config: &Config<'_>, attention: &mut Attention) -> Result<(), Error> {
        for (expression, number) in [
            (&self.heads, &mut attention.n_heads),
            (&self.kv_heads, &mut attention.n_kv_heads),
            (&self.key_dim, &mut attention.key_dim),
            (&self.value_dim, &mut attention.value_dim),
        ] {
            let Some(expression) = expression else { continue };
            match config.evaluate(expression, expression.text()) {
                Err(Error::Missing { .. }) => {}
                value => *number = narrow(expression.text(), value?)?,
            }
        }
        if let Some(field) = &self.keys_as_values {
            attention.keys_as_values = !attention.shares_cache && config.boolean(field)?.unwrap_or(false);
        }
        check(attention, self.kv_heads.as_ref().map_or("num_key_value_heads", Extent::text))
    }
}

/// Gives the attention of layer `index` what the object `field` states for it: transformers writes what differs from the
/// model's own numbers, by the layer's number.
///
/// # Errors
/// A number that is none, or query heads that do not share key heads evenly.
pub(super) fn apply_stated(
    config: &Config<'_>,
    field: &str,
    index: usize,
    attention: &mut Attention,
) -> Result<(), Error> {
    let stated = config.get(field).and_then(|layers| layers.get(index.to_string()));
    let number = |name: &str| {
        let value = stated.and_then(|layer| layer.get(name)).filter(|value| !value.is_null());
        let name = format!("{field}.{index}.{name}");
        value.map(|value| narrow(&name, config::extent(&name, value)?)).transpose()
    };
    if let Some(dim) = number("head_dim")? {
        (attention.key_dim, attention.value_dim) = (dim, dim);
    }
    if let Some(heads) = number("num_key_value_heads")? {
        attention.n_kv_heads = heads;
    }
    check(attention, field)
}

fn check(attention: &Attention, field: &str) -> Result<(), Error> {
    let (query, key_value) = (attention.n_heads, attention.n_kv_heads);
    match query.is_multiple_of(key_value) {
        true => Ok(()),
        false => Err(wrong(field, &format!("a divisor of {query} heads"), &Value::from(key_value))),
    }
}
