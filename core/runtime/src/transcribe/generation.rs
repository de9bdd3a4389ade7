//! What Whisper's configurations say of its tokens: which begin and end, which stand for languages and tasks, which never come.
//! Knows the texts of `config.json` and `generation_config.json`; no graph.
//! Source: transformers' `generation_whisper.py`.

use super::{Error, TranscribeSettings};
use serde::Deserialize;
use std::collections::BTreeMap;

/// One number or several.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Tokens {
    One(i64),
    Several(Vec<i64>),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Raw {
    decoder_start_token_id: Option<i64>,
    eos_token_id: Option<Tokens>,
    no_timestamps_token_id: Option<i64>,
    lang_to_id: Option<BTreeMap<String, i64>>,
    task_to_id: Option<BTreeMap<String, i64>>,
    suppress_tokens: Option<Vec<i64>>,
    begin_suppress_tokens: Option<Vec<i64>>,
    max_initial_timestamp_index: Option<i64>,
    max_length: Option<usize>,
    max_target_positions: Option<usize>,
}

/// What is known of the tokens.
#[derive(Debug, Clone)]
pub(super) struct Generation {
    /// The first token of all.
    pub(super) start: i64,
    ends: Vec<i64>,
    no_timestamps: Option<i64>,
    languages: BTreeMap<String, i64>,
    tasks: BTreeMap<String, i64>,
    pub(super) never: Vec<i64>,
    pub(super) never_first: Vec<i64>,
    pub(super) latest_first_time: Option<i64>,
    max_length: Option<usize>,
    places: usize,
}

impl Generation {
    /// Of both texts; what the second says goes before.
    ///
    /// # Errors
    /// Texts that are none; no token to begin or to end with; no count of places.
    pub(super) fn of(config: &str, generation: Option<&str>) -> Result<Self, Error> {
        let read = |field, text: &str| {
            serde_json::from_str::<Raw>(text).map_err(|error| wrong(field, "Whisper's fields", error))
        };
        let model = read("config.json", config)?;
        let own =
            generation.map(|text| read("generation_config.json", text)).transpose()?.unwrap_or_default();
        let start = own.decoder_start_token_id.or(model.decoder_start_token_id);
        let ends = match own.eos_token_id.or(model.eos_token_id) {
            Some(Tokens::One(token)) => vec![token],
            Some(Tokens::Several(tokens)) if !tokens.is_empty() => tokens,
            _ => return Err(wrong("eos_token_id", "a token", "none")),
        };
        let places = model.max_target_positions.filter(|places| (2..=1 << 20).contains(places));
        Ok(Self {
            start: start.ok_or_else(|| wrong("decoder_start_token_id", "a token", "none"))?,
            ends,
            no_timestamps: own.no_timestamps_token_id,
            languages: own.lang_to_id.unwrap_or_default(),
            tasks: own.task_to_id.unwrap_or_default(),
            never: own.suppress_tokens.or(model.suppress_tokens).unwrap_or_default(),
            never_first: own.begin_suppress_tokens.or(model.begin_suppress_tokens).unwrap_or_default(),
            latest_first_time: own.max_initial_timestamp_index,
            max_length: own.max_length,
            places: places.ok_or_else(|| wrong("max_target_positions", "2 to 1048576", "none of these"))?,
        })
    }

    /// Whether a token ends what is written.
    pub(super) fn ends(&self, token: i64) -> bool {
        self.ends.contains(&token)
    }

    /// The token from which on there is no text: below it are words, from it on marks.
    pub(super) fn end(&self) -> i64 {
        self.ends[0]
    }

    /// The mark that says that there are no times.
    pub(super) fn no_times(&self) -> Option<i64> {
        self.no_timestamps
    }

    /// The mark of the window's beginning; those behind it are steps of time.
    pub(super) fn first_time(&self) -> Option<i64> {
        self.no_timestamps.map(|token| token + 1)
    }

    /// Whether the language must be said.
    pub(super) fn is_multilingual(&self) -> bool {
        !self.languages.is_empty()
    }

    /// Codes of the languages.
    pub(super) fn languages(&self) -> impl Iterator<Item = &str> {
        self.languages.keys().map(|mark| mark.trim_start_matches("<|").trim_end_matches("|>"))
    }

    fn language(&self, code: &str) -> Result<i64, Error> {
        let found = self.languages.get(&format!("<|{}|>", code.to_lowercase()));
        let known = || self.languages().collect::<Vec<_>>().join(", ");
        found.copied().ok_or_else(|| wrong("language", format!("one of {}", known()), format!("`{code}`")))
    }

    /// What is asked for before any work.
    pub(super) fn check(&self, settings: &TranscribeSettings) -> Result<(), Error> {
        if let Some(code) = &settings.language {
            if !self.is_multilingual() {
                return Err(wrong("language", "none: the model knows one alone", format!("`{code}`")));
            }
            self.language(code)?;
        }
        if settings.translate && !self.tasks.contains_key("translate") {
            return Err(wrong("translate", "a model that has this task", "one that has not"));
        }
        if settings.timestamps && self.no_timestamps.is_none() {
            return Err(wrong("timestamps", "no_timestamps_token_id in generation_config.json", "none"));
        }
        Ok(())
    }

    /// Tokens before all text: what is wanted.
    pub(super) fn prefix(
        &self,
        language: Option<&str>,
        translate: bool,
        timestamps: bool,
    ) -> Result<Vec<i64>, Error> {
        let mut prefix = vec![self.start];
        if let Some(code) = language.filter(|_| self.is_multilingual()) {
            prefix.push(self.language(code)?);
            prefix.extend(self.tasks.get(if translate { "translate" } else { "transcribe" }));
        }
        prefix.extend(self.no_timestamps.filter(|_| !timestamps));
        Ok(prefix)
    }

    /// The language whose mark is likeliest.
    pub(super) fn likeliest_language(&self, logits: &[f32]) -> Result<String, Error> {
        let logit = |token: &i64| usize::try_from(*token).ok().and_then(|token| logits.get(token));
        let known = self.languages.iter().filter_map(|(mark, token)| Some((mark, token, logit(token)?)));
        // Of equal ones the first token.
        let best = known.max_by(|a, b| a.2.total_cmp(b.2).then(b.1.cmp(a.1)));
        let mark = best.map(|(mark, ..)| mark.trim_start_matches("<|").trim_end_matches("|>").to_string());
        mark.ok_or_else(|| wrong("lang_to_id", "tokens of the vocabulary", "none"))
    }

    /// Most tokens of a window, its prefix included.
    pub(super) fn most_tokens(&self, prefix: usize, asked: Option<usize>) -> usize {
        let own = self.max_length.map_or(self.places, |length| length + prefix);
        asked.unwrap_or(own).min(own).min(self.places)
    }
}

fn wrong(field: &'static str, expected: impl Into<String>, got: impl ToString) -> Error {
    Error::Config { field, expected: expected.into(), got: got.to_string() }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Words below 20, the end 20, the beginning 21, languages 22 and 23, tasks 24 and 25, no times 26, times from 27 on.
    pub(in super::super) fn small() -> Generation {
        let config = r#"{"max_target_positions": 12, "eos_token_id": 3, "model_type": "whisper"}"#;
        let own = r#"{"decoder_start_token_id": 21, "eos_token_id": 20, "no_timestamps_token_id": 26, "max_length": 448,
            "lang_to_id": {"<|en|>": 22, "<|de|>": 23}, "task_to_id": {"transcribe": 24, "translate": 25},
            "suppress_tokens": [1], "begin_suppress_tokens": [2, 20], "max_initial_timestamp_index": 3}"#;
        Generation::of(config, Some(own)).unwrap()
    }

    #[test]
    fn prefixes_say_what_is_wanted() {
        let known = small();
        assert_eq!(known.prefix(Some("de"), false, true).unwrap(), [21, 23, 24]);
        assert_eq!(known.prefix(Some("EN"), true, false).unwrap(), [21, 22, 25, 26]);
        assert_eq!(
            (known.first_time(), known.most_tokens(4, None), known.most_tokens(4, Some(9))),
            (Some(27), 12, 9)
        );
        let mut logits = vec![0.0; 30];
        (logits[5], logits[23]) = (9.0, 1.0);
        assert_eq!(known.likeliest_language(&logits).unwrap(), "de");
        logits[22] = 1.0;
        assert_eq!(known.likeliest_language(&logits).unwrap(), "en");
        let asked = TranscribeSettings { language: Some("xx".into()), ..Default::default() };
        assert_eq!(
            known.check(&asked).unwrap_err().to_string(),
            "language: expected one of de, en, got `xx`"
        );
    }

    #[test]
    fn a_model_of_one_language_takes_none() {
        let config = r#"{"max_target_positions": 12, "eos_token_id": 3, "decoder_start_token_id": 4}"#;
        let known = Generation::of(config, None).unwrap();
        assert_eq!(known.prefix(None, false, false).unwrap(), [4]);
        let ask = |language: Option<&str>, translate, timestamps| TranscribeSettings {
            language: language.map(Into::into),
            translate,
            timestamps,
            max_tokens: None,
        };
        assert!(known.check(&ask(None, false, false)).is_ok());
        for asked in [ask(Some("en"), false, false), ask(None, true, false), ask(None, false, true)] {
            assert!(known.check(&asked).is_err(), "{asked:?}");
        }
        for bad in
            ["{}", "[", r#"{"eos_token_id": [], "decoder_start_token_id": 1, "max_target_positions": 4}"#]
        {
            assert!(Generation::of(bad, None).is_err(), "{bad}");
        }
    }
}
