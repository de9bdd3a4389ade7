//! Templates: text with slots, filled from lists and numbers by a seed.
//!
//! | slot | becomes |
//! |---|---|
//! | `{list}` | one entry of the list, its own slots filled |
//! | `{list:label}` | the same, and the same again wherever the label comes back in the document |
//! | `{int a 2 40}` | a number from 2 to 40, called `a` from then on |
//! | `{let a 2 40}` | nothing; the number is there from the beginning of the template |
//! | `{a}` | the number |
//! | `{= a * b + 2}` | what comes out, from left to right with products first |
//! | `{repeat 3 9 list}` | 3 to 9 entries of the list, one after the other |
//! | `{{`, `}}` | a brace |
//!
//! Must not know what texts are for.

use crate::seed::Seeded;
use serde::Deserialize;
use std::collections::BTreeMap;

/// Lists that are entered more often than this within each other have a circle.
const MAX_DEPTH: usize = 12;

/// The templates of a kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Templates {
    documents: Vec<String>,
    lists: BTreeMap<String, Vec<String>>,
}

impl Templates {
    /// One document.
    ///
    /// # Errors
    /// A slot that cannot be filled, in words.
    pub(super) fn document(&self, seeded: &mut Seeded) -> Result<String, String> {
        let mut filling =
            Filling { templates: self, seeded, labels: BTreeMap::new(), numbers: BTreeMap::new() };
        let template = filling.seeded.pick(&self.documents);
        let mut out = String::new();
        filling.fill(template, &mut out, 0)?;
        Ok(out.trim_end().to_string())
    }
}

struct Filling<'a, 'b> {
    templates: &'a Templates,
    seeded: &'b mut Seeded,
    /// What labels stand for, by list and label.
    labels: BTreeMap<(&'a str, &'a str), String>,
    numbers: BTreeMap<&'a str, i64>,
}

impl<'a> Filling<'a, '_> {
    fn fill(&mut self, template: &'a str, out: &mut String, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("lists lead in a circle at `{template}`"));
        }
        for slot in slots(template) {
            if let ["let", name, low, high] = words(slot)[..] {
                self.number(name, low, high)?;
            }
        }
        let mut rest = template;
        while let Some(at) = rest.find(['{', '}']) {
            out.push_str(&rest[..at]);
            let tail = &rest[at..];
            if let Some(after) = tail.strip_prefix("{{").or_else(|| tail.strip_prefix("}}")) {
                out.push_str(&tail[..1]);
                rest = after;
                continue;
            }
            let end = tail.find('}').filter(|_| tail.starts_with('{'));
            let end = end.ok_or_else(|| format!("a single brace in `{template}`"))?;
            self.slot(&tail[1..end], out, depth)?;
            rest = &tail[end + 1..];
        }
        out.push_str(rest);
        Ok(())
    }

    fn slot(&mut self, slot: &'a str, out: &mut String, depth: usize) -> Result<(), String> {
        if let Some(sum) = slot.strip_prefix('=') {
            *out += &self.evaluate(sum)?.to_string();
            return Ok(());
        }
        match words(slot)[..] {
            ["let", ..] => Ok(()),
            ["int", name, low, high] => {
                *out += &self.number(name, low, high)?.to_string();
                Ok(())
            }
            ["repeat", low, high, list] => {
                let times = self.draw(low, high)?;
                for _ in 0..times {
                    let entry = self.seeded.pick(self.list(list)?);
                    self.fill(entry, out, depth + 1)?;
                }
                Ok(())
            }
            [word] => match (self.numbers.get(word), word.split_once(':')) {
                (Some(number), _) => {
                    *out += &number.to_string();
                    Ok(())
                }
                (None, Some((list, label))) => self.labelled(list, label, out, depth),
                (None, None) => {
                    let entry = self.seeded.pick(self.list(word)?);
                    self.fill(entry, out, depth + 1)
                }
            },
            _ => Err(format!("slot `{slot}` is of no kind")),
        }
    }

    /// What a label stands for; a new one avoids what other labels of the list stand for.
    fn labelled(
        &mut self,
        list: &'a str,
        label: &'a str,
        out: &mut String,
        depth: usize,
    ) -> Result<(), String> {
        if let Some(known) = self.labels.get(&(list, label)) {
            out.push_str(known);
            return Ok(());
        }
        let entries = self.list(list)?;
        let mut text = String::new();
        for _ in 0..4 {
            let entry = self.seeded.pick(entries);
            text.clear();
            self.fill(entry, &mut text, depth + 1)?;
            if !self.labels.iter().any(|((of, _), known)| *of == list && *known == text) {
                break;
            }
        }
        out.push_str(&text);
        self.labels.insert((list, label), text);
        Ok(())
    }

    fn list(&self, name: &str) -> Result<&'a [String], String> {
        let list = self.templates.lists.get(name).filter(|list| !list.is_empty());
        list.map(Vec::as_slice).ok_or_else(|| format!("no list and no number is called `{name}`"))
    }

    fn number(&mut self, name: &'a str, low: &str, high: &str) -> Result<i64, String> {
        let number = self.draw(low, high)?;
        self.numbers.insert(name, number);
        Ok(number)
    }

    fn draw(&mut self, low: &str, high: &str) -> Result<i64, String> {
        let bound = |text: &str| text.parse::<i64>().map_err(|_| format!("`{text}` is no number"));
        let (low, high) = (bound(low)?, bound(high)?);
        let span = usize::try_from(high - low + 1).map_err(|_| format!("{low} is above {high}"))?;
        Ok(low + self.seeded.below(span) as i64)
    }

    /// Sums and differences of products.
    fn evaluate(&self, sum: &str) -> Result<i64, String> {
        let value = |word: &str| match word.parse::<i64>() {
            Ok(number) => Ok(number),
            Err(_) => self.numbers.get(word).copied().ok_or_else(|| format!("no number is called `{word}`")),
        };
        let mut words = sum.split_whitespace();
        let mut factor = value(words.next().ok_or("an empty sum")?)?;
        let mut total = 0;
        while let Some(sign) = words.next() {
            let next = value(words.next().ok_or_else(|| format!("`{sum}` ends with a sign"))?)?;
            match sign {
                "*" => factor *= next,
                "+" => (total, factor) = (total + factor, next),
                "-" => (total, factor) = (total + factor, -next),
                other => return Err(format!("`{other}` is no sign, in `{sum}`")),
            }
        }
        Ok(total + factor)
    }
}

fn words(slot: &str) -> Vec<&str> {
    slot.split_whitespace().collect()
}

/// What stands between single braces.
fn slots(template: &str) -> impl Iterator<Item = &str> {
    let inside = template.split('{').skip(1);
    inside.filter_map(|part| part.split_once('}').map(|(slot, _)| slot))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(document: &str, seed: u64) -> Result<String, String> {
        let lists = BTreeMap::from([
            ("who".to_string(), vec!["Ada".to_string(), "Bo".to_string(), "Cy".to_string()]),
            ("round".to_string(), vec!["{round}".to_string()]),
        ]);
        let templates = Templates { documents: vec![document.into()], lists };
        templates.document(&mut Seeded::of(&[seed]))
    }

    #[test]
    fn slots_are_filled_and_sums_are_right() {
        for seed in 0..50 {
            let text = filled(
                "{int a 2 9} {let b 3 3}{b} {= a * b + 2 - a} {who:x}{who:x} {{a}} {repeat 2 2 who}",
                seed,
            );
            let text = text.expect("all slots are known");
            let words: Vec<&str> = text.split(' ').collect();
            let a: i64 = words[0].parse().expect("a number");
            assert!((2..=9).contains(&a));
            assert_eq!((words[1], words[2]), ("3", (a * 3 + 2 - a).to_string().as_str()));
            assert_eq!(words[3][..words[3].len() / 2], words[3][words[3].len() / 2..]);
            assert_eq!(words[4], "{a}");
        }
        assert_eq!(filled("{who} {int n 1 1000000}", 5), filled("{who} {int n 1 1000000}", 5));
        assert_ne!(filled("{int n 1 1000000}", 5), filled("{int n 1 1000000}", 6));
    }

    #[test]
    fn what_cannot_be_filled_is_named() {
        let error = |document| filled(document, 1).expect_err("not to be filled");
        assert_eq!(error("{nobody}"), "no list and no number is called `nobody`");
        assert_eq!(error("{= a + 1}"), "no number is called `a`");
        assert!(error("{round}").contains("circle"));
        assert!(error("open { brace").contains("single brace"));
        assert!(error("{int a 9 2}").contains("above"));
    }
}
