//! JSON objects whose keys must be unique, in the order of the text.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use std::collections::HashSet;
use std::fmt;

/// Deserializes an object, handing each key and its value to `entry`. A second appearance of a key is an error.
pub(super) struct UniqueMap<F>(pub(super) F);

/// Reads the value of one key.
pub(super) trait Entry<'de> {
    fn read<A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error>;
}

impl<'de, F: Entry<'de>> DeserializeSeed<'de> for UniqueMap<F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: Entry<'de>> Visitor<'de> for UniqueMap<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if !seen.insert(key.clone()) {
                return Err(A::Error::custom(format!("`{key}` appears twice")));
            }
            self.0.read(key, &mut map)?;
        }
        Ok(())
    }
}

/// String values.
pub(super) struct Strings<'a>(pub(super) &'a mut std::collections::BTreeMap<String, String>);

impl<'de> Entry<'de> for Strings<'_> {
    fn read<A: MapAccess<'de>>(&mut self, key: String, map: &mut A) -> Result<(), A::Error> {
        let value = map.next_value()?;
        self.0.insert(key, value);
        Ok(())
    }
}
