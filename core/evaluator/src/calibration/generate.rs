//! The draw: documents by kind until each has its share, in random order, some of them held out.
//! Owns the order and the split; must not know templates' insides.

use super::mix::{Kind, Mix};
use super::template::Templates;
use crate::seed::Seeded;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

/// Between documents.
const BETWEEN: &str = "\n\n";
/// A given text is cut into documents of about so many characters, at empty lines.
const DOCUMENT_CHARS: usize = 2000;
/// Documents that are drawn in vain, because they were there before, until a kind counts as exhausted.
const MAX_REPEATS: usize = 1000;

macro_rules! templates {
    ($name:literal) => {
        serde_json::from_slice(include_bytes!(concat!(env!("OUT_DIR"), "/calibration_", $name, ".json")))
            .expect("the built-in templates parse: a test reads them")
    };
}

static TEMPLATES: LazyLock<BTreeMap<Kind, Templates>> = LazyLock::new(|| {
    BTreeMap::from([
        (Kind::General, templates!("general")),
        (Kind::Code, templates!("code")),
        (Kind::Maths, templates!("maths")),
        (Kind::Tools, templates!("tools")),
        (Kind::Summarising, templates!("summarising")),
        (Kind::Long, templates!("long")),
    ])
});

/// What to generate.
#[derive(Debug, Clone, PartialEq)]
pub struct Wish {
    /// Shares by kind.
    pub mix: Mix,
    /// Characters in all, what is held out aside.
    pub n_chars: usize,
    /// The draw's seed.
    pub seed: u64,
    /// Share that is held out: as many characters again, in documents of their own.
    pub held_out: f64,
    /// Texts to draw from instead of the templates, by kind.
    pub from: BTreeMap<Kind, Vec<String>>,
}

/// A text and what it is made of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// The text to calibrate on.
    #[serde(skip)]
    pub text: String,
    /// The text that is held out, of other documents, in the same shares.
    #[serde(skip)]
    pub held_out: String,
    /// The draw's seed.
    pub seed: u64,
    /// Shares that were wished for.
    pub mix: Mix,
    /// By kind: documents and characters, what is held out aside.
    pub kinds: BTreeMap<Kind, Drawn>,
    /// By kind what is held out.
    pub held_out_kinds: BTreeMap<Kind, Drawn>,
    /// Kinds that had fewer documents to give than their share.
    pub exhausted: Vec<Kind>,
}

/// What was drawn of a kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drawn {
    /// Documents.
    pub n_documents: usize,
    /// Characters.
    pub n_chars: usize,
    /// Whether they come from given texts.
    pub given: bool,
}

/// Draws a text. The same wish gives the same text, everywhere.
///
/// # Errors
/// Shares that are no mix, a share held out that is none, no text at all.
pub fn generate(wish: &Wish) -> Result<Calibration> {
    let sum: f64 = wish.mix.values().sum();
    if wish.mix.values().any(|share| !(0.0..=1.0).contains(share)) || (sum - 1.0).abs() > 1e-6 {
        return Err(Error::request("mix", "shares from 0 to 1 that add up to 1", format!("a sum of {sum}")));
    }
    if !(0.0..1.0).contains(&wish.held_out) {
        return Err(Error::request("held-out", "a share from 0 up to 1", wish.held_out));
    }
    let (mut kept, mut held) = (Vec::new(), Vec::new());
    let mut calibration = Calibration {
        text: String::new(),
        held_out: String::new(),
        seed: wish.seed,
        mix: wish.mix.clone(),
        kinds: BTreeMap::new(),
        held_out_kinds: BTreeMap::new(),
        exhausted: Vec::new(),
    };
    for (&kind, &share) in wish.mix.iter().filter(|(_, share)| **share > 0.0) {
        let wanted = (share * wish.n_chars as f64) as usize;
        let mut source = Source::new(kind, wish);
        // What is held out comes first, so that it is the same whatever the text's length.
        for (into, drawn, wanted) in [
            (&mut held, &mut calibration.held_out_kinds, (wanted as f64 * wish.held_out) as usize),
            (&mut kept, &mut calibration.kinds, wanted),
        ] {
            let (documents, whole) = source.draw(wanted)?;
            let n_chars = documents.iter().map(|document| document.chars().count()).sum();
            drawn
                .insert(kind, Drawn { n_documents: documents.len(), n_chars, given: source.given.is_some() });
            into.extend(documents);
            if !whole && !calibration.exhausted.contains(&kind) {
                calibration.exhausted.push(kind);
            }
        }
    }
    for (documents, order) in [(&mut kept, 1), (&mut held, 2)] {
        Seeded::of(&[wish.seed, order]).shuffle(documents);
    }
    calibration.text = kept.join(BETWEEN);
    calibration.held_out = held.join(BETWEEN);
    match calibration.text.is_empty() {
        true => Err(Error::request("characters", "room for at least one document", wish.n_chars)),
        false => Ok(calibration),
    }
}

/// Documents of a kind, none of them twice.
struct Source {
    kind: Kind,
    seeded: Seeded,
    seen: HashSet<String>,
    /// Of given texts: what is left of them, in random order.
    given: Option<Vec<String>>,
}

impl Source {
    fn new(kind: Kind, wish: &Wish) -> Self {
        let mut seeded = Seeded::of(&[wish.seed, 0, kind as u64]);
        let given = wish.from.get(&kind).map(|texts| {
            let mut documents: Vec<String> = texts.iter().flat_map(|text| cut(text)).collect();
            seeded.shuffle(&mut documents);
            documents
        });
        Self { kind, seeded, seen: HashSet::new(), given }
    }

    /// Documents of `wanted` characters together, the last one cut, and whether there were so many.
    fn draw(&mut self, wanted: usize) -> Result<(Vec<String>, bool)> {
        let (mut documents, mut left) = (Vec::new(), wanted);
        while left > 0 {
            let Some(document) = self.next()? else { return Ok((documents, false)) };
            let n_chars = document.chars().count();
            // The end of a long document refers to its beginning: it is not cut off.
            let fits = n_chars <= left || self.kind == Kind::Long;
            documents.push(if fits { document } else { document.chars().take(left).collect() });
            left = left.saturating_sub(n_chars);
        }
        Ok((documents, true))
    }

    fn next(&mut self) -> Result<Option<String>> {
        for _ in 0..MAX_REPEATS {
            let document = match &mut self.given {
                Some(given) => match given.pop() {
                    Some(document) => document,
                    None => return Ok(None),
                },
                None => TEMPLATES[&self.kind]
                    .document(&mut self.seeded)
                    .map_err(|problem| Error::text(self.kind.name(), problem))?,
            };
            if self.seen.insert(document.clone()) {
                return Ok(Some(document));
            }
        }
        Ok(None)
    }
}

/// Cuts a text into documents at empty lines.
fn cut(text: &str) -> Vec<String> {
    let mut documents = vec![String::new()];
    for paragraph in text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty()) {
        let last = documents.last_mut().expect("there is always one");
        if !last.is_empty() {
            last.push_str(BETWEEN);
        }
        last.push_str(paragraph);
        if last.len() > DOCUMENT_CHARS {
            documents.push(String::new());
        }
    }
    documents.retain(|document| !document.is_empty());
    documents
}

#[cfg(test)]
mod tests {
    use super::super::mix::mixes;
    use super::*;

    fn wish(n_chars: usize) -> Wish {
        let mix = mixes().find(|(name, _)| *name == "even").expect("it is there").1.clone();
        Wish { mix, n_chars, seed: 7, held_out: 0.1, from: BTreeMap::new() }
    }

    #[test]
    fn every_template_can_be_filled() {
        for (kind, templates) in TEMPLATES.iter() {
            for seed in 0..500 {
                let document = templates.document(&mut Seeded::of(&[seed]));
                let document = document.unwrap_or_else(|problem| panic!("{kind:?}: {problem}"));
                assert!(document.len() > 20, "{kind:?}: {document}");
            }
        }
    }

    #[test]
    fn shares_are_kept_and_the_same_seed_gives_the_same_text() {
        let calibration = generate(&wish(200_000)).expect("a text");
        for (kind, share) in &calibration.mix {
            let got = calibration.kinds[kind].n_chars as f64 / 200_000.0;
            assert!((got - share).abs() < 0.02, "{kind:?}: {got} for {share}");
        }
        assert!(calibration.exhausted.is_empty());
        assert_eq!(calibration, generate(&wish(200_000)).expect("again"));
        let other = generate(&Wish { seed: 8, ..wish(200_000) }).expect("another");
        assert_ne!(calibration.text, other.text);
    }

    #[test]
    fn nothing_held_out_is_in_the_text() {
        let given: String = (0..4000).map(|n| format!("Paragraph {n} says {}.\n\n", n * 7)).collect();
        let from = BTreeMap::from([(Kind::General, vec![given.clone()])]);
        let wish = Wish { mix: BTreeMap::from([(Kind::General, 1.0)]), from, n_chars: 60_000, ..wish(0) };
        let calibration = generate(&wish).expect("a text");
        let lines =
            |text: &str| text.lines().filter(|l| l.ends_with('.')).map(String::from).collect::<HashSet<_>>();
        let (kept, held) = (lines(&calibration.text), lines(&calibration.held_out));
        assert!(!held.is_empty() && kept.is_disjoint(&held));
        assert!(calibration.kinds[&Kind::General].given);
        // What is held out does not depend on how much else is drawn.
        let shorter = generate(&Wish { n_chars: 60_000, held_out: 0.1, ..wish.clone() }).expect("a text");
        assert_eq!(shorter.held_out, calibration.held_out);
        let little = Wish { from: BTreeMap::from([(Kind::General, vec!["One.\n\nTwo.".into()])]), ..wish };
        assert!(generate(&little).is_err_and(|error| error.to_string().contains("at least one document")));
    }

    #[test]
    fn wishes_that_are_none_are_refused() {
        let error = |wish: Wish| generate(&wish).expect_err("no wish").to_string();
        let mix = BTreeMap::from([(Kind::Code, 0.5)]);
        assert!(error(Wish { mix, ..wish(1000) }).contains("add up to 1"));
        assert!(error(Wish { held_out: 1.0, ..wish(1000) }).contains("held-out"));
    }
}
