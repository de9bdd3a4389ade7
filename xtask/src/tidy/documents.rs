//! Programs in the documentation are those of `examples/`, letter by letter: a comment names the file, the block below it is its text.
//! Owns the comment's form; must not know any language. `cargo xtask documents` writes the blocks anew.

use super::Complaint;
use anyhow::{Context, Result};
use std::fmt::Write;
use std::path::{Path, PathBuf};

const OPENS: &str = "<!-- examples/";
const CLOSES: &str = " -->";

/// Complains of every block that is not its file's text.
pub(super) fn check(root: &Path, paths: &[PathBuf]) -> Result<Vec<Complaint>> {
    let mut complaints = Vec::new();
    for path in pages(paths) {
        let text = std::fs::read_to_string(root.join(path))
            .with_context(|| format!("reading {}", path.display()))?;
        match filled(&text, |file| std::fs::read_to_string(root.join(file)).ok()) {
            Ok(wanted) if wanted == text => {}
            Ok(wanted) => {
                let line = wanted.lines().zip(text.lines()).take_while(|(a, b)| a == b).count() + 1;
                complaints.push(Complaint {
                    place: format!("{}:{line}", path.display()),
                    message: "is not what the file in examples/ says: run cargo xtask documents".into(),
                });
            }
            Err(message) => complaints.push(Complaint { place: path.display().to_string(), message }),
        }
    }
    Ok(complaints)
}

/// Writes the blocks of every page anew.
pub(crate) fn write(root: &Path) -> Result<()> {
    for path in pages(&super::listed_files(root)?) {
        let place = root.join(path);
        let text = std::fs::read_to_string(&place).with_context(|| format!("reading {}", place.display()))?;
        let wanted = filled(&text, |file| std::fs::read_to_string(root.join(file)).ok());
        let wanted = wanted.map_err(|message| anyhow::anyhow!("{}: {message}", path.display()))?;
        if wanted != text {
            std::fs::write(&place, wanted).with_context(|| format!("writing {}", place.display()))?;
            println!("{}", path.display());
        }
    }
    Ok(())
}

fn pages(paths: &[PathBuf]) -> impl Iterator<Item = &PathBuf> {
    paths.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md"))
}

/// `text` with the blocks below its comments as `read` has their files.
fn filled(text: &str, read: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    if !text.contains(OPENS) {
        return Ok(text.to_owned());
    }
    let mut out = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let _ = writeln!(out, "{line}");
        let Some(name) = line.strip_prefix(OPENS).and_then(|rest| rest.strip_suffix(CLOSES)) else {
            continue;
        };
        let file = format!("examples/{name}");
        let code = read(&file).ok_or_else(|| format!("names {file}, which is not there"))?;
        let fence = lines.next().filter(|line| line.starts_with("```"));
        let fence = fence.ok_or_else(|| format!("expected a block below the comment of {file}"))?;
        let end = lines.by_ref().find(|line| *line == "```");
        end.ok_or_else(|| format!("the block of {file} has no end"))?;
        let _ = write!(out, "{fence}\n{}\n```\n", code.trim_end());
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_become_their_files() {
        let read = |file: &str| (file == "examples/c/a.c").then(|| "int main;\n".to_owned());
        let page = "# A\n<!-- examples/c/a.c -->\n```c\nold\n```\nend\n";
        let wanted = "# A\n<!-- examples/c/a.c -->\n```c\nint main;\n```\nend\n";
        assert_eq!(filled(page, read).as_deref(), Ok(wanted));
        assert_eq!(filled(wanted, read).as_deref(), Ok(wanted));
        assert!(filled("<!-- examples/c/b.c -->\n```c\n```\n", read).is_err());
        assert!(filled("<!-- examples/c/a.c -->\ntext\n", read).is_err());
        assert!(filled("<!-- examples/c/a.c -->\n```c\n", read).is_err());
    }
}
