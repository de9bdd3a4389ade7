//! Bad inputs, one row each: one clear error that names what is wrong, a failing exit code, nothing left behind.
//!
//! Owns the judgement. The rows are in the files beside it; each enters through the command, or through the library
//! where a command cannot get there. Needs no privileges, no network and no other program.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // A panic is how a test fails; the table is for reading.

mod adapters;
mod bundles;
mod checkpoints;
mod gguf_files;
mod gguf_models;
mod places;
mod requests;
mod stage;

use stage::{Base, Door, Stage};
use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One bad input.
struct Case {
    name: &'static str,
    /// What every error of the row must say.
    words: &'static [&'static str],
    arrange: Arrange,
}

/// Makes the bad input; returns the doors it must not get through.
type Arrange = Box<dyn Fn(&Stage<'_>) -> Vec<Door> + Send + Sync>;

fn case(
    name: &'static str,
    words: &'static [&'static str],
    arrange: impl Fn(&Stage<'_>) -> Vec<Door> + Send + Sync + 'static,
) -> Case {
    Case { name, words, arrange: Box::new(arrange) }
}

/// Tries every door of a row; returns the table's lines and what was wrong.
fn check(case: &Case, base: &Base) -> (Vec<String>, Vec<String>) {
    let stage = Stage::new(base);
    let doors = (case.arrange)(&stage);
    let (mut lines, mut faults) = (Vec::new(), Vec::new());
    for door in doors {
        let before = stage.listing();
        let (door_name, outcome) = (door.name(), door.enter(&stage));
        let mut complain = |fault: String| faults.push(format!("{}, {door_name}: {fault}", case.name));
        match outcome {
            Ok(error) => {
                for word in case.words.iter().filter(|word| !error.contains(*word)) {
                    complain(format!("does not say `{word}`: {error}"));
                }
                lines.push(format!("{:44} {door_name:10} {}", case.name, stage.anonymous(&error)));
            }
            Err(fault) => complain(fault),
        }
        let after = stage.listing();
        if before != after {
            let changed = |one: &stage::Listing, other: &stage::Listing| {
                let differs = |(path, entry): &(&String, &String)| other.get(*path) != Some(*entry);
                one.iter()
                    .filter(differs)
                    .map(|(path, entry)| format!("{path} ({entry})"))
                    .collect::<Vec<_>>()
            };
            complain(format!("gone: {:?}; left: {:?}", changed(&before, &after), changed(&after, &before)));
        }
    }
    (lines, faults)
}

#[test]
fn every_bad_input_gives_one_clear_error_and_leaves_nothing() {
    let base = Base::new();
    let groups = [
        checkpoints::cases(),
        adapters::cases(),
        gguf_files::cases(),
        gguf_models::cases(),
        bundles::cases(),
        requests::cases(),
        places::cases(),
    ];
    let cases: Vec<Case> = groups.into_iter().flatten().collect();
    let (next, outcomes) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = check(case, &base);
                    outcomes.lock().unwrap().push(outcome);
                }
            });
        }
    });
    let outcomes = outcomes.into_inner().unwrap();
    let (lines, faults): (Vec<_>, Vec<_>) = outcomes.into_iter().unzip();
    let (mut lines, faults) = (lines.concat(), faults.concat());
    lines.sort();
    lines.iter().for_each(|line| println!("{line}"));
    println!("{} bad inputs through {} doors", cases.len(), lines.len());
    assert!(faults.is_empty(), "{} faults\n{}", faults.len(), faults.join("\n"));
    let names: BTreeSet<_> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len(), "two rows have one name");
}
