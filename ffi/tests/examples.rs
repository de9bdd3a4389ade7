//! The programs of `examples/` in C, C++ and Python, compiled and run as they stand there.
//!
//! Owns: the table of what is run with which words. May know: the programs' usage, and that `npc` fails where a frame was late.
//! Must not know: what the programs say. Needs compilers and Python; where one is not here, it says so and leaves its programs out.
//! That the documentation has the same text is checked by `cargo xtask tidy`.

#![cfg(unix)]
#![allow(missing_docs, clippy::print_stderr, reason = "tests; what is left out is told on the terminal")]

#[path = "../../core/engine/tests/conformance/tiny_model.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the engine's tests")]
mod tiny_model;

#[path = "scenarios/python.rs"]
mod python;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What comes behind the model, and on the standard input.
struct Words {
    name: &'static str,
    /// Runs of which one has to succeed: a program that measures time may be held up by others.
    tries: u32,
    behind: Option<&'static str>,
    typed: &'static str,
}

const fn words(name: &'static str, behind: Option<&'static str>, typed: &'static str) -> Words {
    Words { name, tries: 1, behind, typed }
}

const TEXT: Option<&str> = Some("Once upon a time");
const TYPED: &str = "Hello.\n\nAnd then?\n";

#[test]
fn programs_in_c_run() {
    let programs = [words("tell.c", TEXT, ""), words("ask.c", TEXT, ""), words("chat.c", None, TYPED)];
    check("c", ["CC", "cc"], &["-std=c99", "-pedantic"], &programs);
}

#[test]
fn programs_in_cpp_run() {
    let programs = [
        words("tell.cpp", TEXT, ""),
        words("character.cpp", None, ""),
        words("chat.cpp", None, TYPED),
        words("desktop.cpp", TEXT, ""),
    ];
    check("cpp", ["CXX", "c++"], &["-std=c++17", "-pedantic"], &programs);
}

#[test]
fn a_game_waits_in_no_frame() {
    let flags = ["-std=c++17", "-fno-exceptions", "-fno-rtti", "-O1"];
    let game = Words { tries: 3, ..words("npc.cpp", Some("90"), "") };
    check("cpp", ["CXX", "c++"], &flags, &[game]);
}

#[test]
fn programs_in_python_run() {
    let programs = [
        words("tell.py", TEXT, ""),
        words("ask.py", TEXT, ""),
        words("character.py", None, ""),
        words("chat.py", None, TYPED),
    ];
    let folder = tempfile::tempdir().expect("a temporary directory");
    let model = tiny_model::TinyModel::new().write(folder.path());
    for program in &programs {
        let text = std::fs::read_to_string(examples().join("python").join(program.name)).expect("a program");
        let Some(command) = python::written(folder.path(), program.name, &text) else { return };
        told(run(command, program, &model));
    }
}

/// Compiles and runs programs of a language.
fn check(language: &str, compiler: [&str; 2], flags: &[&str], programs: &[Words]) {
    let named = std::env::var(compiler[0]).unwrap_or_else(|_| compiler[1].to_owned());
    let named: Vec<&str> = named.split_whitespace().collect();
    if Command::new(named[0]).arg("--version").output().is_err() {
        eprintln!("left out: {language}, there is no compiler {}", named[0]);
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary directory");
    let model = tiny_model::TinyModel::new().write(folder.path());
    let libraries = library_dir();
    let bindings = examples().join("../bindings");
    for program in programs {
        let made = folder.path().join(program.name).with_extension("program");
        let output = Command::new(named[0])
            .args(&named[1..])
            .args(flags)
            .args(["-Wall", "-Wextra", "-Werror", "-pthread"])
            .args(["c", "cpp"].map(|part| format!("-I{}/{part}/include", bindings.display())))
            .arg(examples().join(language).join(program.name))
            .arg("-o")
            .arg(&made)
            .arg(format!("-L{}", libraries.display()))
            .arg(format!("-Wl,-rpath,{}", libraries.display()))
            .arg("-lllama_pajamas_ffi")
            .output()
            .expect("the compiler that told its version");
        assert!(output.status.success(), "{}: {}", program.name, String::from_utf8_lossy(&output.stderr));
        let mut outcome = run(Command::new(&made), program, &model);
        for _ in 1..program.tries {
            outcome = outcome.or_else(|_| run(Command::new(&made), program, &model));
        }
        told(outcome);
    }
}

/// Runs it; it has to succeed, to say something, and to complain of nothing.
fn run(mut command: Command, program: &Words, model: &Path) -> Result<(), String> {
    let name = program.name;
    command.arg(model).args(program.behind);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("a program that is there");
    // One that does not read may be gone already.
    let _ = child.stdin.take().expect("a pipe").write_all(program.typed.as_bytes());
    let output = child.wait_with_output().expect("a program that was started");
    let complaints = String::from_utf8_lossy(&output.stderr);
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !complaints.is_empty() {
        return Err(format!("{name}: {}: {complaints}{said}", output.status));
    }
    if said.is_empty() { Err(format!("{name} says nothing")) } else { Ok(()) }
}

#[track_caller]
fn told(outcome: Result<(), String>) {
    assert_eq!(outcome, Ok(()));
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples")
}

/// Where cargo put the library that belongs to this test.
fn library_dir() -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    test.parent().expect("target/<profile>/deps").to_owned()
}
