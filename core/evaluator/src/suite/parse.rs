//! The usual files of questions: JSON lines of several shapes, and the comma-separated tables of MMLU.
//! Knows fields; must not know models.

use super::{Question, Task};
use crate::{Error, Result};
use serde::Deserialize;

/// One line, whichever of these shapes it has.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Choice { query: String, choices: Vec<String>, gold: usize },
    Beginning { context_options: Vec<String>, continuation: String, gold: usize },
    Continuation { context: String, continuation: String },
    Number { question: String, answer: String },
}

/// The letters of a table's answers.
const LETTERS: [&str; 4] = ["A", "B", "C", "D"];

/// Reads the text of a file: JSON lines, or a table of question, four answers and the right one's letter or number from 0.
///
/// # Errors
/// The first line that is neither, with its number.
pub fn parse(name: &str, text: &str) -> Result<Task> {
    let is_json = text.trim_start().starts_with('{');
    let questions = if is_json { lines(name, text)? } else { table(name, text)? };
    match questions.is_empty() {
        true => Err(Error::text(name, "expected at least one question, got none")),
        false => Ok(Task { name: name.into(), questions }),
    }
}

fn lines(name: &str, text: &str) -> Result<Vec<Question>> {
    let mut questions = Vec::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let expected = "expected query, choices and gold; context_options, continuation and gold; context and \
                        continuation; or question and answer";
        let line: Line = serde_json::from_str(line)
            .map_err(|_| Error::text(name, format!("line {}: {expected}", number + 1)))?;
        let question = match line {
            Line::Choice { query, choices, gold } => Question::Choice { question: query, choices, gold },
            Line::Beginning { context_options, continuation, gold } => {
                Question::Beginning { beginnings: context_options, continuation, gold }
            }
            Line::Continuation { context, continuation } => Question::Continuation { context, continuation },
            Line::Number { question, answer } => Question::Number { question, answer },
        };
        questions.push(checked(question, name, number + 1)?);
    }
    Ok(questions)
}

fn table(name: &str, text: &str) -> Result<Vec<Question>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text.as_bytes());
    let mut questions = Vec::new();
    for (number, record) in reader.records().enumerate() {
        let line = number + 1;
        let record = record.map_err(|error| Error::text(name, format!("line {line}: {error}")))?;
        let fields: Vec<&str> = record.iter().collect();
        let [question, answers @ .., right] = &fields[..] else { continue };
        // The right one's letter, or its number from 0.
        let number_of = |right: &str| right.parse::<usize>().ok().filter(|gold| *gold < LETTERS.len());
        let gold = LETTERS.iter().position(|letter| letter == right).or_else(|| number_of(right));
        let (4, Some(gold)) = (answers.len(), gold) else {
            // Some tables begin with the names of their columns.
            if line == 1 && answers.iter().any(|answer| LETTERS.contains(answer)) {
                continue;
            }
            let problem =
                format!("line {line}: expected a question, four answers and one of A to D or 0 to 3");
            return Err(Error::text(name, problem));
        };
        let listed: Vec<String> =
            LETTERS.iter().zip(answers).map(|(letter, answer)| format!("{letter}. {answer}")).collect();
        let question = format!("{question}\n{}\nAnswer:", listed.join("\n"));
        let choices = LETTERS.map(String::from).to_vec();
        questions.push(Question::Choice { question, choices, gold });
    }
    Ok(questions)
}

fn checked(question: Question, name: &str, line: usize) -> Result<Question> {
    let (n, gold) = match &question {
        Question::Choice { choices, gold, .. } => (choices.len(), *gold),
        Question::Beginning { beginnings, gold, .. } => (beginnings.len(), *gold),
        Question::Number { answer, .. } if super::final_number(answer).is_none() => {
            return Err(Error::text(name, format!("line {line}: answer: expected a number in it, got none")));
        }
        Question::Continuation { .. } | Question::Number { .. } => return Ok(question),
    };
    match gold < n {
        true => Ok(question),
        false => {
            Err(Error::text(name, format!("line {line}: gold: expected a number below {n}, got {gold}")))
        }
    }
}
