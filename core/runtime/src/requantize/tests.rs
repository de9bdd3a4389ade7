//! Requantizing a small model's bundle: passed, refused, stopped, gone on with, told what to do by signals.

use super::*;
use quantizer::build_bundle;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;
use tuner::{Cause, Heat};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn text() -> String {
    let of = |name: &str| std::fs::read_to_string(repository().join("docs").join(name)).unwrap();
    of("fitting.md") + &of("speed.md")
}

/// A bundle with the small model as BF16.
fn bundle() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let request = BuildRequest {
        model: repository().join("models/pajama-stories-4m"),
        model_id: "pajama".into(),
        output: folder.path().to_path_buf(),
        precisions: vec![Recipe::Stock(FileType::BF16)],
        threads: 2,
        ..BuildRequest::default()
    };
    build_bundle(&request, &mut |_| {}, &mut |_| ControlFlow::Continue(())).unwrap();
    folder
}

fn request(file_type: FileType) -> Request {
    Request {
        n_ctx: 64,
        max_windows: 2,
        wait_for_mains: false,
        calm_for: Duration::ZERO,
        // A machine on which nothing is amiss, whatever this one suffers from.
        machine: Some(repository().join("core/hardware/fixtures/nothing-readable.host")),
        max_kld: 1.0,
        ..Request::new(Make::Recipe(Recipe::Stock(file_type)), text())
    }
}

fn begin(root: &Path, request: Request) -> Requantizing {
    Runtime::open(root, RuntimeSettings::default()).unwrap().requantize(request).unwrap()
}

fn ids(root: &Path) -> Vec<String> {
    let bundle = Bundle::open(root).unwrap();
    assert!(bundle.verify(&mut |_| ControlFlow::Continue(())).unwrap().is_intact());
    bundle.variants().iter().map(|variant| variant.id.clone()).collect()
}

#[test]
fn a_variant_that_passes_replaces_another_in_one_change() {
    let folder = bundle();
    let root = folder.path();
    let Outcome::Published(first) = begin(root, request(FileType::Q8_0)).wait().unwrap() else { panic!() };
    assert!(first.id == "gguf/Q8_0" && first.kld_mean > 0.0 && first.kld_mean < 0.1, "{first:?}");
    assert_eq!(ids(root), ["gguf/BF16", "gguf/Q8_0"]);
    let wish = Request {
        replaces: Some("gguf/Q8_0".into()),
        parent: Some("gguf/BF16".into()),
        ..request(FileType::Q4_K_M)
    };
    let outcome = begin(root, wish.clone()).wait().unwrap();
    assert!(matches!(outcome, Outcome::Published(ref second) if !second.was_there), "{outcome:?}");
    assert_eq!(ids(root), ["gguf/BF16", "gguf/Q4_K_M"]);
    assert!(!root.join("gguf/Q8_0").exists() && !root.join(".work").exists());
    // Asked once more, there is nothing to do.
    let outcome = begin(root, wish).wait().unwrap();
    assert!(matches!(outcome, Outcome::Published(ref again) if again.was_there), "{outcome:?}");
    let bundle = Bundle::open(root).unwrap();
    let quality = bundle.variant("gguf/Q4_K_M").unwrap().quality.clone().unwrap();
    assert!(quality.kld_mean.unwrap() > first.kld_mean && quality.how.baseline == "BF16");
}

#[test]
fn a_variant_that_does_not_pass_leaves_the_bundle_as_it_was() {
    let folder = bundle();
    let root = folder.path();
    let before = std::fs::read(root.join("manifest.json")).unwrap();
    let wish = Request { max_kld: 1e-6, replaces: Some("gguf/BF16".into()), ..request(FileType::Q4_0) };
    let outcome = begin(root, wish).wait().unwrap();
    assert!(matches!(outcome, Outcome::NotGoodEnough { kld_mean, .. } if kld_mean > 1e-6), "{outcome:?}");
    assert_eq!(std::fs::read(root.join("manifest.json")).unwrap(), before);
    assert!(!root.join(".work").exists() && !root.join("gguf/Q4_0").exists());
}

#[test]
fn time_and_the_app_end_it_and_the_next_call_goes_on() {
    let folder = bundle();
    let root = folder.path();
    let wish = Request { time_budget: Some(Duration::ZERO), ..request(FileType::Q5_K_M) };
    let outcome = begin(root, wish).wait().unwrap();
    assert!(matches!(outcome, Outcome::OutOfTime { stage: Stage::Rounding, .. }), "{outcome:?}");
    let begun = begin(root, request(FileType::Q5_K_M));
    begun.cancel();
    assert!(matches!(begun.wait(), Err(Error::Runtime(crate::Error::Cancelled))));
    assert_eq!(ids(root), ["gguf/BF16"]);
    let outcome = begin(root, request(FileType::Q5_K_M)).wait().unwrap();
    assert!(matches!(outcome, Outcome::Published(_)), "{outcome:?}");
}

#[test]
fn a_hot_device_makes_it_wait() {
    let folder = bundle();
    let throttled = repository().join("core/hardware/fixtures/raspberry-pi-4-throttled.host");
    let wish = Request {
        machine: Some(throttled),
        look_every: Duration::from_secs(3600),
        ..request(FileType::Q4_0)
    };
    let work = begin(folder.path(), wish);
    while work.progress().paused.is_none() {
        assert!(!work.is_finished());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!((work.progress().paused, work.progress().stage), (Some(Cause::Heat), Stage::Rounding));
    assert_eq!(ids(folder.path()), ["gguf/BF16"]);
    work.report(&Signals { heat: Some(Heat::Cool), ..Signals::default() });
    assert!(matches!(work.wait().unwrap(), Outcome::Published(_)));
}

#[test]
fn wishes_that_cannot_be_met_are_named() {
    let folder = bundle();
    let runtime = Runtime::open(folder.path(), RuntimeSettings::default()).unwrap();
    let error = |request: Request| runtime.requantize(request).unwrap_err().to_string();
    let wish = Request { parent: Some("gguf/Q9".into()), ..request(FileType::Q4_0) };
    assert!(error(wish).contains("gguf/Q9"));
    assert!(error(Request { max_kld: f64::NAN, ..request(FileType::Q4_0) }).contains("max_kld"));
    let wish = Request { memory_budget_bytes: Some(1000), ..request(FileType::Q4_0) };
    let error = runtime.requantize(wish).unwrap().wait().unwrap_err();
    let Error::Quantizer(error) = error else { panic!("{error}") };
    assert!(matches!(*error, quantizer::Error::Memory { have_bytes: 1000, .. }), "{error}");
    let short = Request { text: "Once upon a time".into(), ..request(FileType::Q4_0) };
    let error = runtime.requantize(short).unwrap().wait().unwrap_err().to_string();
    assert!(error.contains("expected at least 64 tokens"), "{error}");
}
