//! Layers taken out of the small models that come with the repository, and of tiny ones that are made here.

use super::*;
use crate::open_source;
use crate::source::GgufSource;
use crate::source::pruned::tests::tiny_experts;
use formats::gguf::layer_of;
use std::path::PathBuf;

fn small() -> Box<dyn TensorSource> {
    let model: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../models/pajama-7m"].iter().collect();
    open_source(&model, &[]).unwrap()
}

/// Two layers with experts, with these values in the metadata.
fn with_experts(more: &[(&str, Value)]) -> (tempfile::TempDir, Box<dyn TensorSource>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.gguf");
    std::fs::write(&path, tiny_experts(more)).unwrap();
    let source = GgufSource::open(&path).unwrap();
    (folder, Box::new(source))
}

fn refused(source: &dyn TensorSource, removed: &[u64]) -> String {
    Moved::new(source, removed).unwrap_err().to_string()
}

#[test]
fn layers_behind_those_taken_out_move_up_with_their_weights() {
    let whole = small();
    let n_layers = whole.metadata().u64("qwen3.block_count").unwrap();
    let moved = Moved::new(whole.as_ref(), &[2, 5]).unwrap();
    let view = View::without_layers(small(), &moved).unwrap();
    assert_eq!(view.metadata().u64("qwen3.block_count"), Some(n_layers - 2));
    let row = |source: &dyn TensorSource, name: &str| {
        let index = source.tensors().iter().position(|tensor| tensor.name == name).unwrap();
        let mut row = vec![0f32; source.tensors()[index].dims[0] as usize];
        source.read_rows(index, 0, &mut row).unwrap();
        row
    };
    for (before, now) in [(0, 0), (1, 1), (3, 2), (4, 3), (6, 4), (7, 5)] {
        let name = |layer: u64| format!("blk.{layer}.attn_q.weight");
        assert_eq!(row(&view, &name(now)), row(whole.as_ref(), &name(before)), "{before} becomes {now}");
        assert_eq!(moved.name(&name(before)), Some(name(now)));
    }
    assert_eq!(moved.name("blk.5.attn_q.weight"), None);
    assert_eq!(moved.name("output_norm.weight").as_deref(), Some("output_norm.weight"));
    let of_layers = |source: &dyn TensorSource| {
        source.tensors().iter().filter(|tensor| layer_of::<u64>(&tensor.name).is_some()).count() as u64
    };
    assert_eq!(of_layers(&view) * n_layers, of_layers(whole.as_ref()) * (n_layers - 2));
    assert_eq!(describe(&view).unwrap().n_layers as u64, n_layers - 2);
}

#[test]
fn lists_by_layer_are_cut_and_leading_layers_counted() {
    let heads = Value::Array(Array::U32(vec![1, 2]));
    let (_folder, source) = with_experts(&[("qwen3moe.attention.head_count_kv", heads)]);
    let moved = Moved::new(source.as_ref(), &[0]).unwrap();
    let view = View::without_layers(source, &moved).unwrap();
    let left = view.metadata().get("qwen3moe.attention.head_count_kv");
    assert_eq!(left, Some(&Value::Array(Array::U32(vec![2]))));
    assert_eq!((moved.n_kept_of(1), moved.n_kept_of(2)), (0, 1));
}

#[test]
fn what_cannot_go_is_refused() {
    let source = small();
    assert_eq!(refused(source.as_ref(), &[8]), "prune layers: expected layers 0 to 7, got layer 8");
    let all: Vec<u64> = (0..8).collect();
    assert_eq!(refused(source.as_ref(), &all), "prune layers: expected a layer that stays, got all 8");
}

#[test]
fn metadata_is_stated_anew_in_its_place() {
    let source = small();
    let place = |metadata: &Metadata| metadata.iter().position(|(key, _)| key == "qwen3.context_length");
    let before = place(source.metadata());
    let values =
        [("qwen3.context_length".to_string(), Value::I64(99)), ("new".to_string(), Value::Bool(true))];
    let view = View::restated(source, &values).unwrap();
    assert_eq!((view.metadata().u64("qwen3.context_length"), place(view.metadata())), (Some(99), before));
    assert_eq!(view.metadata().iter().last(), Some(("new", &Value::Bool(true))));
    assert_eq!(describe(&view).unwrap().max_context, 99);
}
