//! The comma-separated tables of MMLU. Knows their fields; must not know models.
//!
//! Of a row, the question and four answers stand in quotation marks, the right one's letter, or its number from 0, without. There
//! are copies whose texts hold quotation marks that are not doubled. The reading of the standard (RFC 4180) then eats some and
//! finds too many fields; as what is to be found is known, such rows are divided where `","` stands instead.

use super::Question;
use crate::{Error, Result};

/// The letters of a table's answers.
const LETTERS: [&str; 4] = ["A", "B", "C", "D"];

/// Most lines of one row, so that a text that is no table is refused soon.
const MAX_ROW_LINES: usize = 200;

/// A row that was read.
struct Row {
    question: String,
    answers: [String; 4],
    gold: usize,
}

/// Reads a table of question, four answers and the right one. A first line of the columns' names is passed over.
///
/// # Errors
/// The first row that is something else, with the line it begins in.
pub(super) fn table(name: &str, text: &str) -> Result<Vec<Question>> {
    let lines: Vec<&str> = text.lines().collect();
    let mut questions = Vec::new();
    let mut at = 0;
    while let Some(line) = lines.get(at) {
        if line.trim().is_empty() || (at == 0 && is_heading(line)) {
            at += 1;
            continue;
        }
        let (row, n_lines) = row(&lines[at..]).ok_or_else(|| {
            let expected = "expected a question, four answers and one of A to D or 0 to 3";
            Error::text(name, format!("line {}: {expected}", at + 1))
        })?;
        questions.push(row.into_question());
        at += n_lines;
    }
    Ok(questions)
}

impl Row {
    fn of(fields: Vec<String>) -> Option<Self> {
        let [question, a, b, c, d, right] = <[String; 6]>::try_from(fields).ok()?;
        Some(Self { question, answers: [a, b, c, d], gold: gold(&right)? })
    }

    fn into_question(self) -> Question {
        let listed: Vec<String> =
            LETTERS.iter().zip(&self.answers).map(|(letter, answer)| format!("{letter}. {answer}")).collect();
        Question::Choice {
            question: format!("{}\n{}\nAnswer:", self.question, listed.join("\n")),
            choices: LETTERS.map(String::from).to_vec(),
            gold: self.gold,
        }
    }
}

/// The right answer's number, of its letter or number.
fn gold(right: &str) -> Option<usize> {
    let number = || right.parse::<usize>().ok().filter(|gold| *gold < LETTERS.len());
    LETTERS.iter().position(|letter| *letter == right).or_else(number)
}

fn is_heading(line: &str) -> bool {
    standard(line).fields().is_some_and(|fields| {
        fields.last().is_some_and(|last| gold(last).is_none())
            && fields.iter().any(|field| LETTERS.contains(&field.as_str()))
    })
}

/// The row that `lines` begin with, and how many of them it takes: texts in quotation marks may have ends of lines.
fn row(lines: &[&str]) -> Option<(Row, usize)> {
    let mut record = String::new();
    for (number, line) in lines.iter().take(MAX_ROW_LINES).enumerate() {
        if number > 0 {
            record.push('\n');
        }
        record += line;
        let by_standard = standard(&record);
        let is_open = matches!(by_standard, Reading::Open);
        let read = by_standard.fields().and_then(Row::of).or_else(|| divided(&record).and_then(Row::of));
        if let Some(row) = read {
            return Some((row, number + 1));
        }
        // What ends as rows do goes on in no further line.
        if !is_open && line.rsplit_once(',').is_some_and(|(_, last)| gold(last).is_some()) {
            return None;
        }
    }
    None
}

/// What the standard makes of a record.
enum Reading {
    Fields(Vec<String>),
    /// A text in quotation marks has not ended.
    Open,
    /// A quotation mark stands where the standard allows none.
    Stray,
}

impl Reading {
    fn fields(self) -> Option<Vec<String>> {
        match self {
            Self::Fields(fields) => Some(fields),
            Self::Open | Self::Stray => None,
        }
    }
}

fn standard(record: &str) -> Reading {
    let mut characters = record.chars().peekable();
    let (mut within, mut begins) = (false, true);
    while let Some(character) = characters.next() {
        match (character, within) {
            ('"', true) if characters.next_if_eq(&'"').is_some() => {}
            ('"', true) if characters.peek().is_none_or(|next| *next == ',') => within = false,
            ('"', false) if begins => within = true,
            ('"', _) => return Reading::Stray,
            _ => {}
        }
        begins = character == ',' && !within;
    }
    if within {
        return Reading::Open;
    }
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(record.as_bytes());
    match reader.records().next() {
        Some(Ok(record)) => Reading::Fields(record.iter().map(String::from).collect()),
        Some(Err(_)) | None => Reading::Stray,
    }
}

/// Fields divided where `","` stands, the last one behind `",`. Doubled quotation marks become one where all of a field are doubled.
fn divided(record: &str) -> Option<Vec<String>> {
    let (texts, right) = record.strip_prefix('"')?.rsplit_once("\",")?;
    let plain = |text: &str| {
        let single = text.replace("\"\"", "");
        if single.contains('"') { text.to_string() } else { text.replace("\"\"", "\"") }
    };
    Some(texts.split("\",\"").map(plain).chain([right.to_string()]).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn read(text: &str) -> Vec<(String, usize)> {
        let questions = table("t", text).unwrap();
        let of = |question| match question {
            Question::Choice { question, gold, .. } => (question, gold),
            other => panic!("{other:?}"),
        };
        questions.into_iter().map(of).collect()
    }

    #[test]
    fn rows_are_read_by_the_standard_first() {
        let text = "question,A,B,C,D,answer\n\"What, \"\"now\"\"?\",one,two,\"th,2\nree\",four,C\r\nMore?,1,2,3,4,0\n\n";
        let expected = [
            ("What, \"now\"?\nA. one\nB. two\nC. th,2\nree\nD. four\nAnswer:".to_string(), 2),
            ("More?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:".to_string(), 0),
        ];
        assert_eq!(read(text), expected);
        // Without a heading, and with the letters themselves as answers.
        assert_eq!(read("Which?,A,B,C,D,B\n"), [("Which?\nA. A\nB. B\nC. C\nD. D\nAnswer:".to_string(), 1)]);
    }

    #[test]
    fn quotation_marks_inside_of_texts_need_not_be_doubled() {
        let text = concat!(
            "\"stored as \"true,\" \"false,\" and \"unknown.\" How\n many?\",\"4\",\"a \"bit\"\",\"\"Six\"\",\"7\",2\n",
            "\"He \"says\" so\",\"a \"\"b\"\"\",\"c\",\"d\",\"e\",D\n",
        );
        let expected = [
            (
                "stored as \"true,\" \"false,\" and \"unknown.\" How\n many?\nA. 4\nB. a \"bit\"\nC. \"Six\"\nD. 7\nAnswer:"
                    .to_string(),
                2,
            ),
            ("He \"says\" so\nA. a \"b\"\nB. c\nC. d\nD. e\nAnswer:".to_string(), 3),
        ];
        assert_eq!(read(text), expected);
    }

    #[test]
    fn what_is_no_row_is_named_with_the_line_it_begins_in() {
        let good = "\"q\",\"1\",\"2\n3\",\"3\",\"4\",A\n";
        let broken = [
            "\"q\",\"1\",\"2\",\"3\",A",
            "\"q\",\"1\",\"2\",\"3\",\"4\",\"5\",A",
            "\"q\" is \"q\",\"1\",\"2\",\"3\",\"4\",E",
            "\"q \"r\"\",\"1\",\"2\",\"3\",\"4\",\"5\",1\n\"q\",\"1\",\"2\",\"3\",\"4\",1",
            "\"never closed,1,2,3,4",
            "q,1,2,3,4,5",
        ];
        for row in broken {
            let error = table("t", &format!("{good}{row}\n")).unwrap_err().to_string();
            let expected = "text `t`: line 3: expected a question, four answers and one of A to D or 0 to 3";
            assert_eq!(error, expected, "{row}");
        }
    }
}
