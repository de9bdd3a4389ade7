//! `cargo xtask tidy`: the house style as a program. Owns the list of checks and the report;
//! each check lives in its own file and returns complaints; none of them changes a file.

mod code_map;
mod dependencies;
mod documents;
mod interop;
mod sources;

pub(crate) use documents::write as write_documents;

use anyhow::{Context, Result, bail};
use std::path::{Path, PathBuf};

/// One breach of the house style: where, and what is expected there.
pub(crate) struct Complaint {
    /// Path relative to the workspace root, with a line number where there is one.
    pub(crate) place: String,
    /// What is wrong and what is expected.
    pub(crate) message: String,
}

/// A tracked text file: its path relative to the root, and its text.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// Runs every check over the files that git tracks or would track.
pub(crate) fn run(root: &Path) -> Result<()> {
    let paths = listed_files(root)?;
    let mut sources = Vec::new();
    for path in &paths {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if matches!(extension, "rs" | "toml" | "md" | "sh" | "py" | "c" | "h" | "cpp") {
            let text = std::fs::read_to_string(root.join(path))
                .with_context(|| format!("reading {}", path.display()))?;
            sources.push(Source { path: path.clone(), text });
        }
    }
    let mut complaints = sources::check(&sources);
    complaints.extend(dependencies::check(root)?);
    complaints.extend(interop::check(root, &paths)?);
    complaints.extend(code_map::check(root, &paths)?);
    complaints.extend(documents::check(root, &paths)?);
    for complaint in &complaints {
        println!("{}: {}", complaint.place, complaint.message);
    }
    if complaints.is_empty() {
        println!("tidy: {} files, nothing to say", sources.len());
        return Ok(());
    }
    bail!("{} complaints", complaints.len())
}

/// Tracked files plus new ones that git does not ignore, present in the working tree.
fn listed_files(root: &Path) -> Result<Vec<PathBuf>> {
    let output = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("running git ls-files")?;
    anyhow::ensure!(
        output.status.success(),
        "git ls-files failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).context("a path is not UTF-8")?;
    Ok(text.lines().map(PathBuf::from).filter(|path| root.join(path).is_file()).collect())
}
