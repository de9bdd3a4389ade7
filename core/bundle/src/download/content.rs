//! What a downloaded file must be: digests of its content.
//!
//! Owns SHA-256 and git's blob id as alternatives, and hashing a file for either. Must not know the network.

use std::fmt;
use std::ops::ControlFlow;
use std::path::Path;

use sha1::Digest as _;

use crate::digest::{ParseDigestError, Sha256Digest, parse_hex};
use crate::error::Result;
use crate::verify::{digest_file, read_chunks};

/// The digest that a file's content must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContentDigest {
    /// SHA-256 of the content.
    Sha256(Sha256Digest),
    /// SHA-1 of `blob `, the length in decimal, a zero byte and the content: git's id of the file. Shows a damaged
    /// transfer; it is no protection against a forger.
    GitBlob([u8; 20]),
}

impl ContentDigest {
    /// Git's blob id from 40 hexadecimal digits.
    ///
    /// # Errors
    /// When the text is something else.
    pub fn git_blob(hex: &str) -> std::result::Result<ContentDigest, ParseDigestError> {
        parse_hex(hex).map(ContentDigest::GitBlob)
    }

    /// The digest of the same kind of the file at `path`, which has `bytes` bytes.
    pub(crate) fn of_same_kind(
        &self,
        path: &Path,
        bytes: u64,
        step: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<ContentDigest> {
        match self {
            ContentDigest::Sha256(_) => Ok(ContentDigest::Sha256(digest_file(path, step)?.0)),
            ContentDigest::GitBlob(_) => {
                let mut hash = sha1::Sha1::new_with_prefix(format!("blob {bytes}\0"));
                read_chunks(path, &mut |chunk| {
                    hash.update(chunk);
                    step(chunk.len() as u64)
                })?;
                Ok(ContentDigest::GitBlob(hash.finalize().into()))
            }
        }
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ContentDigest::Sha256(digest) => write!(f, "sha256 {digest}"),
            ContentDigest::GitBlob(digest) => {
                f.write_str("git blob ")?;
                digest.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl From<Sha256Digest> for ContentDigest {
    fn from(digest: Sha256Digest) -> ContentDigest {
        ContentDigest::Sha256(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn git_blob_equals_git_hash_object() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "hello\n").unwrap();
        // `printf 'hello\n' | git hash-object --stdin`
        let expected = ContentDigest::git_blob("ce013625030ba8dba906f756967f9e9ca394464a").unwrap();
        let got = expected.of_same_kind(file.path(), 6, &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!(got, expected);
        assert_eq!(got.to_string(), "git blob ce013625030ba8dba906f756967f9e9ca394464a");
    }
}
