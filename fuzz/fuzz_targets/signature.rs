//! Any bytes as what a bundle's signature depends on, public keys and the signature file: an error, or a key that is
//! written and read again the same; a forged signature is never trusted. Knows the public API alone.
#![no_main]

use bundle::{PublicKey, SigningKey, TrustStore, signature};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

/// The key that is trusted: nobody signs with it.
static TRUST: LazyLock<TrustStore> = LazyLock::new(|| {
    let mut trust = TrustStore::new();
    trust.add(SigningKey::generate().expect("the system has random numbers").public(), "publisher");
    trust
});

fuzz_target!(|bytes: &[u8]| {
    // The id of the trusted key, and the digest of the manifest, stand where an input asks for them.
    let text = String::from_utf8_lossy(bytes);
    let id = TRUST.keys().next().expect("one key is trusted").0.to_string();
    let digest = bundle::Sha256Digest::of(b"manifest").to_string();
    let file = text.replace("$KEY", &id).replace("$MANIFEST", &digest);
    assert!(!signature::check(b"manifest", Some(file.as_bytes()), &TRUST).is_trusted());
    if let Ok(key) = PublicKey::from_pem(&text) {
        let again = PublicKey::from_pem(&key.to_pem()).expect("what was written can be read");
        assert_eq!(again.id(), key.id());
    }
});
