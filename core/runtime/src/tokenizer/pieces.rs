//! Tokens back to bytes, and bytes to text that never breaks a character.

use super::Tokenizer;
use super::build::Tables;
use ahash::AHashSet;
use engine::Token;
use families::tokenizer::{Kind, LeadingSpace, SPACE, TokenType, byte_of_character, byte_of_token, is_hole};
use std::sync::Arc;

/// The bytes and spelling of every token.
#[derive(Debug)]
pub(super) struct Pieces {
    bytes: Pool,
    texts: Pool,
    leading_space: LeadingSpace,
}

/// Byte strings one after the other.
#[derive(Debug, Default)]
struct Pool {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Pool {
    fn with_capacity(n: usize, n_bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(n_bytes), ends: Vec::with_capacity(n) }
    }

    /// What was written to `bytes` since the last end is one string.
    fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }

    fn get(&self, token: Token) -> Option<&[u8]> {
        let at = usize::try_from(token).ok()?;
        let end = *self.ends.get(at)?;
        let start = if at == 0 { 0 } else { self.ends[at - 1] };
        Some(&self.bytes[start..end])
    }
}

impl Pieces {
    pub(super) fn new(tables: &Tables<'_>) -> Self {
        let (n, n_bytes) = (tables.tokens.len(), tables.tokens.iter().map(String::len).sum());
        let special = tables.parts.added_tokens.iter().filter(|token| token.special);
        let special: AHashSet<usize> = special.map(|token| token.id as usize).collect();
        let spelled: ahash::AHashMap<usize, &str> = tables
            .parts
            .added_tokens
            .iter()
            .map(|token| (token.id as usize, token.content.as_str()))
            .collect();
        let (mut bytes, mut texts) = (Pool::with_capacity(n, n_bytes), Pool::with_capacity(n, n_bytes));
        for (id, text) in tables.tokens.iter().enumerate() {
            let text = spelled.get(&id).copied().unwrap_or(text);
            // Converters fill rows without a token up like this.
            let hole = tables.kind_of(id) == TokenType::Unused && is_hole(text, id);
            if !special.contains(&id) && !hole {
                write_piece(tables, id, text, &mut bytes.bytes);
            }
            bytes.end();
            texts.bytes.extend_from_slice(text.as_bytes());
            texts.end();
        }
        Self { bytes, texts, leading_space: tables.parts.leading_space }
    }

    pub(super) fn len(&self) -> usize {
        self.texts.ends.len()
    }

    pub(super) fn bytes(&self, token: Token) -> &[u8] {
        self.bytes.get(token).unwrap_or_default()
    }

    pub(super) fn text(&self, token: Token) -> Option<&str> {
        std::str::from_utf8(self.texts.get(token)?).ok()
    }
}

/// The bytes of a token, as the library decodes it.
fn write_piece(tables: &Tables<'_>, id: usize, text: &str, bytes: &mut Vec<u8>) {
    let kind = tables.parts.kind;
    let may_be_byte = tables.kind_of(id) == TokenType::Byte || tables.parts.rules.byte_fallback;
    if kind == Kind::ByteLevelBpe {
        let start = bytes.len();
        for character in text.chars() {
            let Some(byte) = byte_of_character(character) else {
                // Not of the byte alphabet: an added token, whose text stands for itself.
                bytes.truncate(start);
                bytes.extend_from_slice(text.as_bytes());
                return;
            };
            bytes.push(byte);
        }
    } else if let Some(byte) = byte_of_token(text).filter(|_| may_be_byte) {
        bytes.push(byte);
    } else {
        let mut buffer = [0; 4];
        for character in text.chars() {
            let character = if character == SPACE { ' ' } else { character };
            bytes.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
        }
    }
}

/// Turns tokens into text as they come: characters whose bytes are not all there yet are held back.
pub struct TextStream {
    tokenizer: Arc<Tokenizer>,
    pending: Vec<u8>,
    leading_space: LeadingSpace,
    /// Control tokens that are text here.
    shown: Vec<Token>,
}

impl TextStream {
    /// A stream at the start of an answer.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self { tokenizer, pending: Vec::new(), leading_space: LeadingSpace::Kept, shown: Vec::new() }
    }

    /// The same, with these control tokens as they are spelled.
    pub fn showing(mut self, tokens: &[Token]) -> Self {
        self.shown = tokens.to_vec();
        self
    }

    /// A stream at the start of a text, where SentencePiece's leading space is dropped.
    pub fn from_start(tokenizer: Arc<Tokenizer>) -> Self {
        let leading_space = tokenizer.pieces.leading_space;
        Self { tokenizer, pending: Vec::new(), leading_space, shown: Vec::new() }
    }

    /// Text that `token` completes.
    pub fn push(&mut self, token: Token) -> String {
        let mut bytes = self.tokenizer.pieces.bytes(token);
        if bytes.is_empty() && self.shown.contains(&token) {
            bytes = self.tokenizer.pieces.text(token).unwrap_or_default().as_bytes();
        }
        if !bytes.is_empty() {
            match std::mem::replace(&mut self.leading_space, LeadingSpace::Kept) {
                LeadingSpace::Kept => self.pending.extend_from_slice(bytes),
                LeadingSpace::OneDropped => {
                    self.pending.extend_from_slice(bytes.strip_prefix(b" ").unwrap_or(bytes))
                }
                LeadingSpace::FirstTokenWithout => {
                    self.pending.extend(bytes.iter().filter(|byte| **byte != b' '))
                }
            }
        }
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.pending) {
                Ok(whole) => {
                    text.push_str(whole);
                    self.pending.clear();
                    return text;
                }
                Err(error) => {
                    let (valid, rest) = self.pending.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    let Some(broken) = error.error_len() else {
                        self.pending = rest.to_vec();
                        return text;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.pending = rest[broken..].to_vec();
                }
            }
        }
    }

    /// What is left when nothing more comes: a broken character, if anything.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::gguf::{Array, Metadata, Value};

    fn tokenizer(model: &str, tokens: &[&str], kinds: &[i32]) -> Arc<Tokenizer> {
        let tokens: Vec<String> = tokens.iter().map(|token| token.to_string()).collect();
        let metadata = Metadata::from_iter([
            ("tokenizer.ggml.model", Value::String(model.into())),
            ("tokenizer.ggml.scores", Value::Array(Array::F32(vec![0.0; tokens.len()]))),
            ("tokenizer.ggml.tokens", Value::Array(Array::String(tokens))),
            ("tokenizer.ggml.token_type", Value::Array(Array::I32(kinds.to_vec()))),
            ("tokenizer.ggml.merges", Value::Array(Array::String(vec![]))),
        ]);
        Arc::new(Tokenizer::from_metadata(&metadata).unwrap())
    }

    #[test]
    fn characters_are_never_broken() {
        let tokenizer =
            tokenizer("llama", &["<unk>", "<0xF0>", "<0x9F>", "<0xA6>", "<0x99>", "▁a"], &[2, 6, 6, 6, 6, 1]);
        let mut stream = TextStream::from_start(Arc::clone(&tokenizer));
        let texts: Vec<String> = [5, 1, 2, 3, 4, 5, 1].iter().map(|token| stream.push(*token)).collect();
        assert_eq!(texts, ["a", "", "", "", "🦙", " a", ""]);
        assert_eq!(stream.finish(), "\u{fffd}");
    }

    #[test]
    fn byte_level_characters_stand_for_their_bytes() {
        let tokenizer = tokenizer("gpt2", &["Ġhi", "Ċ", "Ã©", "<|x|>"], &[1, 1, 1, 3]);
        assert_eq!(tokenizer.decode(&[0, 1, 2, 3]), " hi\né");
    }

    #[test]
    fn rows_without_a_token_are_no_text() {
        let tokenizer = tokenizer("gpt2", &["a", "[PAD1]", "b", "[PAD3]", "[PAD9]"], &[1, 5, 1, 5, 1]);
        assert_eq!(tokenizer.decode(&[0, 1, 2, 3, 4]), "ab[PAD9]");
    }
}
