//! Random texts for tokenizers, the same ones for the same seed: scripts, marks, emoji, white space, control characters,
//! noncharacters, texts of special tokens and pieces of real sentences, spliced. Knows no tokenizer.

/// What a text may hold beside what the generator makes itself.
pub struct Ingredients<'a> {
    /// Texts that tokenizers treat as tokens of their own.
    pub tokens: &'a [String],
    /// Real text, of which pieces are taken.
    pub prose: &'a [char],
}

/// A generator of texts.
pub struct RandomText<'a> {
    state: u64,
    ingredients: Ingredients<'a>,
}

const SPACES: &[&str] = &[
    " ",
    "  ",
    "   ",
    "\t",
    "\n",
    "\r\n",
    "\n\n",
    " \n ",
    "\r",
    "\u{a0}",
    "\u{2009}",
    "\u{3000}",
    "\u{200b}",
    "\u{2028}",
    "\u{feff}",
    "\u{85}",
    "\u{b}",
    "\u{c}",
    "\u{1680}",
    "\u{2581}",
    "\u{2581}\u{2581}",
];
const CONTRACTIONS: &[&str] = &[
    "'s",
    "'t",
    "'re",
    "'ve",
    "'m",
    "'ll",
    "'d",
    "'S",
    "'LL",
    "'Ve",
    "n't",
    "\u{2019}s",
    "'\u{17f}",
    "'x",
    "''",
];
const EMOJI: &[&str] = &[
    "😀",
    "👩\u{200d}👩\u{200d}👧\u{200d}👦",
    "🏳\u{fe0f}\u{200d}🌈",
    "👍🏽",
    "🇩🇪",
    "🇩",
    "1\u{fe0f}\u{20e3}",
    "❤\u{fe0f}",
    "🦙",
    "🧑🏿\u{200d}🚀",
    "\u{200d}",
    "\u{fe0f}",
    "☃",
];
const PUNCTUATION: &[&str] = &[
    ".", ",", "!", "?", "...", "…", "--", "—", "(", ")", "[", "]", "{", "}", "<", ">", "</", "<|", "|>",
    "\"", "`", "_", "__", "#", "##", "@", "$", "€", "%", "^", "&", "*", "+", "=", "~", "\\", "/", "//", ":",
    ";", "¿", "«", "»", "、", "。", "™", "½", "²", "ﬁ", "Ⅷ", "㍿", "ß", "İ", "ǆ",
];
/// First and last code point: one is drawn, each range as often as any other.
const RANGES: &[(u32, u32)] = &[
    (0x61, 0x7a),       // lower case
    (0x41, 0x5a),       // upper case
    (0x30, 0x39),       // digits
    (0x00, 0x7f),       // ASCII, control characters included
    (0x80, 0xff),       // Latin-1
    (0x100, 0x24f),     // Latin
    (0x300, 0x36f),     // combining marks
    (0x370, 0x3ff),     // Greek
    (0x400, 0x52f),     // Cyrillic
    (0x590, 0x5ff),     // Hebrew
    (0x600, 0x6ff),     // Arabic
    (0x660, 0x669),     // its digits
    (0x900, 0x97f),     // Devanagari
    (0xe00, 0xe7f),     // Thai
    (0x1100, 0x11ff),   // Hangul letters
    (0x1780, 0x17ff),   // Khmer
    (0x1e00, 0x1fff),   // Latin and Greek with marks
    (0x2000, 0x206f),   // spaces, directions, joiners
    (0x2070, 0x218f),   // superscripts, currencies, numerals
    (0x2190, 0x2bff),   // arrows, symbols
    (0x3000, 0x30ff),   // Japanese
    (0x4e00, 0x9fff),   // Chinese
    (0xac00, 0xd7a3),   // Hangul
    (0xe000, 0xf8ff),   // private use
    (0xf900, 0xfaff),   // compatibility forms of Chinese
    (0xfb00, 0xfdff),   // ligatures, presentation forms, noncharacters
    (0xfe00, 0xffff),   // selectors, half and full width, noncharacters
    (0x10000, 0x1ffff), // historic scripts, symbols, emoji
    (0x20000, 0x3ffff), // rare Chinese
    (0xe0000, 0xe01ef), // tags, selectors
    (0, 0x10ffff),      // anything
];

impl<'a> RandomText<'a> {
    /// A generator.
    pub fn new(seed: u64, ingredients: Ingredients<'a>) -> Self {
        Self { state: seed, ingredients }
    }

    /// The next text. One in fifty is long, one in a thousand a very long run.
    pub fn text(&mut self) -> String {
        if self.below(1000) == 0 {
            let (part, times) = (self.character((0x20, 0x3ff)), 500 + self.below(4000));
            return std::iter::repeat_n(part, times).collect();
        }
        let n = if self.below(50) == 0 { 60 + self.below(200) } else { self.below(14) };
        let mut text = String::new();
        for _ in 0..n {
            self.piece(&mut text);
        }
        text
    }

    fn piece(&mut self, text: &mut String) {
        match self.below(20) {
            0..=3 => self.run(text),
            4..=6 => self.quote(text),
            7..=9 => text.push_str(self.one_of(SPACES)),
            10 => text.push(' '),
            11 => text.push_str(self.one_of(CONTRACTIONS)),
            12 => text.push_str(self.one_of(EMOJI)),
            13..=14 => text.push_str(self.one_of(PUNCTUATION)),
            15 => {
                let spaces = self.below(40);
                text.extend(std::iter::repeat_n(' ', spaces));
            }
            16 => {
                let digits = 1 + self.below(12);
                text.extend((0..digits).map(|_| char::from(b'0' + self.below(10) as u8)));
            }
            17 => {
                let (part, times) = (self.character((0x21, 0x3ff)), 1 + self.below(30));
                text.extend(std::iter::repeat_n(part, times));
            }
            _ => self.token(text),
        }
    }

    /// Characters of one range, at times with marks.
    fn run(&mut self, text: &mut String) {
        let range = self.one_of(RANGES);
        for _ in 0..1 + self.below(12) {
            text.push(self.character(range));
            if self.below(12) == 0 {
                text.push(self.character((0x300, 0x36f)));
            }
        }
    }

    /// A piece of the prose, cut anywhere.
    fn quote(&mut self, text: &mut String) {
        let prose = self.ingredients.prose;
        if !prose.is_empty() {
            let (start, length) = (self.below(prose.len()), 1 + self.below(60));
            text.extend(prose[start..].iter().take(length));
        }
    }

    /// A token's text, whole or cut, with or without spaces around.
    fn token(&mut self, text: &mut String) {
        let tokens = self.ingredients.tokens;
        if tokens.is_empty() {
            return;
        }
        let token: Vec<char> = tokens[self.below(tokens.len())].chars().collect();
        let kept = if self.below(4) == 0 { self.below(token.len() + 1) } else { token.len() };
        let around = [self.below(3) == 0, self.below(3) == 0];
        text.extend(around[0].then_some(' '));
        text.extend(&token[..kept]);
        text.extend(around[1].then_some(' '));
    }

    fn character(&mut self, (first, last): (u32, u32)) -> char {
        loop {
            let code = first + self.below((last - first + 1) as usize) as u32;
            if let Some(character) = char::from_u32(code) {
                return character;
            }
        }
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    /// A number below `n` (SplitMix64; the bias of the remainder does not matter here).
    fn below(&mut self, n: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_makes_the_same_texts_and_they_hold_every_ingredient() {
        let (tokens, prose) = (vec!["<|x|>".to_string()], "Once upon a time".chars().collect::<Vec<_>>());
        let texts = |seed| {
            let mut random = RandomText::new(seed, Ingredients { tokens: &tokens, prose: &prose });
            (0..2000).map(|_| random.text()).collect::<Vec<_>>()
        };
        let first = texts(1);
        assert_eq!(first, texts(1));
        assert_ne!(first, texts(2));
        let all = first.concat();
        for part in ["<|x|>", "upon a", "'ll", "\u{200d}", "\r\n", "\0"] {
            assert!(all.contains(part), "{part:?}");
        }
        assert!(first.iter().any(String::is_empty));
        assert!(first.iter().any(|text| text.chars().count() > 500));
    }
}
