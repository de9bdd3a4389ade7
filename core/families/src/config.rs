//! Typed access to `config.json`: the value, a checkpoint's default, or an error that names the field.
//! Owns the spelling table's look-ups and the limits; must not know what a field is for.

use crate::Error;
use crate::extent::{Extent, Failure};
use crate::family::Checkpoint;
use crate::keys::{Key, decoder};
use serde_json::{Map, Value};

/// Largest extent that any field may state: keeps every product of shapes far from overflow.
pub(crate) const MAX_EXTENT: u64 = 1 << 28;

/// A configuration with its checkpoint kind's defaults behind it.
pub(crate) struct Config<'a> {
    /// The text part of a larger model's, whose fields count before the root's.
    inner: Option<&'a Map<String, Value>>,
    root: &'a Map<String, Value>,
    checkpoint: Option<&'a Checkpoint>,
}

/// Parses a config.json. What Python writes for numbers that JSON has none for, `Infinity`, `-Infinity` and `NaN`, becomes
/// a text.
///
/// # Errors
/// What is no JSON besides.
pub fn parse_config(bytes: &[u8]) -> serde_json::Result<Value> {
    serde_json::from_slice(bytes).or_else(|error| {
        let text = std::str::from_utf8(bytes).map_err(|_| error)?;
        let (mut quoted, mut escaped) = (String::with_capacity(text.len()), false);
        let mut within = false;
        let mut rest = text;
        while let Some(character) = rest.chars().next() {
            let bare =
                ["-Infinity", "Infinity", "NaN"].into_iter().find(|name| !within && rest.starts_with(name));
            let taken = match bare {
                Some(name) => {
                    quoted.extend(['"'].into_iter().chain(name.chars()).chain(['"']));
                    name.len()
                }
                None => {
                    within ^= character == '"' && !escaped;
                    escaped = character == '\\' && !escaped;
                    quoted.push(character);
                    character.len_utf8()
                }
            };
            rest = &rest[taken..];
        }
        serde_json::from_slice(quoted.as_bytes())
    })
}

/// How many tokens a configuration states that its text model has.
pub fn stated_vocabulary(config: &Value) -> Option<u64> {
    Config::new(config).ok()?.stated("vocab_size")?.as_u64()
}

impl<'a> Config<'a> {
    /// Reads `value`, the text part of it first.
    pub(crate) fn new(value: &'a Value) -> Result<Self, Error> {
        let root = value.as_object().ok_or_else(|| wrong("(root)", "an object", value))?;
        let inner = match decoder().text_part(root) {
            None => None,
            Some((part, inner)) => Some(inner.as_object().ok_or_else(|| wrong(part, "an object", inner))?),
        };
        Ok(Self { inner, root, checkpoint: None })
    }

    /// Reads the fields of `root` and of no part of it first.
    pub(crate) fn flat(root: &'a Map<String, Value>) -> Self {
        Self { inner: None, root, checkpoint: None }
    }

    /// The same with `checkpoint`'s defaults behind it.
    pub(crate) fn with_defaults(self, checkpoint: &'a Checkpoint) -> Self {
        Self { checkpoint: Some(checkpoint), ..self }
    }

    /// What the file itself says; `outer.inner` is a field of an object, `list.0` an entry of a list; of a field that
    /// another one replaces, what that one says, where it is there.
    pub(crate) fn stated(&self, field: &str) -> Option<&'a Value> {
        let instead = self.checkpoint.and_then(|checkpoint| checkpoint.instead.get(field));
        instead.and_then(|other| self.written(other)).or_else(|| self.written(field))
    }

    fn written(&self, field: &str) -> Option<&'a Value> {
        let (outer, rest) = field.split_once('.').unwrap_or((field, ""));
        let inner = self.inner.and_then(|inner| inner.get(outer)).filter(|value| !value.is_null());
        let value = inner.or_else(|| self.root.get(outer).filter(|value| !value.is_null()))?;
        let mut fields = rest.split('.').filter(|field| !field.is_empty());
        let within = |value: &'a Value, field: &str| match value {
            Value::Array(entries) => entries.get(field.parse::<usize>().ok()?),
            value => value.get(field),
        };
        fields.try_fold(value, within).filter(|value| !value.is_null())
    }

    /// The same with the fields around the text model's first: what the model as a whole decides.
    pub(crate) fn of_whole(&self, field: &str) -> Option<&'a Value> {
        self.root.get(field).filter(|value| !value.is_null()).or_else(|| self.get(field))
    }

    /// What the file says, or the checkpoint's default.
    pub(crate) fn get(&self, field: &str) -> Option<&'a Value> {
        // A null is stated as well.
        let is_left_out = self.inner.is_some_and(|inner| !inner.contains_key(field));
        let within = |checkpoint: &'a Checkpoint| checkpoint.within.get(field).filter(|_| is_left_out);
        self.stated(field).or_else(|| {
            let checkpoint = self.checkpoint?;
            checkpoint.defaults.get(field).or_else(|| within(checkpoint))
        })
    }

    /// The first of `key`'s spellings that has a value; spellings in the file count before defaults.
    pub(crate) fn find(&self, key: &'a Key) -> Option<(&'a str, &'a Value)> {
        let fields = || key.from.iter().map(String::as_str);
        fields()
            .find_map(|field| Some((field, self.stated(field)?)))
            .or_else(|| fields().find_map(|field| Some((field, self.get(field)?))))
    }

    pub(crate) fn string(&self, field: &str) -> Result<Option<&'a str>, Error> {
        self.get(field).map(|value| value.as_str().ok_or_else(|| wrong(field, "a string", value))).transpose()
    }

    pub(crate) fn boolean(&self, field: &str) -> Result<Option<bool>, Error> {
        self.get(field).map(|value| boolean(field, value)).transpose()
    }

    pub(crate) fn number(&self, field: &str) -> Result<Option<f64>, Error> {
        self.get(field).map(|value| number(field, value)).transpose()
    }

    /// Whether the checkpoint is of a class without anything behind the layers, as vectors of texts are made with.
    pub(crate) fn is_bare_model(&self) -> bool {
        let class = self.get("architectures").and_then(|classes| classes.get(0)?.as_str());
        class.is_some_and(|class| class.ends_with("Model"))
    }

    /// The texts of an object whose names are numbers, in the order of those.
    pub(crate) fn labels(&self, field: &str) -> Option<Vec<&'a str>> {
        let entries = self.get(field)?.as_object()?.iter();
        let numbered = entries.map(|(number, label)| Some((number.parse::<u64>().ok()?, label.as_str()?)));
        let mut numbered: Vec<(u64, &str)> = numbered.collect::<Option<_>>()?;
        numbered.sort_unstable();
        Some(numbered.into_iter().map(|(_, label)| label).collect())
    }

    /// Whether the checkpoint's kind computes `field` from others where the file does not state it.
    pub(crate) fn is_derived(&self, field: &str) -> bool {
        self.checkpoint.is_some_and(|checkpoint| checkpoint.derived.contains_key(field))
    }

    /// A positive whole number: stated, a default, or derived from other fields.
    pub(crate) fn extent(&self, field: &str) -> Result<Option<u64>, Error> {
        match self.get(field) {
            Some(value) => extent(field, value).map(Some),
            None => match self.checkpoint.and_then(|checkpoint| checkpoint.derived.get(field)) {
                Some(expression) => self.evaluate(expression, field).map(Some),
                None => Ok(None),
            },
        }
    }

    /// An extent by any of `key`'s spellings.
    pub(crate) fn extent_of(&self, key: &'a Key) -> Result<Option<u64>, Error> {
        if let Some((field, value)) = self.find(key) {
            return extent(field, value).map(Some);
        }
        key.from.iter().find_map(|field| self.extent(field).transpose()).transpose()
    }

    pub(crate) fn required_extent(&self, field: &str) -> Result<u64, Error> {
        self.extent(field)?.ok_or_else(|| Error::Missing { field: field.into() })
    }

    pub(crate) fn required_extent_of(&self, key: &'a Key) -> Result<u64, Error> {
        self.extent_of(key)?.ok_or_else(|| Error::Missing { field: key.called().into() })
    }

    /// The value of `expression` over this configuration's fields, for `field`.
    pub(crate) fn evaluate(&self, expression: &Extent, field: &str) -> Result<u64, Error> {
        let value = expression.evaluate(|name| self.required_extent(name));
        let names: Vec<&str> = expression.names().collect();
        value.map_err(|failure| match failure {
            Failure::Name(error) => error,
            Failure::Inexact { dividend, divisor } => Error::Field {
                field: names.first().copied().unwrap_or(field).into(),
                expected: format!("a multiple of {divisor}, since {field} is {}", expression.text()),
                got: dividend.to_string(),
            },
            Failure::Overflow => Error::Field {
                field: field.into(),
                expected: "a product below 2^64".into(),
                got: expression.text().into(),
            },
        })
    }
}

/// A whole number from 1 to [`MAX_EXTENT`].
pub(crate) fn extent(field: &str, value: &Value) -> Result<u64, Error> {
    match value.as_u64() {
        Some(n) if (1..=MAX_EXTENT).contains(&n) => Ok(n),
        _ => Err(wrong(field, &format!("a whole number from 1 to {MAX_EXTENT}"), value)),
    }
}

/// A whole number that fits 32 bits.
pub(crate) fn whole(field: &str, value: &Value) -> Result<u32, Error> {
    let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
    number.ok_or_else(|| wrong(field, "a whole number below 2^32", value))
}

/// A truth value.
pub(crate) fn boolean(field: &str, value: &Value) -> Result<bool, Error> {
    value.as_bool().ok_or_else(|| wrong(field, "true or false", value))
}

/// A finite number.
pub(crate) fn number(field: &str, value: &Value) -> Result<f64, Error> {
    value.as_f64().filter(|n| n.is_finite()).ok_or_else(|| wrong(field, "a number", value))
}

/// A finite number of `object`; `place` names the object in messages.
pub(crate) fn number_in(place: &str, object: &Value, field: &str) -> Result<Option<f64>, Error> {
    let value = object.get(field).filter(|value| !value.is_null());
    value.map(|value| number(&format!("{place}.{field}"), value)).transpose()
}

pub(crate) fn wrong(field: &str, expected: &str, got: &Value) -> Error {
    let got: String = got.to_string().chars().take(60).collect();
    Error::Field { field: field.into(), expected: expected.into(), got }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_objects_are_read_by_their_path() {
        let text = serde_json::json!({"a": {"b": {"c": 2}}});
        let value = serde_json::json!({"a": {"b": {"c": 1}, "d": null, "e": [5, 6]}, "text_config": text});
        let config = Config::new(&value).expect("an object");
        assert_eq!(config.stated("a.b.c"), Some(&Value::from(2)));
        let flat = Config::flat(value.as_object().expect("an object"));
        assert_eq!((flat.stated("a.b.c"), flat.stated("a.d")), (Some(&Value::from(1)), None));
        assert_eq!((flat.stated("a.x.c"), flat.stated("x.b")), (None, None));
        assert_eq!((flat.stated("a.e.1"), flat.stated("a.e.2")), (Some(&Value::from(6)), None));
    }

    #[test]
    fn the_text_model_of_a_larger_one_states_its_vocabulary() {
        for part in ["text_config", "llm_config"] {
            let config = serde_json::json!({"vocab_size": 3, part: {"vocab_size": 7}});
            assert_eq!(stated_vocabulary(&config), Some(7));
        }
        assert_eq!(stated_vocabulary(&serde_json::json!({"vocab_size": 3, "text_config": null})), Some(3));
        assert_eq!(stated_vocabulary(&serde_json::json!({})), None);
    }

    #[test]
    fn numbers_that_json_lacks_become_texts() {
        let text = r#"{"a": [0.0, Infinity], "b": NaN, "c": -Infinity, "d": "Infinity \" NaN", "é": 1}"#;
        let expected = serde_json::json!({"a": [0.0, "Infinity"], "b": "NaN", "c": "-Infinity",
            "d": "Infinity \" NaN", "é": 1});
        assert_eq!(parse_config(text.as_bytes()).expect("Python's JSON"), expected);
        assert!(parse_config(b"{Infinity").is_err());
        assert!(parse_config(&[0xff]).is_err());
    }
}
