//! The header and the library, used from C.
//!
//! Owns: compiling `program.c` against the header, as C and as C++, and running it on the library.
//! May know: the header. Must not know: the functions' Rust side. Needs a C and a C++ compiler.

#![cfg(unix)]
#![allow(missing_docs, reason = "tests")]

#[path = "../../core/engine/tests/conformance/tiny_model.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the engine's tests")]
mod tiny_model;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

#[test]
fn a_c_program_opens_plans_loads_and_generates() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let model = tiny_model::TinyModel::new().write(dir.path());
    let garbage = dir.path().join("garbage.gguf");
    std::fs::write(&garbage, b"GGUF, or rather not").expect("writable");
    let program = dir.path().join("program");
    let libraries = library_dir();
    run(compiler("CC", "cc")
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(include())
        .arg(Path::new(HERE).join("tests/program.c"))
        .arg("-o")
        .arg(&program)
        .arg("-L")
        .arg(&libraries)
        .arg(format!("-Wl,-rpath,{}", libraries.display()))
        .arg("-lllama_pajamas_ffi"));
    let missing = dir.path().join("missing");
    let said = run(Command::new(&program).args([&model, &garbage, &missing]));
    assert_eq!(said, "bad arguments\nplanning\ntuning\ngoverning\ngenerating\noptions\nchatting\ndone\n");
}

#[test]
fn the_header_is_cxx_too() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let source = dir.path().join("empty.cpp");
    std::fs::write(&source, "#include \"llama_pajamas.h\"\n").expect("writable");
    run(compiler("CXX", "c++")
        .args(["-std=c++11", "-fno-exceptions", "-fno-rtti", "-Wall", "-Wextra", "-Werror", "-pedantic"])
        .args(["-fsyntax-only", "-I"])
        .arg(include())
        .arg(&source));
}

#[test]
fn the_header_declares_what_the_library_exports() {
    let header = std::fs::read_to_string(include().join("llama_pajamas.h")).expect("the header");
    // A declaration is one or more lines behind `LP_API`.
    let flat = header.replace("LP_API\n", "LP_API ");
    let declared = names_after(&flat, "LP_API ");
    let mut exported = BTreeSet::new();
    for entry in std::fs::read_dir(Path::new(HERE).join("src")).expect("the sources") {
        let path = entry.expect("an entry").path();
        if path.is_file() {
            let text = std::fs::read_to_string(path).expect("a source");
            exported.extend(names_after(&text, "extern \"C\" fn "));
        }
    }
    assert!(exported.remove("lp_test_panic"), "the test hook");
    assert!(!declared.is_empty());
    assert_eq!(declared, exported);
}

/// The `lp_` names with a parenthesis in lines that have `marker`.
fn names_after(text: &str, marker: &str) -> BTreeSet<String> {
    let after = text.lines().filter_map(|line| line.split_once(marker)).map(|(_, after)| after);
    let name = |after: &str| {
        let start = after.find("lp_").filter(|_| after.contains('('))?;
        let name = after[..after.find('(')?].rsplit([' ', '*']).next()?;
        (after.len() > start && name.starts_with("lp_")).then(|| name.to_owned())
    };
    after.filter_map(name).collect()
}

/// The header's folder.
fn include() -> PathBuf {
    Path::new(HERE).join("../bindings/c/include")
}

/// Where cargo put the library that belongs to this test.
fn library_dir() -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    let dir = test.parent().expect("target/<profile>/deps").to_owned();
    let name = format!("{}llama_pajamas_ffi{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    assert!(dir.join(&name).is_file(), "no {name} in {}", dir.display());
    dir
}

/// The compiler that the environment names, which may come with a launcher before it.
fn compiler(variable: &str, default: &str) -> Command {
    let words = std::env::var(variable).unwrap_or_else(|_| default.to_owned());
    let mut words = words.split_whitespace();
    let mut command = Command::new(words.next().unwrap_or(default));
    command.args(words);
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}\n{said}{complaints}", output.status);
    said
}
