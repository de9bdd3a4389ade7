//! Keys: making them, reading and writing them as PEM, and the directory of trusted ones.
//!
//! Owns the ed25519 types behind newtypes. Must not know bundles. Where the directory is, is the caller's choice.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ed25519_dalek::pkcs8::{
    DecodePrivateKey, DecodePublicKey, EncodePrivateKey, EncodePublicKey, KeypairBytes,
};
use ed25519_dalek::{Signer, VerifyingKey};
use rand::TryRngCore as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::digest::{Sha256Digest, parse_hex};
use crate::error::{Error, IoContext, Result};
use crate::platform;

/// Longest key file that is read, in bytes.
const MAX_KEY_BYTES: u64 = 16 << 10;

/// Name of a public key: the first 16 bytes of its SHA-256, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; 16]);

/// An ed25519 public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// An ed25519 private key. Its bytes are erased on drop and never shown.
pub struct SigningKey(ed25519_dalek::SigningKey);

/// Public keys that may vouch for a bundle, by id, each with a name.
#[derive(Debug, Clone, Default)]
pub struct TrustStore {
    keys: BTreeMap<KeyId, (PublicKey, String)>,
}

impl SigningKey {
    /// A new key from the system's random numbers.
    ///
    /// # Errors
    /// [`Error::Key`] when the system has none to give.
    pub fn generate() -> Result<SigningKey> {
        let mut secret = [0u8; 32];
        rand::rngs::OsRng.try_fill_bytes(&mut secret).map_err(|error| Error::Key {
            path: "new key".into(),
            reason: format!("no random numbers: {error}"),
        })?;
        Ok(SigningKey(ed25519_dalek::SigningKey::from_bytes(&secret)))
    }

    /// Reads a PKCS #8 PEM file.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Key`] when it is no ed25519 private key.
    pub fn read(path: &Path) -> Result<SigningKey> {
        let pem = read_pem(path)?;
        ed25519_dalek::SigningKey::from_pkcs8_pem(&pem).map(SigningKey).map_err(|error| Error::Key {
            path: path.to_path_buf(),
            reason: format!("expected an ed25519 private key in PKCS #8 PEM: {error}"),
        })
    }

    /// Writes a PKCS #8 PEM file that only its owner may read. An existing file is not overwritten.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<()> {
        // Without the public key inside, which older tools refuse.
        let bytes = KeypairBytes { secret_key: self.0.to_bytes(), public_key: None };
        let pem = bytes.to_pkcs8_pem(LineEnding::LF).expect("32 bytes always fit the encoding");
        platform::write_private(path, pem.as_bytes()).at("write", path)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    pub(super) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public().id())
    }
}

impl PublicKey {
    /// Its id.
    pub fn id(&self) -> KeyId {
        let digest = Sha256Digest::of(self.0.as_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&digest.as_bytes()[..16]);
        KeyId(id)
    }

    /// Reads a SubjectPublicKeyInfo PEM file.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Key`] when it is no ed25519 public key.
    pub fn read(path: &Path) -> Result<PublicKey> {
        let pem = read_pem(path)?;
        PublicKey::from_pem(&pem).map_err(|reason| Error::Key { path: path.to_path_buf(), reason })
    }

    /// Parses a SubjectPublicKeyInfo PEM text.
    ///
    /// # Errors
    /// Why it is none.
    pub fn from_pem(pem: &str) -> std::result::Result<PublicKey, String> {
        let key = VerifyingKey::from_public_key_pem(pem)
            .map_err(|error| format!("expected an ed25519 public key in PEM: {error}"))?;
        if key.is_weak() {
            return Err("the public key is one of the weak ones, for which anyone can sign".to_owned());
        }
        Ok(PublicKey(key))
    }

    /// The SubjectPublicKeyInfo PEM text.
    pub fn to_pem(&self) -> String {
        self.0.to_public_key_pem(LineEnding::LF).expect("32 bytes always fit the encoding")
    }

    pub(super) fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
    }
}

impl TrustStore {
    /// A store without keys.
    pub fn new() -> TrustStore {
        TrustStore::default()
    }

    /// Reads every `*.pem` and `*.pub` of a directory; a key's name is its file name without the ending. A missing directory is
    /// an empty store.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Key`] when one of the files is no public key.
    pub fn read(directory: &Path) -> Result<TrustStore> {
        let mut store = TrustStore::new();
        let entries = match fs::read_dir(directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(store),
            Err(error) => return Err(Error::io("read directory", directory, error)),
        };
        for entry in entries {
            let path = entry.at("read directory", directory)?.path();
            if path.extension().is_some_and(|extension| extension == "pem" || extension == "pub") {
                let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
                store.add(PublicKey::read(&path)?, name);
            }
        }
        Ok(store)
    }

    /// Trusts `key` under `name`.
    pub fn add(&mut self, key: PublicKey, name: impl Into<String>) {
        self.keys.insert(key.id(), (key, name.into()));
    }

    /// Trusted keys with their names, by id.
    pub fn keys(&self) -> impl Iterator<Item = (KeyId, &str)> {
        self.keys.iter().map(|(id, (_, name))| (*id, name.as_str()))
    }

    pub(super) fn find(&self, id: KeyId) -> Option<(&PublicKey, &str)> {
        self.keys.get(&id).map(|(key, name)| (key, name.as_str()))
    }
}

fn read_pem(path: &Path) -> Result<String> {
    use std::io::Read as _;
    let mut pem = String::new();
    let file = fs::File::open(path).at("open", path)?;
    file.take(MAX_KEY_BYTES).read_to_string(&mut pem).at("read", path)?;
    Ok(pem)
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        formats::json::text(deserializer, |text| parse_hex(text).map(KeyId))
    }
}
