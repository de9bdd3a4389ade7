//! Paged experts: the same logits with a part of the experts in memory, and refusals of what cannot be.

use std::path::Path;
use std::sync::Arc;

use llama_pajamas_engine::{Error, LoadSettings, Model};

use crate::tiny_model::{N_EMBD, N_FF, TinyModel};
use crate::{decode, no_progress, settings, tokens};

const N_EXPERTS: usize = 16;
const N_CHOSEN: usize = 2;
/// Of one layer: three matrices for each expert.
const LAYER_BYTES: u64 = (N_EXPERTS * 3 * N_EMBD * N_FF * 4) as u64;

fn load(path: &Path, expert_memory_bytes: Option<u64>) -> Result<Arc<dyn Model>, Error> {
    let how = LoadSettings { repack: false, expert_memory_bytes, ..LoadSettings::default() };
    crate::engine().load(path, &how, &mut no_progress)
}

#[test]
fn paged_experts_compute_what_others_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = TinyModel::with_experts(N_EXPERTS, N_CHOSEN).write(dir.path());
    let (plain, paged) = (load(&path, None).unwrap(), load(&path, Some(LAYER_BYTES)).unwrap());
    assert_eq!(plain.paging(), None);
    let mut expected = Arc::clone(&plain).new_context(&settings()).unwrap();
    let mut context = Arc::clone(&paged).new_context(&settings()).unwrap();
    let prompt = tokens(40);
    assert_eq!(decode(&mut *context, &prompt), decode(&mut *expected, &prompt));
    let after_prompt = paged.paging().unwrap();
    for token in tokens(80).split_off(40) {
        assert_eq!(decode(&mut *context, &[token]), decode(&mut *expected, &[token]));
    }
    let stats = paged.paging().unwrap();
    assert_eq!((stats.cap_bytes, stats.expert_bytes), (LAYER_BYTES, 2 * LAYER_BYTES));
    // Each of forty tokens chose two experts in each of two layers.
    assert_eq!(stats.wanted - after_prompt.wanted, 40 * 2 * N_CHOSEN as u64);
    assert!(stats.held > after_prompt.held && stats.held < stats.wanted, "{stats:?}");
    assert!(stats.held_bytes <= LAYER_BYTES && stats.let_go_bytes > 0, "{stats:?}");
    assert_eq!(stats.read_bytes - stats.let_go_bytes, stats.held_bytes, "{stats:?}");
}

#[test]
fn less_than_a_layer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = TinyModel::with_experts(N_EXPERTS, N_CHOSEN).write(dir.path());
    let error = load(&path, Some(LAYER_BYTES - 1)).err().expect("refused");
    let expected = format!(
        "setting `expert_memory_bytes` is {}, expected at least {LAYER_BYTES}, the experts of one layer",
        LAYER_BYTES - 1
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_model_without_experts_pages_none() {
    let dir = tempfile::tempdir().unwrap();
    let path = TinyModel::new().write(dir.path());
    assert_eq!(load(&path, Some(1)).unwrap().paging(), None);
}

#[test]
fn the_progress_of_reading_can_be_broken_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = TinyModel::with_experts(N_EXPERTS, N_CHOSEN).write(dir.path());
    let how =
        LoadSettings { repack: false, expert_memory_bytes: Some(LAYER_BYTES), ..LoadSettings::default() };
    let mut calls = 0;
    let outcome = crate::engine().load(&path, &how, &mut |fraction| {
        calls += 1;
        assert!((0.0..=1.0).contains(&fraction));
        if calls == 3 { std::ops::ControlFlow::Break(()) } else { std::ops::ControlFlow::Continue(()) }
    });
    assert!(matches!(outcome, Err(Error::Cancelled)));
}
