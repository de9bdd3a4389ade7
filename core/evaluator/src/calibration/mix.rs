//! Kinds of text and the shares that they have in a mix, which families' identifiers choose.
//! Knows `data/calibration_mixes.toml`; must not know templates.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A kind of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Prose of all sorts.
    General,
    /// Source text.
    Code,
    /// Mathematics, physics, chemistry.
    Maths,
    /// Conversations in which tools are called.
    Tools,
    /// Texts with their summaries.
    Summarising,
    /// Long documents.
    Long,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::General, Self::Code, Self::Maths, Self::Tools, Self::Summarising, Self::Long];

    /// Its name in mixes and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::General => "general",
            Self::Code => "code",
            Self::Maths => "maths",
            Self::Tools => "tools",
            Self::Summarising => "summarising",
            Self::Long => "long",
        }
    }

    /// The kind of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// The share of each kind, by characters.
pub type Mix = BTreeMap<Kind, f64>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    mix: BTreeMap<String, Mix>,
    families: BTreeMap<String, String>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    serde_json::from_slice(include_bytes!(concat!(env!("OUT_DIR"), "/calibration_mixes.json")))
        .expect("the built-in table parses: a test reads it")
});

/// What suits most models.
const EVEN: &str = "even";

/// Every mix with its name.
pub fn mixes() -> impl Iterator<Item = (&'static str, &'static Mix)> {
    TABLE.mix.iter().map(|(name, mix)| (name.as_str(), mix))
}

/// The name of the mix for a family, by the identifier that the families' data gives it.
pub fn mix_of_family(family: &str) -> &'static str {
    TABLE.families.get(family).map_or(EVEN, String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_add_up_and_families_name_mixes_that_are_there() {
        for (name, mix) in mixes() {
            assert!((mix.values().sum::<f64>() - 1.0).abs() < 1e-9, "{name}");
            assert!(mix.values().all(|share| *share >= 0.0), "{name}");
        }
        assert!(TABLE.families.values().all(|name| TABLE.mix.contains_key(name)));
        assert_eq!((mix_of_family("qwen3moe"), mix_of_family("unheard-of")), ("experts", "even"));
        assert!(TABLE.mix.contains_key(EVEN));
        assert!(Kind::ALL.iter().all(|kind| Kind::from_name(kind.name()) == Some(*kind)));
    }
}
