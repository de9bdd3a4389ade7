//! The Python package of the sources with the library of this build, and programs beside it.
//!
//! Owns: laying both into a folder. Must not know: what programs do.

use std::fs;
use std::path::Path;
use std::process::Command;

/// A program of `bindings/python`, ready to run; `None` where there is no Python.
#[allow(dead_code, reason = "one of two tests uses it")]
pub(crate) fn program(folder: &Path, name: &str) -> Option<Command> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bindings/python").join(name);
    written(folder, name, &fs::read_to_string(source).expect("a program"))
}

/// The same for a program as it stands in `text`.
pub(crate) fn written(folder: &Path, name: &str, text: &str) -> Option<Command> {
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let version = "import sys; sys.exit(sys.version_info < (3, 9))";
    if !Command::new(&python).args(["-c", version]).status().is_ok_and(|status| status.success()) {
        eprintln!("left out: {name}, there is no {python} of version 3.9 or newer");
        return None;
    }
    // Python finds packages in the folder of the program.
    let package = folder.join("llama_pajamas");
    if !package.exists() {
        fs::create_dir_all(&package).expect("writable");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../bindings/python/llama_pajamas");
        for entry in fs::read_dir(sources).expect("a package") {
            let path = entry.expect("an entry").path();
            if path.is_file() {
                fs::copy(&path, package.join(path.file_name().expect("a name"))).expect("a copy");
            }
        }
        let test = std::env::current_exe().expect("this test");
        let library =
            format!("{}llama_pajamas_ffi{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
        let built = test.parent().expect("target/<profile>/deps").join(&library);
        std::os::unix::fs::symlink(built, package.join(&library)).expect("writable");
    }
    let path = folder.join(name);
    fs::write(&path, text).expect("writable");
    let mut command = Command::new(python);
    command.arg(path);
    Some(command)
}
