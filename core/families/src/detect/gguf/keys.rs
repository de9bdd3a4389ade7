//! Reading one architecture's keys out of GGUF metadata, checked. Knows keys; must not know what they lead to.

use crate::config::MAX_EXTENT;
use crate::detect::narrow;
use crate::detect::quantities::quantities;
use crate::{Error, Moe, Pooling};
use formats::gguf::{Array, Metadata, TensorInfo, Value};
use std::collections::BTreeMap;

pub(crate) fn text<'m>(metadata: &'m Metadata, key: &str) -> Result<Option<&'m str>, Error> {
    match metadata.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => {
            Err(Error::Field { field: key.into(), expected: "a string".into(), got: shown(other) })
        }
    }
}

fn shown(value: &Value) -> String {
    format!("{value:?}").chars().take(60).collect()
}

/// Metadata keys of one architecture.
pub(crate) struct Keys<'m> {
    pub(crate) metadata: &'m Metadata,
    pub(crate) architecture: &'m str,
}

impl Keys<'_> {
    pub(crate) fn full(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    pub(crate) fn missing(&self, name: &str) -> Error {
        Error::Missing { field: self.full(name) }
    }

    pub(crate) fn wrong(&self, name: &str, expected: &str, got: String) -> Error {
        Error::Field { field: self.full(name), expected: expected.into(), got }
    }

    /// A whole number up to [`MAX_EXTENT`]; 0 is one.
    pub(crate) fn number(&self, name: &str) -> Result<Option<u64>, Error> {
        let Some(value) = self.metadata.get(&self.full(name)) else { return Ok(None) };
        match value.as_u64() {
            Some(n) if n <= MAX_EXTENT => Ok(Some(n)),
            _ => Err(self.wrong(name, &format!("a whole number from 0 to {MAX_EXTENT}"), shown(value))),
        }
    }

    pub(crate) fn required(&self, name: &str) -> Result<u64, Error> {
        match self.number(name)? {
            None => Err(self.missing(name)),
            Some(0) => Err(self.wrong(name, "a number above 0", "0".into())),
            Some(n) => Ok(n),
        }
    }

    /// A number for every layer, from one number or an array of them.
    pub(crate) fn per_layer(&self, name: &str, n_layers: u64) -> Result<Option<Vec<u64>>, Error> {
        let numbers: Vec<u64> = match self.metadata.get(&self.full(name)) {
            Some(Value::Array(Array::I32(items))) => {
                items.iter().map_while(|item| u64::try_from(*item).ok()).collect()
            }
            Some(Value::Array(Array::U32(items))) => items.iter().map(|item| u64::from(*item)).collect(),
            _ => return Ok(self.number(name)?.map(|n| vec![n; n_layers as usize])),
        };
        let believed = numbers.len() as u64 == n_layers && numbers.iter().all(|n| *n <= MAX_EXTENT);
        let expected = format!("{n_layers} whole numbers from 0 to {MAX_EXTENT}");
        believed.then_some(Some(numbers)).ok_or_else(|| self.wrong(name, &expected, "another array".into()))
    }

    pub(crate) fn moe(&self, ffn_size: u64) -> Result<Option<Moe>, Error> {
        let Some(n_experts) = self.number("expert_count")?.filter(|n| *n > 0) else { return Ok(None) };
        let n_active = self.required("expert_used_count")?;
        if n_active > n_experts {
            return Err(self.wrong(
                "expert_used_count",
                &format!("at most {n_experts}"),
                n_active.to_string(),
            ));
        }
        let expert_ffn_size =
            self.number("expert_feed_forward_length")?.filter(|n| *n > 0).unwrap_or(ffn_size);
        let n_shared = self.number("expert_shared_count")?.unwrap_or(0);
        let shared = self.number("expert_shared_feed_forward_length")?;
        Ok(Some(Moe {
            n_experts: narrow("expert_count", n_experts)?,
            n_active: narrow("expert_used_count", n_active)?,
            expert_ffn_size,
            shared_ffn_size: shared.unwrap_or(n_shared * expert_ffn_size),
        }))
    }

    /// How vectors become one.
    pub(crate) fn pooling(&self) -> Result<Option<Pooling>, Error> {
        let Some(number) = self.number("pooling_type")? else { return Ok(None) };
        let known = Pooling::from_number(number);
        known.map(Some).ok_or_else(|| self.wrong("pooling_type", "a number from 0 to 4", number.to_string()))
    }

    /// The quantities that have a key here, or a tensor; a 0 counts as none.
    pub(crate) fn quantities(&self, tensors: &[TensorInfo]) -> Result<BTreeMap<String, u64>, Error> {
        let mut found = BTreeMap::new();
        for (name, quantity) in quantities() {
            // By layer, where layers differ: the largest.
            let number = match &quantity.key {
                Some(key) if matches!(self.metadata.get(&self.full(key)), Some(Value::Array(_))) => None,
                Some(key) => self.number(key)?,
                None => {
                    let tensor = tensors.iter().find(|tensor| Some(&tensor.name) == quantity.tensor.as_ref());
                    tensor.map(|tensor| tensor.dims.get(1).copied().unwrap_or(1))
                }
            };
            if let Some(number) = number.filter(|&number| number > 0) {
                found.insert(name.clone(), number);
            }
        }
        // Some architectures state how many experts are shared, not how wide they are together.
        let shared = self.number("expert_shared_count")?.filter(|&number| number > 0);
        if let (Some(n_shared), Some(width)) = (shared, found.get("expert_ffn").copied()) {
            found.entry("shared_ffn".into()).or_insert(n_shared.saturating_mul(width));
        }
        Ok(found)
    }

    /// Head counts by layer, and widths.
    pub(crate) fn heads(&self, n_layers: u64, hidden_size: u64) -> Result<Heads, Error> {
        let query = self.per_layer("attention.head_count", n_layers)?;
        let query = query.ok_or_else(|| self.missing("attention.head_count"))?;
        let key_value = self.per_layer("attention.head_count_kv", n_layers)?.unwrap_or_else(|| query.clone());
        let most = query.iter().copied().max().unwrap_or(0);
        let key_dim = match self.number("attention.key_length")? {
            Some(dim) => dim,
            // Without heads, no layer may attend.
            None if most == 0 => 0,
            None if hidden_size.is_multiple_of(most) => hidden_size / most,
            None => {
                let expected = format!("a divisor of {hidden_size}");
                return Err(self.wrong("attention.head_count", &expected, most.to_string()));
            }
        };
        let value_dim = self.number("attention.value_length")?.unwrap_or(key_dim);
        let sliding_key_dim = self.number("attention.key_length_swa")?.unwrap_or(key_dim);
        let sliding_value_dim = self.number("attention.value_length_swa")?.unwrap_or(value_dim);
        let narrowed = |name: &str, numbers: Vec<u64>| -> Result<Vec<u32>, Error> {
            numbers.into_iter().map(|number| narrow(name, number)).collect()
        };
        Ok(Heads {
            query: narrowed("attention.head_count", query)?,
            key_value: narrowed("attention.head_count_kv", key_value)?,
            key_dim: narrow("attention.key_length", key_dim)?,
            value_dim: narrow("attention.value_length", value_dim)?,
            sliding_key_dim: narrow("attention.key_length_swa", sliding_key_dim)?,
            sliding_value_dim: narrow("attention.value_length_swa", sliding_value_dim)?,
        })
    }
}

/// Head counts by layer, and widths.
pub(crate) struct Heads {
    pub(crate) query: Vec<u32>,
    pub(crate) key_value: Vec<u32>,
    pub(crate) key_dim: u32,
    pub(crate) value_dim: u32,
    /// Widths in layers that see a part of the context.
    pub(crate) sliding_key_dim: u32,
    pub(crate) sliding_value_dim: u32,
}
