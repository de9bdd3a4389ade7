//! Comparisons with outside tools stay out of the ordinary tests, which a bare clone must pass.
//! Owns that one rule; must not know how the suite is run.

use super::Complaint;
use anyhow::{Context, Result};
use std::path::{Path, PathBuf};

const FEATURE: &str = "interop";

/// Complains of every `tests/interop_*.rs` that Cargo would run without the feature.
pub(super) fn check(root: &Path, paths: &[PathBuf]) -> Result<Vec<Complaint>> {
    let path = root.join("tests/Cargo.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    let manifest: toml::Table = text.parse().with_context(|| format!("parsing {}", path.display()))?;
    Ok(check_manifest(&manifest, paths))
}

fn check_manifest(manifest: &toml::Table, paths: &[PathBuf]) -> Vec<Complaint> {
    let declared = manifest.get("test").and_then(|tests| tests.as_array());
    let guarded: Vec<&str> = declared
        .into_iter()
        .flatten()
        .filter(|test| {
            let features = test.get("required-features").and_then(|value| value.as_array());
            features.is_some_and(|list| list.iter().any(|feature| feature.as_str() == Some(FEATURE)))
        })
        .filter_map(|test| test.get("name")?.as_str())
        .collect();
    let suite = paths.iter().filter(|path| path.parent() == Some(Path::new("tests/tests")));
    suite
        .filter_map(|path| path.file_stem()?.to_str())
        .filter(|name| name.starts_with("interop_") && !guarded.contains(name))
        .map(|name| Complaint {
            place: "tests/Cargo.toml".into(),
            message: format!("test {name} has no required-features = [\"{FEATURE}\"]"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unguarded_comparison_is_named() {
        let manifest: toml::Table = "[[test]]\nname = \"interop_a\"\nrequired-features = [\"interop\"]\n\
                                     [[test]]\nname = \"interop_b\"\n"
            .parse()
            .unwrap();
        let paths: Vec<PathBuf> =
            ["interop_a.rs", "interop_b.rs", "interop_c.rs", "memory.rs", "interop_a/part.rs"]
                .iter()
                .map(|name| Path::new("tests/tests").join(name))
                .collect();
        let complaints = check_manifest(&manifest, &paths);
        let messages: Vec<&str> = complaints.iter().map(|complaint| complaint.message.as_str()).collect();
        assert_eq!(messages.len(), 2);
        assert!(messages[0].contains("interop_b") && messages[1].contains("interop_c"), "{messages:?}");
    }
}
