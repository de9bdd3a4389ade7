//! What users decide by hand when they quantize, from the command to the files.
//! Knows the command and files; must not know how types are chosen.

#![allow(clippy::unwrap_used)]

use llama_pajamas::bundle::Bundle;
use llama_pajamas::formats::gguf::{GgmlType, Header, Value};
use std::path::{Path, PathBuf};
use std::process::Command;

fn model() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("models/pajama-stories-4m")
}

/// What `quantize MODEL -o bundle` says with these options.
fn quantize(bundle: &Path, options: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_llama-pajamas"))
        .arg("quantize")
        .arg(model())
        .arg("--output")
        .arg(bundle)
        .args(["--threads", "1"])
        .args(options)
        .env("LLAMA_PAJAMAS_CACHE", bundle.parent().unwrap().join("home"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{options:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn header(bundle: &Path, id: &str) -> Header {
    let path = bundle.join(id).join("model.gguf");
    let length = std::fs::metadata(&path).unwrap().len();
    Header::read(std::io::BufReader::new(std::fs::File::open(&path).unwrap()), length).unwrap()
}

#[test]
fn layers_go_metadata_is_stated_anew_and_what_was_made_is_judged() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    let text = folder.path().join("judged.txt");
    let tale = "Once upon a time there was a little girl. She had a red ball and she liked to play with it. ";
    std::fs::write(&text, tale.repeat(120)).unwrap();
    let validate = format!("tales={}", text.display());
    let options = [
        "--precision",
        "Q8_0",
        "--prune-layers",
        "1",
        "--override-kv",
        "general.name=str:shorter",
        "--embedding-bits",
        "6",
        "--validate",
        &validate,
        "--json",
    ];
    let said: serde_json::Value = serde_json::from_str(&quantize(&bundle, &options)).unwrap();
    assert_eq!(said["pruned_layers"], serde_json::json!([1]), "{said}");
    let kld = said["validations"][0]["overall"]["kld"]["mean"].as_f64().unwrap();
    assert!(kld > 1e-3, "a layer is gone: {kld}");
    let header = header(&bundle, "gguf/Q8_0");
    assert_eq!(header.metadata.get("general.name"), Some(&Value::String("shorter".into())));
    assert_eq!(header.tensor("token_embd.weight").unwrap().ty, GgmlType::Q6_K);
    let manifest = Bundle::open(&bundle).unwrap().manifest().clone();
    let n_layers = manifest.architecture.unwrap().n_layers.unwrap();
    let named = format!("blk.{}.attn_q.weight", n_layers - 1);
    assert!(
        header.tensor(&named).is_some() && header.tensor(&format!("blk.{n_layers}.attn_q.weight")).is_none()
    );
    let variant = &manifest.variants[0];
    assert!(variant.quality.is_some(), "{variant:?}");
    assert_eq!(variant.settings.other["pruned_layers"], serde_json::json!([1]));
    // The whole model is another one.
    let output = Command::new(env!("CARGO_BIN_EXE_llama-pajamas"))
        .arg("quantize")
        .arg(model())
        .arg("--output")
        .arg(&bundle)
        .args(["--precision", "Q4_0"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("prune layers: expected a bundle of its own"),
        "{said}"
    );
}

#[test]
fn groups_and_embeddings_of_mlx_are_as_asked() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle");
    let asked =
        ["--formats", "mlx", "--precision", "4bit,4bit-mixed", "--group-size", "32", "--embedding-bits", "8"];
    quantize(&bundle, &asked);
    for id in ["mlx/4bit-g32", "mlx/4bit-g32-mixed"] {
        let config = std::fs::read(bundle.join(id).join("config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        let stated = &config["quantization"];
        assert_eq!(stated["group_size"], 32, "{id}: {stated}");
        assert_eq!(stated["model.embed_tokens"]["bits"], 8, "{id}: {stated}");
    }
}

#[test]
fn what_happens_where_nothing_is_asked_for_has_a_name() {
    let folder = tempfile::tempdir().unwrap();
    let [asked, plain] = ["asked", "plain"].map(|name| folder.path().join(name));
    quantize(&asked, &["--auto"]);
    quantize(&plain, &[]);
    let bytes = |bundle: &Path| std::fs::read(bundle.join("gguf/balanced/model.gguf")).unwrap();
    assert!(bytes(&asked) == bytes(&plain));
}
