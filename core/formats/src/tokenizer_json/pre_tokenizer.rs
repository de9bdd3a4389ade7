//! Pre-tokenizers: how a text is cut before the model sees it.

use super::component::component;
use super::shared_parts::{ByteLevel, Metaspace, Pattern, SplitBehavior};

component! {
    /// A pre-tokenizer.
    PreTokenizer, sequence of "pretokenizers" {
        /// Spaces and punctuation, as BERT does.
        "BertPreTokenizer" => Bert,
        /// Bytes as visible characters.
        "ByteLevel" => ByteLevel(ByteLevel),
        /// Spaces as a visible character.
        "Metaspace" => Metaspace(Metaspace),
        /// By `\w+|[^\w\s]+`.
        "Whitespace" => Whitespace,
        /// At white space.
        "WhitespaceSplit" => WhitespaceSplit,
        /// Where the script changes.
        "UnicodeScripts" => UnicodeScripts,
        /// At one character, which is left out.
        "CharDelimiterSplit" => CharDelimiterSplit {
            /// The character.
            delimiter: char,
        },
        /// At the matches of a pattern.
        "Split" => Split {
            /// What is searched for.
            pattern: Pattern,
            /// What becomes of the matches.
            behavior: SplitBehavior,
            /// Takes what lies between the matches for the matches.
            invert: bool,
        },
        /// At punctuation.
        "Punctuation" => Punctuation {
            /// What becomes of it. Default: a piece of its own.
            #[serde(default = "isolated")]
            behavior: SplitBehavior,
        },
        /// Around numbers.
        "Digits" => Digits {
            /// Each digit by itself.
            individual_digits: bool,
        },
        /// Into pieces of one length.
        "FixedLength" => FixedLength {
            /// Characters per piece. Default: 5.
            #[serde(default = "five")]
            length: u64,
        },
    }
}

fn isolated() -> SplitBehavior {
    SplitBehavior::Isolated
}

fn five() -> u64 {
    5
}
