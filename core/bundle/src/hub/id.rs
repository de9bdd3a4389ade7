//! Hub ids: `organisation/name`, with an optional `@revision`.
//!
//! Owns the grammar, which keeps an id usable as a path and in an address. Must not touch the network.

use std::fmt;
use std::str::FromStr;

use crate::download::address::{encode_component, encode_path};
use crate::error::{Error, Result};
use crate::path;

/// The revision of an id that names none.
pub const DEFAULT_REVISION: &str = "main";

/// A repository of a hub at a revision.
///
/// Organisation and name: 1 to 96 letters, digits, `-`, `_` and `.`, beginning with a letter or digit, without `--`
/// or `..`. Revision: a branch, a tag, a commit or `refs/…`: 1 to 255 of the same characters and `/`, without empty,
/// `.` or `..` components.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HubId {
    organisation: String,
    name: String,
    revision: String,
}

impl HubId {
    /// The organisation or user.
    pub fn organisation(&self) -> &str {
        &self.organisation
    }

    /// The repository's name without the organisation.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// `organisation/name`.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.organisation, self.name)
    }

    /// The revision, [`DEFAULT_REVISION`] when none was given.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Address of a file of the repository at `revision` on the hub at `endpoint`.
    pub fn file_url(&self, endpoint: &str, revision: &str, path: &str) -> String {
        let endpoint = endpoint.trim_end_matches('/');
        format!(
            "{endpoint}/{}/resolve/{}/{}",
            self.repository(),
            encode_component(revision),
            encode_path(path)
        )
    }

    /// Whether the revision is a commit, which never changes.
    pub fn is_pinned(&self) -> bool {
        is_commit(&self.revision)
    }
}

/// Whether `text` is a commit id: 40 or 64 lowercase hexadecimal digits.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'))
}

impl FromStr for HubId {
    type Err = Error;

    fn from_str(text: &str) -> Result<HubId> {
        let refuse = |reason| Error::HubId { text: text.chars().take(200).collect::<String>(), reason };
        let (repository, revision) = match text.split_once('@') {
            Some((repository, revision)) => (repository, revision),
            None => (text, DEFAULT_REVISION),
        };
        let (organisation, name) = repository.split_once('/').ok_or_else(|| refuse("no `/`"))?;
        for part in [organisation, name] {
            check_name(part).map_err(refuse)?;
        }
        let allowed = |c: u8| c.is_ascii_alphanumeric() || b"-_./".contains(&c);
        if revision.is_empty() || revision.len() > 255 || !revision.bytes().all(allowed) {
            return Err(refuse("a revision has 1 to 255 letters, digits, `-`, `_`, `.` and `/`"));
        }
        path::check(revision).map_err(|_| refuse("a revision has no empty, `.` or `..` component"))?;
        let (organisation, name) = (organisation.to_owned(), name.to_owned());
        Ok(HubId { organisation, name, revision: revision.to_owned() })
    }
}

fn check_name(part: &str) -> std::result::Result<(), &'static str> {
    if part.is_empty() || part.len() > 96 {
        return Err("organisation and name have 1 to 96 characters");
    }
    if !part.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c)) {
        return Err("organisation and name consist of letters, digits, `-`, `_` and `.`");
    }
    if !part.as_bytes()[0].is_ascii_alphanumeric() {
        return Err("organisation and name begin with a letter or digit");
    }
    if part.contains("--") || part.contains("..") || path::check(part).is_err() {
        return Err("organisation and name have no `--`, no `..`, no final `.` and are no device name");
    }
    Ok(())
}

impl fmt::Display for HubId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.organisation, self.name, self.revision)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grammar() {
        for (text, expected) in [
            ("org/name", Some("org/name@main")),
            ("Qwen/Qwen3-0.6B@v1.0", Some("Qwen/Qwen3-0.6B@v1.0")),
            ("a/b@refs/pr/12", Some("a/b@refs/pr/12")),
            ("name", None),
            ("org/name/more", None),
            ("/name", None),
            ("org/", None),
            ("../name", None),
            ("org/..", None),
            ("org/a--b", None),
            ("org/.hidden", None),
            ("org/nul", None),
            ("org/name@", None),
            ("org/name@a/../b", None),
            ("org/name@/abs", None),
            ("org/name@a b", None),
            ("org/name@a@b", None),
            ("örg/name", None),
            ("org/name?x=1", None),
        ] {
            assert_eq!(text.parse::<HubId>().ok().map(|id| id.to_string()).as_deref(), expected, "{text}");
        }
        assert!(format!("o/n@{}", "0a".repeat(20)).parse::<HubId>().unwrap().is_pinned());
        assert!(!format!("o/n@{}", "0A".repeat(20)).parse::<HubId>().unwrap().is_pinned());
    }
}
