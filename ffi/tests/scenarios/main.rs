//! One table of scenarios, run by Rust, C, C++ and Python: all print the same, and what the table expects.
//!
//! Owns: compiling the programs of `bindings/` against their headers and the library of this build, running them, and comparing lines.
//! May know: the table. Must not know: what the steps do. Languages whose compiler or interpreter is not here are left out, with a line
//! that says so. Kotlin and Swift, whose compilers take minutes, run the same table in `scripts/check-bindings`.

#![cfg(unix)]
#![allow(missing_docs, clippy::print_stderr, reason = "tests; what is left out is told on the terminal")]

mod fixtures;
mod python;
mod rust;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A program that runs the table.
struct Language {
    name: &'static str,
    /// Variable that names the compiler, and its name otherwise.
    compiler: [&'static str; 2],
    source: &'static str,
    flags: &'static [&'static str],
}

const LANGUAGES: [Language; 3] = [
    Language { name: "C", compiler: ["CC", "cc"], source: "c/scenarios.c", flags: &["-std=c99"] },
    Language { name: "C++", compiler: ["CXX", "c++"], source: "cpp/scenarios.cpp", flags: &["-std=c++17"] },
    Language {
        name: "C++ without exceptions",
        compiler: ["CXX", "c++"],
        source: "cpp/scenarios.cpp",
        flags: &["-std=c++17", "-fno-exceptions", "-fno-rtti"],
    },
];

#[test]
fn every_language_prints_the_same_lines() {
    let text = fs::read_to_string(bindings().join("scenarios.tsv")).expect("the table");
    let lines = table::parse(&text);
    let mut names: Vec<_> = lines.iter().map(|line| &line.scenario).collect();
    names.dedup();
    assert!(names.len() >= 40, "{} scenarios", names.len());

    let folder = tempfile::tempdir().expect("a temporary directory");
    let made = folder.path().join("made");
    fixtures::make(&made);
    let own = |name: &str| {
        let copy = folder.path().join(name.replace(' ', "-"));
        fixtures::copy(&made, &copy);
        copy
    };
    let files = own("Rust");
    let reference = nameless(&rust::run(&lines, &files), &files);
    let mut wrong = Vec::new();
    for (line, told) in lines.iter().zip(reference.lines()) {
        let outcome = told.splitn(3, '\t').nth(2).unwrap_or_default();
        if !outcome.starts_with(&line.expected) {
            wrong.push(format!("{told}\n    expected {}", line.expected));
        }
    }
    let compiled = LANGUAGES
        .iter()
        .filter_map(|language| Some((language.name, Command::new(compile(language, folder.path())?))));
    for (name, mut program) in
        compiled.chain(python::program(folder.path(), "scenarios.py").map(|program| ("Python", program)))
    {
        let files = own(name);
        let output = program.arg(bindings().join("scenarios.tsv")).arg(&files).output();
        let output = output.expect("a program that is there");
        let told = nameless(&String::from_utf8_lossy(&output.stdout), &files);
        for (expected, got) in reference.lines().zip(told.lines()) {
            if expected != got {
                wrong.push(format!("{name}: {got}\n    Rust: {expected}"));
            }
        }
        let complaints = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() || told.lines().count() != lines.len() || !complaints.is_empty() {
            let count = told.lines().count();
            wrong.push(format!("{name}: {}, {count} lines\n{complaints}", output.status));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Makes the files where `LLAMA_PAJAMAS_SCENARIO_FILES` says, for `scripts/check-bindings`.
#[test]
#[ignore = "a step of scripts/check-bindings"]
fn make_files() {
    let folder = std::env::var("LLAMA_PAJAMAS_SCENARIO_FILES").expect("LLAMA_PAJAMAS_SCENARIO_FILES");
    fixtures::make(Path::new(&folder));
}

/// What a program printed, without the name of its folder.
fn nameless(text: &str, files: &Path) -> String {
    text.replace(&files.display().to_string(), "FILES")
}

/// Compiles a program; `None` where its compiler is not here.
fn compile(language: &Language, folder: &Path) -> Option<PathBuf> {
    let [variable, default] = language.compiler;
    let words = std::env::var(variable).unwrap_or_else(|_| default.to_owned());
    let words: Vec<&str> = words.split_whitespace().collect();
    if Command::new(words[0]).arg("--version").output().is_err() {
        eprintln!("left out: {}, there is no compiler {}", language.name, words[0]);
        return None;
    }
    let program = folder.join(language.name.replace(' ', "-") + ".program");
    let libraries = library_dir();
    let output = Command::new(words[0])
        .args(&words[1..])
        .args(language.flags)
        .args(["-O1", "-Wall", "-Wextra", "-Werror", "-pedantic", "-pthread"])
        .args(["c/include", "cpp/include"].map(|part| format!("-I{}", bindings().join(part).display())))
        .arg(bindings().join(language.source))
        .arg("-o")
        .arg(&program)
        .arg(format!("-L{}", libraries.display()))
        .arg(format!("-Wl,-rpath,{}", libraries.display()))
        .args(["-lllama_pajamas_ffi", "-lm"])
        .output()
        .expect("the compiler that told its version");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {complaints}", language.source);
    Some(program)
}

fn bindings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../bindings")
}

/// Where cargo put the library that belongs to this test.
fn library_dir() -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    test.parent().expect("target/<profile>/deps").to_owned()
}
