//! Bundles that are damaged, hostile or made for another runtime.
//! Knows the manifest's fields; the good bundle has one Q8_0 variant.

use super::stage::{Door, Stage, copy_all, edit, edit_json};
use super::{Case, case};
use llama_pajamas::bundle::{Bundle, SigningKey};
use serde_json::{Value, json};
use std::fs;

const MODEL: &str = "bundle/gguf/Q8_0/model.gguf";

pub(crate) fn cases() -> Vec<Case> {
    [manifests(), paths(), files(), signatures(), choices()].into_iter().flatten().collect()
}

fn verify(stage: &Stage<'_>) -> Door {
    Door::command(&["bundle", "verify", &stage.text("bundle")])
}

/// Every command that reads a bundle.
fn all(stage: &Stage<'_>) -> Vec<Door> {
    let bundle = stage.text("bundle");
    vec![
        verify(stage),
        Door::command(&["info", &bundle]),
        Door::command(&["plan", &bundle]),
        stage.run("bundle", &[]),
    ]
}

/// A row whose manifest is changed.
fn manifest(
    name: &'static str,
    words: &'static [&'static str],
    change: impl Fn(&mut Value) + Send + Sync + 'static,
) -> Case {
    case(name, words, move |stage| {
        edit_json(&stage.bundle().join("manifest.json"), &change);
        let mut doors = all(stage);
        stage.checkpoint();
        doors.push(stage.quantize(&["--precision", "Q4_0", "--output", &stage.text("bundle")]));
        doors
    })
}

fn manifests() -> Vec<Case> {
    vec![
        manifest("manifest: of a newer version", &["manifest.json", "schema_version", "9", "1"], |m| {
            m["schema_version"] = json!(9)
        }),
        manifest(
            "manifest: needs an unknown feature",
            &["manifest.json", "required_features", "telepathy"],
            |m| {
                m["required_features"] = json!(["telepathy"]);
            },
        ),
        manifest("manifest: without the model's id", &["manifest.json", "model", "`id`"], |m| {
            m["model"] = json!({})
        }),
        manifest(
            "manifest: a field of another type",
            &["manifest.json", "variants[0].files[0].bytes", "many"],
            |m| {
                m["variants"][0]["files"][0]["bytes"] = json!("many");
            },
        ),
        manifest("manifest: a hash that is none", &["manifest.json", "variants[0].files[0].sha256"], |m| {
            m["variants"][0]["files"][0]["sha256"] = json!("0123");
        }),
        manifest("manifest: one variant twice", &["manifest.json", "variants[1].id", "gguf/Q8_0"], |m| {
            let again = m["variants"][0].clone();
            m["variants"].as_array_mut().unwrap().push(again);
        }),
        manifest(
            "manifest: a format that nobody knows",
            &["manifest.json", "variants[0].format", "punchcards"],
            |m| {
                m["variants"][0]["format"] = json!("punchcards");
            },
        ),
        case("manifest: not JSON", &["manifest.json", "line"], |stage| {
            edit(&stage.bundle().join("manifest.json"), |text| text.replacen(':', "", 1));
            all(stage)
        }),
        case("manifest: cut", &["manifest.json", "line"], |stage| {
            edit(&stage.bundle().join("manifest.json"), |text| text[..text.len() / 2].into());
            all(stage)
        }),
        case("manifest: empty", &["manifest.json", "line 1"], |stage| {
            edit(&stage.bundle().join("manifest.json"), |_| String::new());
            all(stage)
        }),
        case("manifest: longer than is read", &["manifest.json", "the limit is"], |stage| {
            edit(&stage.bundle().join("manifest.json"), |text| format!("{text}{}", " ".repeat(20 << 20)));
            all(stage)
        }),
    ]
}

fn paths() -> Vec<Case> {
    /// A row whose file is listed under `path`.
    fn path(name: &'static str, words: &'static [&'static str], path: &'static str) -> Case {
        manifest(name, words, move |m| m["variants"][0]["files"][0]["path"] = json!(path))
    }
    vec![
        path(
            "path: .. leads out",
            &["manifest.json", "variants[0].files[0].path", "`..`"],
            "gguf/../../secret.gguf",
        ),
        path("path: absolute", &["manifest.json", "variants[0].files[0].path", "absolute"], "/etc/passwd"),
        path(
            "path: another system's separators",
            &["manifest.json", "variants[0].files[0].path", "'\\\\'"],
            "..\\secret.gguf",
        ),
        path("path: a drive", &["manifest.json", "variants[0].files[0].path", "':'"], "C:/secret.gguf"),
        path(
            "path: the manifest itself",
            &["manifest.json", "variants[0].files[0].path", "reserved"],
            "manifest.json",
        ),
        manifest("path: .. in a variant's id", &["manifest.json", "variants[0].id", "`..`"], |m| {
            m["variants"][0]["id"] = json!("../Q8_0")
        }),
        case("path: a link leads out", &[MODEL, "leads outside the bundle"], |stage| {
            let (model, outside) = (stage.bundle().join("gguf/Q8_0/model.gguf"), stage.path("outside.gguf"));
            fs::rename(&model, &outside).unwrap();
            link(&outside, &model);
            vec![verify(stage), stage.run("bundle", &[])]
        }),
        case("path: a linked directory leads out", &[MODEL, "leads outside the bundle"], |stage| {
            let (inside, outside) = (stage.bundle().join("gguf"), stage.path("outside"));
            fs::rename(&inside, &outside).unwrap();
            link(&outside, &inside);
            vec![verify(stage), stage.run("bundle", &[])]
        }),
    ]
}

fn files() -> Vec<Case> {
    vec![
        case("file: other bytes than its hash", &[MODEL, "expected sha256", "got"], |stage| {
            let path = stage.bundle().join("gguf/Q8_0/model.gguf");
            let mut bytes = fs::read(&path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(path, bytes).unwrap();
            vec![verify(stage)]
        }),
        case("file: another hash in the manifest", &[MODEL, "expected sha256 0000", "got"], |stage| {
            edit_json(&stage.bundle().join("manifest.json"), |m| {
                m["variants"][0]["files"][0]["sha256"] = json!("0".repeat(64))
            });
            vec![verify(stage)]
        }),
        case("file: another size in the manifest", &[MODEL, "expected 77 bytes", "got"], |stage| {
            edit_json(&stage.bundle().join("manifest.json"), |m| {
                m["variants"][0]["files"][0]["bytes"] = json!(77)
            });
            vec![verify(stage), Door::command(&["plan", &stage.text("bundle")]), stage.run("bundle", &[])]
        }),
        case("file: cut", &[MODEL, "bytes, got 1000"], |stage| {
            let path = stage.bundle().join("gguf/Q8_0/model.gguf");
            fs::File::options().write(true).open(path).unwrap().set_len(1000).unwrap();
            vec![verify(stage), stage.run("bundle", &[])]
        }),
        case("file: missing", &["bundle", "gguf/Q8_0"], |stage| {
            fs::remove_file(stage.bundle().join("gguf/Q8_0/model.gguf")).unwrap();
            vec![stage.run("bundle", &[]), Door::command(&["plan", &stage.text("bundle")])]
        }),
        case("file: a directory in its place", &[MODEL, "not a regular file"], |stage| {
            let path = stage.bundle().join("gguf/Q8_0/model.gguf");
            fs::remove_file(&path).unwrap();
            fs::create_dir(path).unwrap();
            vec![verify(stage), stage.run("bundle", &[])]
        }),
        case("bundle: not there", &["bundle", "manifest.json"], |stage| vec![verify(stage)]),
    ]
}

fn signatures() -> Vec<Case> {
    /// A row with a signed bundle and a folder of trusted keys; `change` spoils it.
    fn signed(
        name: &'static str,
        words: &'static [&'static str],
        change: impl Fn(&Stage<'_>, &SigningKey) + Send + Sync + 'static,
    ) -> Case {
        case(name, words, move |stage| {
            let key = SigningKey::generate().unwrap();
            Bundle::open(&stage.bundle()).unwrap().sign(&key).unwrap();
            fs::create_dir(stage.path("trust")).unwrap();
            fs::write(stage.path("trust/publisher.pub"), key.public().to_pem()).unwrap();
            change(stage, &key);
            let (bundle, trust) = (stage.text("bundle"), stage.text("trust"));
            vec![
                Door::command(&["bundle", "verify", &bundle, "--trust", &trust]),
                Door::command(&["plan", &bundle, "--trust", &trust]),
                stage.run("bundle", &["--trust", &trust]),
            ]
        })
    }
    vec![
        signed("signature: missing", &["manifest.json", "not signed"], |stage, _| {
            fs::remove_file(stage.path("bundle/manifest.sig")).unwrap();
        }),
        signed("signature: of another manifest", &["manifest.json", "another manifest"], |stage, _| {
            edit(&stage.path("bundle/manifest.json"), |text| format!("{text} "));
        }),
        signed("signature: broken", &["manifest.json", "signature", "not valid"], |stage, _| {
            fs::write(stage.path("bundle/manifest.sig"), "{").unwrap();
        }),
        signed("signature: by an unknown key", &["manifest.json", "no trusted key"], |stage, _| {
            let stranger = SigningKey::generate().unwrap();
            fs::write(stage.path("trust/publisher.pub"), stranger.public().to_pem()).unwrap();
        }),
        signed(
            "signature: no trusted keys",
            &["--trust", "trust: expected public keys", "found none"],
            |stage, _| fs::remove_file(stage.path("trust/publisher.pub")).unwrap(),
        ),
        signed("signature: a broken key", &["publisher.pub"], |stage, _| {
            fs::write(stage.path("trust/publisher.pub"), "-----BEGIN PUBLIC KEY-----").unwrap();
        }),
        signed(
            "signature: no folder of keys",
            &["--trust", "trust: expected public keys", "found none"],
            |stage, _| fs::remove_dir_all(stage.path("trust")).unwrap(),
        ),
        case("signing: a broken key", &["my.key"], |stage| {
            fs::write(stage.path("my.key"), "open sesame").unwrap();
            stage.bundle();
            vec![Door::command(&["bundle", "sign", &stage.text("bundle"), "--key", &stage.text("my.key")])]
        }),
        case("signing: no bundle", &["manifest.json"], |stage| {
            let name = stage.text("mine");
            vec![Door::command(&["bundle", "sign", &stage.text("bundle"), "--generate", &name])]
        }),
        case("signing: a key in the way", &["mine.pub", "exists"], |stage| {
            fs::write(stage.path("mine.pub"), "mine").unwrap();
            stage.bundle();
            let name = stage.text("mine");
            vec![Door::command(&["bundle", "sign", &stage.text("bundle"), "--generate", &name])]
        }),
    ]
}

fn choices() -> Vec<Case> {
    vec![
        case("choice: no variant fits the memory", &["no variant fits", "gguf/Q8_0", "free"], |stage| {
            stage.bundle();
            let bundle = stage.text("bundle");
            vec![
                stage.run("bundle", &["--memory-budget", "1MiB"]),
                Door::command(&["plan", &bundle, "--memory-budget", "1MiB"]),
            ]
        }),
        case("choice: no such variant", &["gguf/Q2_K", "gguf/Q8_0"], |stage| {
            stage.bundle();
            let bundle = stage.text("bundle");
            vec![
                stage.run("bundle", &["--variant", "gguf/Q2_K"]),
                Door::command(&["plan", &bundle, "--variant", "gguf/Q2_K"]),
            ]
        }),
        case("choice: a variant for a newer runtime", &["gguf/Q8_0", "99.0.0"], |stage| {
            edit_json(&stage.bundle().join("manifest.json"), |m| {
                m["variants"][0]["min_runtime"] = json!("99.0.0")
            });
            vec![stage.run("bundle", &[]), Door::command(&["plan", &stage.text("bundle")])]
        }),
        case("choice: variants of other engines alone", &["gguf/Q8_0", "no engine for mlx here"], |stage| {
            edit_json(&stage.bundle().join("manifest.json"), |m| m["variants"][0]["format"] = json!("mlx"));
            vec![stage.run("bundle", &[])]
        }),
        case("choice: no variants", &["bundle", "at least one variant"], |stage| {
            edit_json(&stage.bundle().join("manifest.json"), |m| m["variants"] = json!([]));
            vec![stage.run("bundle", &[])]
        }),
        case(
            "choice: the bundle of another model",
            &["manifest.json", "of model `pajama-stories-4m`", "expected `model`"],
            |stage| {
                copy_all(&stage.bundle(), &stage.path("out"));
                stage.checkpoint();
                vec![stage.quantize(&["--precision", "Q4_0"])]
            },
        ),
    ]
}

#[cfg(unix)]
fn link(to: &std::path::Path, at: &std::path::Path) {
    std::os::unix::fs::symlink(to, at).unwrap();
}

#[cfg(windows)]
fn link(to: &std::path::Path, at: &std::path::Path) {
    if to.is_dir() {
        std::os::windows::fs::symlink_dir(to, at).unwrap();
    } else {
        std::os::windows::fs::symlink_file(to, at).unwrap();
    }
}
