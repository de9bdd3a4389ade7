//! What a hub says about a repository at a revision: the commit and its files.
//!
//! Owns the form of the answer and of its copy in the cache. Must not touch the network or the filesystem.

use serde::{Deserialize, Serialize};

use crate::digest::Sha256Digest;
use crate::download::{ContentDigest, Probe};

/// Longest answer that is read, in bytes.
pub(super) const MAX_INDEX_BYTES: u64 = 32 << 20;

/// A repository at a commit. Unknown fields of the hub's answer are not kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Index {
    /// The commit.
    pub(super) sha: String,
    /// All files.
    #[serde(default)]
    pub(super) siblings: Vec<Sibling>,
    /// The model card's header.
    #[serde(default, rename = "cardData")]
    pub(super) card: Option<Card>,
}

/// A file of a repository.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Sibling {
    #[serde(rename = "rfilename")]
    pub(super) path: String,
    #[serde(default)]
    pub(super) size: Option<u64>,
    /// Git's id of the file, or of the pointer to it when `lfs` is there.
    #[serde(default, rename = "blobId")]
    pub(super) blob_id: Option<String>,
    #[serde(default)]
    pub(super) lfs: Option<Lfs>,
}

/// A file that git stores by pointer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Lfs {
    pub(super) sha256: Sha256Digest,
    pub(super) size: u64,
}

/// The model card's header.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Card {
    /// A name, or a list of names.
    #[serde(default)]
    pub(super) license: Option<serde_json::Value>,
}

impl Index {
    pub(super) fn parse(bytes: &[u8]) -> Result<Index, String> {
        let index: Index = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if !super::id::is_commit(&index.sha) {
            let sha: String = index.sha.chars().take(80).collect();
            return Err(format!("sha: expected a commit id, got `{sha}`"));
        }
        Ok(index)
    }

    /// The licence that the card states, when it is one name.
    pub(super) fn licence(&self) -> Option<&str> {
        match self.card.as_ref()?.license.as_ref()? {
            serde_json::Value::String(name) => Some(name),
            serde_json::Value::Array(names) if names.len() == 1 => names[0].as_str(),
            _ => None,
        }
    }
}

impl Sibling {
    /// Takes over what the server says about the file where the index says nothing.
    pub(super) fn complete(&mut self, probe: &Probe) {
        let size = self.bytes().or(probe.bytes);
        match (self.digest(), probe.digest) {
            (None, Some(ContentDigest::Sha256(sha256))) => self.lfs = size.map(|size| Lfs { sha256, size }),
            (None, Some(ContentDigest::GitBlob(id))) => {
                self.blob_id = Some(id.iter().map(|byte| format!("{byte:02x}")).collect());
            }
            _ => {}
        }
        self.size = size;
    }

    /// Length in bytes, if the hub says.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.lfs.as_ref().map(|lfs| lfs.size).or(self.size)
    }

    /// Digest of the content, if the hub gives a usable one.
    pub(super) fn digest(&self) -> Option<ContentDigest> {
        match (&self.lfs, &self.blob_id) {
            (Some(lfs), _) => Some(ContentDigest::Sha256(lfs.sha256)),
            (None, Some(id)) => ContentDigest::git_blob(id).ok(),
            (None, None) => None,
        }
    }
}
