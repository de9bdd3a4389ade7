//! Decoders: how tokens become text again.

use super::component::component;
use super::shared_parts::{ByteLevel, Metaspace, Replace};

component! {
    /// A decoder.
    Decoder, sequence of "decoders" {
        /// Visible characters back to bytes.
        "ByteLevel" => ByteLevel(ByteLevel),
        /// Visible spaces back to plain ones.
        "Metaspace" => Metaspace(Metaspace),
        /// Tokens like `<0x61>` back to bytes.
        "ByteFallback" => ByteFallback,
        /// All tokens into one text.
        "Fuse" => Fuse,
        /// Replaces every match.
        "Replace" => Replace(Replace),
        /// Takes characters off the ends.
        "Strip" => Strip {
            /// The character.
            content: char,
            /// At most so many at the start.
            start: u64,
            /// At most so many at the end.
            stop: u64,
        },
        /// Joins word pieces.
        "WordPiece" => WordPiece {
            /// Mark of a piece inside a word.
            prefix: String,
            /// Takes spaces before punctuation out.
            cleanup: bool,
        },
        /// Joins pieces whose suffix ends a word.
        "BPEDecoder" => Bpe {
            /// The suffix.
            suffix: String,
        },
        /// Connectionist temporal classification.
        "CTC" => Ctc {
            /// Separates repeated tokens.
            pad_token: String,
            /// Stands for a space.
            word_delimiter_token: String,
            /// Takes spaces before punctuation out.
            cleanup: bool,
        },
    }
}
