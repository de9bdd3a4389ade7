//! The code map of ARCHITECTURE.md against the tree, and the paths that README names.
//! Knows the two documents' shape; must not judge their prose.

use super::Complaint;
use anyhow::{Context, Result};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

pub(super) fn check(root: &Path, paths: &[PathBuf]) -> Result<Vec<Complaint>> {
    let read =
        |name: &str| std::fs::read_to_string(root.join(name)).with_context(|| format!("reading {name}"));
    let rooms = rooms_in_tree(paths);
    let mut complaints = check_map(&read("ARCHITECTURE.md")?, &rooms, |path| root.join(path).exists());
    for path in code_spans(&read("README.md")?) {
        if path.starts_with("./") && !root.join(&path).exists() {
            complaints.push(Complaint {
                place: "README.md".into(),
                message: format!("names {path}, which is not there"),
            });
        }
    }
    Ok(complaints)
}

/// Every module file of the crates under core, ffi, server and cli, as `core/formats/src/gguf`.
fn rooms_in_tree(paths: &[PathBuf]) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for path in paths {
        let parts: Vec<&str> = path.iter().filter_map(|part| part.to_str()).collect();
        let Some(src) = parts.iter().position(|part| *part == "src") else { continue };
        if !matches!(parts[0], "core" | "ffi" | "server" | "cli") || parts.len() <= src + 1 {
            continue;
        }
        let room = parts[src + 1].trim_end_matches(".rs");
        if !matches!(room, "lib" | "main") && !room.contains('.') {
            rooms.insert(format!("{}/{room}", parts[..=src].join("/")));
        }
    }
    rooms
}

/// The map is the table whose rows open with a crate's folder in code marks; its second cell lists rooms in code marks.
fn check_map(text: &str, rooms: &BTreeSet<String>, exists: impl Fn(&str) -> bool) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut complain = |line: usize, message: String| {
        complaints.push(Complaint { place: format!("ARCHITECTURE.md:{line}"), message })
    };
    let mut mapped = BTreeSet::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| line.starts_with("| `")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let Some(folder) = code_spans(cells[0]).into_iter().next() else { continue };
        let folder = folder.trim_end_matches('/').to_string();
        if !exists(&folder) {
            complain(index + 1, format!("maps {folder}, which is not there"));
        }
        for room in cells.get(1).map(|cell| code_spans(cell)).unwrap_or_default() {
            let room = format!("{folder}/src/{room}");
            if !rooms.contains(&room) {
                complain(index + 1, format!("maps {room}, which is not there"));
            }
            mapped.insert(room);
        }
    }
    for room in rooms.difference(&mapped) {
        complain(1, format!("the code map misses {room}"));
    }
    complaints
}

fn code_spans(text: &str) -> Vec<String> {
    text.split('`')
        .skip(1)
        .step_by(2)
        .map(|span| span.split_whitespace().next().unwrap_or_default().to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_and_the_tree_must_agree() {
        let rooms = rooms_in_tree(&[
            "core/a/src/lib.rs".into(),
            "core/a/src/b.rs".into(),
            "core/a/src/c/d.rs".into(),
        ]);
        assert_eq!(rooms.iter().collect::<Vec<_>>(), ["core/a/src/b", "core/a/src/c"]);
        assert_eq!(check_map("| `core/a/` | `b`, `c` | text |", &rooms, |_| true).len(), 0);
        assert_eq!(check_map("| `core/a/` | `b` | text |", &rooms, |_| true).len(), 1);
        assert_eq!(check_map("| `core/a/` | `b`, `c`, `d` | text |", &rooms, |_| true).len(), 1);
    }
}
