//! Normalizers: what happens to a text before it is cut.

use super::component::component;
use super::shared_parts::Replace;

component! {
    /// A normalizer.
    Normalizer, sequence of "normalizers" {
        /// Unicode form C.
        "NFC" => Nfc,
        /// Unicode form D.
        "NFD" => Nfd,
        /// Unicode form KC.
        "NFKC" => Nfkc,
        /// Unicode form KD.
        "NFKD" => Nfkd,
        /// Lower case.
        "Lowercase" => Lowercase,
        /// SentencePiece's cleaning of control characters and spaces.
        "Nmt" => Nmt,
        /// Without combining marks.
        "StripAccents" => StripAccents,
        /// Bytes as visible characters.
        "ByteLevel" => ByteLevel,
        /// BERT's cleaning.
        "BertNormalizer" => Bert {
            /// Without control characters, every space a plain one.
            clean_text: bool,
            /// Spaces around Chinese characters.
            handle_chinese_chars: bool,
            /// Without accents; `None` means as `lowercase` says.
            strip_accents: Option<bool>,
            /// Lower case.
            lowercase: bool,
        },
        /// Without spaces at the ends.
        "Strip" => Strip {
            /// At the start.
            strip_left: bool,
            /// At the end.
            strip_right: bool,
        },
        /// Puts a text before.
        "Prepend" => Prepend {
            /// The text.
            prepend: String,
        },
        /// Replaces every match.
        "Replace" => Replace(Replace),
        /// SentencePiece's compiled character map.
        "Precompiled" => Precompiled {
            /// The map in base64.
            precompiled_charsmap: String,
        },
    }
}
