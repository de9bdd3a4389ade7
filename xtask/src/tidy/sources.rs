//! Checks of single files: door signs, length, banned names, where `unsafe` may stand.
//! Knows text, not Rust's grammar; must not read anything but what it is handed.

use super::{Complaint, Source};
use std::path::Path;

/// Lines of a Rust file, tests included. Longer files are split by what they own.
const MAX_LINES: usize = 420;
/// File and folder names that say nothing about what is inside.
const BANNED_NAMES: [&str; 7] = ["utils", "util", "helpers", "helper", "common", "misc", "stuff"];
/// The only places where `unsafe` may stand.
const UNSAFE_PLACES: [&str; 4] =
    ["core/engine/", "ffi/", "core/bundle/src/mapped_file.rs", "core/mlx/src/compute/raw.rs"];

pub(super) fn check(sources: &[Source]) -> Vec<Complaint> {
    sources.iter().flat_map(check_one).collect()
}

fn check_one(source: &Source) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut complain = |line: usize, message: String| {
        complaints.push(Complaint { place: format!("{}:{line}", source.path.display()), message });
    };
    for part in source.path.iter().filter_map(|part| Path::new(part).file_stem()?.to_str()) {
        if BANNED_NAMES.contains(&part) {
            complain(1, format!("the name `{part}` says nothing: name the file after what it owns"));
        }
    }
    if source.path.extension().is_some_and(|extension| extension == "rs") {
        let lines = source.text.lines().count();
        if lines > MAX_LINES {
            complain(lines, format!("{lines} lines, expected at most {MAX_LINES}: split it by what it owns"));
        }
        if !source.text.trim_start_matches("#![cfg").starts_with("//!") && !door_sign_after_cfg(&source.text)
        {
            complain(1, "no door sign: expected `//!` lines saying what the file owns".into());
        }
        check_unsafe(source, &mut complain);
    }
    complaints
}

/// Integration tests may open with `#![cfg(feature = …)]` before their door sign.
fn door_sign_after_cfg(text: &str) -> bool {
    text.lines()
        .find(|line| !line.starts_with("#![") && !line.trim().is_empty())
        .is_some_and(|l| l.starts_with("//!"))
}

fn check_unsafe(source: &Source, complain: &mut impl FnMut(usize, String)) {
    let place = source.path.to_string_lossy();
    if UNSAFE_PLACES.iter().any(|allowed| place.starts_with(allowed)) {
        return;
    }
    let keyword = ["un", "safe"].concat();
    for (index, line) in source.text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        let opens =
            ["{", "fn ", "impl ", "extern "].iter().any(|next| code.contains(&format!("{keyword} {next}")));
        if opens {
            complain(index + 1, format!("`{keyword}` outside {}", UNSAFE_PLACES.join(", ")));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn complains(path: &str, text: &str, expected: usize) {
        let source = Source { path: path.into(), text: text.into() };
        assert_eq!(check(&[source]).len(), expected, "{path}");
    }

    #[test]
    fn each_rule_fires_and_clean_files_pass() {
        complains("core/x/src/lib.rs", "//! Owns x.\n", 0);
        complains("tests/tests/x.rs", "#![cfg(feature = \"interop\")]\n//! Owns x.\n", 0);
        complains("core/x/src/lib.rs", "pub fn f() {}\n", 1);
        complains("core/x/src/utils.rs", "//! Owns x.\n", 1);
        complains("core/helpers/src/lib.rs", "//! Owns x.\n", 1);
        complains("core/x/src/lib.rs", &format!("//! Owns x.\n{}", "\n".repeat(MAX_LINES)), 1);
        complains(
            "core/x/src/lib.rs",
            &format!("//! Owns x.\nfn f() {{ {} {{ }} }}\n", ["un", "safe"].concat()),
            1,
        );
        complains(
            "core/engine/src/lib.rs",
            &format!("//! Owns x.\nfn f() {{ {} {{ }} }}\n", ["un", "safe"].concat()),
            0,
        );
    }
}
