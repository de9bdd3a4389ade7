//! Pre-tokenizers of byte-level BPE vocabularies: llama.cpp's names ↔ the steps of tokenizer.json.
//! Owns the table (`data/pre_tokenizers.toml`) and its recognition; must not tokenize.

use formats::tokenizer_json::{Pattern, PreTokenizer as PreTokenizerJson, SplitBehavior};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::LazyLock;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    serde_json::from_slice(crate::tables::PRE_TOKENIZERS.json())
        .expect("the built-in table parses: a test reads it")
});

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    same: Vec<Same>,
    #[serde(rename = "pre_tokenizer")]
    rows: Vec<PreTokenizer>,
}

/// A spelling within a regex that means the same as another.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Same {
    spelling: String,
    means: String,
    /// The two differ for a few letters that fold to ASCII ones.
    #[serde(default)]
    nearly: bool,
}

/// How text is cut before byte-pair merging, and what llama.cpp takes for granted with it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreTokenizer {
    name: String,
    #[serde(default)]
    aliases: Vec<String>,
    steps: Vec<Step>,
    #[serde(default)]
    source: StepSource,
    #[serde(default)]
    ignores_merges: bool,
    #[serde(default)]
    adds_bos: bool,
    #[serde(default)]
    adds_separator: bool,
    #[serde(default = "yes")]
    has_bos: bool,
    #[serde(default = "yes")]
    cleans_spaces: bool,
}

fn yes() -> bool {
    true
}

/// One step of a pre-tokenizer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Matches of the regex become pieces of their own, and so does what lies between them. Oniguruma syntax.
    Split(String),
    /// Digits become pieces: `individual` or `grouped`.
    Digits(String),
    /// Punctuation becomes pieces: `contiguous` runs.
    Punctuation(String),
    /// Bytes become printable characters; `true` splits by GPT-2's regex before.
    ByteLevel(bool),
}

/// Where the steps of a row come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum StepSource {
    /// A tokenizer.json states them.
    #[default]
    #[serde(rename = "tokenizer.json")]
    TokenizerJson,
    /// The checkpoint ships code that states them.
    #[serde(rename = "checkpoint code")]
    CheckpointCode,
    /// Only llama.cpp's regexes are known.
    #[serde(rename = "engine")]
    Engine,
}

impl PreTokenizer {
    /// The canonical name, as `tokenizer.ggml.pre` holds it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Other names of the same behaviour.
    pub fn aliases(&self) -> &[String] {
        &self.aliases
    }

    /// The steps in order.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Where the steps come from.
    pub fn source(&self) -> StepSource {
        self.source
    }

    /// Whether a piece that is a token stays whole, whatever the merges say.
    pub fn ignores_merges(&self) -> bool {
        self.ignores_merges
    }

    /// Whether a beginning-of-sequence token stands first where the file does not say.
    pub fn adds_bos(&self) -> bool {
        self.adds_bos
    }

    /// Whether a separator stands last where the file does not say.
    pub fn adds_separator(&self) -> bool {
        self.adds_separator
    }

    /// Whether there is a beginning-of-sequence token where the file does not say.
    pub fn has_bos(&self) -> bool {
        self.has_bos
    }

    /// Whether decoding drops a space before punctuation.
    pub fn cleans_spaces(&self) -> bool {
        self.cleans_spaces
    }

    /// Whether its steps cut every text as tokenizer.json's pre-tokenizer does: recognition passes over a difference
    /// that hardly any text shows.
    pub fn cuts_as(&self, pre_tokenizer: &PreTokenizerJson) -> bool {
        let mut steps = Vec::new();
        collect(pre_tokenizer, &mut steps).is_some()
            && normalised(&steps, false) == normalised(&self.steps, false)
    }

    /// The `pre_tokenizer` object of a tokenizer.json.
    pub fn to_json(&self) -> Value {
        let steps = self.steps.iter().map(|step| match step {
            Step::Split(regex) => {
                json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
            }
            Step::Digits(kind) => json!({"type": "Digits", "individual_digits": kind == "individual"}),
            Step::Punctuation(_) => json!({"type": "Punctuation", "behavior": "Contiguous"}),
            Step::ByteLevel(regex) => {
                json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": regex})
            }
        });
        json!({"type": "Sequence", "pretokenizers": steps.collect::<Vec<_>>()})
    }
}

/// Every row of the table.
pub fn all() -> &'static [PreTokenizer] {
    &TABLE.rows
}

/// The row called `name`, by its canonical name or an alias.
pub fn by_name(name: &str) -> Option<&'static PreTokenizer> {
    TABLE.rows.iter().find(|row| row.name == name || row.aliases.iter().any(|alias| alias == name))
}

/// The first row whose steps are those of tokenizer.json's pre-tokenizer. Regexes count as equal when they differ in
/// spellings that mean the same alone. Several names share their steps: [`recognise_with`] tells more of them apart.
pub fn recognise(pre_tokenizer: &PreTokenizerJson) -> Option<&'static PreTokenizer> {
    matching(pre_tokenizer)?.next()
}

/// The same, taking `ignore_merges` of tokenizer.json's `model` into account: the first row with these steps that agrees
/// with it, else the first with these steps.
pub fn recognise_with(
    pre_tokenizer: &PreTokenizerJson,
    ignore_merges: bool,
) -> Option<&'static PreTokenizer> {
    let agreeing = matching(pre_tokenizer)?.find(|row| row.ignores_merges == ignore_merges);
    agreeing.or_else(|| recognise(pre_tokenizer))
}

fn matching(pre_tokenizer: &PreTokenizerJson) -> Option<impl Iterator<Item = &'static PreTokenizer>> {
    let mut steps = Vec::new();
    collect(pre_tokenizer, &mut steps)?;
    let steps = normalised(&steps, true);
    Some(TABLE.rows.iter().filter(move |row| normalised(&row.steps, true) == steps))
}

fn normalised(steps: &[Step], nearly: bool) -> Vec<Step> {
    let one = |step: &Step| match step {
        Step::Split(regex) => Step::Split(normalised_regex(regex, nearly)),
        other => other.clone(),
    };
    steps.iter().map(one).collect()
}

/// Control characters as escapes, and each spelling of the table's list as the one it means.
fn normalised_regex(regex: &str, nearly: bool) -> String {
    let mut regex = regex.replace('\r', r"\r").replace('\n', r"\n").replace('\t', r"\t");
    for same in TABLE.same.iter().filter(|same| nearly || !same.nearly) {
        regex = regex.replace(&same.spelling, &same.means);
    }
    regex
}

fn collect(part: &PreTokenizerJson, steps: &mut Vec<Step>) -> Option<()> {
    let step = match part {
        PreTokenizerJson::Sequence(parts) => return parts.iter().try_for_each(|part| collect(part, steps)),
        PreTokenizerJson::Split { pattern: Pattern::Regex(regex), behavior, invert } => {
            let plain = match behavior {
                SplitBehavior::Isolated => !invert,
                // What lies between matches is dropped: the same where a last alternative matches all the rest.
                SplitBehavior::Removed => *invert && regex.ends_with(r"|\s+"),
                _ => false,
            };
            plain.then(|| Step::Split(regex.clone()))?
        }
        PreTokenizerJson::Digits { individual_digits } => {
            Step::Digits(if *individual_digits { "individual" } else { "grouped" }.into())
        }
        PreTokenizerJson::Punctuation { behavior: SplitBehavior::Contiguous } => {
            Step::Punctuation("contiguous".into())
        }
        PreTokenizerJson::ByteLevel(settings) if !settings.add_prefix_space => {
            Step::ByteLevel(settings.use_regex)
        }
        _ => return None,
    };
    steps.push(step);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    /// The part as tokenizer.json states it.
    fn part(value: &Value) -> Option<PreTokenizerJson> {
        let model = json!({"type": "BPE", "vocab": {}, "merges": []});
        let document = json!({"pre_tokenizer": value, "model": model}).to_string();
        formats::tokenizer_json::parse(document.as_bytes()).expect("a document").pre_tokenizer
    }

    fn recognise(value: &Value) -> Option<&'static PreTokenizer> {
        super::recognise(&part(value)?)
    }

    fn recognise_with(value: &Value, ignore_merges: bool) -> Option<&'static PreTokenizer> {
        super::recognise_with(&part(value)?, ignore_merges)
    }

    fn split(regex: &str) -> Value {
        json!({"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": false})
    }

    fn with_bytes(steps: &[Value]) -> Value {
        let bytes =
            json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false});
        let steps = [steps, &[bytes]].concat();
        json!({"type": "Sequence", "pretokenizers": steps})
    }

    const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    #[test]
    fn names_stand_once_and_lead_to_their_row() {
        let mut names = HashSet::new();
        for row in all() {
            for name in row.aliases().iter().chain([&row.name]) {
                assert!(names.insert(name.clone()), "{name} stands twice");
                assert_eq!(by_name(name).map(PreTokenizer::name), Some(row.name()));
            }
        }
        assert!(by_name("no-such-name").is_none());
        assert_eq!(by_name("dbrx").map(PreTokenizer::name), Some("smaug-bpe"));
    }

    #[test]
    fn every_row_is_recognised_from_its_own_json_up_to_rows_with_the_same_steps() {
        for row in all() {
            let found = recognise_with(&row.to_json(), row.ignores_merges()).expect("its own steps");
            assert_eq!(normalised(found.steps(), true), normalised(row.steps(), true));
            assert_eq!(found.ignores_merges(), row.ignores_merges(), "{}", row.name());
        }
    }

    #[test]
    fn rows_that_no_merge_rule_tells_apart_are_found_under_the_first() {
        for (name, found) in [
            ("gpt-2", "gpt-2"),
            ("roberta-bpe", "gpt-2"),
            ("llama-bpe", "llama-bpe"),
            ("glm4", "llama-bpe"),
            ("dbrx", "smaug-bpe"),
            ("chatglm-bpe", "smaug-bpe"),
            ("qwen2", "qwen2"),
            ("stablelm2", "qwen2"),
            ("starcoder", "smollm"),
            ("command-r", "smollm"),
            ("deepseek-v3", "deepseek-v3"),
            ("bailingmoe", "qwen2"),
            ("falcon", "falcon"),
        ] {
            let row = by_name(name).expect(name);
            let recognised = recognise_with(&row.to_json(), row.ignores_merges());
            assert_eq!(recognised.map(PreTokenizer::name), Some(found), "{name}");
        }
    }

    #[test]
    fn spellings_that_mean_the_same_are_recognised() {
        let expanded = LLAMA_3.replace(
            "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
            "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])",
        );
        let characters = LLAMA_3.replace(r"\r", "\r").replace(r"\n", "\n");
        let possessive = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+";
        for regex in [LLAMA_3, &expanded, &characters, possessive] {
            let steps = with_bytes(&[split(regex)]);
            assert_eq!(recognise(&steps).map(PreTokenizer::name), Some("llama-bpe"), "{regex}");
            assert_eq!(recognise_with(&steps, false).map(PreTokenizer::name), Some("smaug-bpe"), "{regex}");
            let row = by_name("llama-bpe").expect("a row");
            // Without regard to case, `\u{17f}` is an `s`.
            assert_eq!(row.cuts_as(&part(&steps).expect("a part")), regex != expanded, "{regex}");
        }
        let mut removed = split(LLAMA_3);
        removed["behavior"] = json!("Removed");
        assert!(recognise(&with_bytes(&[removed.clone()])).is_none());
        removed["invert"] = json!(true);
        assert_eq!(recognise(&with_bytes(&[removed])).map(PreTokenizer::name), Some("llama-bpe"));
    }

    #[test]
    fn other_steps_are_not_recognised() {
        let mut merged = split(LLAMA_3);
        merged["behavior"] = json!("MergedWithPrevious");
        for steps in [
            json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true}),
            json!({"type": "Metaspace", "replacement": "\u{2581}"}),
            json!({"type": "Sequence", "pretokenizers": []}),
            json!({"type": "Punctuation"}),
            json!({"type": "FromElsewhere"}),
            with_bytes(&[merged]),
            with_bytes(&[split("x")]),
            with_bytes(&[split(&LLAMA_3.replace("{1,3}", "{1,2}"))]),
            split(LLAMA_3),
            json!(null),
        ] {
            assert!(recognise(&steps).is_none(), "{steps}");
        }
    }

    proptest! {
        #[test]
        fn one_more_letter_in_a_regex_is_another_pre_tokenizer(at in 0usize..LLAMA_3.len(), letter in "[q-z]") {
            let mut regex = LLAMA_3.to_string();
            regex.insert_str(at, &letter);
            prop_assert!(recognise(&with_bytes(&[split(&regex)])).is_none());
        }
    }
}
