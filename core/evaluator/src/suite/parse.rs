//! The usual files of questions: JSON lines of several shapes, and tables.
//! Knows fields; must not know models.

use super::table::table;
use super::{Question, Task};
use crate::{Error, Result};
use serde::Deserialize;

/// One line, whichever of these shapes it has.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Program { prompt: String, test: String, entry_point: String, canonical_solution: Option<String> },
    Choice { query: String, choices: Vec<String>, gold: usize },
    Beginning { context_options: Vec<String>, continuation: String, gold: usize },
    Continuation { context: String, continuation: String },
    Number { question: String, answer: String },
}

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
                        continuation; question and answer; or prompt, test and entry_point";
        let line: Line = serde_json::from_str(line)
            .map_err(|_| Error::text(name, format!("line {}: {expected}", number + 1)))?;
        let question = match line {
            Line::Program { prompt, test, entry_point, canonical_solution: solution } => {
                Question::Program { prompt, test, entry_point, solution }
            }
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

fn is_name(text: &str) -> bool {
    let word = |character: char| character.is_alphanumeric() || character == '_';
    !text.is_empty() && text.chars().all(word) && !text.starts_with(|first: char| first.is_ascii_digit())
}

fn checked(question: Question, name: &str, line: usize) -> Result<Question> {
    let (n, gold) = match &question {
        Question::Choice { choices, gold, .. } => (choices.len(), *gold),
        Question::Beginning { beginnings, gold, .. } => (beginnings.len(), *gold),
        Question::Number { answer, .. } if super::final_number(answer).is_none() => {
            return Err(Error::text(name, format!("line {line}: answer: expected a number in it, got none")));
        }
        Question::Program { entry_point, .. } if !is_name(entry_point) => {
            let problem = format!("line {line}: entry_point: expected a name, got `{entry_point}`");
            return Err(Error::text(name, problem));
        }
        Question::Continuation { .. } | Question::Number { .. } | Question::Program { .. } => {
            return Ok(question);
        }
    };
    match gold < n {
        true => Ok(question),
        false => {
            Err(Error::text(name, format!("line {line}: gold: expected a number below {n}, got {gold}")))
        }
    }
}
