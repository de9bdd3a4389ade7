//! Signatures of a bundle: ed25519 over the bytes of `manifest.json`, kept beside it in `manifest.sig`.
//!
//! Owns signing, verification and the policy. Must not judge files: the manifest's digests bind them.
//!
//! The signed message is the manifest file byte for byte, so that outside tools can check it:
//! `openssl pkeyutl -verify -rawin -pubin -inkey KEY.pem -in manifest.json -sigfile SIGNATURE`.

mod keys;

use std::fs;
use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

pub use keys::{KeyId, PublicKey, SigningKey, TrustStore};

use crate::atomic::AtomicFile;
use crate::bundle::Bundle;
use crate::digest::Sha256Digest;
use crate::error::{Error, Result};

/// File name of the signatures in the root of a bundle.
pub const SIGNATURE_FILE: &str = "manifest.sig";
/// Longest signature file that is read, in bytes.
pub const MAX_SIGNATURE_BYTES: u64 = 64 << 10;

/// The content of `manifest.sig`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignatureFile {
    /// Version of this format: 1.
    pub schema_version: u32,
    /// SHA-256 of the manifest that was signed: tells a signature of another version from a forged one.
    pub manifest_sha256: Sha256Digest,
    /// One per key.
    pub signatures: Vec<Signature>,
}

/// One signature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signature {
    /// `ed25519`.
    pub algorithm: String,
    /// The key that made it.
    pub key_id: KeyId,
    /// 64 bytes in base64.
    pub signature: String,
}

/// What happens to a bundle without a valid signature by a trusted key.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SignaturePolicy {
    /// It is used; the status says what was found.
    #[default]
    Report,
    /// It is refused.
    Require,
}

/// What was found about a manifest's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignatureStatus {
    /// Signed by a trusted key.
    Trusted {
        /// The key.
        key_id: KeyId,
        /// Its name in the trust store.
        name: String,
    },
    /// There is no signature file.
    Unsigned,
    /// Signed, by no trusted key.
    UnknownKey {
        /// The keys that signed.
        key_ids: Vec<KeyId>,
    },
    /// The signature was made for another manifest: the manifest changed afterwards.
    OtherManifest {
        /// Digest of the manifest that was signed.
        signed: Sha256Digest,
        /// Digest of the manifest here.
        got: Sha256Digest,
    },
    /// A trusted key is named, and its signature does not match.
    Invalid {
        /// The key.
        key_id: KeyId,
    },
    /// The signature file cannot be read as one.
    Malformed {
        /// Why.
        reason: String,
    },
}

impl SignatureStatus {
    /// Whether a trusted key vouches for the manifest.
    pub fn is_trusted(&self) -> bool {
        matches!(self, SignatureStatus::Trusted { .. })
    }
}

impl std::fmt::Display for SignatureStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SignatureStatus::Trusted { key_id, name } => write!(f, "signed by trusted key {key_id} ({name})"),
            SignatureStatus::Unsigned => write!(f, "not signed"),
            SignatureStatus::UnknownKey { key_ids } => {
                let ids: Vec<String> = key_ids.iter().map(KeyId::to_string).collect();
                write!(f, "signed by no trusted key, only by {}", ids.join(", "))
            }
            SignatureStatus::OtherManifest { signed, got } => {
                write!(f, "signature is for another manifest: expected sha256 {signed}, got {got}")
            }
            SignatureStatus::Invalid { key_id } => write!(f, "signature of key {key_id} does not match"),
            SignatureStatus::Malformed { reason } => write!(f, "{SIGNATURE_FILE} is not valid: {reason}"),
        }
    }
}

impl Bundle {
    /// Signs the manifest as it is on disk. Signatures of the same manifest by other keys are kept.
    ///
    /// # Errors
    /// [`Error::Io`] when `manifest.sig` cannot be written.
    pub fn sign(&self, key: &SigningKey) -> Result<()> {
        let target = self.root().join(SIGNATURE_FILE);
        let manifest_sha256 = Sha256Digest::of(self.manifest_bytes());
        let known = read(self.root())?.and_then(|bytes| serde_json::from_slice::<SignatureFile>(&bytes).ok());
        let mut signatures = match known {
            Some(known) if known.manifest_sha256 == manifest_sha256 => known.signatures,
            _ => Vec::new(),
        };
        let key_id = key.public().id();
        signatures.retain(|signature| signature.key_id != key_id);
        let signature = BASE64.encode(key.sign(self.manifest_bytes()));
        signatures.push(Signature { algorithm: "ed25519".to_owned(), key_id, signature });
        let file = SignatureFile { schema_version: 1, manifest_sha256, signatures };
        let mut bytes = serde_json::to_vec_pretty(&file).expect("plain strings are JSON");
        bytes.push(b'\n');
        AtomicFile::write_all_to(&target, &bytes)
    }

    /// Checks the signature of the manifest as it was opened.
    ///
    /// # Errors
    /// [`Error::Signature`] when `policy` requires a trusted signature and there is none; [`Error::Io`].
    pub fn verify_signature(&self, trust: &TrustStore, policy: SignaturePolicy) -> Result<SignatureStatus> {
        let status = check(self.manifest_bytes(), read(self.root())?.as_deref(), trust);
        enforce(status, policy, &self.manifest_path())
    }
}

/// Judges `signature`, the content of a signature file, against the bytes of a manifest.
pub fn check(manifest: &[u8], signature: Option<&[u8]>, trust: &TrustStore) -> SignatureStatus {
    let Some(bytes) = signature else { return SignatureStatus::Unsigned };
    let malformed = |reason: String| SignatureStatus::Malformed { reason };
    if bytes.len() as u64 > MAX_SIGNATURE_BYTES {
        return malformed(format!("more than {MAX_SIGNATURE_BYTES} bytes"));
    }
    let file: SignatureFile = match serde_json::from_slice(bytes) {
        Ok(file) => file,
        Err(error) => return malformed(error.to_string()),
    };
    if file.schema_version != 1 {
        return malformed(format!("expected schema version 1, got {}", file.schema_version));
    }
    let got = Sha256Digest::of(manifest);
    if file.manifest_sha256 != got {
        return SignatureStatus::OtherManifest { signed: file.manifest_sha256, got };
    }
    let mut invalid = None;
    for signature in file.signatures.iter().filter(|signature| signature.algorithm == "ed25519") {
        let Some((key, name)) = trust.find(signature.key_id) else { continue };
        let matches = BASE64
            .decode(&signature.signature)
            .ok()
            .and_then(|bytes| <[u8; 64]>::try_from(bytes).ok())
            .is_some_and(|bytes| key.verify(manifest, &bytes));
        if matches {
            return SignatureStatus::Trusted { key_id: signature.key_id, name: name.to_owned() };
        }
        invalid = invalid.or(Some(signature.key_id));
    }
    match invalid {
        Some(key_id) => SignatureStatus::Invalid { key_id },
        None => SignatureStatus::UnknownKey { key_ids: file.signatures.iter().map(|s| s.key_id).collect() },
    }
}

/// Turns a status that `policy` does not accept into an error about `manifest`.
pub(crate) fn enforce(
    status: SignatureStatus,
    policy: SignaturePolicy,
    manifest: &Path,
) -> Result<SignatureStatus> {
    match policy {
        SignaturePolicy::Require if !status.is_trusted() => {
            Err(Error::Signature { path: manifest.to_path_buf(), status })
        }
        SignaturePolicy::Require | SignaturePolicy::Report => Ok(status),
    }
}

/// The content of the signature file in `root`, if there is one.
fn read(root: &Path) -> Result<Option<Vec<u8>>> {
    use std::io::Read as _;
    let path = root.join(SIGNATURE_FILE);
    let mut bytes = Vec::new();
    let read =
        fs::File::open(&path).and_then(|file| file.take(MAX_SIGNATURE_BYTES + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", &path, error)),
    }
}

#[cfg(test)]
mod tests;
