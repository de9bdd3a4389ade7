//! Answers held to a form by the crate `llguidance`, which walks grammar and vocabulary together.
//!
//! Owns the vocabulary as that crate takes it, built once per tokenizer. Must not know what the form is for.

use super::{Constraint, Held, plainly};
use crate::{Error, Result, Tokenizer};
use engine::Token;
use llguidance::api::TopLevelGrammar;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, TokEnv, TokRxInfo, TokTrie};
use llguidance::{Matcher, ParserFactory, earley::SlicedBiasComputer};
use std::sync::{Arc, OnceLock};

/// Grammars of more bytes are refused before they are read.
const MAX_BYTES: usize = 1 << 20;

/// What is built once per tokenizer, when it is first needed.
#[derive(Default)]
pub(crate) struct Vocabulary(OnceLock<std::result::Result<Arc<ParserFactory>, String>>);

impl std::fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.get().is_some() { "Vocabulary(built)" } else { "Vocabulary" })
    }
}

impl Vocabulary {
    fn factory(&self, tokenizer: &Tokenizer) -> Result<&Arc<ParserFactory>> {
        self.0.get_or_init(|| build(tokenizer).map(Arc::new)).as_ref().map_err(|reason| {
            Error::Tokenizer(format!("expected a vocabulary that grammars can use, got {reason}"))
        })
    }
}

fn build(tokenizer: &Tokenizer) -> std::result::Result<ParserFactory, String> {
    let n_vocab = u32::try_from(tokenizer.n_vocab()).map_err(|_| "too many tokens")?;
    let ends = (0..n_vocab as Token).find(|token| tokenizer.ends_turn(*token));
    let end =
        tokenizer.eos().filter(|end| tokenizer.ends_turn(*end)).or(ends).ok_or("none that ends a turn")?;
    let word = |token: Token| {
        let bytes = tokenizer.token_bytes(token);
        if !bytes.is_empty() {
            return bytes.to_vec();
        }
        // Control tokens have no text; grammars name them.
        let name = tokenizer.token_text(token).unwrap_or_default();
        let mark = std::iter::once(TokTrie::SPECIAL_TOKEN_MARKER);
        if name.is_empty() { Vec::new() } else { mark.chain(name.bytes()).collect() }
    };
    let words: Vec<Vec<u8>> = (0..n_vocab as Token).map(word).collect();
    let trie = TokTrie::from(&TokRxInfo::new(n_vocab, end as u32), &words);
    let environment: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let slices = SlicedBiasComputer::general_slices();
    let mut factory = ParserFactory::new(&environment, InferenceCapabilities::default(), &slices)
        .map_err(|error| error.to_string())?;
    factory.quiet();
    Ok(factory)
}

struct Keeper {
    matcher: Matcher,
    /// Tokens that end a turn, beside the one that the matcher knows.
    ends: Vec<usize>,
    end: usize,
}

/// Holds an answer to `constraint`.
///
/// # Errors
/// [`Error::Request`] with what is not understood of it.
pub(crate) fn hold(constraint: &Constraint, tokenizer: &Tokenizer) -> Result<Box<dyn Held>> {
    let (kind, bytes) = match constraint {
        Constraint::JsonSchema(schema) => ("a JSON schema", schema.to_string().len()),
        Constraint::Regex(text) => ("a regular expression", text.len()),
        Constraint::Lark(text) => ("a grammar", text.len()),
    };
    let refused = |got: String| Error::Request {
        what: "constraint",
        expected: format!("{kind} that is understood"),
        got: got.lines().map(str::trim).collect::<Vec<_>>().join(" "),
    };
    if bytes > MAX_BYTES {
        return Err(refused(format!("{bytes} bytes, of which at most {MAX_BYTES} are read")));
    }
    let grammar = match constraint {
        Constraint::JsonSchema(schema) => TopLevelGrammar::from_json_schema(plainly(schema.clone())),
        Constraint::Regex(expression) => TopLevelGrammar::from_regex(expression),
        Constraint::Lark(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
    };
    let factory = tokenizer.vocabulary().factory(tokenizer)?;
    let matcher = Matcher::new(factory.create_parser(grammar));
    if let Some(error) = matcher.get_error() {
        return Err(refused(error));
    }
    let ends: Vec<usize> =
        (0..tokenizer.n_vocab()).filter(|token| tokenizer.ends_turn(*token as Token)).collect();
    let end = factory.tok_env().tok_trie().eos_token() as usize;
    Ok(Box::new(Keeper { matcher, ends, end }))
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Logits(format!("the constraint: {error}"))
}

impl Held for Keeper {
    fn mask(&mut self, logits: &mut [f32]) -> Result<()> {
        let mask = self.matcher.compute_mask().map_err(failed)?;
        let may_end = mask.is_allowed(self.end as u32);
        // Tokens that end a turn come with the one that the matcher knows.
        let kept: Vec<(usize, f32)> = match may_end {
            true => self.ends.iter().filter_map(|end| Some((*end, *logits.get(*end)?))).collect(),
            false => Vec::new(),
        };
        let n_masked = mask.len().min(logits.len());
        logits[n_masked..].fill(f32::NEG_INFINITY);
        mask.iter_unset_entries(|token| {
            if let Some(logit) = logits.get_mut(token) {
                *logit = f32::NEG_INFINITY;
            }
        });
        for (token, logit) in kept {
            logits[token] = logit;
        }
        Ok(())
    }

    fn accept(&mut self, token: Token) -> Result<bool> {
        self.matcher.consume_token(token as u32).map_err(failed)?;
        Ok(self.matcher.is_stopped())
    }
}
