//! Publication, replacement, interruption and refusal.
//!
//! Owns the scenarios. Must not need anything outside a temporary directory.

use std::io::Write;

use super::*;
use crate::{Bundle, FileEntry, FileRole};

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

#[test]
fn an_adopted_file_is_published_and_stays_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let (root, finished) = (directory.path().join("bundle"), directory.path().join("finished"));
    publish(&root, "gguf/Q8_0", b"eight");
    fs::write(&finished, b"four").unwrap();
    // Dropped before publication, nothing of it is left in the bundle.
    let writer = BundleWriter::open(&root).unwrap();
    writer.adopt(&finished, "gguf/Q4_K_M/model.gguf").unwrap();
    assert!(writer.adopt(&finished, "../out").is_err());
    drop(writer);
    assert_eq!(tree(&root), ["gguf/Q8_0/model.gguf", "manifest.json"]);
    let mut writer = BundleWriter::open(&root).unwrap();
    let files = vec![writer.adopt(&finished, "gguf/Q4_K_M/model.gguf").unwrap()];
    writer.put_variant(Variant {
        id: "gguf/Q4_K_M".into(),
        precision: "Q4_K_M".into(),
        files,
        ..Variant::default()
    });
    let bundle = writer.publish().unwrap();
    assert_eq!(fs::read(&bundle.files("gguf/Q4_K_M").unwrap()[0]).unwrap(), b"four");
    assert!(bundle.verify(&mut |_| std::ops::ControlFlow::Continue(())).unwrap().is_intact());
    assert_eq!(fs::read(&finished).unwrap(), b"four");
}

#[test]
fn variants_written_together_may_share_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let publish_both = |model: &[u8], projector: &[u8]| {
        let mut writer = BundleWriter::create_or_open(root, card()).unwrap();
        let mut file = writer.file("gguf/mmproj/F16.gguf").unwrap();
        file.write_all(projector).unwrap();
        let shared = FileEntry { role: FileRole::Projector, ..file.finish().unwrap() };
        for id in ["gguf/Q8_0", "gguf/Q4_K_M"] {
            let mut variant = stage(&writer, id, model);
            variant.files.push(shared.clone());
            writer.put_variant(variant);
        }
        writer.publish().unwrap()
    };
    publish_both(b"model", b"projector");
    assert_eq!(
        tree(root),
        ["gguf/Q4_K_M/model.gguf", "gguf/Q8_0/model.gguf", "gguf/mmproj/F16.gguf", "manifest.json"]
    );
    // The same again replaces nothing; another projector goes beside, with both variants.
    publish_both(b"model", b"projector");
    let bundle = publish_both(b"model", b"another");
    assert!(bundle.verify(&mut |_| std::ops::ControlFlow::Continue(())).unwrap().is_intact());
    for variant in bundle.variants() {
        let projector = variant.projector().unwrap();
        assert_eq!(fs::read(root.join(&projector.path)).unwrap(), b"another");
    }
    assert_eq!(tree(root).len(), 4, "{:?}", tree(root));
}

/// Ends a writer as a killed process does: the system frees the lock, nothing is cleaned up.
fn crash(mut writer: BundleWriter) {
    writer.lock = None;
}

#[test]
fn a_crash_after_any_step_leaves_a_valid_bundle_and_the_next_writer_cleans_up() {
    for steps in 0..=6 {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        publish(root, "gguf/Q8_0", b"kept");
        publish(root, "gguf/Q4_K_M", b"old");
        let mut writer = BundleWriter::create_or_open(root, card()).unwrap();
        let (replaced, added) = (stage(&writer, "gguf/Q4_K_M", b"new"), stage(&writer, "gguf/F16", b"added"));
        let mut moves = Vec::new();
        if steps >= 1 {
            writer.put_variant(replaced);
            writer.put_variant(added);
            moves = writer.arrange().unwrap();
        }
        if steps >= 2 {
            journal::write(&writer.staging(), &writer.touched(&moves)).unwrap();
        }
        if steps >= 3 {
            let count = if steps == 3 { 1 } else { moves.len() };
            writer.move_files(&moves[..count]).unwrap();
        }
        if steps >= 5 {
            writer.write_manifest(&writer.manifest.to_bytes(), None).unwrap();
        }
        if steps >= 6 {
            journal::remove_unlisted(root, &writer.touched(&moves), Some(&writer.manifest));
        }
        crash(writer);

        let check = |cleaned: bool| {
            let bundle = Bundle::open(root).unwrap();
            let report = bundle.verify(&mut |_| std::ops::ControlFlow::Continue(())).unwrap();
            assert!(report.is_intact() && report.absent.is_empty(), "after step {steps}: {report:?}");
            let content = fs::read(&bundle.files("gguf/Q4_K_M").unwrap()[0]).unwrap();
            assert_eq!(content, if steps >= 5 { &b"new"[..] } else { b"old" }, "after step {steps}");
            let n_files = if steps >= 5 { 4 } else { 3 };
            assert!(!cleaned || tree(root).len() == n_files, "after step {steps}: {:?}", tree(root));
        };
        check(false);
        drop(BundleWriter::create_or_open(root, card()).unwrap());
        check(true);
    }
}

#[test]
fn a_crash_in_a_new_bundle_is_cleaned_up() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let mut writer = BundleWriter::create_or_open(root, card()).unwrap();
    let variant = stage(&writer, "gguf/F16", b"x");
    writer.put_variant(variant);
    let moves = writer.arrange().unwrap();
    journal::write(&writer.staging(), &writer.touched(&moves)).unwrap();
    writer.move_files(&moves).unwrap();
    crash(writer);
    assert!(!tree(root).is_empty());
    drop(BundleWriter::create_or_open(root, card()).unwrap());
    assert_eq!(tree(root), Vec::<String>::new());
}

#[test]
fn two_writers_do_not_fight() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("bundle");
    let first = BundleWriter::create_or_open(&root, card()).unwrap();
    let message = BundleWriter::create_or_open(&root, card()).unwrap_err().to_string();
    assert!(message.contains("another process is writing"), "{message}");
    assert!(root.join(STAGING).exists(), "the refused writer removed the other's files");
    drop(first);
    assert!(!root.exists(), "nothing was published, so that nothing stays");
    publish(&root, "gguf/F16", b"x");
}

#[test]
fn parallel_writers_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("bundle");
    std::thread::scope(|scope| {
        for i in 0..4 {
            let root = &root;
            scope.spawn(move || {
                let mut writer = loop {
                    match BundleWriter::create_or_open(root, card()) {
                        Ok(writer) => break writer,
                        Err(Error::Locked { .. }) => std::thread::yield_now(),
                        Err(error) => panic!("{error}"),
                    }
                };
                let variant = stage(&writer, &format!("gguf/V{i}"), &[i; 10]);
                writer.put_variant(variant);
                writer.publish().unwrap();
            });
        }
    });
    let bundle = Bundle::open(&root).unwrap();
    assert_eq!(bundle.variants().len(), 4);
    assert!(bundle.verify(&mut |_| std::ops::ControlFlow::Continue(())).unwrap().is_intact());
}

#[test]
fn refusals_leave_the_bundle_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    publish(root, "gguf/F16", b"old");
    let before = (tree(root), fs::read(root.join("manifest.json")).unwrap());
    let refuse = |words: &str, act: &dyn Fn(&mut BundleWriter)| {
        let mut writer = BundleWriter::open(root).unwrap();
        act(&mut writer);
        let message = writer.publish().unwrap_err().to_string();
        assert!(message.contains(words), "{message}");
        assert_eq!((tree(root), fs::read(root.join("manifest.json")).unwrap()), before);
    };
    refuse("is not listed", &|writer| drop(stage(writer, "gguf/Q8_0", b"x")));
    refuse("was not finished", &|writer| drop(writer.file("gguf/Q8_0/model.gguf").unwrap()));
    refuse("is missing", &|writer| {
        let mut variant = writer.manifest().variants[0].clone();
        variant.id = "gguf/ghost".to_owned();
        variant.files[0].path = RelativePath::new("gguf/ghost/model.gguf").unwrap();
        writer.put_variant(variant);
    });
    refuse("variants[1].precision: must not be empty", &|writer| {
        let variant = stage(writer, "gguf/Q8_0", b"x");
        writer.put_variant(Variant { precision: String::new(), ..variant });
    });
    let writer = BundleWriter::open(root).unwrap();
    assert!(matches!(writer.ensure_space(u64::MAX), Err(Error::DiskSpace { .. })));
    assert!(writer.file("../outside").is_err());
    drop(writer);
    let other = ModelCard { id: "other/model".to_owned(), ..ModelCard::default() };
    assert!(matches!(BundleWriter::create_or_open(root, other), Err(Error::OtherModel { .. })));
    assert_eq!(tree(root), before.0);
}

#[test]
fn a_variant_of_several_files_moves_as_one() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let write = |writer: &BundleWriter, name: &str, content: &[u8]| {
        let mut file = writer.file(format!("mlx/4bit/{name}")).unwrap();
        file.write_all(content).unwrap();
        file.finish().unwrap()
    };
    let mut writer = BundleWriter::create_or_open(root, card()).unwrap();
    let files = vec![write(&writer, "weights.safetensors", b"one"), write(&writer, "config/a.json", b"same")];
    let variant = Variant { id: "mlx/4bit".into(), precision: "4bit".into(), files, ..Variant::default() };
    writer.put_variant(variant.clone());
    writer.publish().unwrap();
    // One file changes, the other stays: both are then in the new directory.
    let mut writer = BundleWriter::open(root).unwrap();
    let files = vec![write(&writer, "weights.safetensors", b"two"), variant.files[1].clone()];
    writer.put_variant(Variant { files, ..variant });
    let bundle = writer.publish().unwrap();
    assert_eq!(tree(root), ["manifest.json", "mlx/4bit.2/config/a.json", "mlx/4bit.2/weights.safetensors"]);
    assert!(bundle.verify(&mut |_| std::ops::ControlFlow::Continue(())).unwrap().is_intact());
}

#[test]
fn removing_a_variant_removes_its_files() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    publish(root, "gguf/F16", b"a");
    publish(root, "gguf/Q8_0", b"b");
    let mut writer = BundleWriter::open(root).unwrap();
    assert!(writer.remove_variant("gguf/F16") && !writer.remove_variant("gguf/F16"));
    writer.publish().unwrap();
    assert_eq!(tree(root), ["gguf/Q8_0/model.gguf", "manifest.json"]);
}
