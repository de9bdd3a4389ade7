//! Programs that a model writes: where a function ends, and what is run of it. Knows Python's layout; must not run anything.

use super::{Question, Task};
use crate::Result;

/// Runs a Python program and tells whether it came to its end. Whoever does so keeps it from doing harm.
pub type RunProgram<'a> = dyn FnMut(&str) -> Result<bool> + 'a;

/// Where the written rest of a function ends: before the first line that is neither empty nor indented, the first line aside,
/// which the prompt began.
pub(super) fn end(written: &str) -> Option<usize> {
    let breaks = written.match_indices('\n').map(|(at, _)| at);
    let mut ends = breaks.filter(|at| {
        // A line that has not begun may still become indented.
        written[at + 1..].starts_with(|first: char| !first.is_whitespace())
    });
    ends.next()
}

/// The whole program: the prompt with what was written of its function, the tests, and their call.
pub fn program(prompt: &str, written: &str, test: &str, entry_point: &str) -> String {
    let written = &written[..end(written).unwrap_or(written.len())];
    format!("{prompt}{written}\n\n{test}\n\ncheck({entry_point})\n")
}

/// The programs of a task with the solutions that its file states.
pub fn solutions(task: &Task) -> impl Iterator<Item = String> {
    task.questions.iter().filter_map(|question| match question {
        Question::Program { prompt, test, entry_point, solution: Some(solution) } => {
            Some(format!("{prompt}{solution}\n\n{test}\n\ncheck({entry_point})\n"))
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_ends_where_its_indentation_does() {
        let of = |written: &'static str| &written[..end(written).unwrap_or(written.len())];
        assert_eq!(of("    return 1\n\n\ndef g():\n"), "    return 1\n\n");
        assert_eq!(of(" 1\n    if x:\n\n        y\n# and"), " 1\n    if x:\n\n        y");
        assert_eq!(of("    return 1\n"), "    return 1\n");
        assert_eq!(of(""), "");
        let whole =
            program("def f():\n", "    return 1\nprint(f())", "def check(f):\n    assert f() == 1", "f");
        assert_eq!(whole, "def f():\n    return 1\n\ndef check(f):\n    assert f() == 1\n\ncheck(f)\n");
    }

    #[test]
    fn programs_are_read_with_their_solutions() {
        let line = r#"{"task_id": "T/0", "prompt": "def f():\n", "entry_point": "f", "canonical_solution": "    return 1\n", "test": "def check(c):\n    assert c() == 1\n"}"#;
        let task = super::super::parse("t", line).expect("a program");
        let programs: Vec<String> = solutions(&task).collect();
        assert_eq!(
            programs,
            ["def f():\n    return 1\n\n\ndef check(c):\n    assert c() == 1\n\n\ncheck(f)\n"]
        );
        let error = super::super::parse("t", &line.replace("\"f\"", "\"f()\"")).expect_err("no name");
        assert_eq!(error.to_string(), "text `t`: line 1: entry_point: expected a name, got `f()`");
    }
}
