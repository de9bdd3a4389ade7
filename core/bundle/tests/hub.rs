//! A hub on the loopback interface: selection, cache, offline answers, eviction, token.
//!
//! Owns the scenarios. Traffic stays on the loopback interface.

#![allow(clippy::unwrap_used)] // A panic is how a test fails.

mod server;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use llama_pajamas_bundle::download::{Downloader, Options, Problem};
use llama_pajamas_bundle::http_transport::{HttpOptions, HttpTransport};
use llama_pajamas_bundle::hub::{Hub, HubOptions, Snapshot};
use llama_pajamas_bundle::{Error, Sha256Digest};
use serde_json::{Value, json};
use server::{Fault, Server};

const FIRST: &str = "1111111111111111111111111111111111111111";
const SECOND: &str = "2222222222222222222222222222222222222222";
/// `git hash-object` of `{}`.
const EMPTY_OBJECT_BLOB: &str = "9e26dfeeb6e641a33dae4961196235bdb965b21b";

fn lfs(path: &str, content: &[u8]) -> Value {
    let lfs = json!({ "sha256": Sha256Digest::of(content), "size": content.len(), "pointerSize": 134 });
    json!({ "rfilename": path, "size": content.len(), "blobId": "0".repeat(40), "lfs": lfs })
}

struct Fixture {
    server: Server,
    cache: tempfile::TempDir,
}

impl Fixture {
    /// `org/name` at `main` is a checkpoint of a configuration and weights.
    fn new() -> Fixture {
        let fixture = Fixture { server: Server::start(), cache: tempfile::tempdir().unwrap() };
        fixture.publish("org/name", "main", FIRST, &[7; 1000]);
        fixture
    }

    fn publish(&self, repository: &str, revision: &str, commit: &str, weights: &[u8]) {
        let index = json!({
            "id": repository, "sha": commit, "private": false, "gated": false,
            "cardData": { "license": "apache-2.0", "tags": ["x"] },
            "siblings": [
                { "rfilename": ".gitattributes", "size": 1, "blobId": "0".repeat(40) },
                { "rfilename": "config.json", "size": 2, "blobId": EMPTY_OBJECT_BLOB },
                lfs("model.safetensors", weights),
                lfs("onnx/model.onnx", b"other"),
                lfs("pytorch_model.bin", b"pickle"),
            ]
        });
        self.answer(repository, revision, &index);
        self.answer(repository, commit, &index);
        self.server.put(&format!("/{repository}/resolve/{commit}/config.json"), "{}");
        self.server.put(&format!("/{repository}/resolve/{commit}/model.safetensors"), weights);
    }

    fn answer(&self, repository: &str, revision: &str, index: &Value) {
        let path = format!("/api/models/{repository}/revision/{revision}?blobs=true");
        self.server.put(&path, index.to_string());
    }

    fn options(&self) -> HubOptions {
        HubOptions { endpoint: self.server.url(""), ..HubOptions::new(self.cache.path()) }
    }

    fn get(&self, id: &str) -> Result<Snapshot, Error> {
        self.get_with(self.options(), id)
    }

    fn get_with(&self, options: HubOptions, id: &str) -> Result<Snapshot, Error> {
        let http = HttpTransport::new(&HttpOptions::default()).unwrap();
        let times = Options {
            max_failures: 2,
            backoff_base: Duration::from_millis(1),
            stall_timeout: Duration::from_secs(30),
            ..Options::default()
        };
        let downloader = Downloader::new(Arc::new(http), times);
        Hub::new(options, Some(downloader)).get(&id.parse()?, &mut |_| ControlFlow::Continue(()))
    }

    fn offline(&self, id: &str) -> Result<Snapshot, Error> {
        self.get_with(HubOptions { is_offline: true, ..self.options() }, id)
    }
}

fn names(snapshot: &Snapshot) -> Vec<&str> {
    snapshot.files.iter().map(|file| file.as_str()).collect()
}

#[test]
fn an_id_becomes_a_directory_of_verified_files() {
    let fixture = Fixture::new();
    let snapshot = fixture.get("org/name").unwrap();
    assert_eq!(names(&snapshot), ["config.json", "model.safetensors"]);
    assert_eq!((snapshot.commit.as_str(), snapshot.licence.as_deref()), (FIRST, Some("apache-2.0")));
    assert_eq!(fs::read(snapshot.directory.join("model.safetensors")).unwrap(), [7; 1000]);
    assert_eq!(fs::read(snapshot.directory.join("config.json")).unwrap(), b"{}");
    assert!(snapshot.directory.ends_with(format!("org/name/snapshots/{FIRST}")));
    assert_eq!(fixture.server.seen().len(), 3);
    // A second time only the index is asked for; a commit needs no network at all.
    fixture.get("org/name").unwrap();
    assert_eq!(fixture.server.seen().len(), 4);
    fixture.get(&format!("org/name@{FIRST}")).unwrap();
    assert_eq!(fixture.server.seen().len(), 4);
}

#[test]
fn offline_the_cache_answers_or_says_what_is_missing() {
    let fixture = Fixture::new();
    let refused = |id: &str| {
        let error = fixture.offline(id).unwrap_err();
        assert!(matches!(error, Error::Offline { .. }), "{error}");
        error.to_string()
    };
    assert!(refused("org/name").contains("revision `main` was never fetched"));
    assert!(refused(&format!("org/name@{FIRST}")).contains("was not completely fetched"));
    assert!(fixture.server.seen().is_empty());
    let directory = fixture.get("org/name").unwrap().directory;
    let n_seen = fixture.server.seen().len();
    assert_eq!(fixture.offline("org/name").unwrap().directory, directory);
    assert_eq!(fixture.offline(&format!("org/name@{FIRST}")).unwrap().directory, directory);
    fs::remove_file(directory.join("model.safetensors")).unwrap();
    assert!(refused("org/name").contains("file `model.safetensors` is not in the cache"));
    assert_eq!(fixture.server.seen().len(), n_seen);
}

#[test]
fn a_new_commit_shares_what_did_not_change() {
    let fixture = Fixture::new();
    let first = fixture.get("org/name").unwrap();
    fixture.publish("org/name", "main", SECOND, &[7; 1000]);
    let n_seen = fixture.server.seen().len();
    let second = fixture.get("org/name").unwrap();
    assert_eq!(fixture.server.seen().len(), n_seen + 1, "only the index");
    assert_ne!(first.directory, second.directory);
    assert_eq!(fs::read(second.directory.join("model.safetensors")).unwrap(), [7; 1000]);
    assert!(first.directory.join("config.json").exists());
}

#[test]
fn the_cap_evicts_what_was_used_least_and_is_not_in_use() {
    let fixture = Fixture::new();
    fixture.publish("org/second", "main", SECOND, &[2; 1000]);
    fixture.publish("org/third", "main", SECOND, &[3; 1000]);
    let capped = || HubOptions { cap_bytes: Some(4000), ..fixture.options() };
    let first = fixture.get_with(capped(), "org/name").unwrap();
    let second = fixture.get_with(capped(), "org/second").unwrap().directory;
    let third = fixture.get_with(capped(), "org/third").unwrap().directory;
    // The first is the oldest and held; the second had to go.
    assert!(first.directory.exists() && !second.exists() && third.exists());
    assert!(fixture.offline("org/second").is_err());
    let tiny = HubOptions { cap_bytes: Some(100), ..fixture.options() };
    let error = fixture.get_with(tiny, "org/second").unwrap_err();
    assert!(matches!(error, Error::StorageCap { cap_bytes: 100, .. }), "{error}");
    assert!(third.exists());
}

#[test]
fn the_token_goes_to_the_endpoint_alone() {
    let (fixture, storage) = (Fixture::new(), Server::start());
    storage.put("/stored?signature=x", [7; 1000]);
    let path = format!("/org/name/resolve/{FIRST}/model.safetensors");
    fixture.server.redirect(&path, &storage.url("/stored?signature=x"));
    let options = HubOptions { token: Some("secret".to_owned()), ..fixture.options() };
    fixture.get_with(options, "org/name").unwrap();
    let seen = fixture.server.seen();
    assert!(seen.len() == 3 && seen.iter().all(|seen| seen.headers["authorization"] == "Bearer secret"));
    assert!(storage.seen().len() == 1 && !storage.seen()[0].headers.contains_key("authorization"));
}

#[test]
fn what_the_index_lacks_is_asked_for() {
    let fixture = Fixture::new();
    let index = json!({ "sha": FIRST, "siblings": [
        { "rfilename": "config.json" }, { "rfilename": "model.safetensors" }, { "rfilename": "image.png" }
    ] });
    fixture.answer("org/name", "main", &index);
    let path = format!("/org/name/resolve/{FIRST}/config.json");
    fixture.server.put_tagged(&path, "{}", EMPTY_OBJECT_BLOB);
    let snapshot = fixture.get("org/name").unwrap();
    assert_eq!(names(&snapshot), ["config.json", "model.safetensors"]);
    assert_eq!(fs::read(snapshot.directory.join("config.json")).unwrap(), b"{}");
    drop(fixture.offline("org/name").unwrap());
    // A tag that is a digest is checked.
    let fixture = Fixture::new();
    fixture.answer("org/name", "main", &index);
    fixture.server.put_tagged(&path, "[]", EMPTY_OBJECT_BLOB);
    let error = fixture.get("org/name").unwrap_err();
    assert!(matches!(error, Error::Download { problem: Problem::WrongDigest { .. }, .. }), "{error}");
}

#[test]
fn damaged_files_never_reach_the_snapshot() {
    for path in ["config.json", "model.safetensors"] {
        let fixture = Fixture::new();
        fixture.server.misbehave(move |seen| match seen.path.ends_with(path) {
            true => Fault::Corrupt(1),
            false => Fault::None,
        });
        let error = fixture.get("org/name").unwrap_err();
        assert!(matches!(error, Error::Download { problem: Problem::WrongDigest { .. }, .. }), "{error}");
        assert!(error.to_string().contains(path), "{error}");
        assert!(!fixture.cache.path().join(format!("org/name/snapshots/{FIRST}/{path}")).exists());
        assert!(fixture.offline("org/name").is_err(), "an incomplete snapshot is no answer");
    }
}

#[test]
fn unusable_repositories_are_refused() {
    let fixture = Fixture::new();
    let file = |name: &str| json!({ "rfilename": name, "size": 1, "blobId": "0".repeat(40) });
    for (index, words) in [
        (
            json!({ "sha": FIRST, "siblings": [file("pytorch_model.bin")] }),
            "use a revision or repository with",
        ),
        (json!({ "sha": FIRST, "siblings": [] }), "no safetensors and no gguf file"),
        (json!({ "sha": "main", "siblings": [] }), "expected a commit id, got `main`"),
        (json!({ "siblings": [] }), "missing field `sha`"),
        (json!({ "sha": FIRST, "siblings": [{ "rfilename": "model.safetensors" }] }), "gives no size"),
        (
            json!({ "sha": FIRST, "siblings": [{ "rfilename": "model.safetensors", "size": -1 }] }),
            "invalid value",
        ),
        (json!("x"), "invalid type"),
    ] {
        fixture.answer("org/bad", "main", &index);
        let message = fixture.get("org/bad").unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
    }
    let message = fixture.get("org/none").unwrap_err().to_string();
    assert!(message.contains("answered 404: no such file, model or revision"), "{message}");
    assert!(fixture.get("org/../name").is_err());
    assert_eq!(fs::read_dir(fixture.cache.path()).unwrap().count(), 0, "nothing is left");
}

#[test]
fn a_hostile_file_name_is_refused() {
    let fixture = Fixture::new();
    for name in ["../../evil.json", "/etc/evil.json", "..\\evil.json", ".hub/index.json", ".use"] {
        let index = json!({ "sha": FIRST, "siblings": [
            lfs("model.safetensors", b"x"),
            { "rfilename": name, "size": 1, "blobId": "0".repeat(40) }
        ] });
        fixture.answer("org/bad", "main", &index);
        let patterns = vec!["*.safetensors".to_owned(), name.to_owned()];
        let options = HubOptions { patterns, ..fixture.options() };
        assert!(fixture.get_with(options, "org/bad").is_err(), "{name}");
    }
    let above: &Path = fixture.cache.path().parent().unwrap();
    assert!(!above.join("evil.json").exists());
    assert!(fixture.server.seen().iter().all(|seen| seen.path.starts_with("/api/")));
}

#[test]
fn a_failed_fetch_leaves_no_empty_directories() {
    let fixture = Fixture::new();
    fixture.server.misbehave(|seen| match seen.path.starts_with("/api/") {
        true => Fault::None,
        false => Fault::Status(500, None),
    });
    assert!(fixture.get("org/name").is_err());
    assert_eq!(fs::read_dir(fixture.cache.path()).unwrap().count(), 0);
}
