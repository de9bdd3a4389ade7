//! Named numbers of mechanisms (`data/quantities.toml`): what tables call them and where both file formats have them.
//! Owns the table; must not know what a number is for.

use crate::Error;
use crate::config::Config;
use crate::extent::Extent;
use crate::family::Family;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::LazyLock;

static TABLE: LazyLock<BTreeMap<String, Quantity>> = LazyLock::new(|| {
    serde_json::from_slice(crate::tables::QUANTITIES.json())
        .expect("the built-in table parses: every test of detection reads it")
});

/// One number.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Quantity {
    /// The GGUF key behind `<architecture>.`, where there is one.
    pub(crate) key: Option<String>,
    /// The GGUF tensor that has so many rows, where there is no key.
    pub(crate) tensor: Option<String>,
    /// Expressions over fields of config.json, the first whose fields are all there counts.
    config: Vec<Extent>,
    /// Whether a 0 stands for the lack of the mechanism, not for a mistake.
    #[serde(default)]
    may_be_zero: bool,
}

/// Every quantity by name.
pub(crate) fn quantities() -> &'static BTreeMap<String, Quantity> {
    &TABLE
}

/// Those that `config` states.
///
/// # Errors
/// A field that is no whole number, or an expression without a value.
pub(crate) fn of_config(config: &Config<'_>, family: &Family) -> Result<BTreeMap<String, u64>, Error> {
    let mut found = BTreeMap::new();
    for (name, quantity) in quantities() {
        let own = family.table.quantities.get(name);
        let expressions = own.map_or(quantity.config.as_slice(), std::slice::from_ref);
        let stated = |expression: &&Extent| {
            let is_none = |value: &serde_json::Value| quantity.may_be_zero && value.as_u64() == Some(0);
            expression.names().all(|field| match config.get(field) {
                Some(value) => !is_none(value),
                None => config.is_derived(field),
            })
        };
        if let Some(expression) = expressions.iter().find(stated) {
            found.insert(name.clone(), config.evaluate(expression, name)?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_once_and_families_name_known_quantities() {
        let keys: std::collections::HashSet<_> =
            quantities().values().filter_map(|quantity| quantity.key.as_ref()).collect();
        assert_eq!(keys.len(), quantities().values().filter(|quantity| quantity.key.is_some()).count());
        for family in Family::all() {
            assert!(family.table.quantities.keys().all(|name| quantities().contains_key(name)));
        }
    }
}
