//! Models that are not here yet: hub ids, the cache, offline answers, pulling bundles, trust.
//!
//! Owns the scenarios as a user types them. Traffic stays on the loopback interface.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(missing_docs, reason = "tests")]

#[path = "../../core/bundle/tests/server/mod.rs"]
#[allow(unreachable_pub, reason = "shared with the bundle's tests")]
mod server;

use llama_pajamas::bundle::Sha256Digest;
use serde_json::{Value, json};
use server::Server;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const COMMIT: &str = "1111111111111111111111111111111111111111";

struct Fixture {
    server: Server,
    work: tempfile::TempDir,
}

impl Fixture {
    fn new() -> Self {
        Self { server: Server::start(), work: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.work.path().join(name)
    }

    /// Serves `files` as a repository of a hub; each is a name and a path here.
    fn publish(&self, repository: &str, files: &[(String, PathBuf)]) {
        let mut siblings = Vec::new();
        for (name, path) in files {
            let content = std::fs::read(path).unwrap();
            let sha256 = Sha256Digest::of(&content).to_string();
            let lfs = json!({ "sha256": sha256, "size": content.len(), "pointerSize": 134 });
            let blob = "0".repeat(40);
            siblings.push(json!({ "rfilename": name, "size": content.len(), "blobId": blob, "lfs": lfs }));
            for revision in ["main", COMMIT] {
                self.server.put(&format!("/{repository}/resolve/{revision}/{name}"), content.clone());
            }
        }
        let index = json!({ "id": repository, "sha": COMMIT, "siblings": siblings });
        for revision in ["main", COMMIT] {
            let address = format!("/api/models/{repository}/revision/{revision}?blobs=true");
            self.server.put(&address, index.to_string());
        }
    }

    /// The command with this cache and this hub and nothing of the user's environment.
    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_llama-pajamas"))
            .args(arguments)
            .env_remove("HF_TOKEN")
            .env("LLAMA_PAJAMAS_CACHE", self.path("cache"))
            .env("HF_ENDPOINT", self.server.url(""))
            .output()
            .unwrap()
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn fails(&self, arguments: &[&str], expected: &[&str]) {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        for words in expected {
            assert!(said.contains(words), "{arguments:?}: expected `{words}` in `{said}`");
        }
    }
}

fn files_of(directory: &Path) -> Vec<(String, PathBuf)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            files.extend(files_of(&path).into_iter().map(|(inner, path)| (format!("{name}/{inner}"), path)));
        } else {
            files.push((name, path));
        }
    }
    files.sort();
    files
}

fn stories() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/pajama-stories-4m")
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_checkpoint_of_a_hub_becomes_a_bundle_and_stays_in_the_cache() {
    let fixture = Fixture::new();
    fixture.publish("pajamas/stories", &files_of(&stories()));
    let (first, second) = (fixture.path("first"), fixture.path("second"));
    let wish = ["quantize", "pajamas/stories", "--precision", "Q8_0", "--threads", "2", "--output"];
    fixture.succeeds(&[&wish[..], &[text(&first)]].concat());
    let manifest: Value =
        serde_json::from_slice(&std::fs::read(first.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["model"]["id"], "pajamas/stories");
    assert_eq!(manifest["provenance"]["revision"], COMMIT);

    let requests = fixture.server.seen().len();
    fixture.succeeds(&[&wish[..], &[text(&second), "--offline"]].concat());
    assert_eq!(fixture.server.seen().len(), requests, "offline asks nobody");
    let model = |bundle: &Path| std::fs::read(bundle.join("gguf/Q8_0/model.gguf")).unwrap();
    assert!(model(&first) == model(&second));
}

#[test]
fn a_file_of_a_hub_is_planned_for() {
    let fixture = Fixture::new();
    let bundle = fixture.path("bundle");
    let stories = stories();
    let wish = ["quantize", text(&stories), "--precision", "Q8_0,Q4_0", "--threads", "2", "--output"];
    fixture.succeeds(&[&wish[..], &[text(&bundle)]].concat());
    let file = |name: &str| (format!("stories-{name}.gguf"), bundle.join(format!("gguf/{name}/model.gguf")));
    fixture.publish("pajamas/files", &[file("Q8_0"), file("Q4_0")]);
    fixture.fails(&["plan", "pajamas/files"], &["2 gguf models", "stories-Q4_0.gguf"]);
    let plan = fixture.succeeds(&["plan", "pajamas/files", "--file", "*Q4_0.gguf", "--json"]);
    let plan: Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan["chosen"]["id"], "stories-Q4_0");
}

#[test]
fn only_the_description_is_fetched_to_tell_what_a_model_is() {
    let fixture = Fixture::new();
    fixture.publish("pajamas/stories", &files_of(&stories()));
    let description = fixture.succeeds(&["info", "pajamas/stories", "--json"]);
    let description: Value = serde_json::from_str(&description).unwrap();
    assert_eq!(description["model_type"], "qwen3");
    let weights = fixture.server.seen().into_iter().find(|seen| seen.path.ends_with(".safetensors"));
    assert!(weights.is_none(), "{weights:?}");
}

#[test]
fn what_cannot_be_found_is_said_with_where_it_was_looked_for() {
    let fixture = Fixture::new();
    fixture.fails(&["plan", "pajamas/nothing"], &["`pajamas/nothing` is no path here", "404"]);
    fixture.fails(&["plan", "pajamas/nothing", "--offline"], &["never fetched"]);
    fixture.fails(&["plan", "./nothing"], &["./nothing"]);
    let out = fixture.path("out");
    let address = fixture.server.url("/nothing");
    fixture.fails(&["bundle", "pull", &address, "-o", text(&out)], &["/nothing/manifest.json", "404"]);
    fixture.fails(&["bundle", "pull", "nothing", "-o", text(&out)], &["hub id"]);
    assert!(!out.exists());
}

#[test]
fn a_bundle_is_pulled_by_variant_and_only_from_whom_one_trusts() {
    let fixture = Fixture::new();
    let (bundle, stories) = (fixture.path("bundle"), stories());
    let wish = ["quantize", text(&stories), "--precision", "Q8_0,Q4_0", "--threads", "2", "--output"];
    fixture.succeeds(&[&wish[..], &[text(&bundle)]].concat());
    let sign = |name: &str| {
        let key = fixture.path(name);
        std::fs::create_dir(key.parent().unwrap()).unwrap();
        fixture.succeeds(&["bundle", "sign", text(&bundle), "--generate", text(&key)]);
        key
    };
    sign("other/someone");
    let trust = fixture.path("trusted");
    fixture.publish("pajamas/bundle", &files_of(&bundle));
    let out = fixture.path("out");
    let pull = ["bundle", "pull", "pajamas/bundle", "-o", text(&out)];
    fixture.fails(&pull, &["--variant", "gguf/Q8_0", "gguf/Q4_0"]);
    let all = [&pull[..], &["--all", "--trust"]].concat();
    fixture.fails(&[&all[..], &[text(&trust)]].concat(), &["--trust", "expected public keys"]);
    let strangers = fixture.path("strangers");
    std::fs::create_dir(&strangers).unwrap();
    let stranger = llama_pajamas::bundle::SigningKey::generate().unwrap().public().to_pem();
    std::fs::write(strangers.join("stranger.pub"), stranger).unwrap();
    fixture.fails(&[&all[..], &[text(&strangers)]].concat(), &["signature", "manifest.json"]);
    assert!(!out.exists(), "nothing is published without trust");
    sign("trusted/publisher");
    fixture.publish("pajamas/bundle", &files_of(&bundle));
    fixture.succeeds(&[&pull[..], &["--variant", "gguf/Q4_0", "--trust", text(&trust)]].concat());
    fixture.succeeds(&["bundle", "verify", text(&out), "--trust", text(&trust)]);
    let plan: Value = serde_json::from_str(&fixture.succeeds(&["plan", text(&out), "--json"])).unwrap();
    assert_eq!(plan["chosen"]["id"], "gguf/Q4_0");
    // The same bundle by its address, the rest of it.
    let address = fixture.server.url("/pajamas/bundle/resolve/main");
    let report = fixture.succeeds(&["bundle", "pull", &address, "-o", text(&out), "--all", "--json"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    let length = std::fs::metadata(bundle.join("gguf/Q8_0/model.gguf")).unwrap().len();
    assert_eq!(report["fetched_bytes"], length, "only what was not there");
}
