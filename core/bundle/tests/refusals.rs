//! Bundles that are damaged or hostile, and places that cannot be written: one clear error each, nothing left behind.
//!
//! Owns the scenarios from outside the crate. Must not need privileges.

#![allow(clippy::unwrap_used)] // A panic is how a test fails.

use std::fs;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::Path;

use llama_pajamas_bundle::{Bundle, BundleWriter, Error, ModelCard, Presence, Variant};

fn card() -> ModelCard {
    ModelCard { id: "org/name".to_owned(), ..ModelCard::default() }
}

fn publish(root: &Path, content: &[u8]) -> Result<Bundle, Error> {
    let mut writer = BundleWriter::create_or_open(root, card())?;
    let mut file = writer.file("gguf/F16/model.gguf")?;
    let write = file.write_all(content);
    write.map_err(|source| Error::Io { doing: "write", path: root.to_path_buf(), source })?;
    let files = vec![file.finish()?];
    let (id, precision) = ("gguf/F16".to_owned(), "F16".to_owned());
    writer.put_variant(Variant { id, precision, files, ..Variant::default() });
    writer.publish()
}

fn verify(bundle: &Bundle) -> String {
    let report = bundle.verify(&mut |_| ControlFlow::Continue(())).unwrap();
    report.into_result().unwrap_err().to_string()
}

#[test]
fn damage_is_found_and_named() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    let bundle = publish(root, b"content").unwrap();
    let model = root.join("gguf/F16/model.gguf");
    assert!(matches!(bundle.presence(&bundle.variants()[0]), Presence::Complete));

    fs::write(&model, b"kontent").unwrap();
    assert!(bundle.files("gguf/F16").is_ok(), "the quick check sees sizes only");
    let message = verify(&bundle);
    assert!(message.contains("model.gguf: expected sha256"), "{message}");

    fs::write(&model, b"short").unwrap();
    let message = bundle.files("gguf/F16").unwrap_err().to_string();
    assert!(message.contains("expected 7 bytes, got 5"), "{message}");
    assert_eq!(verify(&bundle), message);

    fs::remove_file(&model).unwrap();
    assert!(matches!(bundle.presence(&bundle.variants()[0]), Presence::Absent));
    let report = bundle.verify(&mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!((report.files.len(), report.absent), (0, vec!["gguf/F16".to_owned()]));
    assert!(bundle.files("gguf/F16").unwrap_err().to_string().contains("is missing"));

    fs::create_dir(&model).unwrap();
    assert!(bundle.files("gguf/F16").unwrap_err().to_string().contains("not a regular file"));
    assert!(bundle.files("gguf/X").unwrap_err().to_string().contains("there are: gguf/F16"));
}

#[test]
fn verification_can_be_cancelled_and_reports_progress() {
    let directory = tempfile::tempdir().unwrap();
    let bundle = publish(directory.path(), &vec![1; 3 << 20]).unwrap();
    let mut seen = Vec::new();
    let report = bundle.verify(&mut |progress| {
        seen.push((progress.done_bytes, progress.total_bytes));
        ControlFlow::Continue(())
    });
    assert!(report.unwrap().is_intact());
    assert_eq!(seen, [(1 << 20, 3 << 20), (2 << 20, 3 << 20), (3 << 20, 3 << 20)]);
    assert!(matches!(bundle.verify(&mut |_| ControlFlow::Break(())), Err(Error::Cancelled)));
}

#[test]
fn a_missing_or_damaged_manifest_names_its_path() {
    let directory = tempfile::tempdir().unwrap();
    let message = Bundle::open(directory.path()).unwrap_err().to_string();
    assert!(message.contains("manifest.json"), "{message}");
    fs::write(directory.path().join("manifest.json"), "{}").unwrap();
    let message = Bundle::open(directory.path()).unwrap_err().to_string();
    assert!(message.contains("manifest.json: .: missing field `schema_version`"), "{message}");
    assert!(BundleWriter::create_or_open(directory.path(), card()).is_err(), "not silently replaced");
}

#[cfg(unix)]
#[test]
fn links_out_of_the_bundle_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (root, outside) = (directory.path().join("bundle"), directory.path().join("outside"));
    publish(&root, b"content").unwrap();
    fs::create_dir(&outside).unwrap();
    fs::rename(root.join("gguf/F16"), outside.join("F16")).unwrap();
    std::os::unix::fs::symlink(outside.join("F16"), root.join("gguf/F16")).unwrap();
    let bundle = Bundle::open(&root).unwrap();
    assert!(matches!(bundle.files("gguf/F16"), Err(Error::Escapes { .. })));
    assert!(verify(&bundle).contains("leads outside the bundle"));
    // A writer does not follow it either.
    let mut writer = BundleWriter::open(&root).unwrap();
    let files = vec![writer.file("gguf/F16/more/model.gguf").unwrap().finish().unwrap()];
    writer.put_variant(Variant { id: "x".into(), precision: "x".into(), files, ..Variant::default() });
    assert!(matches!(writer.publish(), Err(Error::Escapes { .. })));
    assert!(!outside.join("F16/more").exists());
}

#[test]
fn a_newer_runtime_is_asked_for_by_version() {
    let variant = Variant { id: "v".into(), min_runtime: "0.10.0".into(), ..Variant::default() };
    let message = variant.check_runtime("0.9.9").unwrap_err().to_string();
    assert_eq!(message, "variant `v` needs runtime 0.10.0 or newer; this is 0.9.9");
    for (runtime, accepted) in [("0.10.0", true), ("1.0.0", true), ("0.10.0-rc.1", false), ("x", false)] {
        assert_eq!(variant.check_runtime(runtime).is_ok(), accepted, "{runtime}");
    }
    Variant::default().check_runtime("0.0.1").unwrap();
}

#[test]
fn places_that_cannot_be_written_give_one_error() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    let message = publish(&file.join("bundle"), b"x").unwrap_err().to_string();
    assert!(message.contains("file/bundle"), "{message}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn a_read_only_directory_gives_one_error() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let locked = directory.path().join("read-only");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o555)).unwrap();
    // A privileged user writes there all the same; no user writes below /proc/self.
    let privileged = fs::write(locked.join("probe"), "x").is_ok();
    let place = if privileged { Path::new("/proc/self") } else { locked.as_path() };
    let message = publish(&place.join("bundle"), b"x").unwrap_err().to_string();
    assert!(message.contains("cannot create directory") && message.contains("bundle"), "{message}");
    assert!(!place.join("bundle").exists());
}

/// Runs this test again in a process that may write 64 KiB per file, as a disk that fills up half-way.
#[cfg(unix)]
#[test]
fn a_disk_that_fills_up_leaves_the_old_bundle() {
    let marker = "LLAMA_PAJAMAS_TEST_FULL_DISK";
    if let Some(root) = std::env::var_os(marker) {
        let message = publish(Path::new(&root), &vec![7; 4 << 20]).unwrap_err().to_string();
        assert!(message.contains("cannot write"), "{message}");
        fs::write(Path::new(&root).with_extension("refused"), message).unwrap();
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("bundle");
    publish(&root, b"old").unwrap();
    let status = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" --exact \"$1\""])
        .arg(std::env::current_exe().unwrap())
        .arg("a_disk_that_fills_up_leaves_the_old_bundle")
        .env(marker, &root)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert!(root.with_extension("refused").exists(), "the other process did not get there");
    let bundle = Bundle::open(&root).unwrap();
    assert_eq!(fs::read(&bundle.files("gguf/F16").unwrap()[0]).unwrap(), b"old");
    assert_eq!(fs::read_dir(&root).unwrap().count(), 2, "the manifest and gguf/");
}
