//! Parts that name their kind: `{"type": "NFC"}`. Known kinds become variants, sequences nest, the rest is kept.

use serde::de::{DeserializeOwned, Error};
use serde_json::Value;

/// An enum made by [`component!`].
pub(super) trait Component: DeserializeOwned {
    /// Every kind with a variant of its own, sequences aside.
    const KINDS: &'static [&'static str];
    /// The field that holds the items of a sequence.
    const ITEMS: &'static str;
    fn sequence(items: Vec<Self>) -> Self;
    fn unknown(kind: String, raw: Value) -> Self;
}

/// Reads a component from untyped JSON. Recursion ends with the JSON parser's own limit of 128 levels.
pub(super) fn from_raw<T: Component>(raw: &Value) -> Result<T, serde_json::Error> {
    let Value::Object(fields) = raw else { return Err(Error::custom("expected an object with a `type`")) };
    // Files of old versions of the library leave the type out: such a part is kept, with an empty kind.
    let kind = match fields.get("type") {
        None => "",
        Some(Value::String(kind)) => kind,
        Some(_) => return Err(Error::custom("`type`: expected a string")),
    };
    if kind == "Sequence" {
        let Some(Value::Array(items)) = fields.get(T::ITEMS) else {
            return Err(Error::custom(format!("Sequence: expected a list `{}`", T::ITEMS)));
        };
        return Ok(T::sequence(items.iter().map(from_raw).collect::<Result<_, _>>()?));
    }
    if !T::KINDS.contains(&kind) {
        return Ok(T::unknown(kind.into(), raw.clone()));
    }
    T::deserialize(raw).map_err(|error| Error::custom(format!("{kind}: {error}")))
}

/// Declares the enum of one component: its kinds as they are spelled, their fields, and the field of a sequence.
macro_rules! component {
    (
        $(#[$meta:meta])*
        $name:ident, sequence of $items:literal {
            $(
                $(#[$variant_meta:meta])*
                $kind:literal => $variant:ident
                    $( ( $inner:ty ) )?
                    $( { $( $(#[$field_meta:meta])* $field:ident : $ty:ty ),* $(,)? } )?
            ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, serde::Deserialize)]
        #[serde(tag = "type")]
        #[non_exhaustive]
        pub enum $name {
            $(
                $(#[$variant_meta])*
                #[serde(rename = $kind)]
                $variant $( ( $inner ) )? $( { $( $(#[$field_meta])* $field : $ty ),* } )?,
            )*
            /// One after the other.
            #[serde(skip)]
            Sequence(Vec<$name>),
            /// A kind that is not known here, as it stands in the file.
            #[serde(skip)]
            Unknown {
                /// Its `type`; empty where the file does not say.
                kind: String,
                /// The whole object.
                raw: serde_json::Value,
            },
        }

        impl crate::tokenizer_json::component::Component for $name {
            const KINDS: &'static [&'static str] = &[$($kind),*];
            const ITEMS: &'static str = $items;

            fn sequence(items: Vec<Self>) -> Self {
                Self::Sequence(items)
            }

            fn unknown(kind: String, raw: serde_json::Value) -> Self {
                Self::Unknown { kind, raw }
            }
        }
    };
}
pub(super) use component;
