//! Addresses as far as downloads need them: origin, joining, and a form to show.
//!
//! Owns splitting of `http` and `https` addresses. Must not resolve or connect.

use super::problem::Problem;

/// An absolute `http` or `https` address in parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Address<'a> {
    /// `http` or `https`.
    pub(crate) scheme: &'a str,
    /// Host and port as written, without user and password.
    pub(crate) authority: &'a str,
    /// Path, query and fragment; starts with `/`, `?`, `#` or is empty.
    pub(crate) rest: &'a str,
}

impl<'a> Address<'a> {
    pub(crate) fn parse(url: &'a str) -> Result<Address<'a>, Problem> {
        let bad = || Problem::BadAddress { url: shown(url) };
        if url.bytes().any(|c| c <= b' ' || c == 0x7f) {
            return Err(bad());
        }
        let (scheme, after) = url.split_once("://").ok_or_else(bad)?;
        if scheme != "http" && scheme != "https" {
            return Err(bad());
        }
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let (authority, rest) = after.split_at(end);
        let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        if authority.is_empty() {
            return Err(bad());
        }
        Ok(Address { scheme, authority, rest })
    }

    /// Whether a secret for `self` may go to `other`: same scheme, host and port.
    pub(crate) fn same_origin(&self, other: &Address<'_>) -> bool {
        let normal = |address: &Address<'_>| {
            let lower = address.authority.to_ascii_lowercase();
            let default = if address.scheme == "https" { ":443" } else { ":80" };
            lower.strip_suffix(default).unwrap_or(&lower).to_owned()
        };
        self.scheme == other.scheme && normal(self) == normal(other)
    }

    /// The path without query and fragment.
    fn path(&self) -> &'a str {
        self.rest.split(['?', '#']).next().unwrap_or_default()
    }
}

/// `reference` as seen from the document at `base`: absolute, scheme-relative, host-relative or path-relative.
pub(crate) fn join(base: &str, reference: &str) -> Result<String, Problem> {
    let base = Address::parse(base)?;
    let scheme_end = reference.find("://").unwrap_or(usize::MAX);
    let joined = if scheme_end < reference.find(['/', '?', '#']).unwrap_or(usize::MAX) {
        reference.to_owned()
    } else if let Some(rest) = reference.strip_prefix("//") {
        format!("{}://{rest}", base.scheme)
    } else if reference.starts_with('/') {
        format!("{}://{}{reference}", base.scheme, base.authority)
    } else {
        let directory = base.path().rsplit_once('/').map_or("", |(head, _)| head);
        format!("{}://{}{directory}/{reference}", base.scheme, base.authority)
    };
    Address::parse(&joined)?;
    Ok(joined)
}

/// An address for messages: without user, password, query and fragment, which may hold secrets.
pub(crate) fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    let without_user = match url.split_once("://") {
        Some((scheme, after)) => {
            let end = after.find('/').unwrap_or(after.len());
            let start = after[..end].rfind('@').map_or(0, |at| at + 1);
            format!("{scheme}://{}", &after[start..])
        }
        None => url.to_owned(),
    };
    without_user.chars().map(|c| if c.is_control() { '?' } else { c }).take(300).collect()
}

/// `text` with everything but unreserved characters and `/` percent-encoded.
pub(crate) fn encode_path(text: &str) -> String {
    encode(text, "-._~/")
}

/// `text` with everything but unreserved characters percent-encoded.
pub(crate) fn encode_component(text: &str) -> String {
    encode(text, "-._~")
}

fn encode(text: &str, plain: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain.as_bytes().contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joining() {
        let base = "https://user:pw@host:8443/a/b.json?x=1";
        for (reference, expected) in [
            ("c.bin", "https://host:8443/a/c.bin"),
            ("d/c.bin?y=2", "https://host:8443/a/d/c.bin?y=2"),
            ("/c", "https://host:8443/c"),
            ("//other/c", "https://other/c"),
            ("http://other/c", "http://other/c"),
            ("c?to=http://x", "https://host:8443/a/c?to=http://x"),
        ] {
            assert_eq!(join(base, reference).unwrap(), expected, "{reference}");
        }
        assert_eq!(join("http://host", "c").unwrap(), "http://host/c");
        for bad in ["ftp://x/y", "file:///etc/passwd", "https://", "https://a b/"] {
            assert!(join(base, bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn origins() {
        let same = |a, b| Address::parse(a).unwrap().same_origin(&Address::parse(b).unwrap());
        assert!(same("https://Host/a", "https://host:443/b"));
        assert!(same("http://u@host:80", "http://host?x"));
        assert!(!same("https://host", "http://host"));
        assert!(!same("https://host", "https://host:444"));
        assert!(!same("https://host", "https://host.evil"));
        assert!(!same("https://host", "https://host@evil/"));
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(shown("https://user:pw@host/a?token=1#x"), "https://host/a");
        assert_eq!(shown("https://host/a@b"), "https://host/a@b");
        assert_eq!(encode_path("a b/ü%"), "a%20b/%C3%BC%25");
        assert_eq!(encode_component("refs/pr/1"), "refs%2Fpr%2F1");
    }
}
