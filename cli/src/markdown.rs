//! Markdown as it is written, for a terminal: headings, emphasis, code and lists get styles while the text still comes.
//!
//! Owns the styles and what is held back until it is clear what a mark means, a few characters at most. Must not know where
//! text comes from. Tables, links and quotes stay as they are.

use std::fmt::Write;

const BOLD: &str = "\x1b[1m";
const ITALIC: &str = "\x1b[3m";
const DIM: &str = "\x1b[2m";
const CODE: &str = "\x1b[36m";
const PLAIN: &str = "\x1b[0m";

/// Where the next character stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At a line's beginning, which may be a mark.
    Start,
    /// Within a line.
    Line,
    /// In the line that opens or closes a block of code.
    Fence,
    /// In a line of a block of code.
    Block,
}

/// A text that is being written.
#[derive(Debug)]
pub(crate) struct Markdown {
    is_on: bool,
    place: Place,
    is_block: bool,
    /// Characters of which it is not clear yet whether they are marks.
    held: String,
    bold: bool,
    italic: bool,
    heading: bool,
    code: bool,
    /// The last character that was told.
    last: char,
}

impl Markdown {
    /// Without styles the text stays as it is.
    pub(crate) fn new(is_on: bool) -> Self {
        Self {
            is_on,
            place: Place::Start,
            is_block: false,
            held: String::new(),
            bold: false,
            italic: false,
            heading: false,
            code: false,
            last: '\n',
        }
    }

    /// What of the text can be shown by now.
    pub(crate) fn push(&mut self, piece: &str) -> String {
        if !self.is_on {
            return piece.to_owned();
        }
        let mut out = String::new();
        for character in piece.chars() {
            // A text does not steer the terminal.
            let is_harmless = !character.is_control() || character == '\n' || character == '\t';
            self.take(if is_harmless { character } else { char::REPLACEMENT_CHARACTER }, &mut out);
        }
        out
    }

    /// What was held back, and the end of every style.
    pub(crate) fn finish(&mut self) -> String {
        let mut out = String::new();
        if self.place == Place::Start {
            self.release_start(&mut out);
        }
        self.resolve_stars(None, &mut out);
        let is_styled = self.bold || self.italic || self.heading || self.code || self.is_block;
        if is_styled || self.place == Place::Fence {
            out.push_str(PLAIN);
        }
        *self = Self::new(self.is_on);
        out
    }

    fn take(&mut self, character: char, out: &mut String) {
        match self.place {
            Place::Start => self.start(character, out),
            Place::Line => self.inline(character, out),
            Place::Fence if character == '\n' => {
                self.is_block = !self.is_block;
                out.push_str(PLAIN);
                self.new_line(out);
            }
            Place::Fence => out.push(character),
            Place::Block if character == '\n' => {
                out.push_str(PLAIN);
                self.new_line(out);
            }
            Place::Block => out.push(character),
        }
    }

    fn new_line(&mut self, out: &mut String) {
        out.push('\n');
        (self.place, self.last) = (Place::Start, '\n');
    }

    fn start(&mut self, character: char, out: &mut String) {
        self.held.push(character);
        let held = self.held.trim_start_matches(' ');
        match held {
            "" => return,
            "```" => {
                let indent = self.held.len() - 3;
                let _ = write!(out, "{}{DIM}```", " ".repeat(indent));
                self.held.clear();
                self.place = Place::Fence;
                return;
            }
            "`" | "``" => return,
            _ if self.is_block => {}
            "#" | "##" | "###" | "####" | "#####" | "######" | "-" | "*" | "+" => return,
            _ if held.ends_with("# ") && held.trim_end().chars().all(|mark| mark == '#') => {
                self.held.clear();
                (self.heading, self.place) = (true, Place::Line);
                out.push_str(BOLD);
                return;
            }
            "- " | "* " | "+ " => {
                let indent = self.held.len() - 2;
                let _ = write!(out, "{}• ", " ".repeat(indent));
                self.held.clear();
                (self.place, self.last) = (Place::Line, ' ');
                return;
            }
            _ => {}
        }
        self.release_start(out);
    }

    /// What stands at a line's beginning is no mark of one.
    fn release_start(&mut self, out: &mut String) {
        let held = std::mem::take(&mut self.held);
        if self.is_block {
            self.place = Place::Block;
            out.push_str(CODE);
        } else {
            self.place = Place::Line;
        }
        held.chars().for_each(|character| self.take(character, out));
    }

    fn inline(&mut self, character: char, out: &mut String) {
        if character == '\n' {
            self.resolve_stars(Some(' '), out);
            if self.bold || self.italic || self.heading || self.code {
                (self.bold, self.italic, self.heading, self.code) = (false, false, false, false);
                out.push_str(PLAIN);
            }
            return self.new_line(out);
        }
        if character == '*' && !self.code && self.held.len() < 3 {
            self.held.push('*');
            return;
        }
        self.resolve_stars(Some(character), out);
        if character == '`' {
            self.code = !self.code;
            self.restyle(out);
        } else {
            out.push(character);
        }
        self.last = character;
    }

    /// Stars that were held back, now that it is known what follows them: emphasis begins before a character and ends behind one.
    fn resolve_stars(&mut self, next: Option<char>, out: &mut String) {
        let stars = std::mem::take(&mut self.held).len();
        if stars == 0 {
            return;
        }
        let opens = next.is_some_and(|next| !next.is_whitespace()) && !self.last.is_alphanumeric();
        let closes = !self.last.is_whitespace();
        let (is_bold, is_italic) = (stars >= 2, stars != 2);
        let ends = closes && (!is_bold || self.bold) && (!is_italic || self.italic);
        if ends || (opens && !(is_bold && self.bold) && !(is_italic && self.italic)) {
            self.bold ^= is_bold;
            self.italic ^= is_italic;
            self.restyle(out);
        } else {
            out.push_str(&"*".repeat(stars));
            self.last = '*';
        }
    }

    fn restyle(&self, out: &mut String) {
        out.push_str(PLAIN);
        let styles = [(self.bold || self.heading, BOLD), (self.italic, ITALIC), (self.code, CODE)];
        styles.into_iter().filter(|(is_on, _)| *is_on).for_each(|(_, style)| out.push_str(style));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# A *title*\n\nSome **bold** and *slanted* words, `code * here`, 2 * 3 ** 4 and ***both***.\n- one\n  * two\n\
        ```rust\nlet a = **b;\n# not a heading\n```\nend *";

    fn shown(pieces: impl IntoIterator<Item = String>) -> String {
        let mut markdown = Markdown::new(true);
        let mut out: String = pieces.into_iter().map(|piece| markdown.push(&piece)).collect();
        out.push_str(&markdown.finish());
        out
    }

    fn without_styles(text: &str) -> String {
        let mut parts = text.split('\x1b');
        let first = parts.next().unwrap_or_default().to_owned();
        parts.fold(first, |all, part| all + part.split_once('m').map_or("", |(_, text)| text))
    }

    #[test]
    fn marks_become_styles() {
        let shown = shown([TEXT.to_owned()]);
        assert_eq!(
            without_styles(&shown),
            "A title\n\nSome bold and slanted words, code * here, 2 * 3 ** 4 and both.\n• one\n  • two\n\
             ```rust\nlet a = **b;\n# not a heading\n```\nend *"
        );
        for part in [
            "\x1b[1mA \x1b[0m\x1b[1m\x1b[3mtitle\x1b[0m\x1b[1m",
            "\x1b[0m\x1b[1mbold\x1b[0m and",
            "\x1b[36mcode * here\x1b[0m",
            "\x1b[36mlet a = **b;\x1b[0m",
        ] {
            assert!(shown.contains(part), "{part:?} in {shown:?}");
        }
    }

    #[test]
    fn where_the_text_is_cut_does_not_matter() {
        let whole = shown([TEXT.to_owned()]);
        for size in 1..6 {
            let characters: Vec<char> = TEXT.chars().collect();
            let pieces = characters.chunks(size).map(|piece| piece.iter().collect());
            assert_eq!(shown(pieces), whole, "by {size}");
        }
    }

    #[test]
    fn every_style_ends() {
        for text in ["**open", "`open", "# open", "```\nopen", "```", "*", "a **b\n**c", "***"] {
            let shown = shown([text.to_owned()]);
            let last = shown.rfind("\x1b[").map(|at| &shown[at..]);
            assert!(last.is_none_or(|last| last.starts_with(PLAIN)), "{text:?}: {shown:?}");
        }
    }

    #[test]
    fn a_text_does_not_steer_the_terminal() {
        assert_eq!(shown(["a\x1b[2Jb\r".to_owned()]), "a\u{fffd}[2Jb\u{fffd}");
        assert_eq!(Markdown::new(false).push("**a** \x1b"), "**a** \x1b");
    }
}
