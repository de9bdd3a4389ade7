//! The rules of a tokenizer beside its tables: what the keys of the format imply, and what keys of our own say instead.
//! Conversion compares the implied with a tokenizer.json, the runtime builds from what is read; must not tokenize.

use super::{Kind, SPACE, TokenType, own_keys};
use crate::Error;
use crate::pre_tokenizers::{self, PreTokenizer};
use formats::gguf::Metadata;
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};

/// What a tokenizer does beside looking up its tables.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts {
    /// Which algorithm.
    pub kind: Kind,
    /// Rules of the model.
    pub rules: ModelRules,
    /// Tokens that are matched before the model runs, by id.
    pub added_tokens: Vec<AddedToken>,
    /// What happens to a text first, as in a tokenizer.json; an empty character map stands for the file's.
    pub normalizer: Json,
    /// How the text is cut, as in a tokenizer.json.
    pub pre_tokenizer: Json,
    /// What is put before a text.
    pub prefix: Vec<u32>,
    /// What is put behind a text.
    pub suffix: Vec<u32>,
    /// How decoded text begins.
    pub leading_space: LeadingSpace,
    /// Beginning of sequence.
    pub bos: Option<u32>,
    /// End of sequence.
    pub eos: Option<u32>,
}

/// Rules of the model beside vocabulary and merges.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRules {
    /// So many tokens are the model's; those behind are added ones and holes.
    pub n_tokens: u32,
    /// Stands for what the vocabulary lacks.
    pub unk_id: Option<u32>,
    /// Joins neighbouring unknown tokens.
    pub fuse_unk: bool,
    /// Unknown characters become tokens like `<0x61>`.
    pub byte_fallback: bool,
    /// A piece that is a token is taken whole, before any merge.
    pub ignore_merges: bool,
}

/// A token that is matched before the model runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // the fields of tokenizer.json
pub struct AddedToken {
    pub id: u32,
    pub content: String,
    #[serde(default, skip_serializing_if = "is_false")]
    pub single_word: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub lstrip: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub rstrip: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub normalized: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    pub special: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// How decoded text begins where its first token begins with a space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeadingSpace {
    /// As the token is.
    Kept,
    /// Without one space.
    OneDropped,
    /// Without any space of the first token, as the library's Metaspace decoder has it.
    FirstTokenWithout,
}

impl LeadingSpace {
    const NAMES: [(Self, &str); 3] = [
        (Self::Kept, "kept"),
        (Self::OneDropped, "one_dropped"),
        (Self::FirstTokenWithout, "first_token_without"),
    ];

    /// Its name in a file.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(value, _)| *value == self).expect("every value has a name").1
    }
}

impl Parts {
    /// What the keys of the format alone imply.
    ///
    /// # Errors
    /// A kind or pre-tokenizer that is not known, a vocabulary that is missing.
    pub fn implied(metadata: &Metadata) -> Result<Self, Error> {
        let kind = Kind::of(metadata)?;
        let tokens = metadata
            .strings("tokenizer.ggml.tokens")
            .ok_or_else(|| Error::Missing { field: "tokenizer.ggml.tokens".into() })?;
        let id = |key: &str| -> Option<u32> {
            let id = metadata.u64(&format!("tokenizer.ggml.{key}_token_id"))?;
            u32::try_from(id).ok().filter(|id| (*id as usize) < tokens.len())
        };
        // What llama.cpp takes where a file does not say.
        let usual = |of: [Option<u32>; 4]| {
            let place = match kind {
                Kind::ByteLevelBpe => 0,
                Kind::SentencePieceBpe => 1,
                Kind::Unigram => 2,
                Kind::WordPiece => 3,
            };
            of[place].filter(|id| (*id as usize) < tokens.len())
        };
        let bos = id("bos").or(usual([None, Some(1), None, Some(101)]));
        let eos = id("eos").or(usual([None, Some(2), Some(1), None]));
        let last = if kind == Kind::WordPiece {
            id("seperator").or(usual([None, None, None, Some(102)]))
        } else {
            eos
        };
        let pre = match kind {
            Kind::ByteLevelBpe => Some(pre_tokenizer(metadata)?),
            _ => None,
        };
        let flag = |key: &str| metadata.bool(&format!("tokenizer.ggml.{key}"));
        let adds_bos = matches!(kind, Kind::SentencePieceBpe | Kind::WordPiece)
            || pre.is_some_and(PreTokenizer::adds_bos);
        let adds_eos = matches!(kind, Kind::Unigram | Kind::WordPiece);
        let space_prefix = flag("add_space_prefix").unwrap_or(true);
        let types = Types(metadata.i32s("tokenizer.ggml.token_type").unwrap_or_default());
        let unknown = id("unknown").or_else(|| types.first_unknown(tokens.len()));
        let unknown = unknown.or(usual([None, Some(0), Some(2), Some(100)]));
        Ok(Self {
            kind,
            rules: ModelRules {
                n_tokens: types.without_holes_behind(tokens) as u32,
                // Byte-level models leave out what their vocabulary lacks, whatever token a file names.
                unk_id: unknown.filter(|_| kind != Kind::ByteLevelBpe),
                fuse_unk: kind != Kind::ByteLevelBpe,
                byte_fallback: kind == Kind::SentencePieceBpe,
                ignore_merges: pre.is_some_and(PreTokenizer::ignores_merges),
            },
            added_tokens: types.added(tokens),
            normalizer: normalizer(kind, metadata, space_prefix),
            pre_tokenizer: match kind {
                Kind::ByteLevelBpe => pre.map_or(Json::Null, PreTokenizer::to_json),
                Kind::SentencePieceBpe => Json::Null,
                Kind::Unigram => metaspace(space_prefix, flag("remove_extra_whitespaces").unwrap_or(true)),
                Kind::WordPiece => json!({"type": "BertPreTokenizer"}),
            },
            prefix: bos.filter(|_| flag("add_bos_token").unwrap_or(adds_bos)).into_iter().collect(),
            suffix: last.filter(|_| flag("add_eos_token").unwrap_or(adds_eos)).into_iter().collect(),
            leading_space: match kind {
                Kind::ByteLevelBpe => LeadingSpace::Kept,
                _ if !space_prefix => LeadingSpace::Kept,
                Kind::Unigram => LeadingSpace::FirstTokenWithout,
                Kind::SentencePieceBpe | Kind::WordPiece => LeadingSpace::OneDropped,
            },
            bos,
            eos,
        })
    }

    /// What a file says: keys of our own, and what the others imply.
    ///
    /// # Errors
    /// As [`Parts::implied`]; an own key that holds what cannot be.
    pub fn read(metadata: &Metadata) -> Result<Self, Error> {
        let mut parts = Self::implied(metadata)?;
        let n = metadata.strings("tokenizer.ggml.tokens").map_or(0, <[String]>::len) as u32;
        if let Some(rules) = parsed::<ModelRules>(metadata, own_keys::MODEL)? {
            let within = rules.n_tokens <= n && rules.unk_id.is_none_or(|id| id < rules.n_tokens);
            parts.rules = check(rules, within, own_keys::MODEL, n)?;
        }
        if let Some(added) = parsed::<Vec<AddedToken>>(metadata, own_keys::ADDED_TOKENS)? {
            let within = added.iter().all(|token| token.id < n);
            parts.added_tokens = check(added, within, own_keys::ADDED_TOKENS, n)?;
        }
        for (key, part) in [
            (own_keys::NORMALIZER, &mut parts.normalizer),
            (own_keys::PRE_TOKENIZER, &mut parts.pre_tokenizer),
        ] {
            if let Some(stated) = parsed(metadata, key)? {
                *part = stated;
            }
        }
        for (key, part) in [(own_keys::PREFIX, &mut parts.prefix), (own_keys::SUFFIX, &mut parts.suffix)] {
            if let Some(ids) = metadata.i32s(key) {
                let within = ids.iter().all(|id| u32::try_from(*id).is_ok_and(|id| id < n));
                *part = check(ids, within, key, n)?.iter().map(|id| *id as u32).collect();
            }
        }
        if let Some(name) = metadata.str(own_keys::LEADING_SPACE) {
            let known = LeadingSpace::NAMES.iter().find(|(_, known)| *known == name);
            parts.leading_space = known.map(|(value, _)| *value).ok_or_else(|| Error::Field {
                field: own_keys::LEADING_SPACE.into(),
                expected: "kept, one_dropped or first_token_without".into(),
                got: name.into(),
            })?;
        }
        Ok(parts)
    }
}

/// The row of the pre-tokenizer's name. Files without one are cut as llama.cpp cuts them.
fn pre_tokenizer(metadata: &Metadata) -> Result<&'static PreTokenizer, Error> {
    let name = metadata.str("tokenizer.ggml.pre").unwrap_or("default");
    pre_tokenizers::by_name(name).ok_or_else(|| Error::Field {
        field: "tokenizer.ggml.pre".into(),
        expected: "a pre-tokenizer that is known".into(),
        got: name.into(),
    })
}

fn normalizer(kind: Kind, metadata: &Metadata, space_prefix: bool) -> Json {
    let space = SPACE.to_string();
    match kind {
        Kind::ByteLevelBpe => Json::Null,
        Kind::SentencePieceBpe => {
            let replace = json!({"type": "Replace", "pattern": {"String": " "}, "content": space});
            let prepend = json!({"type": "Prepend", "prepend": space});
            let steps = if space_prefix { vec![prepend, replace] } else { vec![replace] };
            json!({"type": "Sequence", "normalizers": steps})
        }
        Kind::Unigram => match metadata.get("tokenizer.ggml.precompiled_charsmap") {
            Some(_) => json!({"type": "Precompiled", "precompiled_charsmap": ""}),
            None => Json::Null,
        },
        Kind::WordPiece => {
            let switch = |name: &str| metadata.bool(&format!("tokenizer.ggml.normalizer.{name}"));
            json!({"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
                "strip_accents": switch("strip_accents"), "lowercase": switch("lowercase").unwrap_or(true)})
        }
    }
}

fn metaspace(space_prefix: bool, removes_extra_spaces: bool) -> Json {
    let scheme = if space_prefix { "always" } else { "never" };
    let metaspace = json!({"type": "Metaspace", "replacement": SPACE.to_string(), "prepend_scheme": scheme, "split": true});
    let split = json!({"type": "WhitespaceSplit"});
    let steps = if removes_extra_spaces { vec![split, metaspace] } else { vec![metaspace] };
    json!({"type": "Sequence", "pretokenizers": steps})
}

/// `tokenizer.ggml.token_type`; tokens behind its end are pieces of text.
struct Types<'a>(&'a [i32]);

impl Types<'_> {
    fn of(&self, id: usize) -> TokenType {
        TokenType::from_number(self.0.get(id).copied().unwrap_or_default())
    }

    fn first_unknown(&self, n: usize) -> Option<u32> {
        (0..n).find(|id| self.of(*id) == TokenType::Unknown).map(|id| id as u32)
    }

    /// Checkpoints have more rows than tokens: converters fill up with `[PAD7]`.
    fn without_holes_behind(&self, tokens: &[String]) -> usize {
        let hole = |id: usize| self.of(id) == TokenType::Unused && is_hole(&tokens[id], id);
        (0..tokens.len()).rev().find(|id| !hole(*id)).map_or(0, |id| id + 1)
    }

    fn added(&self, tokens: &[String]) -> Vec<AddedToken> {
        let token = |(id, content): (usize, &String)| {
            let special = match self.of(id) {
                TokenType::Unknown | TokenType::Control => true,
                TokenType::UserDefined => false,
                _ => return None,
            };
            let [single_word, lstrip, rstrip, normalized] = [false; 4];
            let (id, content) = (id as u32, content.clone());
            Some(AddedToken { id, content, single_word, lstrip, rstrip, normalized, special })
        };
        tokens.iter().enumerate().filter(|(_, text)| !text.is_empty()).filter_map(token).collect()
    }
}

/// Whether converters spell row `id` of no token so.
pub fn is_hole(text: &str, id: usize) -> bool {
    text.strip_prefix(SPACE).unwrap_or(text) == format!("[PAD{id}]")
}

fn parsed<T: for<'de> Deserialize<'de>>(metadata: &Metadata, key: &str) -> Result<Option<T>, Error> {
    let Some(text) = metadata.str(key) else { return Ok(None) };
    serde_json::from_slice(text.as_bytes()).map(Some).map_err(|error| Error::Field {
        field: key.into(),
        expected: "JSON of its kind".into(),
        got: error.to_string(),
    })
}

fn check<T>(value: T, within: bool, key: &str, n: u32) -> Result<T, Error> {
    if within {
        return Ok(value);
    }
    Err(Error::Field { field: key.into(), expected: format!("ids below {n}"), got: "one beyond".into() })
}

#[cfg(test)]
#[path = "parts_tests.rs"]
mod tests;
