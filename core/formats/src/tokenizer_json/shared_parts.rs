//! Building blocks that several components use: patterns, replacements, byte-level and metaspace settings.

use serde::{Deserialize, Deserializer};

/// What is searched for.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub enum Pattern {
    /// This text.
    String(String),
    /// A regular expression, Oniguruma's dialect.
    Regex(String),
}

/// What becomes of the matches when a text is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum SplitBehavior {
    /// Left out.
    Removed,
    /// A piece of their own.
    Isolated,
    /// Joined to the piece before.
    MergedWithPrevious,
    /// Joined to the piece behind.
    MergedWithNext,
    /// Neighbouring matches make one piece.
    Contiguous,
}

/// Replaces every match.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Replace {
    /// What is searched for.
    pub pattern: Pattern,
    /// What is put in its place.
    pub content: String,
}

/// Bytes as visible characters, GPT-2's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct ByteLevel {
    /// Puts a space before a text that has none.
    pub add_prefix_space: bool,
    /// Leaves spaces out of offsets.
    pub trim_offsets: bool,
    /// Cuts by GPT-2's regular expression first. Default: yes.
    #[serde(default = "yes")]
    pub use_regex: bool,
}

/// Spaces as a visible character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metaspace {
    /// The visible character, mostly `▁`.
    pub replacement: char,
    /// Where one is put before the text. Default: always; `add_prefix_space: false` of old files means never.
    pub prepend_scheme: PrependScheme,
    /// Whether the text is cut there. Default: yes.
    pub split: bool,
}

/// Where a metaspace is put before the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrependScheme {
    /// Before the first piece.
    First,
    /// Nowhere.
    Never,
    /// Before every piece between added tokens.
    Always,
}

impl<'de> Deserialize<'de> for Metaspace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            replacement: char,
            prepend_scheme: Option<PrependScheme>,
            add_prefix_space: Option<bool>,
            split: Option<bool>,
        }
        let raw = Raw::deserialize(deserializer)?;
        let prepend_scheme = match (raw.prepend_scheme, raw.add_prefix_space) {
            (None, Some(false)) => PrependScheme::Never,
            (None, _) => PrependScheme::Always,
            (Some(scheme), Some(false)) if scheme != PrependScheme::Never => {
                return Err(serde::de::Error::custom(
                    "add_prefix_space: expected agreement with prepend_scheme",
                ));
            }
            (Some(scheme), _) => scheme,
        };
        Ok(Self { replacement: raw.replacement, prepend_scheme, split: raw.split.unwrap_or(true) })
    }
}

pub(super) fn yes() -> bool {
    true
}

/// `null` stands for the default.
pub(super) fn null_is_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
