//! The programs in the documentation of C, C++ and Python, compiled and run as they stand there.
//!
//! Owns: cutting them out of the pages. May know: the pages. Must not know: what the programs say. Needs compilers and Python;
//! where one is not here, it says so and leaves its programs out.

#![cfg(unix)]
#![allow(missing_docs, clippy::print_stderr, reason = "tests; what is left out is told on the terminal")]

#[path = "../../core/engine/tests/conformance/tiny_model.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the engine's tests")]
mod tiny_model;

#[path = "scenarios/python.rs"]
mod python;

use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn programs_in_c_run() {
    check("c.md", "c", ["CC", "cc"], &["-std=c99"], &[("tell.c", 2), ("ask.c", 2)]);
}

#[test]
fn programs_in_cpp_run() {
    check("cpp.md", "cpp", ["CXX", "c++"], &["-std=c++17"], &[("tell.cpp", 2), ("character.cpp", 1)]);
}

#[test]
fn programs_in_python_run() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/python.md");
    let found = blocks(&std::fs::read_to_string(page).expect("the page"), "python");
    let programs = [("tell.py", 2), ("ask.py", 2), ("character.py", 1)];
    assert_eq!(found.len(), programs.len());
    let folder = tempfile::tempdir().expect("a temporary directory");
    let model = tiny_model::TinyModel::new().write(folder.path());
    for (code, (name, n_arguments)) in found.iter().zip(programs) {
        assert!(code.lines().next().is_some_and(|line| line.contains(name)), "expected {name}");
        let Some(mut run) = python::written(folder.path(), name, code) else { return };
        run.arg(&model);
        if n_arguments == 2 {
            run.arg("Once upon a time");
        }
        let output = run.output().expect("Python, which told its version");
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && complaints.is_empty(), "{name}: {}: {complaints}", output.status);
        assert!(!output.stdout.is_empty(), "{name} says nothing");
    }
}

/// Compiles and runs the programs of a page, each with so many arguments: a model, and a text.
fn check(page: &str, language: &str, compiler: [&str; 2], flags: &[&str], programs: &[(&str, usize)]) {
    let words = std::env::var(compiler[0]).unwrap_or_else(|_| compiler[1].to_owned());
    let words: Vec<&str> = words.split_whitespace().collect();
    if Command::new(words[0]).arg("--version").output().is_err() {
        eprintln!("left out: {page}, there is no compiler {}", words[0]);
        return;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = std::fs::read_to_string(root.join("docs").join(page)).expect("the page");
    let found = blocks(&text, language);
    assert_eq!(found.len(), programs.len(), "{page}");
    let folder = tempfile::tempdir().expect("a temporary directory");
    let model = tiny_model::TinyModel::new().write(folder.path());
    let libraries = library_dir();
    for (code, (name, n_arguments)) in found.iter().zip(programs) {
        assert!(code.lines().next().is_some_and(|line| line.contains(name)), "{page}: expected {name}");
        let source = folder.path().join(name);
        std::fs::write(&source, code).expect("writable");
        let program = source.with_extension("program");
        let output = Command::new(words[0])
            .args(&words[1..])
            .args(flags)
            .args(["-Wall", "-Wextra", "-Werror", "-pthread"])
            .args(["c", "cpp"].map(|part| format!("-I{}/bindings/{part}/include", root.display())))
            .arg(&source)
            .arg("-o")
            .arg(&program)
            .arg(format!("-L{}", libraries.display()))
            .arg(format!("-Wl,-rpath,{}", libraries.display()))
            .arg("-lllama_pajamas_ffi")
            .output()
            .expect("the compiler that told its version");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let mut run = Command::new(&program);
        run.arg(&model);
        if *n_arguments == 2 {
            run.arg("Once upon a time");
        }
        let output = run.output().expect("the program that was compiled");
        let complaints = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && complaints.is_empty(), "{name}: {}: {complaints}", output.status);
        assert!(!output.stdout.is_empty(), "{name} says nothing");
    }
}

/// The code blocks of a language.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once(&format!("```{language}\n")) {
        let (code, after) = after.split_once("```").expect("an end");
        found.push(code.to_owned());
        rest = after;
    }
    found
}

/// Where cargo put the library that belongs to this test.
fn library_dir() -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    test.parent().expect("target/<profile>/deps").to_owned()
}
