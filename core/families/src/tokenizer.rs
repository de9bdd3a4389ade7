//! What a GGUF file says of its tokenizer: the kind, the types of tokens, the rules beside the tables, and keys of our
//! own where the format has none. Must not tokenize.

mod merges;
pub mod own_keys;
mod parts;

pub use merges::merges_from_scores;
pub use parts::{AddedToken, LeadingSpace, ModelRules, Parts, is_hole};

use crate::Error;
use formats::gguf::Metadata;

/// How SentencePiece writes a space.
pub const SPACE: char = '\u{2581}';

/// Kinds of `tokenizer.ggml.model`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `gpt2`: byte-pair encoding of bytes that are written as printable characters.
    ByteLevelBpe,
    /// `llama`, `gemma4`: byte-pair encoding of characters, with tokens like `<0x0A>` for what the vocabulary lacks.
    SentencePieceBpe,
    /// `t5`: the unigram language model.
    Unigram,
    /// `bert`: greedy longest pieces.
    WordPiece,
}

impl Kind {
    /// The kind of a file's tokenizer.
    ///
    /// # Errors
    /// None, or one that is not known.
    pub fn of(metadata: &Metadata) -> Result<Self, Error> {
        match metadata.str("tokenizer.ggml.model") {
            Some("gpt2") => Ok(Self::ByteLevelBpe),
            Some("llama" | "gemma4") => Ok(Self::SentencePieceBpe),
            Some("t5") => Ok(Self::Unigram),
            Some("bert") => Ok(Self::WordPiece),
            other => Err(Error::Field {
                field: "tokenizer.ggml.model".into(),
                expected: "gpt2, llama, gemma4, t5 or bert".into(),
                got: other.unwrap_or("nothing").into(),
            }),
        }
    }
}

/// Token types of `tokenizer.ggml.token_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum TokenType {
    /// A piece of text.
    Normal = 1,
    /// Stands for what the vocabulary lacks.
    Unknown = 2,
    /// Has a meaning instead of a text.
    Control = 3,
    /// Added by the user, matched before anything else.
    UserDefined = 4,
    /// A hole in the numbering.
    Unused = 5,
    /// One byte.
    Byte = 6,
}

impl TokenType {
    /// The type that `number` stands for; whatever is not known is a piece of text.
    pub fn from_number(number: i32) -> Self {
        match number {
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            5 => Self::Unused,
            6 => Self::Byte,
            _ => Self::Normal,
        }
    }
}

/// The byte that a token like `<0x0A>` stands for.
pub fn byte_of_token(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}

/// GPT-2's printable stand-in for a byte: printable Latin-1 stands for itself, the other 68 bytes for U+0100 and on.
pub fn character_of_byte(byte: u8) -> char {
    let code = match byte {
        0x00..=0x20 => 0x100 + u32::from(byte),
        0x7f..=0xa0 => 0x121 + u32::from(byte - 0x7f),
        0xad => 0x143,
        itself => u32::from(itself),
    };
    char::from_u32(code).expect("below the surrogates")
}

/// The byte that a printable stand-in is for.
pub fn byte_of_character(character: char) -> Option<u8> {
    let code = u32::from(character);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => Some(code as u8),
        0x100..=0x120 => Some((code - 0x100) as u8),
        0x121..=0x142 => Some((code - 0x121) as u8 + 0x7f),
        0x143 => Some(0xad),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_a_printable_character_of_its_own() {
        for byte in 0..=255u8 {
            let character = character_of_byte(byte);
            assert_eq!(byte_of_character(character), Some(byte));
            assert!(!character.is_whitespace() && !character.is_control(), "{byte}");
        }
        assert_eq!(
            (character_of_byte(b' '), character_of_byte(b'\n'), character_of_byte(0xad)),
            ('Ġ', 'Ċ', 'Ń')
        );
        for character in [' ', '\u{7f}', '\u{a0}', '\u{ad}', '\u{144}', SPACE] {
            assert_eq!(byte_of_character(character), None);
        }
    }

    #[test]
    fn byte_tokens_are_told_from_others() {
        assert_eq!(byte_of_token("<0x0A>"), Some(10));
        for text in ["<0x0A", "<0xA>", "0x0A", "<0x00A>", "<0xé>"] {
            assert_eq!(byte_of_token(text), None, "{text}");
        }
    }

    #[test]
    fn numbers_of_token_types_are_the_formats() {
        use TokenType::*;
        for kind in [Normal, Unknown, Control, UserDefined, Unused, Byte] {
            assert_eq!(TokenType::from_number(kind as i32), kind);
        }
        assert_eq!((TokenType::from_number(0), TokenType::from_number(-1)), (Normal, Normal));
    }
}
