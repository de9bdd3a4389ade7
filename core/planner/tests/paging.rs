//! Experts in their file: only where it was allowed and nothing fits whole, and never beyond the budget.

#![allow(clippy::unwrap_used)]

use families::{Description, Role};
use formats::gguf::{GgmlType, TensorSpec};
use hardware::{Host, Limit, Memory};
use llama_pajamas_planner::{Backend, BackendDevice, Candidate, Code, Plan, ReasonCode, Request, plan};

fn host(gibibytes: u64) -> Host {
    let budget_bytes = gibibytes << 30;
    let mut host = Host {
        os: "linux".into(),
        arch: "x86_64".into(),
        memory: Memory {
            total_bytes: budget_bytes,
            available_bytes: budget_bytes,
            budget_bytes,
            limits: vec![Limit { source: "test".into(), headroom_bytes: budget_bytes }],
            ..Memory::default()
        },
        ..Host::default()
    };
    (host.cpu.usable_cpus, host.cpu.usable_cores, host.cpu.fast_cores) = (8, 8, 8);
    host
}

/// Qwen3-30B-A3B.
fn description() -> Description {
    let config = serde_json::json!({"model_type": "qwen3_moe", "norm_topk_prob": true, "hidden_size": 2048,
        "intermediate_size": 6144, "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4,
        "head_dim": 128, "vocab_size": 151936, "max_position_embeddings": 40960, "num_experts": 128,
        "num_experts_per_tok": 8, "moe_intermediate_size": 768});
    families::detect_config(&config).unwrap()
}

/// All matrices in one type.
fn candidate(precision: &str, ty: GgmlType) -> Candidate {
    let description = description();
    let typed = |shape: families::TensorShape| {
        let ty = if shape.dims.len() > 1 && shape.role != Role::Router { ty } else { GgmlType::F32 };
        TensorSpec { name: shape.name, dims: shape.dims, ty }
    };
    let tensors: Vec<TensorSpec> = description.tensor_shapes().into_iter().map(typed).collect();
    let bytes = |tensor: &TensorSpec| {
        tensor.ty.row_bytes(tensor.dims[0]).unwrap() * tensor.dims[1..].iter().product::<u64>()
    };
    let weights_bytes = tensors.iter().map(bytes).sum();
    Candidate {
        id: format!("gguf/{precision}"),
        precision: precision.into(),
        description,
        weights_bytes,
        tensors,
        active_weights_bytes: weights_bytes / 10,
        work: None,
        quality: None,
        compatible_backends: ["cpu", "vulkan"].map(String::from).to_vec(),
        present: true,
        projector: None,
        cache: None,
        blocked: None,
    }
}

fn ask(gibibytes: u64, candidates: &[Candidate], request: &Request) -> Plan {
    plan(&host(gibibytes), candidates, request)
}

fn paged() -> Request {
    Request { page_experts: true, ..Request::default() }
}

#[test]
fn what_fits_nowhere_whole_is_paged_if_that_is_allowed() {
    let q4 = [candidate("Q4_K", GgmlType::Q4_K)];
    let refused = ask(8, &q4, &Request::default());
    assert!(refused.chosen.is_none());
    assert_eq!(refused.rejected[0].code, Code::MemSoft);
    let chosen = ask(8, &q4, &paged());
    assert!(chosen.why.iter().any(|reason| reason.code == ReasonCode::ExpertsPaged), "{}", chosen.render());
    let choice = chosen.chosen.unwrap();
    let cap = choice.expert_memory_bytes.unwrap();
    let memory = choice.memory;
    // Whole mebibytes: nothing is left over that a mebibyte more would fit.
    assert!(memory.host_bytes() <= 8 << 30 && memory.host_bytes() + (1 << 20) > 8 << 30);
    assert_eq!(memory.weights_bytes + memory.paged_bytes, {
        let whole = ask(64, &q4, &Request::default()).chosen.unwrap().memory;
        whole.weights_bytes
    });
    assert!(cap > 4 << 30 && memory.paged_bytes > 4 << 30, "{cap} {memory:?}");
}

#[test]
fn a_variant_that_fits_whole_stands_before_a_better_one_in_parts() {
    let both = [candidate("Q8_0", GgmlType::Q8_0), candidate("Q4_K", GgmlType::Q4_K)];
    let choice = ask(24, &both, &paged()).chosen.unwrap();
    assert_eq!((choice.id.as_str(), choice.expert_memory_bytes), ("gguf/Q4_K", None));
    // Where both are paged the better one is taken.
    let choice = ask(8, &both, &paged()).chosen.unwrap();
    assert_eq!(choice.id, "gguf/Q8_0");
    assert!(choice.expert_memory_bytes.is_some());
}

#[test]
fn more_memory_is_faster_and_less_than_a_layer_is_refused() {
    let q4 = [candidate("Q4_K", GgmlType::Q4_K)];
    let speed = |gibibytes: u64| ask(gibibytes, &q4, &paged()).chosen.unwrap().speed;
    let [small, large] = [4, 12].map(speed);
    assert!(small.decode_tokens_per_s[1] < large.decode_tokens_per_s[1]);
    assert!(small.first_token_s[1] > large.first_token_s[1]);
    assert!(ask(1, &q4, &paged()).chosen.is_none());
}

#[test]
fn layers_on_a_device_are_not_paged() {
    let device = BackendDevice {
        backend: Backend::Vulkan,
        name: "gpu".into(),
        free_bytes: 4 << 30,
        ..BackendDevice::default()
    };
    let request = Request { devices: vec![device], ..paged() };
    let choice = ask(8, &[candidate("Q4_K", GgmlType::Q4_K)], &request).chosen.unwrap();
    assert_eq!(choice.gpu_layers, 0);
    assert!(choice.expert_memory_bytes.is_some());
}
