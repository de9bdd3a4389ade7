//! Tokens back to bytes, and bytes to text that never breaks a character.

use super::Tokenizer;
use super::build::{BYTE, CONTROL, Kind, SPACE, Tables, UNKNOWN};
use engine::Token;
use std::sync::Arc;

/// The bytes and spelling of every token.
#[derive(Debug)]
pub(super) struct Pieces {
    bytes: Vec<Vec<u8>>,
    texts: Vec<String>,
    strips_first_space: bool,
}

impl Pieces {
    pub(super) fn new(tables: &Tables<'_>) -> Self {
        let piece = |(id, text): (usize, &String)| {
            let kind = tables.kinds.get(id).copied().unwrap_or(1);
            match (kind, tables.kind) {
                (CONTROL | UNKNOWN, _) => Vec::new(),
                (BYTE, _) => {
                    u8::from_str_radix(text.get(3..5).unwrap_or(""), 16).map_or(Vec::new(), |byte| vec![byte])
                }
                (1, Kind::ByteLevelBpe) => text.chars().flat_map(byte_of).collect(),
                (_, Kind::ByteLevelBpe) => text.clone().into_bytes(),
                _ => text.replace(SPACE, " ").into_bytes(),
            }
        };
        Self {
            bytes: tables.tokens.iter().enumerate().map(piece).collect(),
            texts: tables.tokens.to_vec(),
            strips_first_space: tables.kind != Kind::ByteLevelBpe,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.texts.len()
    }

    pub(super) fn bytes(&self, token: Token) -> &[u8] {
        usize::try_from(token).ok().and_then(|token| self.bytes.get(token)).map_or(&[], Vec::as_slice)
    }

    pub(super) fn text(&self, token: Token) -> Option<&str> {
        self.texts.get(usize::try_from(token).ok()?).map(String::as_str)
    }
}

/// GPT-2's printable stand-ins for bytes: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and on.
fn byte_of(character: char) -> Option<u8> {
    let itself = |byte: u32| matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let code = u32::from(character);
    if code < 0x100 {
        return itself(code).then_some(code as u8);
    }
    (0..0x100u32).filter(|byte| !itself(*byte)).nth((code - 0x100) as usize).map(|byte| byte as u8)
}

/// Turns tokens into text as they come: characters whose bytes are not all there yet are held back.
pub struct TextStream {
    tokenizer: Arc<Tokenizer>,
    pending: Vec<u8>,
    at_start: bool,
}

impl TextStream {
    /// A stream at the start of an answer.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Self {
        Self { tokenizer, pending: Vec::new(), at_start: false }
    }

    /// A stream at the start of a text, where SentencePiece's leading space is dropped.
    pub fn from_start(tokenizer: Arc<Tokenizer>) -> Self {
        let at_start = tokenizer.pieces.strips_first_space;
        Self { tokenizer, pending: Vec::new(), at_start }
    }

    /// Text that `token` completes.
    pub fn push(&mut self, token: Token) -> String {
        let mut bytes = self.tokenizer.pieces.bytes(token);
        if self.at_start && !bytes.is_empty() {
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
            self.at_start = false;
        }
        self.pending.extend_from_slice(bytes);
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
}
