//! The built command, as users run it.
//! Owns building it beside the tests (or LLAMA_PAJAMAS_COMMAND, a built one); must not know what it does.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

static BUILT: LazyLock<PathBuf> = LazyLock::new(|| {
    if let Some(named) = std::env::var_os("LLAMA_PAJAMAS_COMMAND") {
        return named.into();
    }
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    crate::run(Command::new(cargo).current_dir(crate::repository()).args([
        "build",
        "-p",
        "llama-pajamas-cli",
    ]));
    // A test lies in target/PROFILE/deps.
    let test = std::env::current_exe().expect("a test has a file");
    let folder = test.parent().and_then(Path::parent).expect("it lies in the folder of its profile");
    folder.join(format!("llama-pajamas{}", std::env::consts::EXE_SUFFIX))
});

/// The command with these words, ONNX Runtime's library at hand, and `home` for what it keeps.
pub fn command(words: &[&str], home: &Path) -> Output {
    let mut command = Command::new(&*BUILT);
    command.env("LLAMA_PAJAMAS_ONNXRUNTIME", crate::onnx_library());
    command.env("HOME", home).env("LLAMA_PAJAMAS_CACHE", home.join("cache"));
    command.args(words).output().unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// What it prints with `--json`; panics where it fails.
pub fn command_json(words: &[&str], home: &Path) -> Value {
    let output = command(&[words, &["--json"]].concat(), home);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}\n{told}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{words:?}: {error}\n{told}"))
}
