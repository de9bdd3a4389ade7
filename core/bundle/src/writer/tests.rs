//! Publication, replacement, interruption and refusal.
//!
//! Owns the scenarios. Must not need anything outside a temporary directory.

use std::io::Write;

use super::*;
use crate::Bundle;

fn card() -> ModelCard {
    ModelCard { id: "org/name".to_owned(), ..ModelCard::default() }
}

fn stage(writer: &BundleWriter, id: &str, content: &[u8]) -> Variant {
    let mut file = writer.file(format!("{id}/model.gguf")).unwrap();
    file.write_all(content).unwrap();
    let precision = id.rsplit('/').next().unwrap().to_owned();
    Variant { id: id.to_owned(), precision, files: vec![file.finish().unwrap()], ..Variant::default() }
}

fn publish(root: &Path, id: &str, content: &[u8]) -> Bundle {
    let mut writer = BundleWriter::create_or_open(root, card()).unwrap();
    let variant = stage(&writer, id, content);
    writer.put_variant(variant);
    writer.publish().unwrap()
}

fn tree(root: &Path) -> Vec<String> {
    fn walk(root: &Path, directory: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => walk(root, &path, found),
                false => found.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned()),
            }
        }
    }
    let mut found = Vec::new();
    walk(root, root, &mut found);
    found.sort();
    found
}

#[test]
fn a_new_bundle_and_a_second_variant() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("deep/bundle");
    publish(&root, "gguf/Q8_0", b"eight");
    let bundle = publish(&root, "gguf/Q4_K_M", b"four");
    assert_eq!(tree(&root), ["gguf/Q4_K_M/model.gguf", "gguf/Q8_0/model.gguf", "manifest.json"]);
    assert!(!root.join(STAGING).exists());
    assert_eq!(fs::read(&bundle.files("gguf/Q8_0").unwrap()[0]).unwrap(), b"eight");
    let report = bundle.verify(&mut |_| std::ops::ControlFlow::Continue(())).unwrap();
    assert!(report.is_intact());
}

#[test]
fn replacement_goes_beside_and_the_old_files_go() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    publish(root, "gguf/Q8_0", b"one");
    for (content, place) in [(b"two", "gguf/Q8_0.2"), (b"six", "gguf/Q8_0"), (b"six", "gguf/Q8_0")] {
        let bundle = publish(root, "gguf/Q8_0", content);
        assert_eq!(tree(root), [format!("{place}/model.gguf"), "manifest.json".to_owned()]);
        assert_eq!(fs::read(&bundle.files("gguf/Q8_0").unwrap()[0]).unwrap(), content);
    }
}
