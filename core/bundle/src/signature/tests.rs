//! Signing, tampering, wrong keys, policy.
//!
//! Owns the scenarios. Must not need anything outside a temporary directory.

use super::*;
use crate::manifest::{Manifest, ModelCard};

struct Fixture {
    directory: tempfile::TempDir,
    key: SigningKey,
    trust: TrustStore,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let manifest = Manifest::new(ModelCard { id: "org/name".to_owned(), ..ModelCard::default() });
    fs::write(directory.path().join("manifest.json"), manifest.to_bytes()).unwrap();
    let key = SigningKey::generate().unwrap();
    let mut trust = TrustStore::new();
    trust.add(key.public(), "publisher");
    Fixture { directory, key, trust }
}

impl Fixture {
    fn open(&self) -> Bundle {
        Bundle::open(self.directory.path()).unwrap()
    }

    fn status(&self) -> SignatureStatus {
        let bundle = self.open();
        let status = bundle.verify_signature(&self.trust, SignaturePolicy::Report).unwrap();
        let required = bundle.verify_signature(&self.trust, SignaturePolicy::Require);
        assert_eq!(required.is_ok(), status.is_trusted());
        if let Err(error) = required {
            let message = error.to_string();
            assert!(message.contains("manifest.json") && message.contains(&status.to_string()), "{message}");
        }
        status
    }

    /// Changes the signature file as JSON.
    fn edit(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let path = self.directory.path().join(SIGNATURE_FILE);
        let mut json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut json);
        fs::write(path, json.to_string()).unwrap();
    }
}

#[test]
fn a_signature_by_a_trusted_key_is_accepted() {
    let fixture = fixture();
    assert_eq!(fixture.status(), SignatureStatus::Unsigned);
    fixture.open().sign(&fixture.key).unwrap();
    let key_id = fixture.key.public().id();
    assert_eq!(fixture.status(), SignatureStatus::Trusted { key_id, name: "publisher".to_owned() });
}

#[test]
fn an_untrusted_key_is_reported_and_a_second_signature_helps() {
    let fixture = fixture();
    let stranger = SigningKey::generate().unwrap();
    fixture.open().sign(&stranger).unwrap();
    assert_eq!(fixture.status(), SignatureStatus::UnknownKey { key_ids: vec![stranger.public().id()] });
    fixture.open().sign(&fixture.key).unwrap();
    fixture.open().sign(&fixture.key).unwrap();
    assert!(fixture.status().is_trusted());
    fixture.edit(|json| assert_eq!(json["signatures"].as_array().unwrap().len(), 2));
}

#[test]
fn a_tampered_manifest_is_noticed() {
    let fixture = fixture();
    fixture.open().sign(&fixture.key).unwrap();
    let path = fixture.directory.path().join("manifest.json");
    let tampered = fs::read_to_string(&path).unwrap().replace("org/name", "org/evil");
    fs::write(&path, &tampered).unwrap();
    assert!(matches!(fixture.status(), SignatureStatus::OtherManifest { .. }));
    // With the digest adapted as well, the signature itself fails.
    fixture.edit(|json| json["manifest_sha256"] = Sha256Digest::of(tampered.as_bytes()).to_string().into());
    assert_eq!(fixture.status(), SignatureStatus::Invalid { key_id: fixture.key.public().id() });
}

#[test]
fn a_signature_under_a_foreign_key_id_is_invalid() {
    let fixture = fixture();
    fixture.open().sign(&SigningKey::generate().unwrap()).unwrap();
    let trusted = fixture.key.public().id();
    fixture.edit(|json| json["signatures"][0]["key_id"] = trusted.to_string().into());
    assert_eq!(fixture.status(), SignatureStatus::Invalid { key_id: trusted });
}

#[test]
fn malformed_signature_files_are_no_signatures() {
    let fixture = fixture();
    fixture.open().sign(&fixture.key).unwrap();
    let path = fixture.directory.path().join(SIGNATURE_FILE);
    let good = fs::read_to_string(&path).unwrap();
    for (bad, malformed) in [
        (String::new(), true),
        ("{}".to_owned(), true),
        ("x".repeat(MAX_SIGNATURE_BYTES as usize + 1), true),
        (good.replace("\"schema_version\": 1", "\"schema_version\": 2"), true),
        (good.replace("ed25519", "none"), false),
        (good.replace("\"signature\": \"", "\"signature\": \"!"), false),
    ] {
        fs::write(&path, &bad).unwrap();
        let status = fixture.status();
        assert!(!status.is_trusted());
        assert_eq!(matches!(status, SignatureStatus::Malformed { .. }), malformed, "{status}");
    }
}

#[test]
fn keys_survive_pem_files() {
    let directory = tempfile::tempdir().unwrap();
    let key = SigningKey::generate().unwrap();
    let private = directory.path().join("private.key");
    key.write(&private).unwrap();
    assert!(key.write(&private).is_err(), "an existing key is not overwritten");
    assert_eq!(SigningKey::read(&private).unwrap().public(), key.public());
    let trusted = directory.path().join("trusted");
    assert_eq!(TrustStore::read(&trusted).unwrap().keys().count(), 0);
    fs::create_dir(&trusted).unwrap();
    fs::write(trusted.join("alice.pem"), key.public().to_pem()).unwrap();
    fs::write(trusted.join("notes.txt"), "no key").unwrap();
    let store = TrustStore::read(&trusted).unwrap();
    assert_eq!(store.keys().collect::<Vec<_>>(), [(key.public().id(), "alice")]);
    fs::write(trusted.join("bad.pem"), "no key").unwrap();
    let message = TrustStore::read(&trusted).unwrap_err().to_string();
    assert!(message.contains("bad.pem"), "{message}");
    assert!(SigningKey::read(&trusted.join("alice.pem")).is_err());
}
