//! Paths inside a bundle: which are allowed, as a type.
//!
//! Owns the rules. Must not touch the filesystem: whether a path leads through a symbolic link is checked where files
//! are opened.
//!
//! A path is relative, in `/`-separated components of printable ASCII, and means the same file on every filesystem:
//! no `..`, no `.`, no empty component, no backslash, no drive, none of `< > : " | ? *`, no component that ends in a
//! dot or a space or is a device name of Windows, at most 1024 bytes, 255 per component and 16 components.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;
use std::path::Path;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};

/// Longest path in bytes.
pub const MAX_PATH_BYTES: usize = 1024;
/// Longest component in bytes.
pub const MAX_COMPONENT_BYTES: usize = 255;
/// Most components.
pub const MAX_COMPONENTS: usize = 16;

/// A relative path that obeys the rules of this module. Dereferences to `str`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct RelativePath(String);

/// The rule that a path breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// No characters at all.
    #[error("path is empty")]
    Empty,
    /// Above [`MAX_PATH_BYTES`] or [`MAX_COMPONENT_BYTES`].
    #[error("path is too long (limit {MAX_PATH_BYTES} bytes, {MAX_COMPONENT_BYTES} per component)")]
    TooLong,
    /// Above [`MAX_COMPONENTS`].
    #[error("path has too many components (limit {MAX_COMPONENTS})")]
    TooDeep,
    /// Starts with `/`.
    #[error("path is absolute; expected one relative to the bundle")]
    Absolute,
    /// A `..` component.
    #[error("path contains `..`")]
    ParentComponent,
    /// A `.` component.
    #[error("path contains a `.` component")]
    CurrentComponent,
    /// Two slashes in a row, or one at the end.
    #[error("path contains an empty component")]
    EmptyComponent,
    /// A backslash, a colon or another character that some filesystem forbids.
    #[error("path contains the forbidden character {0:?}")]
    ForbiddenCharacter(char),
    /// A component ends in a dot or a space.
    #[error("path component ends in a dot or a space")]
    TrailingDotOrSpace,
    /// A name such as `con` or `nul.txt`.
    #[error("path component is a device name on windows")]
    DeviceName,
}

impl RelativePath {
    /// Checks `path` against the rules of this module.
    ///
    /// # Errors
    /// [`Error::Path`] with the first broken rule.
    pub fn new(path: impl Into<String>) -> Result<RelativePath> {
        let path = path.into();
        match check(&path) {
            Ok(()) => Ok(RelativePath(path)),
            Err(problem) => Err(Error::Path { path: path.chars().take(200).collect(), problem }),
        }
    }

    /// The path as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The form in which two paths are the same file on a filesystem that ignores case.
    pub fn folded(&self) -> String {
        self.0.to_ascii_lowercase()
    }
}

/// Checks `path` against the rules of this module.
///
/// # Errors
/// The first broken rule.
pub fn check(path: &str) -> std::result::Result<(), Problem> {
    if path.is_empty() {
        return Err(Problem::Empty);
    }
    if path.len() > MAX_PATH_BYTES {
        return Err(Problem::TooLong);
    }
    if path.starts_with('/') {
        return Err(Problem::Absolute);
    }
    if let Some(c) = path.chars().find(|c| !(' '..='~').contains(c) || r#"\<>:"|?*"#.contains(*c)) {
        return Err(Problem::ForbiddenCharacter(c));
    }
    if path.split('/').count() > MAX_COMPONENTS {
        return Err(Problem::TooDeep);
    }
    path.split('/').try_for_each(check_component)
}

fn check_component(component: &str) -> std::result::Result<(), Problem> {
    match component {
        "" => return Err(Problem::EmptyComponent),
        "." => return Err(Problem::CurrentComponent),
        ".." => return Err(Problem::ParentComponent),
        _ => {}
    }
    if component.len() > MAX_COMPONENT_BYTES {
        return Err(Problem::TooLong);
    }
    if component.ends_with(['.', ' ']) {
        return Err(Problem::TrailingDotOrSpace);
    }
    let stem = component.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    let numbered = |name: &str| {
        stem.strip_prefix(name).is_some_and(|n| n.len() == 1 && n.as_bytes()[0].is_ascii_digit())
    };
    if ["con", "prn", "aux", "nul"].contains(&stem.as_str()) || numbered("com") || numbered("lpt") {
        return Err(Problem::DeviceName);
    }
    Ok(())
}

impl Deref for RelativePath {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<Path> for RelativePath {
    fn as_ref(&self) -> &Path {
        Path::new(&self.0)
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<&str> for RelativePath {
    type Error = Error;

    fn try_from(path: &str) -> Result<RelativePath> {
        RelativePath::new(path)
    }
}

impl<'de> Deserialize<'de> for RelativePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        formats::json::text(deserializer, |text| RelativePath::new(text))
    }
}

impl JsonSchema for RelativePath {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "RelativePath".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "maxLength": MAX_PATH_BYTES,
            "pattern": r#"^[^/\\<>:"|?*]+(/[^/\\<>:"|?*]+)*$"#,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rules() {
        let long = "a".repeat(1025);
        let deep = "a/".repeat(16) + "b";
        let component = "x".repeat(256);
        for (path, expected) in [
            ("manifest.json", Ok(())),
            ("gguf/Q4_K_M/model.gguf", Ok(())),
            ("a b/c-d_e+(1)..x", Ok(())),
            ("", Err(Problem::Empty)),
            ("/etc/passwd", Err(Problem::Absolute)),
            ("..", Err(Problem::ParentComponent)),
            ("a/../b", Err(Problem::ParentComponent)),
            ("./a", Err(Problem::CurrentComponent)),
            ("a//b", Err(Problem::EmptyComponent)),
            ("a/", Err(Problem::EmptyComponent)),
            ("a\\b", Err(Problem::ForbiddenCharacter('\\'))),
            ("C:/x", Err(Problem::ForbiddenCharacter(':'))),
            ("a\0b", Err(Problem::ForbiddenCharacter('\0'))),
            ("a\nb", Err(Problem::ForbiddenCharacter('\n'))),
            ("é", Err(Problem::ForbiddenCharacter('é'))),
            ("a./b", Err(Problem::TrailingDotOrSpace)),
            ("a/b ", Err(Problem::TrailingDotOrSpace)),
            ("a/NUL.txt", Err(Problem::DeviceName)),
            ("com1", Err(Problem::DeviceName)),
            ("com10", Ok(())),
            (&long, Err(Problem::TooLong)),
            (&deep, Err(Problem::TooDeep)),
            (&component, Err(Problem::TooLong)),
        ] {
            assert_eq!(check(path), expected, "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_path_stays_below_its_root(path in r"[a-zA-Z0-9./\\: \x00é-]{0,40}") {
            if check(&path).is_ok() {
                let joined = Path::new("/root/bundle").join(&path);
                prop_assert!(joined.starts_with("/root/bundle"));
                prop_assert!(joined.components().all(|c| c != std::path::Component::ParentDir));
                prop_assert_eq!(joined.components().count(), 3 + path.split('/').count());
            }
        }
    }
}
