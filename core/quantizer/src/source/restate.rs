//! Values that users state for metadata, and which form a file gives them.
//! Knows values; must not know what keys mean.

use crate::{Error, Result};
use formats::gguf::{Metadata, Value};

/// Reads `KEY=TYPE:VALUE` with the types `int`, `float`, `bool` and `str`, as llama-quantize takes it.
///
/// # Errors
/// Text of another form, a value that is none of its type.
pub fn parse_metadata(text: &str) -> Result<(String, Value)> {
    let refuse = |expected: &str| Error::Request {
        wish: "metadata".into(),
        expected: expected.into(),
        got: text.into(),
    };
    let form = || refuse("KEY=TYPE:VALUE with int, float, bool or str for TYPE");
    let (key, rest) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(form)?;
    let (ty, value) = rest.split_once(':').ok_or_else(form)?;
    let value = match ty {
        "int" => Value::I64(value.parse().map_err(|_| refuse("a whole number behind int:"))?),
        "float" => {
            let number: f64 = value.parse().map_err(|_| refuse("a number behind float:"))?;
            if !(number as f32).is_finite() {
                return Err(refuse("a finite number of 32 bits behind float:"));
            }
            Value::F64(number)
        }
        "bool" => Value::Bool(value.parse().map_err(|_| refuse("true or false behind bool:"))?),
        "str" => Value::String(value.into()),
        _ => return Err(form()),
    };
    Ok((key.into(), value))
}

/// `value` in the form that `metadata` has for `key`: whole numbers keep their width, new ones have 32 bits and no sign.
///
/// # Errors
/// A value of another kind than the one there, a number that its form cannot hold, a list.
pub(super) fn in_form_of(metadata: &Metadata, key: &str, value: &Value) -> Result<Value> {
    let refuse = |expected: String| Error::Request {
        wish: format!("metadata {key}"),
        expected,
        got: match value {
            Value::I64(number) => number.to_string(),
            Value::F64(number) => number.to_string(),
            Value::Bool(truth) => truth.to_string(),
            Value::String(text) => format!("`{text}`"),
            other => format!("{other:?}"),
        },
    };
    let there = metadata.get(key);
    let usual = match value {
        Value::I64(_) => Value::U32(0),
        Value::F64(_) => Value::F32(0.0),
        other => other.clone(),
    };
    macro_rules! whole {
        ($number:expr, $($variant:ident: $ty:ty),*) => {
            match there.unwrap_or(&usual) {
                $(Value::$variant(_) => <$ty>::try_from($number).map(Value::$variant).map_err(|_| {
                    refuse(format!("a number from {} to {}", <$ty>::MIN, <$ty>::MAX))
                }),)*
                other => Err(refuse(kind_of(other))),
            }
        };
    }
    match (value, there.unwrap_or(&usual)) {
        (Value::I64(number), _) => {
            whole!(*number, U8: u8, I8: i8, U16: u16, I16: i16, U32: u32, I32: i32, U64: u64, I64: i64)
        }
        (Value::F64(number), Value::F32(_)) => Ok(Value::F32(*number as f32)),
        (Value::F64(number), Value::F64(_)) => Ok(Value::F64(*number)),
        (Value::Bool(_), Value::Bool(_)) | (Value::String(_), Value::String(_)) => Ok(value.clone()),
        (_, other) => Err(refuse(kind_of(other))),
    }
}

/// What a value is, with the type to state it by.
fn kind_of(value: &Value) -> String {
    match value {
        Value::F32(_) | Value::F64(_) => "a number (float), as the model has it",
        Value::Bool(_) => "true or false (bool), as the model has it",
        Value::String(_) => "text (str), as the model has it",
        Value::Array(_) => "a key that holds one value: the model has a list there",
        _ => "a whole number (int), as the model has it",
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::gguf::Array;

    #[test]
    fn values_are_read_by_their_types() {
        for (text, key, value) in [
            ("a.b=int:7", "a.b", Value::I64(7)),
            ("a=int:-7", "a", Value::I64(-7)),
            ("a=float:1e-6", "a", Value::F64(1e-6)),
            ("a=bool:false", "a", Value::Bool(false)),
            ("a=str:x=y:z", "a", Value::String("x=y:z".into())),
            ("a=str:", "a", Value::String(String::new())),
        ] {
            assert_eq!(parse_metadata(text).unwrap(), (key.to_string(), value), "{text}");
        }
        for text in [
            "",
            "a",
            "=int:1",
            "a=1",
            "a=int:x",
            "a=int:1.5",
            "a=float:nan",
            "a=float:1e99",
            "a=bool:1",
            "a=u8:1",
        ] {
            let said = parse_metadata(text).unwrap_err().to_string();
            assert!(
                said.starts_with("metadata: expected ") && said.ends_with(&format!("got {text}")),
                "{said}"
            );
        }
    }

    #[test]
    fn values_take_the_form_that_is_there() {
        let metadata = Metadata::from_iter([
            ("wide", Value::U64(1)),
            ("small", Value::I8(1)),
            ("number", Value::F32(1.0)),
            ("list", Value::Array(Array::U32(vec![1]))),
        ]);
        let formed =
            |key: &str, value: Value| in_form_of(&metadata, key, &value).map_err(|error| error.to_string());
        assert_eq!(formed("wide", Value::I64(9)), Ok(Value::U64(9)));
        assert_eq!(formed("small", Value::I64(-9)), Ok(Value::I8(-9)));
        assert_eq!(formed("new", Value::I64(9)), Ok(Value::U32(9)));
        assert_eq!(formed("new", Value::F64(0.5)), Ok(Value::F32(0.5)));
        assert_eq!(formed("new", Value::Bool(true)), Ok(Value::Bool(true)));
        for (key, value, expected) in [
            ("small", Value::I64(200), "metadata small: expected a number from -128 to 127, got 200"),
            ("new", Value::I64(-1), "metadata new: expected a number from 0 to 4294967295, got -1"),
            (
                "number",
                Value::I64(2),
                "metadata number: expected a number (float), as the model has it, got 2",
            ),
            (
                "wide",
                Value::String("x".into()),
                "metadata wide: expected a whole number (int), as the model has it, got `x`",
            ),
            (
                "list",
                Value::I64(2),
                "metadata list: expected a key that holds one value: the model has a list there, got 2",
            ),
        ] {
            assert_eq!(formed(key, value), Err(expected.to_string()));
        }
    }

    proptest::proptest! {
        /// No text makes it panic, and what it takes comes back from the text.
        #[test]
        fn any_text_is_read_or_refused(key in "[^=]{0,8}", ty in "int|float|bool|str|.{0,3}", value in ".{0,12}") {
            if let Ok((read, _)) = parse_metadata(&format!("{key}={ty}:{value}")) {
                proptest::prop_assert_eq!(read, key);
            }
        }
    }
}
