//! The text, the sentence hidden in it, and the words to choose among (`data/needle.toml`). Knows words; must not know models.

use crate::seed::Seeded;
use crate::{Error, Result, Vocabulary};
use engine::Token;
use serde::Deserialize;
use std::sync::LazyLock;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    things: Vec<String>,
    answers: Vec<String>,
    filler: Vec<String>,
    facts: Vec<Fact>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fact {
    state: String,
    ask: String,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    serde_json::from_slice(include_bytes!(concat!(env!("OUT_DIR"), "/needle.json")))
        .expect("the built-in table parses: a test reads it")
});

/// Most words that can be chosen among.
pub(super) fn most_choices() -> usize {
    TABLE.answers.len()
}

/// The sentences among which one is hidden.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Haystack {
    sentences: Vec<String>,
    /// Whether they make sense in their own order only.
    in_order: bool,
}

/// One search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trial {
    /// What stands before the question, the hidden sentence in it.
    pub(super) text: Vec<Token>,
    /// The question.
    pub(super) question: Vec<Token>,
    /// Tokens of each word behind the question.
    pub(super) choices: Vec<Vec<Token>>,
    /// Number of the right one.
    pub(super) right: usize,
}

impl Haystack {
    /// Sentences that come with the product, in an order drawn for each trial.
    pub fn of_templates() -> Self {
        Self { sentences: TABLE.filler.clone(), in_order: false }
    }

    /// The sentences of a text, from a place drawn for each trial on; behind its end it begins again.
    ///
    /// # Errors
    /// A text without any.
    pub fn of_text(name: &str, text: &str) -> Result<Self> {
        let sentences: Vec<String> = text
            .split_inclusive(['.', '!', '?', '\n'])
            .map(|sentence| sentence.trim().to_string())
            .filter(|sentence| !sentence.is_empty())
            .collect();
        match sentences.is_empty() {
            true => Err(Error::text(name, "expected at least one sentence, got none")),
            false => Ok(Self { sentences, in_order: true }),
        }
    }

    /// Lays out a text of at most `n_ctx` tokens with its question and the longest answer.
    pub(super) fn trial(
        &self,
        vocabulary: &dyn Vocabulary,
        n_ctx: usize,
        depth: f64,
        n_choices: usize,
        seeded: &mut Seeded,
    ) -> Result<Trial> {
        let (fact, thing) = (seeded.pick(&TABLE.facts), seeded.pick(&TABLE.things));
        let mut answers: Vec<&String> = TABLE.answers.iter().collect();
        seeded.shuffle(&mut answers);
        answers.truncate(n_choices);
        let right = seeded.below(answers.len());
        let filled = |text: &str, answer: &str| text.replace("{thing}", thing).replace("{answer}", answer);
        let encode = |text: &str| vocabulary.encode(text, false);
        let needle = encode(&format!(" {}", filled(&fact.state, answers[right])))?;
        let ask = format!(" {}", filled(&fact.ask, ""));
        let question = encode(&ask)?;
        let mut choices = Vec::with_capacity(answers.len());
        for answer in &answers {
            // Of both as one text, what the question alone comes to is taken for given.
            let whole = encode(&format!("{ask} {answer}"))?;
            let choice = whole.get(question.len()..).filter(|choice| !choice.is_empty());
            choices.push(choice.ok_or_else(|| Error::text(answer, "expected tokens of its own"))?.to_vec());
        }
        let first: Vec<Token> = vocabulary.first().into_iter().collect();
        let longest = choices.iter().map(Vec::len).max().unwrap_or(0);
        let taken = first.len() + needle.len() + question.len() + longest;
        let Some(room) = n_ctx.checked_sub(taken).filter(|room| *room > 0) else {
            return Err(Error::request("needle: context", format!("more than {taken} tokens"), n_ctx));
        };
        let sentences = self.drawn(vocabulary, room, seeded)?;
        let n_tokens: usize = sentences.iter().map(Vec::len).sum();
        let (mut text, mut is_hidden, mut passed) = (first, false, 0);
        for sentence in &sentences {
            if !is_hidden && passed as f64 >= depth * n_tokens as f64 {
                text.extend(&needle);
                is_hidden = true;
            }
            text.extend(sentence);
            passed += sentence.len();
        }
        if !is_hidden {
            text.extend(&needle);
        }
        Ok(Trial { text, question, choices, right })
    }

    /// Sentences as tokens, as many as fit `room` tokens.
    fn drawn(
        &self,
        vocabulary: &dyn Vocabulary,
        room: usize,
        seeded: &mut Seeded,
    ) -> Result<Vec<Vec<Token>>> {
        let mut order: Vec<usize> = (0..self.sentences.len()).collect();
        match self.in_order {
            true => order.rotate_left(seeded.below(self.sentences.len())),
            false => seeded.shuffle(&mut order),
        }
        let (mut sentences, mut taken) = (Vec::new(), 0);
        loop {
            let before = taken;
            for number in &order {
                let sentence = vocabulary.encode(&format!(" {}", self.sentences[*number]), false)?;
                if taken + sentence.len() > room {
                    return Ok(sentences);
                }
                taken += sentence.len();
                sentences.push(sentence);
            }
            // Sentences without any tokens fill nothing.
            if taken == before {
                return Ok(sentences);
            }
            if !self.in_order {
                seeded.shuffle(&mut order);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// A token for each word.
    struct Words;

    impl Vocabulary for Words {
        fn encode(&self, text: &str, _: bool) -> Result<Vec<Token>> {
            let id = |word: &str| {
                word.bytes().fold(7, |sum: Token, byte| sum.wrapping_mul(31).wrapping_add(Token::from(byte)))
            };
            Ok(text.split_whitespace().map(|word| id(word.trim_end_matches('.')) & 0xffff).collect())
        }

        fn decode(&self, _: &[Token]) -> String {
            String::new()
        }

        fn first(&self) -> Option<Token> {
            Some(1)
        }

        fn ends(&self, _: Token) -> bool {
            false
        }
    }

    fn trial(haystack: &Haystack, depth: f64) -> Trial {
        haystack.trial(&Words, 120, depth, 4, &mut Seeded::of(&[5])).unwrap()
    }

    /// Where the answer stands in the text, as a share of it.
    fn place(trial: &Trial) -> f64 {
        let answer = trial.choices[trial.right][0];
        let places: Vec<usize> = (0..trial.text.len()).filter(|at| trial.text[*at] == answer).collect();
        assert_eq!(places.len(), 1, "the answer stands in the text once");
        places[0] as f64 / trial.text.len() as f64
    }

    #[test]
    fn the_sentence_stands_where_it_is_wanted_in_a_text_of_the_wanted_length() {
        let given = "One. Two three four! Five six? Seven eight nine ten\nEleven twelve.";
        for haystack in [Haystack::of_templates(), Haystack::of_text("t", given).unwrap()] {
            let trials = [0.0, 0.5, 1.0].map(|depth| trial(&haystack, depth));
            let [start, middle, end] = [0, 1, 2].map(|n| place(&trials[n]));
            assert!(start < 0.15 && (0.35..0.75).contains(&middle) && end > 0.95, "{start} {middle} {end}");
            for trial in &trials {
                let length = trial.text.len() + trial.question.len() + 1;
                assert!((95..=120).contains(&length), "{length}");
                assert_eq!((trial.choices.len(), trial.text[0]), (4, 1));
                assert_eq!(trial.question, trials[0].question);
                // The others are nowhere in it.
                let others = trial.choices.iter().enumerate().filter(|(number, _)| *number != trial.right);
                assert!(others.into_iter().all(|(_, choice)| !trial.text.contains(&choice[0])));
            }
            assert_eq!(trial(&haystack, 0.5), trials[1]);
        }
        let short = Haystack::of_templates().trial(&Words, 20, 0.0, 4, &mut Seeded::of(&[5]));
        assert!(short.unwrap_err().to_string().starts_with("needle: context: expected more than"));
        assert!(Haystack::of_text("t", " \n").is_err());
    }
}
