//! Pulling bundles: variants, signatures, updates, interruption, storage cap.
//!
//! Owns the scenarios. Traffic stays on the loopback interface.

#![allow(clippy::unwrap_used)] // A panic is how a test fails.

mod server;

use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use llama_pajamas_bundle::download::{Downloader, Options, Problem};
use llama_pajamas_bundle::http_transport::{HttpOptions, HttpTransport};
use llama_pajamas_bundle::pull::{PullRequest, Pulled, pull};
use llama_pajamas_bundle::{
    Bundle, BundleWriter, Error, ModelCard, Presence, SignaturePolicy, SignatureStatus, SigningKey,
    TrustStore, Variant,
};
use server::{Fault, Server};

/// A publisher's bundle, served, and a directory for bundles that are pulled.
struct Fixture {
    server: Server,
    origin: tempfile::TempDir,
    store: tempfile::TempDir,
    key: SigningKey,
    trust: TrustStore,
}

impl Fixture {
    fn new() -> Fixture {
        let key = SigningKey::generate().unwrap();
        let mut trust = TrustStore::new();
        trust.add(key.public(), "publisher");
        let (origin, store) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let fixture = Fixture { server: Server::start(), origin, store, key, trust };
        fixture.publish("gguf/Q8_0", &[8; 3000], &[]);
        fixture.publish("gguf/Q4_K_M", &[4; 2000], &[]);
        fixture.serve();
        fixture
    }

    fn publish(&self, id: &str, content: &[u8], needs: &[&str]) {
        let card = ModelCard { id: "org/name".to_owned(), ..ModelCard::default() };
        let mut writer = BundleWriter::create_or_open(self.origin.path(), card).unwrap();
        let mut file = writer.file(format!("{id}/model.gguf")).unwrap();
        file.write_all(content).unwrap();
        let files = vec![file.finish().unwrap()];
        let mut variant =
            Variant { id: id.to_owned(), precision: "x".to_owned(), files, ..Variant::default() };
        variant.needs.variants = needs.iter().map(|id| id.to_string()).collect();
        writer.put_variant(variant);
        writer.publish().unwrap();
    }

    /// Puts the publisher's bundle, signed, on the server.
    fn serve(&self) {
        let bundle = Bundle::open(self.origin.path()).unwrap();
        bundle.sign(&self.key).unwrap();
        self.serve_file("manifest.json");
        self.serve_file("manifest.sig");
        for file in bundle.variants().iter().flat_map(|variant| &variant.files) {
            self.serve_file(&file.path);
        }
    }

    fn serve_file(&self, path: &str) {
        self.server.put(&format!("/b/{path}"), fs::read(self.origin.path().join(path)).unwrap());
    }

    fn destination(&self) -> PathBuf {
        self.store.path().join("bundle")
    }

    fn pull(&self, variants: &[&str]) -> Result<Pulled, Error> {
        self.pull_to(&self.destination(), variants, SignaturePolicy::Require, None)
    }

    fn pull_to(
        &self,
        destination: &Path,
        variants: &[&str],
        policy: SignaturePolicy,
        cap_bytes: Option<u64>,
    ) -> Result<Pulled, Error> {
        let times = Options {
            max_failures: 2,
            part_bytes: 1000,
            max_connections: 1,
            backoff_base: Duration::from_millis(1),
            ..Options::default()
        };
        let http = HttpTransport::new(&HttpOptions::default()).unwrap();
        let variants: Vec<String> = variants.iter().map(|id| id.to_string()).collect();
        let request = PullRequest {
            manifest_url: &self.server.url("/b/manifest.json"),
            headers: &[],
            destination,
            variants: &variants,
            trust: &self.trust,
            policy,
            cap_bytes,
        };
        pull(&Downloader::new(Arc::new(http), times), &request, &mut |_| ControlFlow::Continue(()))
    }

    fn assert_intact(&self, present: &[&str]) {
        let bundle = Bundle::open(&self.destination()).unwrap();
        let report = bundle.verify(&mut |_| ControlFlow::Continue(())).unwrap();
        assert!(report.is_intact(), "{report:?}");
        for variant in bundle.variants() {
            let is_complete = matches!(bundle.presence(variant), Presence::Complete);
            assert_eq!(is_complete, present.contains(&variant.id.as_str()), "{}", variant.id);
        }
    }
}

#[test]
fn only_the_wanted_variant_comes_and_another_can_follow() {
    let fixture = Fixture::new();
    let pulled = fixture.pull(&["gguf/Q4_K_M"]).unwrap();
    assert!(pulled.signature.is_trusted());
    assert_eq!(pulled.fetched_bytes, 2000);
    fixture.assert_intact(&["gguf/Q4_K_M"]);
    let manifest = |root: &Path| fs::read(root.join("manifest.json")).unwrap();
    assert_eq!(manifest(&fixture.destination()), manifest(fixture.origin.path()), "byte for byte, as signed");
    assert!(!fixture.destination().join(".partial").exists());

    assert_eq!(fixture.pull(&["gguf/Q8_0"]).unwrap().fetched_bytes, 3000);
    fixture.assert_intact(&["gguf/Q4_K_M", "gguf/Q8_0"]);
    assert_eq!(fixture.pull(&["gguf/Q8_0", "gguf/Q4_K_M"]).unwrap().fetched_bytes, 0);
    let message = fixture.pull(&["gguf/Q2_K"]).unwrap_err().to_string();
    assert!(message.contains("no variant `gguf/Q2_K`; there are: gguf/Q8_0, gguf/Q4_K_M"), "{message}");
}

#[test]
fn a_variant_brings_what_it_needs() {
    let fixture = Fixture::new();
    fixture.publish("gguf/mmproj", &[1; 10], &[]);
    fixture.publish("gguf/vision", &[2; 10], &["gguf/mmproj"]);
    fixture.serve();
    fixture.pull(&["gguf/vision"]).unwrap();
    fixture.assert_intact(&["gguf/mmproj", "gguf/vision"]);
}

#[test]
fn a_wrong_signature_is_never_published() {
    let strangers_key = SigningKey::generate().unwrap();
    type Change<'a> = &'a dyn Fn(&Fixture);
    let changes: [(&str, Change<'_>); 4] = [
        ("not signed", &|f| f.server.remove("/b/manifest.sig")),
        ("signature is for another manifest", &|f| {
            let text = fs::read_to_string(f.origin.path().join("manifest.json")).unwrap();
            f.server.put("/b/manifest.json", text.replace("\"x\"", "\"y\""));
        }),
        ("signed by no trusted key", &|f| {
            fs::remove_file(f.origin.path().join("manifest.sig")).unwrap();
            Bundle::open(f.origin.path()).unwrap().sign(&strangers_key).unwrap();
            f.serve_file("manifest.sig");
        }),
        ("is not valid", &|f| f.server.put("/b/manifest.sig", "{")),
    ];
    for (words, change) in changes {
        let fixture = Fixture::new();
        change(&fixture);
        let error = fixture.pull(&["gguf/Q4_K_M"]).unwrap_err();
        assert!(matches!(error, Error::Signature { .. }) && error.to_string().contains(words), "{error}");
        assert_eq!(fs::read_dir(fixture.store.path()).unwrap().count(), 0, "nothing is left");
        assert!(
            fixture.server.seen().iter().all(|seen| !seen.path.ends_with(".gguf")),
            "no file was asked for"
        );
        // Under the lenient policy it is reported.
        let pulled =
            fixture.pull_to(&fixture.destination(), &["gguf/Q4_K_M"], SignaturePolicy::Report, None).unwrap();
        assert!(!pulled.signature.is_trusted() && pulled.signature.to_string().contains(words));
    }
}

#[test]
fn a_wrong_digest_is_never_published() {
    let fixture = Fixture::new();
    fixture.pull(&["gguf/Q8_0"]).unwrap();
    fixture.server.misbehave(|seen| match seen.path.contains("Q4_K_M") {
        true => Fault::Corrupt(1500),
        false => Fault::None,
    });
    let error = fixture.pull(&["gguf/Q4_K_M"]).unwrap_err();
    assert!(matches!(error, Error::Download { problem: Problem::WrongDigest { .. }, .. }), "{error}");
    fixture.assert_intact(&["gguf/Q8_0"]);
    let names: Vec<_> = fs::read_dir(fixture.destination())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(!names.iter().any(|name| name == ".partial" || name == ".staging"), "{names:?}");
}

#[test]
fn an_interrupted_pull_continues() {
    let fixture = Fixture::new();
    fixture.server.misbehave(|seen| match seen.range {
        Some((1000.., _)) => Fault::Status(500, None),
        _ => Fault::None,
    });
    assert!(fixture.pull(&["gguf/Q8_0"]).is_err());
    assert!(!Bundle::is_bundle(&fixture.destination()), "not published half-way");
    fixture.server.misbehave(|_| Fault::None);
    let before = fixture.server.sent_bytes();
    fixture.pull(&["gguf/Q8_0"]).unwrap();
    let documents = ["manifest.json", "manifest.sig"]
        .map(|name| fs::metadata(fixture.origin.path().join(name)).unwrap().len());
    assert_eq!(fixture.server.sent_bytes() - before, 2000 + documents.iter().sum::<u64>());
    fixture.assert_intact(&["gguf/Q8_0"]);
}

#[test]
fn an_update_replaces_files_and_keeps_the_others() {
    let fixture = Fixture::new();
    fixture.pull(&["gguf/Q8_0", "gguf/Q4_K_M"]).unwrap();
    fixture.publish("gguf/Q4_K_M", &[5; 2000], &[]);
    fixture.serve();
    let pulled = fixture.pull(&["gguf/Q4_K_M"]).unwrap();
    assert_eq!((pulled.fetched_bytes, pulled.signature.is_trusted()), (2000, true));
    fixture.assert_intact(&["gguf/Q8_0", "gguf/Q4_K_M"]);
    let bundle = pulled.bundle;
    assert_eq!(fs::read(&bundle.files("gguf/Q4_K_M").unwrap()[0]).unwrap(), [5; 2000]);
    assert!(!fixture.destination().join("gguf/Q4_K_M/model.gguf").exists(), "the old file is gone");
    assert!(bundle.verify_signature(&fixture.trust, SignaturePolicy::Require).is_ok());
}

#[test]
fn another_content_under_the_same_path_is_replaced_without_a_false_manifest() {
    let fixture = Fixture::new();
    fixture.pull(&["gguf/Q8_0", "gguf/Q4_K_M"]).unwrap();
    // A publisher who starts over: the same paths with other contents.
    fs::remove_dir_all(fixture.origin.path()).unwrap();
    fixture.publish("gguf/Q8_0", &[9; 3000], &[]);
    fixture.publish("gguf/Q4_K_M", &[6; 2000], &[]);
    fixture.serve();
    let pulled = fixture.pull(&["gguf/Q4_K_M"]).unwrap();
    fixture.assert_intact(&["gguf/Q4_K_M"]);
    assert_eq!(fs::read(&pulled.bundle.files("gguf/Q4_K_M").unwrap()[0]).unwrap(), [6; 2000]);
}

#[test]
fn the_cap_evicts_other_bundles_and_never_one_in_use() {
    let fixture = Fixture::new();
    let to = |name: &str, cap| {
        let destination = fixture.store.path().join(name);
        fixture.pull_to(&destination, &["gguf/Q4_K_M"], SignaturePolicy::Require, cap)
    };
    let first = to("first", None).unwrap().bundle;
    let second = to("second", None).unwrap().bundle;
    let held = first.hold().unwrap();
    let pulled = to("third", Some(8000)).unwrap();
    assert_eq!(pulled.evicted, [second.root()]);
    assert!(Bundle::is_bundle(first.root()) && !second.root().exists());
    let error = to("fourth", Some(3000)).unwrap_err();
    assert!(matches!(error, Error::StorageCap { .. }), "{error}");
    assert!(!fixture.store.path().join("fourth").exists(), "nothing is left");
    drop(held);
}

#[test]
fn bad_manifests_are_refused_with_their_address() {
    let fixture = Fixture::new();
    fixture.server.put("/b/manifest.json", "{\"schema_version\": 9}");
    let pull = || {
        fixture.pull_to(&fixture.destination(), &[], SignaturePolicy::Report, None).unwrap_err().to_string()
    };
    let message = pull();
    assert!(message.contains("/b/manifest.json: schema_version: schema version 9"), "{message}");
    fixture.server.remove("/b/manifest.json");
    assert!(pull().contains("404"));
    assert_eq!(fs::read_dir(fixture.store.path()).unwrap().count(), 0);
}

#[test]
fn addresses_of_files_are_followed_and_secrets_stay() {
    let (fixture, elsewhere) = (Fixture::new(), Server::start());
    let text = fs::read_to_string(fixture.origin.path().join("manifest.json")).unwrap();
    elsewhere.put("/stored", [4; 2000]);
    let url = format!("\"url\": \"{}\", \"sha256\"", elsewhere.url("/stored"));
    fixture.server.put("/b/manifest.json", text.replace("\"sha256\"", &url));
    let http = HttpTransport::new(&HttpOptions::default()).unwrap();
    let request = PullRequest {
        manifest_url: &fixture.server.url("/b/manifest.json"),
        headers: &[("Authorization".to_owned(), "Bearer secret".to_owned())],
        destination: &fixture.destination(),
        variants: &["gguf/Q4_K_M".to_owned()],
        trust: &fixture.trust,
        policy: SignaturePolicy::Report,
        cap_bytes: None,
    };
    let downloader = Downloader::new(Arc::new(http), Options::default());
    let pulled = pull(&downloader, &request, &mut |_| ControlFlow::Continue(())).unwrap();
    assert!(matches!(pulled.signature, SignatureStatus::OtherManifest { .. }));
    assert!(fixture.server.seen().iter().all(|seen| seen.headers["authorization"] == "Bearer secret"));
    assert!(elsewhere.seen().iter().all(|seen| !seen.headers.contains_key("authorization")));
    assert_eq!(elsewhere.seen().len(), 1);
}
