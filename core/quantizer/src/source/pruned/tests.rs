//! Cutting a tiny model that is made here, tensor by tensor.

use super::*;
use formats::gguf::{Array, TensorSpec, Writer};

/// Two layers with four experts of 2 × 4 weights, as a file; weights tell where they stand.
pub(crate) fn tiny_experts(more: &[(&str, Value)]) -> Vec<u8> {
    let text = |text: &str| Value::String(text.into());
    let mut metadata = Metadata::from_iter([
        ("general.architecture".to_string(), text("qwen3moe")),
        ("qwen3moe.block_count".to_string(), Value::U32(2)),
        ("qwen3moe.context_length".to_string(), Value::U32(64)),
        ("qwen3moe.embedding_length".to_string(), Value::U32(4)),
        ("qwen3moe.feed_forward_length".to_string(), Value::U32(4)),
        ("qwen3moe.attention.head_count".to_string(), Value::U32(1)),
        ("qwen3moe.attention.head_count_kv".to_string(), Value::U32(1)),
        ("qwen3moe.attention.key_length".to_string(), Value::U32(4)),
        ("qwen3moe.attention.value_length".to_string(), Value::U32(4)),
        ("qwen3moe.expert_count".to_string(), Value::U32(4)),
        ("qwen3moe.expert_used_count".to_string(), Value::U32(3)),
        ("qwen3moe.expert_feed_forward_length".to_string(), Value::U32(2)),
        ("tokenizer.ggml.tokens".to_string(), Value::Array(Array::String(vec!["a".into(), "b".into()]))),
    ]);
    for (key, value) in more {
        metadata.insert(*key, value.clone());
    }
    let mut tensors = vec![("token_embd.weight".to_string(), vec![4, 2])];
    for layer in 0..2 {
        for (name, dims) in [
            ("attn_q.weight", vec![4, 4]),
            ("ffn_gate_inp.weight", vec![4, 4]),
            ("exp_probs_b.bias", vec![4]),
            ("ffn_gate_exps.weight", vec![4, 2, 4]),
            ("ffn_up_exps.weight", vec![4, 2, 4]),
            ("ffn_down_exps.weight", vec![2, 4, 4]),
            ("ffn_down_exps.bias", vec![4, 4]),
        ] {
            tensors.push((format!("blk.{layer}.{name}"), dims));
        }
    }
    let spec = |(name, dims): &(String, Vec<u64>)| TensorSpec {
        name: name.clone(),
        dims: dims.clone(),
        ty: GgmlType::F32,
    };
    let specs: Vec<TensorSpec> = tensors.iter().map(spec).collect();
    let mut out = Vec::new();
    let mut writer = Writer::new(&mut out, &metadata, &specs).unwrap();
    for (_, dims) in &tensors {
        let n: u64 = dims.iter().product();
        let bytes: Vec<u8> = (0..n).flat_map(|at| (at as f32).to_le_bytes()).collect();
        writer.write(&bytes).unwrap();
    }
    writer.finish().unwrap();
    out
}

fn open(bytes: &[u8]) -> (tempfile::TempDir, Box<dyn TensorSource>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    let source = crate::open_source(&path, &[]).unwrap();
    (folder, source)
}

fn kept(experts: &[usize]) -> Kept {
    (0..2).map(|layer| (layer, Arc::from(experts))).collect()
}

#[test]
fn router_and_stacks_are_cut_together() {
    let (_folder, whole) = open(&tiny_experts(&[]));
    let pruned = PrunedSource::new(whole, &kept(&[1, 3])).unwrap();
    assert_eq!(pruned.metadata().u64("qwen3moe.expert_count"), Some(2));
    // No token can use more than there are.
    assert_eq!(pruned.metadata().u64("qwen3moe.expert_used_count"), Some(2));
    let read = |name: &str| -> (Vec<u64>, Vec<f32>) {
        let index = pruned.tensors().iter().position(|tensor| tensor.name == name).unwrap();
        let dims = pruned.tensors()[index].dims.clone();
        let mut values = vec![0f32; dims.iter().product::<u64>() as usize];
        pruned.read_rows(index, 0, &mut values).unwrap();
        if pruned.is_stored(index) {
            let mut bytes = vec![0; values.len() * 4];
            pruned.copy_rows(index, 0, &mut bytes);
            let copied: Vec<f32> =
                bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
            assert_eq!(copied, values, "{name}");
        }
        (dims, values)
    };
    let from = |start: u32, n: u32| (start..start + n).map(|value| value as f32);
    assert_eq!(read("blk.1.ffn_gate_inp.weight"), (vec![4, 2], from(4, 4).chain(from(12, 4)).collect()));
    assert_eq!(read("blk.0.exp_probs_b.bias"), (vec![2], vec![1.0, 3.0]));
    assert_eq!(read("blk.0.ffn_up_exps.weight"), (vec![4, 2, 2], from(8, 8).chain(from(24, 8)).collect()));
    assert_eq!(read("blk.1.ffn_down_exps.bias"), (vec![4, 2], from(4, 4).chain(from(12, 4)).collect()));
    assert_eq!(read("blk.1.attn_q.weight"), (vec![4, 4], from(0, 16).collect()));
    // A run of rows that begins in one expert and ends in the next.
    let index =
        pruned.tensors().iter().position(|tensor| tensor.name == "blk.0.ffn_down_exps.weight").unwrap();
    let mut rows = vec![0f32; 2 * 3];
    pruned.read_rows(index, 3, &mut rows).unwrap();
    assert_eq!(rows, from(14, 2).chain(from(24, 4)).collect::<Vec<f32>>());
    let moe = describe(&pruned).unwrap().moe.unwrap();
    assert_eq!((moe.n_experts, moe.n_active), (2, 2));
}

#[test]
fn what_cannot_be_cut_is_refused_by_name() {
    let refused = |more: &[(&str, Value)]| {
        let (_folder, whole) = open(&tiny_experts(more));
        PrunedSource::new(whole, &kept(&[0, 1])).err().unwrap().to_string()
    };
    let error = refused(&[("qwen3moe.expert_group_count", Value::U32(2))]);
    assert!(error.contains("prune experts") && error.contains("2 groups"), "{error}");
    let error = refused(&[("qwen3moe.expert_count", Value::U32(8))]);
    assert!(error.contains("expected a part for each of 8 experts, got 4"), "{error}");
    let (_folder, whole) = open(&tiny_experts(&[]));
    let error = PrunedSource::new(whole, &Kept::from([(0, Arc::from([0usize]))])).err().unwrap().to_string();
    assert!(error.contains("blk.1.") && error.contains("not ranked"), "{error}");
}
