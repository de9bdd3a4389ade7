//! Model cards: the YAML front matter of a checkpoint's README.md. Owns reading it, scalars kept as text;
//! must not know which fields matter.

use saphyr_parser::{Event, Parser, ScalarStyle};

/// Longest front matter that is read, in bytes.
const MAX_BYTES: usize = 1 << 20;
/// Deepest nesting that is read.
const MAX_DEPTH: usize = 32;

/// A model card's fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelCard {
    fields: Vec<(String, Field)>,
}

/// A value of the front matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// Nothing, `~`, `null`, or a reference to another place of the card.
    Null,
    /// Any other scalar, as written.
    Text(String),
    /// A sequence.
    List(Vec<Field>),
    /// A mapping with scalar keys.
    Map(Vec<(String, Field)>),
}

impl ModelCard {
    /// Reads the front matter at the start of `readme`: what stands between a first line `---` and the next. A card
    /// without one, or with one that is no YAML mapping, is empty.
    pub fn parse(readme: &str) -> Self {
        let mut lines = readme.lines();
        if lines.next() != Some("---") {
            return Self::default();
        }
        let mut yaml = String::new();
        for line in lines.take_while(|line| *line != "---") {
            // A bare `no` in a list is Norwegian; tabs stand for two spaces.
            let line =
                if line.trim_start() == "- no" { line.replace("- no", "- \"no\"") } else { line.into() };
            yaml.push_str(&line.replace('\t', "  "));
            yaml.push('\n');
            if yaml.len() > MAX_BYTES {
                return Self::default();
            }
        }
        match document(&yaml) {
            Some(Field::Map(fields)) => Self { fields },
            _ => Self::default(),
        }
    }

    /// The field called `name`; the last one where it stands twice.
    pub fn get(&self, name: &str) -> Option<&Field> {
        lookup(&self.fields, name)
    }

    /// The text of the field called `name`.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.text()
    }
}

impl Field {
    /// The text of a scalar.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Null | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// The items of a list, or a value alone as its only item; nothing for null.
    pub fn items(&self) -> &[Field] {
        match self {
            Self::Null => &[],
            Self::List(items) => items,
            Self::Text(_) | Self::Map(_) => std::slice::from_ref(self),
        }
    }

    /// The field called `name` of a mapping.
    pub fn get(&self, name: &str) -> Option<&Field> {
        match self {
            Self::Map(fields) => lookup(fields, name),
            Self::Null | Self::Text(_) | Self::List(_) => None,
        }
    }
}

fn lookup<'f>(fields: &'f [(String, Field)], name: &str) -> Option<&'f Field> {
    fields.iter().rev().find(|(key, _)| key == name).map(|(_, field)| field)
}

/// A container that is being read.
enum Open {
    List(Vec<Field>),
    Map(Vec<(String, Field)>, Option<String>),
}

/// The first document of `yaml`; nothing where it is malformed or nested too deep.
fn document(yaml: &str) -> Option<Field> {
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(yaml) {
        let (event, _) = event.ok()?;
        let done = match event {
            Event::Scalar(text, style, ..) => scalar(&text, style),
            Event::Alias(_) => Field::Null,
            Event::SequenceStart(..) | Event::MappingStart(..) if open.len() == MAX_DEPTH => return None,
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Vec::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop()? {
                Open::List(items) => Field::List(items),
                Open::Map(fields, _) => Field::Map(fields),
            },
            Event::DocumentEnd | Event::StreamEnd => return None,
            _ => continue,
        };
        match open.last_mut() {
            None => return Some(done),
            Some(Open::List(items)) => items.push(done),
            Some(Open::Map(fields, key)) => match key.take() {
                Some(name) => fields.push((name, done)),
                None => *key = Some(done.text().unwrap_or_default().to_string()),
            },
        }
    }
    None
}

fn scalar(text: &str, style: ScalarStyle) -> Field {
    let null = style == ScalarStyle::Plain && matches!(text, "" | "~" | "null" | "Null" | "NULL");
    if null { Field::Null } else { Field::Text(text.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Field {
        Field::Text(text.into())
    }

    #[test]
    fn fields_keep_their_text() {
        let card = ModelCard::parse(
            "---\nlicense: apache-2.0\nversion: 1.0\nname: ~\nquoted: \"null\"\n\
             language:\n- en\n- no\nbase_model: [a/b, 'c']\nnested:\n\t- key: value\n---\n# Title\nlicense: mit\n",
        );
        assert_eq!(card.text("license"), Some("apache-2.0"));
        assert_eq!(card.text("version"), Some("1.0"));
        assert_eq!((card.get("name"), card.text("quoted")), (Some(&Field::Null), Some("null")));
        assert_eq!(card.get("language"), Some(&Field::List(vec![text("en"), text("no")])));
        assert_eq!(card.get("base_model").map(Field::items), Some(&[text("a/b"), text("c")][..]));
        assert_eq!(card.get("nested").and_then(|f| f.items()[0].get("key")), Some(&text("value")));
        assert!(card.get("Title").is_none());
    }

    #[test]
    fn a_card_without_front_matter_is_empty() {
        for readme in [
            "",
            "# Title\n",
            "---",
            "---\n---\n",
            "---\n- a list\n---\n",
            "---\na: [\n---\n",
            " ---\na: b\n---",
        ] {
            assert_eq!(ModelCard::parse(readme), ModelCard::default(), "{readme}");
        }
    }

    #[test]
    fn deep_and_referring_cards_stay_small() {
        let deep = format!("---\na: {}{}\n---\n", "[".repeat(40), "]".repeat(40));
        assert_eq!(ModelCard::parse(&deep), ModelCard::default());
        let card = ModelCard::parse("---\na: &x [1, 2]\nb: [*x, *x]\n---\n");
        assert_eq!(card.get("b"), Some(&Field::List(vec![Field::Null, Field::Null])));
    }

    proptest! {
        #[test]
        fn no_card_panics(yaml in "[-a-z:\\[\\]{}&*#'\"|>,\n \t~é]{0,80}") {
            let _ = ModelCard::parse(&format!("---\n{yaml}\n---\n"));
        }
    }
}
