//! The Rust programs of `examples/`, run on a tiny model: each has to succeed and to say something.

#[path = "../../../core/engine/tests/conformance/tiny_model.rs"]
#[allow(dead_code, unreachable_pub, reason = "shared with the engine's tests")]
mod tiny_model;

use std::io::Write;
use std::process::{Command, Stdio};

#[test]
fn programs_in_rust_run() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let model = tiny_model::TinyModel::new().write(folder.path());
    let programs = [
        (env!("CARGO_BIN_EXE_tell"), Some("Once upon a time"), ""),
        (env!("CARGO_BIN_EXE_chat"), None, "Hello.\n\nAnd then?\n"),
        (env!("CARGO_BIN_EXE_embed"), None, ""),
    ];
    for (program, behind, typed) in programs {
        let mut child = Command::new(program)
            .arg(&model)
            .args(behind)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a program that was built");
        // One that does not read may be gone already.
        let _ = child.stdin.take().expect("a pipe").write_all(typed.as_bytes());
        let output = child.wait_with_output().expect("a program that was started");
        assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!output.stdout.is_empty(), "{program} says nothing");
    }
}
