//! Any bytes as a file of questions: an error, or questions whose right answers are among their answers.
//! Knows the public API alone.
#![no_main]

use evaluator::suite::{Question, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(task) = parse("t", text) else { return };
    assert!(!task.questions.is_empty());
    for question in &task.questions {
        match question {
            Question::Choice { choices, gold, .. } => assert!(*gold < choices.len()),
            Question::Beginning { beginnings, gold, .. } => assert!(*gold < beginnings.len()),
            Question::Continuation { .. } | Question::Number { .. } | Question::Program { .. } => {}
        }
    }
});
