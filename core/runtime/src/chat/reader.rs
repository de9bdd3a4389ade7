//! What a model writes, taken apart as it comes: reasoning, content, calls of tools.
//!
//! Owns what is held back until it is sure what it is. Must not know how text is generated.

use super::calls::{self, ToolCall};
use super::formats::ChatFormat;
use serde_json::Value;

/// A part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChatPiece {
    /// What the model thinks before it answers.
    Reasoning(String),
    /// What it answers.
    Content(String),
    /// What it wants to be done.
    Call(ToolCall),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Reasoning,
    Content,
    Call,
}

/// What a mark in the text means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    ReasoningBegins,
    ReasoningEnds,
    CallBegins,
    CallEnds,
    Dropped,
}

/// Takes an answer apart.
#[derive(Debug, Clone)]
pub struct ChatReader {
    format: ChatFormat,
    tools: Vec<Value>,
    mode: Mode,
    pending: String,
    /// Whitespace that is told only if something of its kind follows.
    space: String,
    /// Something of the present kind was told.
    has_told: bool,
}

impl ChatReader {
    pub(super) fn new(format: &ChatFormat, reasons: bool, tools: &[Value]) -> Self {
        let mode = if reasons { Mode::Reasoning } else { Mode::Content };
        let (pending, space) = (String::new(), String::new());
        Self { format: format.clone(), tools: tools.to_vec(), mode, pending, space, has_told: false }
    }

    /// Takes new text; gives what is sure.
    pub fn push(&mut self, text: &str) -> Vec<ChatPiece> {
        self.pending.push_str(text);
        let mut pieces = Vec::new();
        loop {
            if self.begins_a_bare_call() {
                self.mode = Mode::Call;
            }
            let marks = self.marks();
            let found = marks
                .iter()
                .filter_map(|(text, mark)| {
                    Some((self.pending.find(text)?, std::cmp::Reverse(text.len()), *mark))
                })
                // Reasoning comes first or not at all.
                .filter(|(at, _, mark)| {
                    *mark != Mark::ReasoningBegins || self.pending[..*at].trim().is_empty()
                })
                .min_by_key(|(at, length, _)| (*at, *length));
            let Some((at, length, mark)) = found else {
                if self.mode != Mode::Call {
                    let begun = marks.iter().map(|(text, _)| *text).chain(self.marks_of_bare_calls());
                    let held = begun.map(|text| overlap(&self.pending, text)).max().unwrap_or(0);
                    let rest = self.pending.split_off(self.pending.len() - held);
                    let sure = std::mem::replace(&mut self.pending, rest);
                    self.tell(&sure, &mut pieces);
                }
                return pieces;
            };
            let rest = self.pending.split_off(at + length.0);
            let mut before = std::mem::replace(&mut self.pending, rest);
            let mark_text = before.split_off(at);
            self.pass(&before, mark, &mark_text, &mut pieces);
        }
    }

    /// Gives what was held back, when nothing more comes.
    pub fn finish(&mut self) -> Vec<ChatPiece> {
        let mut pieces = Vec::new();
        let rest = std::mem::take(&mut self.pending);
        match self.mode {
            Mode::Call => self.end_call(&rest, "", &mut pieces),
            Mode::Reasoning | Mode::Content => self.tell(&rest, &mut pieces),
        }
        self.space.clear();
        pieces
    }

    /// The marks that mean something now.
    fn marks(&self) -> Vec<(&'static str, Mark)> {
        let calls = self.format.calls;
        let mut marks = Vec::new();
        match self.mode {
            Mode::Reasoning => {
                marks.extend(self.format.reasoning.map(|format| (format.end.as_str(), Mark::ReasoningEnds)));
            }
            Mode::Content => {
                if let Some(format) = self.format.reasoning.filter(|_| !self.has_told) {
                    marks.push((format.begin.as_str(), Mark::ReasoningBegins));
                }
                marks.extend(self.format.dropped.iter().map(|text| (*text, Mark::Dropped)));
                if !self.tools.is_empty() {
                    marks.push((calls.begin.as_str(), Mark::CallBegins));
                    marks.extend(calls.around.iter().map(|text| (text.as_str(), Mark::Dropped)));
                }
            }
            Mode::Call if calls.end.is_empty() => marks.push((calls.begin.as_str(), Mark::CallBegins)),
            Mode::Call => marks.push((calls.end.as_str(), Mark::CallEnds)),
        }
        marks.retain(|(text, _)| !text.is_empty());
        marks
    }

    /// Whether the whole answer may be a call, where calls have no mark.
    fn may_be_a_bare_call(&self) -> bool {
        let is_bare = self.format.calls.begin.is_empty() && !self.tools.is_empty();
        is_bare && self.mode == Mode::Content && !self.has_told
    }

    fn marks_of_bare_calls(&self) -> impl Iterator<Item = &'static str> {
        let marks = if self.may_be_a_bare_call() { self.format.calls.optional.as_slice() } else { &[] };
        marks.iter().map(String::as_str)
    }

    fn begins_a_bare_call(&self) -> bool {
        let text = self.pending.trim_start();
        let begins = text.starts_with('{') || self.marks_of_bare_calls().any(|mark| text.starts_with(mark));
        self.may_be_a_bare_call() && begins
    }

    fn pass(&mut self, before: &str, mark: Mark, text: &str, pieces: &mut Vec<ChatPiece>) {
        match mark {
            Mark::CallEnds => self.end_call(before, text, pieces),
            Mark::CallBegins if self.mode == Mode::Call => {
                self.end_call(before, "", pieces);
                self.mode = Mode::Call;
            }
            _ => self.tell(before, pieces),
        }
        let next = match mark {
            Mark::ReasoningBegins => Mode::Reasoning,
            Mark::ReasoningEnds | Mark::CallEnds => Mode::Content,
            Mark::CallBegins => Mode::Call,
            Mark::Dropped => return,
        };
        if self.mode != next || mark == Mark::ReasoningBegins {
            self.space.clear();
        }
        if matches!(mark, Mark::ReasoningBegins | Mark::ReasoningEnds) {
            self.has_told = false;
        }
        self.mode = next;
    }

    /// Tells text of the present kind; whitespace around it waits, and is nothing before the first.
    fn tell(&mut self, text: &str, pieces: &mut Vec<ChatPiece>) {
        let text = if self.has_told { text } else { text.trim_start() };
        let words = text.trim_end();
        if words.is_empty() {
            if self.has_told {
                self.space.push_str(text);
            }
            return;
        }
        let told = std::mem::take(&mut self.space) + words;
        self.space.push_str(&text[words.len()..]);
        self.has_told = true;
        pieces.push(match self.mode {
            Mode::Reasoning => ChatPiece::Reasoning(told),
            Mode::Content | Mode::Call => ChatPiece::Content(told),
        });
    }

    /// What lies between the marks of a call; content where it cannot be read.
    fn end_call(&mut self, text: &str, end: &str, pieces: &mut Vec<ChatPiece>) {
        let format = self.format.calls;
        let mut body = text.trim();
        for mark in &format.optional {
            body = body.strip_prefix(mark.as_str()).unwrap_or(body);
        }
        match calls::read(body, &format.style, &self.tools) {
            Some(calls) => pieces.extend(calls.into_iter().map(ChatPiece::Call)),
            None => {
                let whole = [&format.begin, text, end].concat();
                self.tell(&whole, pieces);
            }
        }
        self.mode = Mode::Content;
    }
}

/// Bytes of the longest end of `text` that begins `mark`.
fn overlap(text: &str, mark: &str) -> usize {
    let borders = mark.char_indices().map(|(at, _)| at).skip(1);
    borders.filter(|&at| text.ends_with(&mark[..at])).max().unwrap_or(0)
}

#[cfg(test)]
mod tests;
