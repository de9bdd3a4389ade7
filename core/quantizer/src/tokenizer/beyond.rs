//! What a tokenizer.json states beyond the keys of the format, under keys of our own: each where the other keys imply
//! something else, and only there. Must not change any other key.

use super::vocabulary::INSIDE_WORD;
use crate::{Error, Result};
use families::pre_tokenizers;
use families::tokenizer::{self as rules, AddedToken, Kind, LeadingSpace, ModelRules, Parts, own_keys};
use formats::gguf::{Array, Metadata, Value};
use formats::tokenizer_json::{
    Bpe, Decoder, Metaspace, Model, Normalizer, Pattern, Piece, PostProcessor, PreTokenizer, PrependScheme,
    Replace, TokenizerJson,
};
use serde_json::{Value as Json, json};
use std::collections::HashSet;
use std::path::Path;

/// Longer words are unknown to a WordPiece model, in characters.
const LONGEST_WORD: u64 = 100;
/// The format's key for merges, which files that have scores do without.
const MERGES: &str = "tokenizer.ggml.merges";

/// Writes the keys; `metadata` holds all others already.
///
/// # Errors
/// Rules that no key can state.
pub(super) fn write(path: &Path, json: &TokenizerJson, metadata: &mut Metadata) -> Result<()> {
    let refuse = |problem: String| Error::tokenizer(path, problem);
    let implied = Parts::implied(metadata).map_err(|error| refuse(error.to_string()))?;
    let is_added = |text: &str| json.added_tokens.iter().any(|token| token.content == text);
    let model = model_rules(&json.model, &implied, is_added).map_err(refuse)?;
    let added = added_tokens(json, &implied, metadata);
    let (prefix, suffix) = around(json.post_processor.as_ref(), &implied, metadata).map_err(refuse)?;
    let leading_space =
        leading_space(json.decoder.as_ref(), &implied, model.byte_fallback).map_err(refuse)?;
    let mut own: Vec<(&str, Value)> = Vec::new();
    let text = |json: String| Value::String(json);
    if model != implied.rules {
        own.push((own_keys::MODEL, text(json!(model).to_string())));
    }
    if added != implied.added_tokens {
        own.push((own_keys::ADDED_TOKENS, text(json!(added).to_string())));
    }
    if let Some(stated) = normalizer(json, &implied).map_err(refuse)? {
        own.push((own_keys::NORMALIZER, text(stated.to_string())));
    }
    if let Some(stated) = pre_tokenizer(json, &implied, metadata).map_err(refuse)? {
        own.push((own_keys::PRE_TOKENIZER, text(stated.to_string())));
    }
    let ids = |ids: Vec<u32>| Value::Array(Array::I32(ids.into_iter().map(|id| id as i32).collect()));
    if prefix != implied.prefix {
        own.push((own_keys::PREFIX, ids(prefix)));
    }
    if suffix != implied.suffix {
        own.push((own_keys::SUFFIX, ids(suffix)));
    }
    if leading_space != implied.leading_space {
        own.push((own_keys::LEADING_SPACE, text(leading_space.name().into())));
    }
    if let Some(scores) = scores(&json.model) {
        own.push((own_keys::SCORES, Value::Array(Array::F64(scores))));
    }
    if let Some(merges) = merges(&json.model, metadata) {
        own.push((MERGES, Value::Array(Array::String(merges))));
    }
    for (key, value) in own {
        metadata.insert(key, value);
    }
    Ok(())
}

fn model_rules(
    model: &Model,
    implied: &Parts,
    is_added: impl Fn(&str) -> bool,
) -> std::result::Result<ModelRules, String> {
    match model {
        Model::Bpe(bpe) => {
            for (field, mark) in [
                ("continuing_subword_prefix", &bpe.continuing_subword_prefix),
                ("end_of_word_suffix", &bpe.end_of_word_suffix),
            ] {
                if let Some(mark) = mark.as_ref().filter(|mark| !mark.is_empty()) {
                    return Err(format!("model.{field}: expected none, got {mark:?}"));
                }
            }
            let mut rules = ModelRules {
                byte_fallback: bpe.byte_fallback,
                ignore_merges: bpe.ignore_merges,
                ..implied.rules.clone()
            };
            if !covers_every_byte(bpe) {
                let unknown = bpe.vocab.iter().find(|(text, _)| Some(text) == bpe.unk_token.as_ref());
                rules.unk_id = unknown.map(|(_, id)| *id);
                rules.fuse_unk = bpe.fuse_unk;
            }
            Ok(rules)
        }
        Model::Unigram(unigram) => Ok(ModelRules {
            // Pieces that are added tokens are matched before the model runs, and may be holes of the table.
            n_tokens: match unigram.vocab.get(implied.rules.n_tokens as usize..) {
                Some(behind) if behind.iter().all(|(text, _)| is_added(text)) => implied.rules.n_tokens,
                _ => unigram.vocab.len() as u32,
            },
            unk_id: unigram.unk_id,
            byte_fallback: unigram.byte_fallback,
            ..implied.rules.clone()
        }),
        Model::WordPiece(pieces) => {
            let (mark, longest) = (&pieces.continuing_subword_prefix, pieces.max_input_chars_per_word);
            if mark != INSIDE_WORD || longest != LONGEST_WORD {
                let expected = format!("{INSIDE_WORD:?} and words of up to {LONGEST_WORD} characters");
                return Err(format!("model: expected {expected}, got {mark:?} and {longest}"));
            }
            let unknown = pieces.vocab.iter().find(|(text, _)| *text == pieces.unk_token);
            let n_tokens = pieces.vocab.iter().map(|(_, id)| id + 1).max().unwrap_or(0);
            Ok(ModelRules { n_tokens, unk_id: unknown.map(|(_, id)| *id), ..implied.rules.clone() })
        }
        _ => Ok(implied.rules.clone()),
    }
}

/// Whether no text is unknown, so that rules for unknown ones make no difference.
fn covers_every_byte(bpe: &Bpe) -> bool {
    let mut seen = [false; 256];
    for (text, _) in &bpe.vocab {
        let mut characters = text.chars();
        let byte = match (bpe.byte_fallback, characters.next(), characters.next()) {
            (true, ..) => rules::byte_of_token(text),
            (false, Some(one), None) => rules::byte_of_character(one),
            _ => None,
        };
        byte.into_iter().for_each(|byte| seen[usize::from(byte)] = true);
    }
    seen.iter().all(|seen| *seen)
}

/// Added tokens of tokenizer.json, and those that the files beside it add to them.
fn added_tokens(json: &TokenizerJson, implied: &Parts, metadata: &Metadata) -> Vec<AddedToken> {
    let n = metadata.strings("tokenizer.ggml.tokens").map_or(0, <[String]>::len);
    let within =
        json.added_tokens.iter().filter(|token| (token.id as usize) < n && !token.content.is_empty());
    let mut added: Vec<AddedToken> = within
        .map(|token| AddedToken {
            id: token.id,
            content: token.content.clone(),
            single_word: token.single_word,
            lstrip: token.lstrip,
            rstrip: token.rstrip,
            normalized: token.normalized,
            special: token.special,
        })
        .collect();
    // Without a normalizer, and if all are alike, it makes no difference where they are matched.
    if normalizer_steps(json.normalizer.as_ref()).is_empty() && added.iter().all(|token| token.normalized) {
        added.iter_mut().for_each(|token| token.normalized = false);
    }
    let known: HashSet<u32> = match &json.model {
        Model::Bpe(bpe) => bpe.vocab.iter().map(|(_, id)| *id).collect(),
        Model::Unigram(unigram) => (0..unigram.vocab.len() as u32).collect(),
        Model::WordPiece(pieces) => pieces.vocab.iter().map(|(_, id)| *id).collect(),
        _ => HashSet::new(),
    };
    let stated: HashSet<u32> = added.iter().map(|token| token.id).collect();
    let beside = |token: &&AddedToken| !known.contains(&token.id) && !stated.contains(&token.id);
    added.extend(implied.added_tokens.iter().filter(beside).cloned());
    added.sort_by_key(|token| token.id);
    added
}

/// The normalizer, where it is not the implied one.
fn normalizer(json: &TokenizerJson, implied: &Parts) -> std::result::Result<Option<Json>, String> {
    let stated = normalizer_steps(json.normalizer.as_ref());
    if let Some(kind) = stated.iter().find_map(|step| match step {
        Normalizer::Unknown { kind, .. } => Some(kind),
        _ => None,
    }) {
        return Err(format!("normalizer: expected a kind that is known, got {kind:?}"));
    }
    let (mut raw, mut maps) = (json.raw.normalizer.clone(), 0);
    empty_character_maps(&mut raw, &mut maps);
    if maps > 1 {
        return Err(format!("normalizer: expected one character map, got {maps}"));
    }
    let (raw_typed, implied) =
        (part(raw.clone(), "normalizer"), part(implied.normalizer.clone(), "normalizer"));
    let steps = |document: &TokenizerJson| {
        normalizer_steps(document.normalizer.as_ref()).into_iter().cloned().collect::<Vec<_>>()
    };
    Ok((steps(&raw_typed) != steps(&implied)).then_some(raw))
}

/// A document with this one part.
fn part(part: Json, field: &str) -> TokenizerJson {
    let document = json!({field: part, "model": {"type": "BPE", "vocab": {}, "merges": []}}).to_string();
    formats::tokenizer_json::parse(document.as_bytes())
        .expect("a part of a document that parsed, or one of ours")
}

/// The file holds a character map under a key of its own.
fn empty_character_maps(normalizer: &mut Json, n: &mut usize) {
    if let Some(map) = normalizer.get_mut("precompiled_charsmap") {
        *map = "".into();
        *n += 1;
    }
    let steps = normalizer.get_mut("normalizers").and_then(Json::as_array_mut);
    steps.into_iter().flatten().for_each(|step| empty_character_maps(step, n));
}

fn normalizer_steps(normalizer: Option<&Normalizer>) -> Vec<&Normalizer> {
    match normalizer {
        None => Vec::new(),
        Some(Normalizer::Sequence(steps)) => {
            steps.iter().flat_map(|step| normalizer_steps(Some(step))).collect()
        }
        Some(step) => vec![step],
    }
}

/// The pre-tokenizer, where it is not the implied one.
fn pre_tokenizer(
    json: &TokenizerJson,
    implied: &Parts,
    metadata: &Metadata,
) -> std::result::Result<Option<Json>, String> {
    let stated = pre_tokenizer_steps(json.pre_tokenizer.as_ref());
    if let Some(kind) = stated.iter().find_map(|step| match step {
        PreTokenizer::Unknown { kind, .. } => Some(kind),
        _ => None,
    }) {
        return Err(format!("pre_tokenizer: expected a kind that is known, got {kind:?}"));
    }
    let same = match (implied.kind, json.pre_tokenizer.as_ref()) {
        (Kind::ByteLevelBpe, Some(stated)) => {
            let row = metadata.str("tokenizer.ggml.pre").and_then(pre_tokenizers::by_name);
            row.is_some_and(|row| row.cuts_as(stated))
        }
        _ => {
            let implied = part(implied.pre_tokenizer.clone(), "pre_tokenizer");
            pre_tokenizer_steps(implied.pre_tokenizer.as_ref()) == stated
        }
    };
    Ok((!same).then(|| json.raw.pre_tokenizer.clone()))
}

fn pre_tokenizer_steps(pre_tokenizer: Option<&PreTokenizer>) -> Vec<&PreTokenizer> {
    match pre_tokenizer {
        None => Vec::new(),
        Some(PreTokenizer::Sequence(steps)) => {
            steps.iter().flat_map(|step| pre_tokenizer_steps(Some(step))).collect()
        }
        Some(step) => vec![step],
    }
}

type Around = (Vec<u32>, Vec<u32>);

/// What the post-processor puts around a text. Where it states nothing, the flags of other files count.
fn around(
    processor: Option<&PostProcessor>,
    implied: &Parts,
    metadata: &Metadata,
) -> std::result::Result<Around, String> {
    let (mut prefix, mut suffix) = (Vec::new(), Vec::new());
    for step in post_processor_steps(processor) {
        let (before, behind) = around_of_step(step)?;
        prefix.splice(0..0, before);
        suffix.extend(behind);
    }
    let flagged = |key: &str| metadata.bool(key).is_some();
    if prefix.is_empty() && suffix.is_empty() {
        if flagged("tokenizer.ggml.add_bos_token") {
            prefix.clone_from(&implied.prefix);
        }
        if flagged("tokenizer.ggml.add_eos_token") {
            suffix.clone_from(&implied.suffix);
        }
    }
    Ok((prefix, suffix))
}

fn post_processor_steps(processor: Option<&PostProcessor>) -> Vec<&PostProcessor> {
    match processor {
        None => Vec::new(),
        Some(PostProcessor::Sequence(steps)) => {
            steps.iter().flat_map(|step| post_processor_steps(Some(step))).collect()
        }
        Some(step) => vec![step],
    }
}

fn around_of_step(step: &PostProcessor) -> std::result::Result<Around, String> {
    match step {
        PostProcessor::Template { single, special_tokens, .. } => {
            let texts = single.iter().filter(|piece| matches!(piece, Piece::Sequence { .. })).count();
            if texts != 1 {
                return Err(format!("post_processor.single: expected the text once, got it {texts} times"));
            }
            let (mut around, mut behind) = ((Vec::new(), Vec::new()), false);
            for piece in single {
                match piece {
                    Piece::Sequence { .. } => behind = true,
                    Piece::SpecialToken { id, .. } => {
                        let token = special_tokens.get(id).ok_or_else(|| {
                            format!("post_processor.special_tokens: {id:?} of the template is missing")
                        })?;
                        if behind { &mut around.1 } else { &mut around.0 }.extend(&token.ids);
                    }
                }
            }
            Ok(around)
        }
        PostProcessor::Bert { sep, cls } | PostProcessor::Roberta { sep, cls, .. } => {
            Ok((vec![cls.1], vec![sep.1]))
        }
        PostProcessor::ByteLevel(_) => Ok((Vec::new(), Vec::new())),
        other => Err(format!("post_processor: expected a kind that is known, got {other:?}")),
    }
}

/// How decoded text begins; refuses what the runtime does not decode like.
fn leading_space(
    decoder: Option<&Decoder>,
    implied: &Parts,
    byte_fallback: bool,
) -> std::result::Result<LeadingSpace, String> {
    let Some(decoder) = decoder else { return Ok(implied.leading_space) };
    if implied.kind == Kind::WordPiece {
        // Made for reading: nothing is written with it.
        return Ok(implied.leading_space);
    }
    let steps = decoder_steps(decoder);
    let byte_level = implied.kind == Kind::ByteLevelBpe;
    let (last, first) = steps.split_last().map_or((None, &[][..]), |(last, first)| (Some(*last), first));
    let fused = first.contains(&&Decoder::Fuse);
    let (rest, space) = match last {
        Some(Decoder::Strip { content: ' ', start: 1, stop: 0 }) if fused && !byte_level => {
            (first, LeadingSpace::OneDropped)
        }
        Some(Decoder::Metaspace(Metaspace { replacement: rules::SPACE, prepend_scheme, .. }))
            if !fused && !byte_level =>
        {
            let never = *prepend_scheme == PrependScheme::Never;
            (first, if never { LeadingSpace::Kept } else { LeadingSpace::FirstTokenWithout })
        }
        _ => (steps.as_slice(), LeadingSpace::Kept),
    };
    let writes_spaces = |step: &&Decoder| match step {
        Decoder::Replace(Replace { pattern: Pattern::String(from), content }) => {
            from.chars().eq([rules::SPACE]) && content == " "
        }
        _ => false,
    };
    let known = |step: &&Decoder| match step {
        Decoder::Fuse => true,
        Decoder::ByteLevel(_) => byte_level,
        Decoder::ByteFallback => !byte_level,
        other => !byte_level && writes_spaces(other),
    };
    if let Some(step) = rest.iter().find(|step| !known(step)) {
        return Err(format!("decoder: expected steps that a stream of tokens can take, got {step:?}"));
    }
    let spaces = rest.iter().any(writes_spaces) || matches!(last, Some(Decoder::Metaspace(_)));
    let bytes = rest.contains(&&Decoder::ByteFallback) || !byte_fallback;
    let whole = if byte_level { !steps.is_empty() } else { spaces && bytes };
    whole
        .then_some(space)
        .ok_or_else(|| "decoder: expected one that writes spaces and bytes, got less".into())
}

fn decoder_steps(decoder: &Decoder) -> Vec<&Decoder> {
    match decoder {
        Decoder::Sequence(steps) => steps.iter().flat_map(decoder_steps).collect(),
        step => vec![step],
    }
}

/// Scores that 32 bits do not hold.
fn scores(model: &Model) -> Option<Vec<f64>> {
    let Model::Unigram(unigram) = model else { return None };
    let held = unigram.vocab.iter().all(|(_, score)| f64::from(*score as f32) == *score);
    (!held).then(|| unigram.vocab.iter().map(|(_, score)| *score).collect())
}

/// Merges that scores do not lead to, of a vocabulary from tokenizer.model.
fn merges(model: &Model, metadata: &Metadata) -> Option<Vec<String>> {
    let Model::Bpe(bpe) = model else { return None };
    let table = |key: &str| metadata.strings(key).unwrap_or_default();
    if metadata.str("tokenizer.ggml.model") != Some("llama") || !table(MERGES).is_empty() {
        return None;
    }
    let scores = metadata.f32s("tokenizer.ggml.scores").unwrap_or_default();
    let types = metadata.i32s("tokenizer.ggml.token_type").unwrap_or_default();
    let implied = rules::merges_from_scores(table("tokenizer.ggml.tokens"), scores, types);
    (implied != bpe.merges)
        .then(|| bpe.merges.iter().map(|(left, right)| format!("{left} {right}")).collect())
}

#[cfg(test)]
#[path = "beyond_tests.rs"]
mod tests;
