//! One view of all that a projector's table may name: fields of `vision_config`, numbers made of them, the other files.
//! Owns the making of that view; must not know what a field is for.

use super::{Number, Projector, Sources};
use crate::config::{Config, wrong};
use crate::extent::Failure;
use crate::family::Checkpoint;
use crate::{Description, Error};
use serde_json::{Map, Value};

impl Projector {
    /// The fields of `vision_config` without empty ones, the ids of special tokens, the numbers by name, and behind them
    /// `root` and `processor`.
    pub(super) fn fields(
        &self,
        checkpoint: &Checkpoint,
        description: &Description,
        sources: Sources<'_>,
    ) -> Result<Map<String, Value>, Error> {
        let vision = &sources.config["vision_config"];
        let vision = vision.as_object().ok_or_else(|| wrong("vision_config", "an object", vision))?;
        let stated = vision.iter().filter(|(_, value)| !value.is_null());
        let mut fields: Map<String, Value> =
            stated.map(|(field, value)| (field.clone(), value.clone())).collect();
        fields.insert("root".into(), sources.config.clone());
        fields.insert("processor".into(), sources.processor.clone());
        for (name, text) in &self.table.projector.tokens {
            let id =
                (sources.token)(text).ok_or_else(|| Error::Missing { field: format!("token {text}") })?;
            fields.insert(name.clone(), id.into());
        }
        for number in &self.table.numbers {
            let config = Config::flat(&fields);
            if number.with.as_ref().is_some_and(|field| config.stated(field).is_none()) {
                continue;
            }
            if let Some(Value::Array(sides)) = fields.get(&number.name) {
                let side = side(&number.name, sides)?;
                fields.insert(number.name.clone(), side);
            } else if !fields.contains_key(&number.name) {
                let value = number.value(&Config::flat(&fields).with_defaults(checkpoint), description)?;
                fields.insert(number.name.clone(), value.into());
            }
        }
        Ok(fields)
    }
}

/// The side of a square, of which height and width are stated.
fn side(field: &str, sides: &[Value]) -> Result<Value, Error> {
    match sides {
        [height, width] if height == width => Ok(height.clone()),
        _ => Err(wrong(field, "a square", &Value::from(sides))),
    }
}

impl Number {
    fn value(&self, config: &Config<'_>, description: &Description) -> Result<u64, Error> {
        let value_of = |name: &str| match config.extent(name)? {
            Some(value) => Ok(value),
            None => description.extent(name, &description.outside_layers()),
        };
        let absurd = |failure: Failure<Error>| match failure {
            Failure::Name(error) => error,
            other => Error::Field {
                field: self.name.clone(),
                expected: format!("a whole number for {}", self.of.text()),
                got: format!("{other:?}"),
            },
        };
        let factor = self.of.evaluate(value_of).map_err(absurd)?;
        match &self.square_root {
            None => Ok(factor),
            Some(square) => {
                let side = square.evaluate(value_of).map_err(absurd)?.isqrt();
                side.checked_mul(factor).ok_or_else(|| absurd(Failure::Overflow))
            }
        }
    }
}
