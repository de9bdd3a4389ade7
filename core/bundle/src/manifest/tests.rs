//! Rules of the manifest, the committed schema, and parsing of arbitrary input.
//!
//! Owns the examples. Must not need files outside the crate.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// A manifest that uses every field.
fn full() -> Value {
    json!({
        "schema_version": 1,
        "model": { "id": "org/name", "name": "Name", "licence": { "id": "apache-2.0", "file": "LICENSE" } },
        "architecture": {
            "family": "llama", "model_type": "llama", "name": "llama", "parameters_total": 10,
            "parameters_active": 10, "n_layers": 2, "max_context_tokens": 512,
            "description": { "hidden_size": 64 }
        },
        "provenance": {
            "source": "org/name", "revision": "0123", "converter": "llama-pajamas 0.1.0",
            "quantizer": "llama-pajamas 0.1.0", "created": "2026-01-01T00:00:00Z"
        },
        "variants": [
            {
                "id": "gguf/Q4_K_M", "format": "gguf", "precision": "Q4_K_M", "method": "imatrix",
                "settings": {
                    "recipe": "stock", "source_precision": "BF16",
                    "imatrix": { "sha256": "0".repeat(64), "datasets": ["text"], "n_chunks": 3 },
                    "overrides": [{ "tensor": "output.weight", "type": "Q6_K" }]
                },
                "compatible_backends": ["cpu", "cuda"],
                "min_runtime": "0.1.0",
                "files": [
                    { "path": "gguf/Q4_K_M/model.gguf", "bytes": 12, "sha256": "a".repeat(64), "url": "model.gguf" }
                ],
                "needs": { "variants": ["gguf/mmproj"], "features": ["avx2"] },
                "memory": {
                    "weights_bytes": 10, "active_weights_bytes": 9, "largest_tensor_bytes": 5,
                    "kv_bytes_per_token": 100
                },
                "quality": {
                    "kld_mean": 0.01, "kld_interval": [0.009, 0.011], "ppl": 8.5, "ppl_baseline": 8.0,
                    "top1_agreement": 0.95, "tasks": { "arc": { "score": 0.5, "interval": [0.4, 0.6], "n": 100 } },
                    "how": {
                        "tool": "t 1", "dataset": "d", "n_tokens": 1, "context_tokens": 512,
                        "baseline": "F16", "device": "cpu", "date": "2026-01-01"
                    }
                }
            },
            {
                "id": "gguf/mmproj", "format": "gguf", "precision": "F16", "compatible_backends": ["cpu"],
                "files": [{ "path": "gguf/mmproj/model.gguf", "bytes": 1, "sha256": "b".repeat(64) }],
                "memory": { "weights_bytes": 1 }
            }
        ]
    })
}

fn parse(value: &Value) -> Result<Manifest, ManifestError> {
    Manifest::parse(value.to_string().as_bytes())
}

/// Changes the full manifest at a JSON pointer and gives the error.
fn refused(pointer: &str, value: Value) -> String {
    let mut manifest = full();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = manifest.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(items) => items[key.parse::<usize>().unwrap()] = value,
        parent => parent[key] = value,
    }
    parse(&manifest).unwrap_err().to_string()
}

#[test]
fn every_field_survives_a_rewrite() {
    let manifest = parse(&full()).unwrap();
    let written: Value = serde_json::from_slice(&manifest.to_bytes()).unwrap();
    assert_eq!(written, full());
    assert_eq!(Manifest::parse(&manifest.to_bytes()).unwrap(), manifest);
    assert!(manifest.other.is_empty() && manifest.variants[0].other.is_empty(), "every field has a type");
}

#[test]
fn unknown_fields_are_kept() {
    let mut value = full();
    for pointer in
        ["", "/model", "/variants/0", "/variants/0/files/0", "/variants/0/quality", "/variants/0/memory"]
    {
        value.pointer_mut(pointer).unwrap()["x_future"] = json!({ "nested": [1, null] });
    }
    let manifest = parse(&value).unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&manifest.to_bytes()).unwrap(), value);
}

#[test]
fn each_broken_rule_names_its_field() {
    let file = "/variants/0/files/0/path";
    for (pointer, value, field, words) in [
        ("/schema_version", json!(2), "schema_version", "version 2 is not supported"),
        ("/schema_version", json!(0), "schema_version", "version 0 is not supported"),
        ("/schema_version", json!("1"), "schema_version", "invalid type"),
        ("/required_features", json!(["a", "b"]), "required_features", "does not know: a, b"),
        ("/model/id", json!(" "), "model.id", "must not be empty"),
        ("/model", json!({}), "model", "missing field `id`"),
        ("/variants/1/id", json!("gguf/q4_k_m"), "variants[1].id", "duplicate variant id"),
        ("/variants/1/id", json!("../up"), "variants[1].id", "contains `..`"),
        ("/variants/1/format", json!("exe"), "variants[1].format", "unknown variant `exe`"),
        ("/variants/0/precision", json!(""), "variants[0].precision", "must not be empty"),
        ("/variants/0/files", json!([]), "variants[0].files", "must not be empty"),
        ("/variants/0/files/0/role", json!("projector"), "variants[0].files[0].role", "expected the model"),
        ("/variants/0/files/0/role", json!("x"), "variants[0].files[0].role", "unknown variant `x`"),
        ("/variants/0/min_runtime", json!("1.0"), "variants[0].min_runtime", "`1.0` is not a version"),
        ("/variants/0/needs/variants", json!(["x"]), "variants[0].needs.variants[0]", "no variant `x`"),
        (file, json!("../../etc/passwd"), "variants[0].files[0].path", "contains `..`"),
        (file, json!("/etc/passwd"), "variants[0].files[0].path", "absolute"),
        (file, json!("a\\b"), "variants[0].files[0].path", "forbidden character"),
        (file, json!("manifest.json"), "variants[0].files[0].path", "reserved"),
        (file, json!(".staging/x"), "variants[0].files[0].path", "reserved"),
        (file, json!("GGUF/mmproj/model.gguf"), "variants[1].files[0].path", "collides with"),
        (file, json!("gguf/mmproj"), "variants[1].files[0].path", "collides with"),
        (file, json!("gguf/mmproj/model.gguf/x"), "variants[1].files[0].path", "collides with"),
        ("/variants/0/files/0/bytes", json!(-1), "variants[0].files[0].bytes", "invalid value"),
        ("/variants/0/files/0/sha256", json!("xyz"), "variants[0].files[0].sha256", "64 hexadecimal digits"),
        (
            "/variants/0/quality/kld_mean",
            json!(-1.0),
            "variants[0].quality.kld_mean",
            "expected a divergence",
        ),
        ("/variants/0/quality/top1_agreement", json!(1.5), "variants[0].quality.top1_agreement", "0 to 1"),
        (
            "/variants/0/quality/kld_interval",
            json!([2, 1]),
            "variants[0].quality.kld_interval",
            "low <= high",
        ),
    ] {
        let message = refused(pointer, value);
        assert!(
            message.starts_with(&format!("{field}: ")) && message.contains(words),
            "{pointer}: {message}"
        );
    }
}

#[test]
fn a_shared_file_is_allowed_when_it_is_the_same() {
    let mut value = full();
    let shared = value["variants"][0]["files"][0].clone();
    value["variants"][1]["files"] = json!([shared.clone()]);
    parse(&value).unwrap();
    value["variants"][1]["files"] = json!([shared.clone(), shared]);
    assert!(parse(&value).unwrap_err().to_string().contains("collides"));
}

#[test]
fn text_that_is_no_manifest_is_refused_with_a_position() {
    for (text, words) in [
        ("", "EOF while parsing"),
        ("[]", "invalid"),
        ("{\"schema_version\": 1}", "missing field `model`"),
        ("{\"schema_version\": 1, \"model\": {\"id\": \"x\"}} x", "trailing characters"),
        ("{\"schema_version\": 1, \"schema_version\": 1}", "duplicate field"),
        ("\u{feff}{}", "expected value"),
    ] {
        let message = Manifest::parse(text.as_bytes()).unwrap_err().to_string();
        assert!(message.contains(words) && message.contains("line"), "{text}: {message}");
    }
    let deep = "[".repeat(100_000);
    assert!(Manifest::parse(deep.as_bytes()).is_err());
    let long = vec![b' '; MAX_MANIFEST_BYTES as usize + 1];
    assert!(Manifest::parse(&long).unwrap_err().to_string().contains("the limit is"));
}

#[test]
fn the_newer_version_is_the_reason_even_if_fields_changed() {
    let message = parse(&json!({ "schema_version": 7, "model": 3 })).unwrap_err().to_string();
    assert!(message.contains("version 7 is not supported"), "{message}");
}

#[test]
fn committed_schema_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/schema/manifest.v1.json");
    let current = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, &current).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        committed == current,
        "schema/manifest.v1.json is not current; run this test with UPDATE_EXPECT=1"
    );
}

#[test]
fn fuzz_seeds_are_current() {
    let small = json!({ "schema_version": 1, "model": { "id": "x" } });
    let signature = json!({
        "schema_version": 1,
        "manifest_sha256": crate::Sha256Digest::of(b"manifest"),
        "signatures": [{ "algorithm": "ed25519", "key_id": "0".repeat(32), "signature": "A".repeat(86) + "==" }]
    });
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/manifest");
    for (name, seed) in [("full", full()), ("small", small), ("signature", signature)] {
        let path = std::path::Path::new(directory).join(name);
        if std::env::var_os("UPDATE_SEEDS").is_some() {
            std::fs::create_dir_all(directory).unwrap();
            std::fs::write(&path, seed.to_string()).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(committed, seed.to_string(), "{name}: run this test with UPDATE_SEEDS=1");
    }
}

#[test]
fn the_schema_accepts_what_is_written_and_refuses_wrong_types() {
    let validator = jsonschema::validator_for(&json_schema()).unwrap();
    assert!(validator.is_valid(&full()));
    for (pointer, value) in [
        ("/schema_version", json!("1")),
        ("/variants/0/files/0/sha256", json!("xyz")),
        ("/variants/0/files/0/path", json!("/abs")),
        ("/variants/0/format", json!("exe")),
    ] {
        let mut manifest = full();
        *manifest.pointer_mut(pointer).unwrap() = value;
        assert!(!validator.is_valid(&manifest), "{pointer}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-z_]{1,8}", inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// Every JSON pointer of `value`.
fn pointers(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(i, item)| pointers(item, format!("{at}/{i}"), found));
        }
        Value::Object(fields) => {
            fields.iter().for_each(|(key, item)| pointers(item, format!("{at}/{key}"), found));
        }
        _ => {}
    }
    found.push(at);
}

proptest! {
    #[test]
    fn any_bytes_give_a_manifest_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Manifest::parse(&bytes);
    }

    #[test]
    fn any_json_in_any_place_is_judged_and_what_is_accepted_survives(
        place in any::<prop::sample::Index>(),
        value in any_json(),
    ) {
        let mut manifest = full();
        let mut all = Vec::new();
        pointers(&manifest, String::new(), &mut all);
        *manifest.pointer_mut(&all[place.index(all.len())]).unwrap() = value;
        if let Ok(parsed) = parse(&manifest) {
            prop_assert_eq!(Manifest::parse(&parsed.to_bytes()).unwrap(), parsed);
        }
    }
}

/// Every field of an object, and every element of an array, at any depth.
fn places(value: &Value, here: &str, found: &mut Vec<String>) {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(map) => {
            map.iter().map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value)).collect()
        }
        Value::Array(list) => list.iter().enumerate().map(|(at, value)| (at.to_string(), value)).collect(),
        _ => return,
    };
    for (key, value) in below {
        let place = format!("{here}/{key}");
        places(value, &place, found);
        found.push(place);
    }
}

/// The field that a reader which follows every step names for what is wrong with `json`.
fn tracked(json: &[u8]) -> Option<String> {
    let deserializer = &mut serde_json::Deserializer::from_slice(json);
    serde_path_to_error::deserialize::<_, Manifest>(deserializer).err().map(|error| {
        // It calls a key that was not read to its end `?`.
        let path = error.path().to_string();
        let known = path.trim_end_matches('?').trim_end_matches('.');
        if known.is_empty() { ".".to_owned() } else { known.to_owned() }
    })
}

#[test]
fn an_error_names_the_field_that_a_reader_which_follows_every_step_names() {
    let mut all = Vec::new();
    places(&full(), "", &mut all);
    let wrong = [json!(null), json!(true), json!(-1), json!(1e300), json!("text"), json!([7]), json!({})];
    let mut refused = 0;
    for place in &all {
        let replaced = wrong.iter().map(|wrong| {
            let mut manifest = full();
            *manifest.pointer_mut(place).expect("the place is in it") = wrong.clone();
            manifest
        });
        let (parent, key) = place.rsplit_once('/').expect("places begin with /");
        let without = Some(full()).and_then(|mut manifest| {
            manifest.pointer_mut(parent)?.as_object_mut()?.remove(key)?;
            Some(manifest)
        });
        let renamed = Some(full()).and_then(|mut manifest| {
            let object = manifest.pointer_mut(parent)?.as_object_mut()?;
            let value = object.remove(key)?;
            object.insert(format!("{key}_"), value);
            Some(manifest)
        });
        for manifest in replaced.chain(without).chain(renamed) {
            for json in [manifest.to_string(), format!("{manifest:#}")] {
                let expected = tracked(json.as_bytes());
                let found =
                    formats::json::from_slice::<Manifest>(json.as_bytes()).err().map(|error| error.field);
                assert_eq!(found, expected, "{place}: {json}");
                refused += usize::from(found.is_some());
            }
        }
    }
    assert!(refused > 500, "{refused}");
}

#[test]
fn a_manifest_that_is_cut_off_is_refused_at_the_field_of_the_cut_or_the_one_around_it() {
    let json = full().to_string();
    for end in 0..json.len() {
        let cut = &json.as_bytes()[..end];
        let found = formats::json::from_slice::<Manifest>(cut).expect_err("cut off").field;
        let expected = tracked(cut).expect("cut off");
        let [found, expected] = [found, expected].map(|field| field.trim_start_matches('.').to_owned());
        assert!(
            found.starts_with(&expected) || expected.starts_with(&found),
            "{found}, {expected}: {}",
            &json[..end]
        );
    }
}
