//! Task suites: questions whose answers are chosen by likelihood or written and extracted.
//!
//! Owns the kinds of questions, reading them from the usual files, asking and scoring. Must not know files on disk, nor run
//! what a model writes.

mod ask;
mod code;
mod extract;
mod manner;
mod parse;
mod run;
mod table;

pub use code::{RunProgram, program, solutions};
pub use extract::final_number;
pub use manner::{Manner, Per, manner_of};
pub use parse::parse;
pub use run::{Evaluation, Settings, TaskResult, evaluate};

/// One question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// The likeliest of several answers to a question is to be the right one.
    Choice {
        /// The question.
        question: String,
        /// Possible answers.
        choices: Vec<String>,
        /// Number of the right one.
        gold: usize,
    },
    /// Of several beginnings, the one under which a continuation is likeliest is to be the right one.
    Beginning {
        /// Possible beginnings.
        beginnings: Vec<String>,
        /// How all of them go on.
        continuation: String,
        /// Number of the right one.
        gold: usize,
    },
    /// The continuation is to be the likeliest one, token by token.
    Continuation {
        /// The text before.
        context: String,
        /// How it goes on.
        continuation: String,
    },
    /// The number in a written answer is to be the right one.
    Number {
        /// The question.
        question: String,
        /// The whole answer, whose last number is the right one.
        answer: String,
    },
    /// The written rest of a Python program is to pass its tests.
    Program {
        /// The beginning: imports, the head of a function and what it is to do.
        prompt: String,
        /// Python that defines `check`, which is called with the function.
        test: String,
        /// The function's name.
        entry_point: String,
        /// A rest that passes, where the file states one.
        solution: Option<String>,
    },
}

/// The questions of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its name: the file's.
    pub name: String,
    /// All of its questions.
    pub questions: Vec<Question>,
}

#[cfg(test)]
mod tests;
