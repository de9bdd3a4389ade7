//! Plans hold what they promise, whatever the host and the variants.

#![allow(clippy::unwrap_used)]

use hardware::{Cpu, Host, Limit, Memory};
use llama_pajamas_planner::{Candidate, Code, Request, plan};
use proptest::prelude::*;

fn host(budget_bytes: u64) -> Host {
    Host {
        os: "linux".into(),
        arch: "x86_64".into(),
        cpu: Cpu {
            brand: "test".into(),
            isa: vec![],
            physical_cores: 4,
            logical_cpus: 8,
            usable_cpus: 8,
            usable_cores: 4,
            fast_cores: 4,
            quota_cpus: None,
            core_classes: vec![],
        },
        memory: Memory {
            total_bytes: budget_bytes,
            available_bytes: budget_bytes,
            budget_bytes,
            limits: vec![Limit { source: "test".into(), headroom_bytes: budget_bytes }],
        },
        gpus: vec![],
        numa_nodes: 1,
        model: None,
        page_bytes: None,
    }
}

/// Variants of a model of Qwen3-8B's shape.
fn candidates() -> Vec<Candidate> {
    let config = serde_json::json!({"model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288,
        "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "vocab_size": 151936, "max_position_embeddings": 40960, "rope_theta": 1000000, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": false});
    let description = families::detect_config(&config).unwrap();
    let candidate = |(precision, gigabytes): (&str, f64)| Candidate {
        id: format!("gguf/{precision}"),
        precision: precision.into(),
        description: description.clone(),
        weights_bytes: (gigabytes * 1e9) as u64,
        active_weights_bytes: (gigabytes * 1e9) as u64,
        quality: None,
        compatible_backends: vec!["cpu".into()],
        present: true,
        blocked: None,
    };
    [("Q8_0", 8.70), ("Q4_K_M", 5.02), ("IQ4_XS", 4.55), ("Q2_K", 3.27)].map(candidate).into()
}

fn chosen(gib: f64, request: &Request) -> Option<(String, u64, &'static str)> {
    let plan = plan(&host((gib * 1073741824.0) as u64), &candidates(), request);
    plan.chosen.map(|choice| (choice.id, choice.context_tokens, choice.kv_type))
}

#[test]
fn the_best_variant_that_fits_is_chosen() {
    assert_eq!(chosen(16.0, &Request::default()), Some(("gguf/Q8_0".into(), 4096, "F16")));
    assert_eq!(chosen(6.0, &Request::default()), Some(("gguf/Q4_K_M".into(), 4096, "F16")));
    assert_eq!(chosen(2.0, &Request::default()), None);
}

#[test]
fn an_asked_context_is_kept_and_the_cache_gives_way() {
    let request =
        Request { context_tokens: Some(32768), variant: Some("gguf/Q2_K".into()), ..Request::default() };
    assert_eq!(chosen(6.5, &request), Some(("gguf/Q2_K".into(), 32768, "Q8_0")));
    assert_eq!(chosen(4.0, &request), None);
}

#[test]
fn nothing_fits_says_what_is_missing() {
    let plan = plan(&host(2 << 30), &candidates(), &Request::default());
    for rejection in &plan.rejected {
        assert_eq!(rejection.code, Code::MemSoft);
        assert_eq!(
            rejection.need_bytes.unwrap() - rejection.have_bytes.unwrap(),
            rejection.shortfall_bytes.unwrap()
        );
    }
    assert_eq!(plan.rejected.len(), 4);
    assert!(plan.render().contains("nothing fits"));
}

proptest! {
    #[test]
    fn a_plan_never_exceeds_its_budget_and_more_memory_never_hurts(budget in 0u64..20 << 30, more in 0u64..8 << 30) {
        let small = plan(&host(budget), &candidates(), &Request::default());
        let large = plan(&host(budget + more), &candidates(), &Request::default());
        if let Some(choice) = &small.chosen {
            prop_assert!(choice.memory.total_bytes() <= budget);
            let better = large.chosen.as_ref().expect("more memory fits too");
            prop_assert!(better.quality.kld_mean <= choice.quality.kld_mean);
        }
        let covered = small.rejected.len() + usize::from(small.chosen.is_some());
        prop_assert_eq!(covered, candidates().len());
        prop_assert_eq!(&small, &plan(&host(budget), &candidates(), &Request::default()));
    }
}
