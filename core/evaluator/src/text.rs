//! Texts as tokens, and the windows that are read of them.
//!
//! Owns the [`Vocabulary`] that whoever has a tokenizer implements, and the cut into windows, which is that of
//! llama.cpp's perplexity tool so that figures compare. Must not know how text becomes tokens.

use crate::{Error, Result};
use engine::Token;

/// Text to tokens and back: the part of a tokenizer that measuring needs.
pub trait Vocabulary {
    /// Ids of `text` alone. Control tokens that it spells out become those tokens with `parse_special`, else they are text.
    ///
    /// # Errors
    /// Text that the vocabulary cannot express.
    fn encode(&self, text: &str, parse_special: bool) -> Result<Vec<Token>>;

    /// Text of `tokens`.
    fn decode(&self, tokens: &[Token]) -> String;

    /// The token that the model wants in front of every text.
    fn first(&self) -> Option<Token>;

    /// Whether `token` ends an answer.
    fn ends(&self, token: Token) -> bool;
}

/// A text of one kind: `english`, `code` …
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Its name in reports.
    pub name: String,
    /// All of its tokens.
    pub tokens: Vec<Token>,
}

/// What is read: windows of one length of one text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// Name of the text.
    pub text: String,
    /// Tokens of a window.
    pub n_ctx: usize,
    /// The windows, each of `n_ctx` tokens.
    pub windows: Vec<Vec<Token>>,
}

impl Pass {
    /// Cuts `text` into windows of `n_ctx` tokens, at most `most` of them; what is left at the end is not read. With
    /// `first`, that token takes the place of each window's own first one.
    ///
    /// # Errors
    /// Windows of fewer than 4 tokens, a text that does not fill one.
    pub fn cut(text: &Text, n_ctx: usize, most: Option<usize>, first: Option<Token>) -> Result<Self> {
        if n_ctx < 4 {
            return Err(Error::request("context", "at least 4 tokens", n_ctx));
        }
        let windows: Vec<Vec<Token>> = text
            .tokens
            .chunks_exact(n_ctx)
            .take(most.unwrap_or(usize::MAX))
            .map(|w| {
                let mut window = w.to_vec();
                if let Some(first) = first {
                    window[0] = first;
                }
                window
            })
            .collect();
        if windows.is_empty() {
            let problem =
                format!("expected at least {n_ctx} tokens for one window, got {}", text.tokens.len());
            return Err(Error::text(&text.name, problem));
        }
        Ok(Self { text: text.name.clone(), n_ctx, windows })
    }

    /// The first token of a window after which logits are compared: the second half has enough context before it.
    pub fn first_scored(n_ctx: usize) -> usize {
        n_ctx / 2
    }

    /// How many positions of a window are compared: each that has a next token in it.
    pub fn n_scored(n_ctx: usize) -> usize {
        n_ctx - 1 - Self::first_scored(n_ctx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_whole_and_begin_as_the_model_wants() {
        let text = Text { name: "t".into(), tokens: (10..31).collect() };
        let pass = Pass::cut(&text, 8, None, Some(1)).expect("two windows");
        assert_eq!(pass.windows, [vec![1, 11, 12, 13, 14, 15, 16, 17], vec![1, 19, 20, 21, 22, 23, 24, 25]]);
        assert_eq!(Pass::cut(&text, 8, Some(1), None).expect("one").windows.len(), 1);
        assert_eq!((Pass::first_scored(8), Pass::n_scored(8)), (4, 3));
        let error = Pass::cut(&text, 32, None, None).expect_err("too short").to_string();
        assert_eq!(error, "text `t`: expected at least 32 tokens for one window, got 21");
        assert!(Pass::cut(&text, 3, None, None).is_err());
    }
}
