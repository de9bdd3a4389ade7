//! Documents with pictures or sound for `iq imatrix`: what their lines say, and the pieces of a prompt.
//! Knows files; must not know what a model makes of them.

use anyhow::{Context, Result, bail};
use llama_pajamas::bundle::Sha256Digest;
use llama_pajamas::engine::Piece;
use llama_pajamas::evaluator::Error;
use llama_pajamas::{LoadedModel, MEDIA_MARK, PromptMedia};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// One line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// Text with a mark wherever a file stands.
    text: String,
    /// The files, in the order of the marks.
    files: Vec<PathBuf>,
}

/// A document, its files named from where the command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Document {
    /// File and line, for messages.
    name: String,
    text: String,
    files: Vec<PathBuf>,
}

/// The documents of all `paths`.
pub(super) fn read_documents(paths: &[PathBuf]) -> Result<Vec<Document>> {
    let mut documents = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let name = format!("{} line {}", path.display(), number + 1);
            let Line { text, files } = serde_json::from_str(line).with_context(|| name.clone())?;
            let n_marks = text.matches(MEDIA_MARK).count();
            if n_marks > 0 && n_marks != files.len() {
                bail!("{name}: expected as many {MEDIA_MARK} as files, got {n_marks} for {}", files.len());
            }
            let files = files.into_iter().map(|file| folder.join(file)).collect();
            documents.push(Document { name, text, files });
        }
    }
    Ok(documents)
}

impl Document {
    /// What tells it from others.
    pub(super) fn identity(&self) -> Result<String> {
        let mut text = Sha256Digest::of(self.text.as_bytes()).to_string();
        for file in &self.files {
            let bytes = std::fs::read(file).with_context(|| format!("{}: {}", self.name, file.display()))?;
            text += &format!(" {}", Sha256Digest::of(&bytes));
        }
        Ok(text + "\n")
    }

    /// Its text and what the model's projector makes of its files.
    pub(super) fn pieces(&self, model: &LoadedModel) -> Result<Vec<Piece>, Error> {
        let failed = |problem: String| Error::Text { name: self.name.clone(), problem };
        let mut files = Vec::new();
        for file in &self.files {
            files.push(std::fs::read(file).map_err(|error| failed(format!("{}: {error}", file.display())))?);
        }
        let mut media = PromptMedia::default();
        let prompt = model.media_prompt(&self.text, &files, &mut media);
        let prompt = prompt.map_err(|error| failed(error.to_string()))?;
        media.pieces(&prompt).map_err(|error| failed(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_marks_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("documents.jsonl");
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        let said = || read_documents(std::slice::from_ref(&path)).map_err(|error| format!("{error:#}"));
        write(
            "{\"text\": \"A <__media__> here\", \"files\": [\"a.png\"]}\n\n{\"text\": \"none\", \"files\": []}\n",
        );
        let documents = said().unwrap();
        assert_eq!(documents.len(), 2);
        assert_eq!(documents[0].files, [folder.path().join("a.png")]);
        assert!(documents[1].name.ends_with("line 3"));
        write("{\"text\": \"<__media__>\", \"files\": [\"a.png\", \"b.png\"]}");
        assert!(said().unwrap_err().contains("line 1: expected as many <__media__> as files, got 1 for 2"));
        write("{\"text\": \"x\"}");
        assert!(said().unwrap_err().contains("missing field `files`"));
        let absent = documents[0].identity().unwrap_err();
        assert!(format!("{absent:#}").contains("a.png"));
    }
}
