//! Whatever an interrupted run leaves, the next one ends with the bytes of an uninterrupted run.

use super::*;
use crate::recipe::{FileType, Overrides};
use crate::source::GgufSource;
use crate::{plan_file, write_file};
use formats::gguf::{GgmlType, Metadata, TensorSpec, Value};
use std::ops::ControlFlow;

const N_TENSORS: usize = 7;

/// A small model of F32 tensors in a folder of its own, and its bytes as Q8_0.
fn model() -> (tempfile::TempDir, GgufSource, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let metadata = Metadata::from_iter([("general.architecture", Value::String("llama".into()))]);
    let spec = |n: usize| TensorSpec {
        name: format!("blk.{n}.ffn_up.weight"),
        dims: vec![64, 40 + n as u64],
        ty: GgmlType::F32,
    };
    let specs: Vec<TensorSpec> = (0..N_TENSORS).map(spec).collect();
    let mut writer = Writer::new(Vec::new(), &metadata, &specs).unwrap();
    for spec in &specs {
        let n = spec.dims.iter().product::<u64>();
        let weights = (0..n).flat_map(|at| ((at * 7919 % 1013) as f32 / 500.0 - 1.0).to_le_bytes());
        writer.write(&weights.collect::<Vec<u8>>()).unwrap();
    }
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, writer.finish().unwrap()).unwrap();
    let source = GgufSource::open(&path).unwrap();
    let mut whole = Vec::new();
    write_file(&job(&source), &source, &mut whole, 1, &mut |_| ControlFlow::Continue(())).unwrap();
    (folder, source, whole)
}

fn job(source: &GgufSource) -> Job {
    plan_file(source, FileType::Q8_0, &Overrides::default(), None, false).unwrap()
}

fn places(folder: &Path) -> Places {
    Places { file: folder.join("part"), journal: folder.join("journal") }
}

/// Runs until `chunks` chunks are done; how many tensors were there before.
fn run(source: &GgufSource, places: &Places, identity: &str, chunks: usize) -> Result<usize> {
    let mut left = chunks;
    let mut watch = |_: crate::Progress<'_>| {
        left = left.saturating_sub(1);
        if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    write_resumable(&job(source), source, places, identity, 2, &mut watch).map(|(_, resumed)| resumed)
}

#[test]
fn every_interruption_resumes_to_the_same_bytes() {
    let (folder, source, whole) = model();
    for stop in 1..=N_TENSORS {
        let folder = tempfile::tempdir_in(folder.path()).unwrap();
        let places = places(folder.path());
        assert!(matches!(run(&source, &places, "a", stop), Err(Error::Cancelled)));
        let resumed = run(&source, &places, "a", usize::MAX).unwrap();
        assert!(resumed + 1 >= stop, "{resumed} after {stop}");
        assert!(std::fs::read(&places.file).unwrap() == whole, "stopped after {stop}");
        // What is complete is only looked at.
        assert_eq!(run(&source, &places, "a", 1).unwrap(), N_TENSORS);
    }
}

#[test]
fn what_does_not_match_is_made_again() {
    let (folder, source, whole) = model();
    let places = places(folder.path());
    run(&source, &places, "a", usize::MAX).unwrap();
    let journal = std::fs::read_to_string(&places.journal).unwrap();
    let (_, ends) = Writer::<Vec<u8>>::layout(&job(&source).metadata, &job(&source).specs()).unwrap();
    let check = |file: &[u8], journal: &str, identity: &str, expected: usize| {
        std::fs::write(&places.file, file).unwrap();
        std::fs::write(&places.journal, journal).unwrap();
        assert_eq!(run(&source, &places, identity, usize::MAX).unwrap(), expected, "{journal}");
        assert!(std::fs::read(&places.file).unwrap() == whole);
    };
    let mut damaged = whole.clone();
    damaged[ends[3] as usize + 5] ^= 1;
    check(&damaged, &journal, "a", 4);
    check(&whole[..ends[2] as usize + 9], &journal, "a", 3);
    // A torn line, another work, another header, nothing, more than there should be.
    check(&whole, &journal[..journal.len() - 9], "a", N_TENSORS - 1);
    check(&whole, &journal, "b", 0);
    let mut header = whole.clone();
    header[9] ^= 1;
    check(&header, &journal, "a", 0);
    check(&[], &journal, "a", 0);
    let longer = [whole.as_slice(), b"more"].concat();
    check(&longer, &journal, "a", N_TENSORS);
}
