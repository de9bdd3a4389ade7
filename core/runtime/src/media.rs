//! Pictures and sound in prompts: where a file stands among the tokens.
//!
//! Owns the places that files take in a prompt, [`PromptMedia`], and the marks of parts in messages. Must not know how files
//! are read.

use crate::{Error, LoadedModel, Result};
use engine::{Media, Piece, Token};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where this stands in a prompt that is given to [`LoadedModel::media_prompt`], a file is put.
pub const MEDIA_MARK: &str = "<__media__>";

/// Kinds of parts of a message that are files.
const FILE_PARTS: [&str; 5] = ["image_url", "image", "input_image", "input_audio", "audio"];

/// What of a prompt is not text. Each piece stands among the tokens as a number below zero, as often as it takes tokens.
#[derive(Debug, Clone, Default)]
pub struct PromptMedia(BTreeMap<Token, Arc<dyn Media>>);

/// The same pieces, wherever they are in memory.
impl PartialEq for PromptMedia {
    fn eq(&self, other: &Self) -> bool {
        self.0.keys().eq(other.0.keys())
    }
}

impl PromptMedia {
    /// Adds a piece to the end of a prompt.
    fn push(&mut self, media: Arc<dyn Media>, tokens: &mut Vec<Token>) {
        let mut place = -1 - i32::try_from(media.digest() % (1 << 30)).expect("below 2^30");
        while self.0.get(&place).is_some_and(|other| other.digest() != media.digest()) {
            place -= 1;
        }
        tokens.resize(tokens.len() + media.n_tokens(), place);
        self.0.insert(place, media);
    }

    /// The piece that a number below zero stands for.
    pub(crate) fn get(&self, place: Token) -> Result<&Arc<dyn Media>> {
        self.0.get(&place).ok_or_else(|| Error::Request {
            what: "prompt",
            expected: "tokens, and places of what `GenerateSettings::media` holds".into(),
            got: place.to_string(),
        })
    }

    /// A prompt as runs of tokens and what stands between them.
    ///
    /// # Errors
    /// [`Error::Request`] for a place that is not known.
    pub fn pieces(&self, prompt: &[Token]) -> Result<Vec<Piece>> {
        let mut pieces = Vec::new();
        let mut rest = prompt;
        while let (n_text, Some(place)) = (before_media(rest).0, rest.iter().find(|token| **token < 0)) {
            let media = self.get(*place)?;
            let (text, behind) = rest.split_at(n_text);
            if !text.is_empty() {
                pieces.push(Piece::Tokens(text.to_vec()));
            }
            pieces.push(Piece::Media(Arc::clone(media)));
            rest = behind.get(media.n_tokens()..).unwrap_or_default();
        }
        if !rest.is_empty() {
            pieces.push(Piece::Tokens(rest.to_vec()));
        }
        Ok(pieces)
    }

    /// Whether every place of a prompt is known and whole, and text stands behind the last.
    ///
    /// # Errors
    /// [`Error::Request`] with the first that is not.
    pub(crate) fn check(&self, prompt: &[Token]) -> Result<()> {
        let mut rest = prompt;
        while let Some(begin) = rest.iter().position(|token| *token < 0) {
            let media = self.get(rest[begin])?;
            let end = begin + media.n_tokens();
            let is_whole =
                rest.get(begin..end).is_some_and(|run| run.iter().all(|token| *token == rest[begin]));
            if !is_whole || rest.len() == end {
                let expected = format!("{} places of a file, and text behind them", media.n_tokens());
                return Err(Error::Request {
                    what: "prompt",
                    expected,
                    got: format!("{} tokens", rest.len()),
                });
            }
            rest = &rest[end..];
        }
        Ok(())
    }
}

/// How much of `tokens` comes before the first file, and the file's place where that is nothing.
pub(crate) fn before_media(tokens: &[Token]) -> (usize, Option<Token>) {
    let text = tokens.iter().position(|token| *token < 0).unwrap_or(tokens.len());
    (text, tokens.first().copied().filter(|token| *token < 0))
}

/// Whether a part of a message's content is a file.
pub(crate) fn is_file(part: &Value) -> bool {
    part["type"].as_str().is_some_and(|kind| FILE_PARTS.contains(&kind))
}

/// A mark that none of the messages has in its texts.
pub(crate) fn unused_mark(messages: &[Value]) -> String {
    let texts: Vec<String> = messages.iter().map(Value::to_string).collect();
    let mut number = 0_u32;
    loop {
        let mark = format!("<__media_{number}__>");
        if !texts.iter().any(|text| text.contains(&mark)) {
            return mark;
        }
        number += 1;
    }
}

impl LoadedModel {
    /// Whether it reads pictures.
    pub fn sees(&self) -> bool {
        self.projector().is_some_and(|projector| projector.sees())
    }

    /// Whether it reads sound.
    pub fn hears(&self) -> bool {
        self.projector().is_some_and(|projector| projector.hears())
    }

    /// The tokens of a prompt in which files stand where [`MEDIA_MARK`] does, or in front where it does not. What they hold
    /// is added to `media`. Files are the bytes of pictures (JPEG, PNG, BMP, GIF) or sound (WAV, MP3, FLAC).
    ///
    /// # Errors
    /// Another number of marks than of files, a file that cannot be read, a model without a projector.
    pub fn media_prompt(
        &self,
        prompt: &str,
        files: &[Vec<u8>],
        media: &mut PromptMedia,
    ) -> Result<Vec<Token>> {
        if !files.is_empty() && !prompt.contains(MEDIA_MARK) {
            let marked = MEDIA_MARK.repeat(files.len()) + prompt;
            return self.marked_prompt(&marked, MEDIA_MARK, files, true, media);
        }
        self.marked_prompt(prompt, MEDIA_MARK, files, true, media)
    }

    /// The same with another mark; `whole`: what the tokenizer puts around a text is added.
    pub(crate) fn marked_prompt(
        &self,
        prompt: &str,
        mark: &str,
        files: &[Vec<u8>],
        whole: bool,
        media: &mut PromptMedia,
    ) -> Result<Vec<Token>> {
        if files.is_empty() {
            return self.tokenizer().encode(prompt, whole);
        }
        let projector = self.projector().ok_or_else(|| Error::Request {
            what: "files",
            expected: "none: the model was loaded without a projector".into(),
            got: files.len().to_string(),
        })?;
        let texts: Vec<&str> = prompt.split(mark).collect();
        if texts.len() != files.len() + 1 {
            let (expected, got) = (format!("{} in the prompt", files.len()), (texts.len() - 1).to_string());
            return Err(Error::Request { what: "places of files", expected, got });
        }
        let mut tokens = self.tokenizer().encode(texts[0], whole)?;
        for (file, text) in files.iter().zip(&texts[1..]) {
            for piece in Arc::clone(projector).read(file)? {
                match piece {
                    Piece::Tokens(around) => tokens.extend(around),
                    Piece::Media(piece) => media.push(piece, &mut tokens),
                }
            }
            tokens.extend(self.tokenizer().encode(text, false)?);
        }
        Ok(tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[derive(Debug)]
    struct Fake(usize, u64);

    impl Media for Fake {
        fn n_tokens(&self) -> usize {
            self.0
        }

        fn digest(&self) -> u64 {
            self.1
        }
    }

    #[test]
    fn places_are_whole_and_known() {
        let mut media = PromptMedia::default();
        let mut prompt = vec![5];
        media.push(Arc::new(Fake(2, 8)), &mut prompt);
        media.push(Arc::new(Fake(2, 8)), &mut prompt);
        media.push(Arc::new(Fake(1, (1 << 30) + 3)), &mut prompt);
        assert_eq!(prompt, [5, -9, -9, -9, -9, -4]);
        let (mut others, mut next) = (media.clone(), Vec::new());
        others.push(Arc::new(Fake(1, (1 << 30) + 8)), &mut next);
        assert_eq!(next, [-10], "another piece that falls on the same place");
        assert!(media.check(&prompt).is_err(), "text must follow");
        prompt.push(6);
        assert!(media.check(&prompt).is_ok() && media.check(&[1, 2]).is_ok());
        for broken in [&[5, -9, 6][..], &[-9, -9, -9, 1], &[-7, 1], &[-4]] {
            assert!(media.check(broken).is_err(), "{broken:?}");
        }
        let kinds: Vec<String> = media
            .pieces(&prompt)
            .unwrap()
            .iter()
            .map(|piece| match piece {
                Piece::Tokens(tokens) => format!("{tokens:?}"),
                Piece::Media(media) => format!("{}", media.digest()),
            })
            .collect();
        assert_eq!(kinds, ["[5]", "8", "8", &((1u64 << 30) + 3).to_string(), "[6]"]);
        assert!(media.pieces(&[-7]).is_err());
        assert_eq!(before_media(&[1, 2, -9]), (2, None));
        assert_eq!(before_media(&[-9, -9, 1]), (0, Some(-9)));
    }

    #[test]
    fn a_mark_is_in_no_text() {
        let messages = [
            json!({ "content": "<__media_0__> \u{e9}" }),
            json!({ "content": [{ "text": "<__media_1__>" }] }),
        ];
        assert_eq!(unused_mark(&messages), "<__media_2__>");
        assert!(is_file(&json!({ "type": "image_url" })) && !is_file(&json!({ "type": "text" })));
    }
}
