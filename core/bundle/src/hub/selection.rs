//! Which files of a repository are fetched.
//!
//! Owns the default patterns, matching, and the advice when there is nothing suitable. Pure.

use super::index::Sibling;

/// What a checkpoint consists of. Files in sub-directories are other formats' copies and are left out.
pub const CHECKPOINT_PATTERNS: &[&str] = &[
    "*.safetensors",
    "*.json",
    "*.jinja",
    "*.model",
    "*.txt",
    "*.tiktoken",
    "README.md",
    "LICENSE*",
    "LICENCE*",
    "NOTICE*",
];

/// Endings of weights that can run code when they are loaded, or that no converter here reads.
const REFUSED: &[&str] = &[".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack"];

/// The files of `siblings` to fetch. With no `patterns`: a checkpoint, or the only GGUF model there is. A pattern
/// without `/` is matched against files at the top, one with `/` against whole paths; `*` stands for any characters.
///
/// # Errors
/// In words, what was looked for and found.
pub(super) fn select<'a>(siblings: &'a [Sibling], patterns: &[String]) -> Result<Vec<&'a Sibling>, String> {
    if patterns.is_empty() {
        return select_default(siblings);
    }
    let chosen: Vec<&Sibling> =
        siblings.iter().filter(|file| patterns.iter().any(|pattern| applies(pattern, &file.path))).collect();
    if let Some(refused) = chosen.iter().find(|file| is_refused(&file.path)) {
        return Err(format!("`{}` {}", refused.path, advice()));
    }
    match chosen.is_empty() {
        true => Err(format!("no file matches {}", patterns.join(", "))),
        false => Ok(chosen),
    }
}

fn select_default(siblings: &[Sibling]) -> Result<Vec<&Sibling>, String> {
    let top = |ending: &str| {
        let ending = ending.to_owned();
        siblings.iter().filter(move |file| !file.path.contains('/') && file.path.ends_with(&ending))
    };
    let is_standard = |file: &&Sibling| !file.path.starts_with("consolidated");
    let has_standard = top(".safetensors").any(|file| is_standard(&file));
    let mut chosen: Vec<&Sibling> = siblings
        .iter()
        .filter(|file| CHECKPOINT_PATTERNS.iter().any(|pattern| applies(pattern, &file.path)))
        // A second copy of the same weights under the publisher's own names.
        .filter(|file| !(has_standard && file.path.ends_with(".safetensors") && !is_standard(file)))
        .collect();
    if top(".safetensors").next().is_some() {
        return Ok(chosen);
    }
    let ggufs: Vec<&Sibling> = siblings.iter().filter(|file| file.path.ends_with(".gguf")).collect();
    let mut models: Vec<&str> = ggufs.iter().map(|file| without_part(&file.path)).collect();
    models.dedup();
    match (models.as_slice(), siblings.iter().find(|file| is_refused(&file.path))) {
        ([_], _) => {
            chosen.extend(ggufs);
            Ok(chosen)
        }
        ([], Some(refused)) => Err(format!("`{}` {}", refused.path, advice())),
        ([], None) => Err("no safetensors and no gguf file".to_owned()),
        (many, _) => {
            let names = many.iter().take(12).copied().collect::<Vec<_>>().join(", ");
            Err(format!("{} gguf models; choose one by a pattern: {names}", many.len()))
        }
    }
}

/// `model` of `model-00001-of-00003.gguf`, otherwise the path.
fn without_part(path: &str) -> &str {
    let stem = path.strip_suffix(".gguf").unwrap_or(path);
    let mut parts = stem.rsplitn(4, '-');
    let is_number =
        |part: Option<&str>| part.is_some_and(|p| p.len() == 5 && p.bytes().all(|c| c.is_ascii_digit()));
    let numbered = is_number(parts.next()) && parts.next() == Some("of") && is_number(parts.next());
    match (numbered, parts.next()) {
        (true, Some(model)) => model,
        _ => path,
    }
}

fn is_refused(path: &str) -> bool {
    REFUSED.iter().any(|ending| path.to_ascii_lowercase().ends_with(ending))
}

fn advice() -> &'static str {
    "is a format that is not read, because loading it can run code; use a revision or repository with safetensors"
}

fn applies(pattern: &str, path: &str) -> bool {
    (pattern.contains('/') || !path.contains('/')) && matches(pattern, path)
}

/// Whether `text` fits `pattern`, in which `*` stands for any characters.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, mut rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    // Each middle piece at its first place, the last one at the end.
    while let Some((piece, after)) = rest.split_once('*') {
        let Some(at) = text.find(piece) else { return false };
        text = &text[at + piece.len()..];
        rest = after;
    }
    text.ends_with(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(paths: &[&str]) -> Vec<Sibling> {
        let file = |path: &&str| Sibling { path: path.to_string(), size: Some(1), blob_id: None, lfs: None };
        paths.iter().map(file).collect()
    }

    fn chosen(paths: &[&str], patterns: &[&str]) -> Result<Vec<String>, String> {
        let patterns: Vec<String> = patterns.iter().map(|p| p.to_string()).collect();
        let siblings = repository(paths);
        select(&siblings, &patterns).map(|files| files.iter().map(|file| file.path.clone()).collect())
    }

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("*.json", "a.json", true),
            ("*.json", "a.json.bak", false),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "acb", false),
            ("*", "", true),
            ("ab*ab", "ab", false),
            ("plain", "plain", true),
            ("plain", "plain2", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_checkpoint_without_second_copies() {
        let paths = [
            "config.json",
            "consolidated.safetensors",
            "model-00001-of-00002.safetensors",
            "tokenizer.model",
            "model-00002-of-00002.safetensors",
            "original/params.json",
            "pytorch_model.bin",
            "onnx/model.onnx",
            "image.png",
            "chat_template.jinja",
            "LICENSE",
        ];
        let expected = [
            "config.json",
            "model-00001-of-00002.safetensors",
            "tokenizer.model",
            "model-00002-of-00002.safetensors",
            "chat_template.jinja",
            "LICENSE",
        ];
        assert_eq!(chosen(&paths, &[]).unwrap(), expected);
        assert_eq!(chosen(&["consolidated.safetensors"], &[]).unwrap().len(), 1);
    }

    #[test]
    fn pickles_are_refused_with_advice() {
        for (paths, patterns) in [
            (&["config.json", "pytorch_model.bin"][..], &[][..]),
            (&["model.safetensors", "pytorch_model.BIN"], &["*"]),
        ] {
            let message = chosen(paths, patterns).unwrap_err();
            assert!(message.contains("pytorch_model") && message.contains("safetensors"), "{message}");
        }
    }

    #[test]
    fn gguf_repositories() {
        let one = ["README.md", "m-00001-of-00002.gguf", "m-00002-of-00002.gguf"];
        assert_eq!(chosen(&one, &[]).unwrap().len(), 3);
        let many = ["m-Q4_K_M.gguf", "m-Q8_0.gguf"];
        assert!(
            chosen(&many, &[]).unwrap_err().contains("choose one by a pattern: m-Q4_K_M.gguf, m-Q8_0.gguf")
        );
        assert_eq!(chosen(&many, &["*Q8_0*"]).unwrap(), ["m-Q8_0.gguf"]);
        assert_eq!(chosen(&["sub/m.gguf"], &["sub/*"]).unwrap(), ["sub/m.gguf"]);
        assert!(chosen(&many, &["*Q2*"]).unwrap_err().contains("no file matches"));
        assert!(chosen(&["README.md"], &[]).unwrap_err().contains("no safetensors"));
    }
}
