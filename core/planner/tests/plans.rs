//! Plans hold what they promise, whatever the host and the variants.

#![allow(clippy::unwrap_used)]

use hardware::{Cpu, Host, Limit, Memory};
use llama_pajamas_planner::{
    Backend, BackendDevice, Candidate, Code, Draft, Plan, Projector, QualityEstimate, ReasonCode, Request,
    plan,
};
use proptest::prelude::*;
use std::sync::Arc;

fn host(budget_bytes: u64) -> Host {
    Host {
        os: "linux".into(),
        arch: "x86_64".into(),
        cpu: Cpu {
            brand: "test".into(),
            physical_cores: 4,
            logical_cpus: 8,
            usable_cpus: 8,
            usable_cores: 4,
            fast_cores: 4,
            ..Cpu::default()
        },
        memory: Memory {
            total_bytes: budget_bytes,
            available_bytes: budget_bytes,
            budget_bytes,
            limits: vec![Limit { source: "test".into(), headroom_bytes: budget_bytes }],
            ..Memory::default()
        },
        numa_nodes: 1,
        ..Host::default()
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
        tensors: Vec::new(),
        active_weights_bytes: (gigabytes * 1e9) as u64,
        work: None,
        quality: None,
        compatible_backends: vec!["cpu".into()],
        present: true,
        projector: None,
        cache: None,
        blocked: None,
    };
    [("Q8_0", 8.70), ("Q4_K_M", 5.02), ("IQ4_XS", 4.55), ("Q2_K", 3.27)].map(candidate).into()
}

fn chosen(gib: f64, request: &Request) -> Option<(String, u64, &'static str)> {
    let plan = plan(&host((gib * 1073741824.0) as u64), &candidates(), request);
    plan.chosen.map(|choice| (choice.id, choice.context_tokens, choice.type_k))
}

#[test]
fn the_best_variant_that_fits_is_chosen() {
    assert_eq!(chosen(16.0, &Request::default()), Some(("gguf/Q8_0".into(), 4096, "F16")));
    assert_eq!(chosen(6.0, &Request::default()), Some(("gguf/Q4_K_M".into(), 4096, "F16")));
    assert_eq!(chosen(2.0, &Request::default()), None);
}

#[test]
fn the_usual_context_is_kept_before_a_better_variant_with_a_short_one() {
    let candidates = candidates();
    let at = |gib: f64, request: &Request| plan(&host((gib * 1073741824.0) as u64), &candidates, request);
    // Q8_0 fits with 512 to 2048 tokens.
    let usual = at(8.35, &Request::default());
    let choice = usual.chosen.as_ref().unwrap();
    assert_eq!((choice.id.as_str(), choice.context_tokens), ("gguf/Q4_K_M", 4096));
    let better = usual.rejected.iter().find(|one| one.id == "gguf/Q8_0").unwrap();
    assert_eq!(better.code, Code::Context, "{better:?}");
    let short: u64 = better.fix.split(' ').nth(2).unwrap().parse().unwrap();
    assert!((512..4096).contains(&short), "{}", better.fix);
    let asked = Request { context_tokens: Some(short), ..Request::default() };
    assert_eq!(at(8.35, &asked).chosen.unwrap().id, "gguf/Q8_0");
    // The cache gives way before the context does.
    let cache = at(8.6, &Request { variant: Some("gguf/Q8_0".into()), ..Request::default() }).chosen.unwrap();
    assert_eq!((cache.context_tokens, cache.type_k), (4096, "Q8_0"));
    // A variant that loses much does not stand before a good one with a short context.
    let good = at(4.45, &Request::default());
    let choice = good.chosen.as_ref().unwrap();
    assert_eq!(choice.id, "gguf/IQ4_XS", "{good:?}");
    assert!(choice.context_tokens < 4096);
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

fn gpu(free_bytes: u64) -> BackendDevice {
    BackendDevice { backend: Backend::Vulkan, name: "Vulkan0".into(), free_bytes, ..BackendDevice::default() }
}

/// The same variants, for Vulkan too.
fn gpu_candidates() -> Vec<Candidate> {
    let mut candidates = candidates();
    candidates.iter_mut().for_each(|candidate| candidate.compatible_backends.push("vulkan".into()));
    candidates
}

#[test]
fn a_device_takes_what_fits_and_spares_the_host() {
    let request = |free| Request { devices: vec![gpu(free)], ..Request::default() };
    let whole = plan(&host(2 << 30), &gpu_candidates(), &request(24 << 30)).chosen.unwrap();
    assert_eq!((whole.id.as_str(), whole.backend, whole.gpu_layers), ("gguf/Q8_0", Backend::Vulkan, 37));
    let part = plan(&host(8 << 30), &gpu_candidates(), &request(4 << 30));
    let choice = part.chosen.unwrap();
    assert!((1..37).contains(&choice.gpu_layers), "{}", choice.gpu_layers);
    assert!(choice.memory.device_bytes < 4 << 30);
    assert!(
        part.why
            .iter()
            .any(|told| told.code == ReasonCode::Offload && told.text.contains("layers on Vulkan0")),
        "{:?}",
        part.why
    );
    // Variants that do not name the backend stay on the processor.
    let cpu = plan(&host(16 << 30), &candidates(), &request(24 << 30)).chosen.unwrap();
    assert_eq!((cpu.backend, cpu.gpu_layers, cpu.memory.device_bytes), (Backend::Cpu, 0, 0));
}

#[test]
fn a_device_that_shares_the_memory_is_counted_once() {
    let shared = BackendDevice { unified: true, ..gpu(6 << 30) };
    let request = Request { devices: vec![shared], ..Request::default() };
    let plan_on = |budget| plan(&host(budget), &gpu_candidates(), &request).chosen;
    let choice = plan_on(6 << 30).expect("a small variant fits");
    assert!(choice.gpu_layers > 0 && choice.memory.total_bytes() <= 6 << 30, "{choice:?}");
    assert!(plan_on(2 << 30).is_none(), "the device brings no memory of its own");
}

#[test]
fn caps_of_the_app_bound_the_host_and_the_device() {
    let mut request = Request { devices: vec![gpu(24 << 30)], ..Request::default() };
    request.memory_cap_bytes = Some(6 << 30);
    request.device_memory_cap_bytes = Some(2 << 30);
    let plan = plan(&host(64 << 30), &gpu_candidates(), &request);
    let choice = plan.chosen.expect("a small variant fits");
    assert!(choice.memory.host_bytes() <= 6 << 30 && choice.memory.device_bytes <= 2 << 30, "{choice:?}");
    assert!(
        plan.assumptions.iter().any(|told| told.code == ReasonCode::BudgetCapped),
        "{:?}",
        plan.assumptions
    );
    assert_eq!(Request { memory_budget_bytes: Some(1), ..request }.memory_bytes(&host(64 << 30)), 1);
}

#[test]
fn a_variant_for_devices_alone_needs_all_layers_there() {
    let mut candidates = gpu_candidates();
    candidates.iter_mut().for_each(|candidate| candidate.compatible_backends.retain(|name| name == "vulkan"));
    let without = plan(&host(64 << 30), &candidates, &Request::default());
    assert!(without.chosen.is_none() && without.rejected.iter().all(|r| r.code == Code::Engine));
    let request = Request { devices: vec![gpu(6 << 30)], ..Request::default() };
    let plan = plan(&host(64 << 30), &candidates, &request);
    // 4.68 GiB of weights and 0.56 GiB of cache lie within nine tenths of it.
    assert_eq!(plan.chosen.unwrap().id, "gguf/Q4_K_M", "{:?}", plan.rejected);
    let q8 = &plan.rejected[0];
    assert_eq!((q8.code, q8.have_bytes), (Code::MemHard, Some(6 << 30)));
}

#[test]
fn measured_ties_go_to_fewer_bytes_and_present_files() {
    let measured = |kld_mean: f64| {
        Some(QualityEstimate { kld_mean, interval: [kld_mean * 0.9, kld_mean * 1.1], measured: true })
    };
    let mut candidates = candidates();
    for (candidate, kld) in candidates.iter_mut().zip([0.0300, 0.0310, 0.0320, 0.3]) {
        candidate.quality = measured(kld);
    }
    let chosen =
        |candidates: &[Candidate]| plan(&host(16 << 30), candidates, &Request::default()).chosen.unwrap().id;
    assert_eq!(chosen(&candidates), "gguf/IQ4_XS");
    candidates[1].weights_bytes = candidates[2].weights_bytes;
    candidates[2].present = false;
    assert_eq!(chosen(&candidates), "gguf/Q4_K_M");
}

#[test]
fn what_was_measured_is_taken_instead_of_the_guess_and_said() {
    let said = |plan: &Plan| {
        let measured = plan.why.iter().find(|reason| reason.code == ReasonCode::QualityMeasured);
        let guessed = plan.assumptions.iter().any(|reason| reason.code == ReasonCode::QualityGuessed);
        (measured.map(|reason| reason.text.clone()), guessed)
    };
    let mut candidates = candidates();
    let guessed = plan(&host(16 << 30), &candidates, &Request::default());
    assert_eq!(said(&guessed), (None, true));
    let chosen = guessed.chosen.expect("it fits").id;
    let candidate = candidates.iter_mut().find(|candidate| candidate.id == chosen).expect("it is there");
    candidate.quality =
        Some(QualityEstimate { kld_mean: 0.0001, interval: [0.00005, 0.0002], measured: true });
    let measured = plan(&host(16 << 30), &candidates, &Request::default());
    assert_eq!(
        measured.chosen.as_ref().map(|choice| (choice.id.clone(), choice.quality.kld_mean)),
        Some((chosen, 0.0001))
    );
    let (text, guessed) = said(&measured);
    assert!(!guessed && text.is_some_and(|text| text.contains("measured: 0.0001 (0.0001 to 0.0002)")));
}

#[test]
fn a_slow_variant_is_refused_where_speed_is_asked_for() {
    let plan_for = |speed| {
        let request = Request { min_decode_tokens_per_s: Some(speed), ..Request::default() };
        plan(&host(16 << 30), &candidates(), &request)
    };
    let fast = plan_for(3.0).chosen.unwrap();
    assert!(fast.id != "gguf/Q8_0" && fast.speed.decode_tokens_per_s[0] >= 3.0, "{fast:?}");
    assert!(plan_for(1e6).rejected.iter().all(|rejection| rejection.code == Code::Speed));
}

#[test]
fn a_refusal_names_a_context_that_fits() {
    let ask = |context| Request { context_tokens: Some(context), ..Request::default() };
    let refused = plan(&host(4 << 30), &candidates(), &ask(32768));
    let nearest = refused.nearest.expect("a shorter context fits");
    let context = nearest.context_tokens.unwrap();
    assert_eq!(plan(&host(4 << 30), &candidates(), &ask(context)).chosen.unwrap().id, nearest.id);
    let hopeless = plan(&host(1 << 30), &candidates(), &ask(512)).nearest.unwrap();
    let enough = (1 << 30) + hopeless.shortfall_bytes;
    assert_eq!(plan(&host(enough), &candidates(), &ask(512)).chosen.unwrap().id, hopeless.id);
    assert!(plan(&host(enough - 1), &candidates(), &ask(512)).chosen.is_none());
}

#[test]
fn threads_follow_the_kinds_of_cores() {
    let threads = |name: &str| {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../hardware/fixtures").join(name);
        let root = root.with_extension("host");
        let mut candidates = candidates();
        candidates.truncate(1);
        let request = Request { memory_budget_bytes: Some(16 << 30), ..Request::default() };
        let choice = plan(&hardware::detect_at(&root).unwrap(), &candidates, &request).chosen.unwrap();
        (choice.n_threads, choice.n_threads_batch)
    };
    assert_eq!(threads("desktop-8-core-gpu"), (8, 8));
    assert_eq!(threads("hybrid-laptop"), (4, 8));
    assert_eq!(threads("phone-big-little"), (4, 4));
    assert_eq!(threads("raspberry-pi-5"), (3, 3));
    assert_eq!(threads("container-v2-nested"), (3, 3));
    assert_eq!(threads("container-v1"), (2, 2));
}

fn any_request() -> impl Strategy<Value = Request> {
    (prop::option::of(1u64..80_000), prop::option::of(0u64..16 << 30), prop::option::of(0u32..60)).prop_map(
        |(context_tokens, device, gpu_layers)| Request {
            context_tokens,
            gpu_layers,
            devices: device.map(gpu).into_iter().collect(),
            ..Request::default()
        },
    )
}

proptest! {
    #[test]
    fn a_plan_never_exceeds_its_budget_and_more_memory_never_hurts(
        budget in 0u64..20 << 30, more in 0u64..8 << 30, request in any_request(),
    ) {
        let small = plan(&host(budget), &gpu_candidates(), &request);
        let large = plan(&host(budget + more), &gpu_candidates(), &request);
        if let Some(choice) = &small.chosen {
            prop_assert!(choice.memory.host_bytes() <= budget);
            let forced = request.gpu_layers.is_some();
            let free = request.devices.first().map_or(0, |device| device.free_bytes);
            prop_assert!(forced || choice.memory.device_bytes <= free);
            let better = large.chosen.as_ref().expect("more memory fits too");
            prop_assert!(better.quality.kld_mean <= choice.quality.kld_mean);
        } else {
            prop_assert!(small.nearest.is_some());
        }
        for rejection in small.rejected.iter().chain(&large.rejected) {
            let figures = (rejection.need_bytes, rejection.have_bytes, rejection.shortfall_bytes);
            if let (Some(need), Some(have), Some(short)) = figures {
                prop_assert_eq!(need.checked_sub(have), Some(short));
            } else {
                prop_assert_eq!(figures, (None, None, None));
            }
        }
        let mut ids: Vec<&str> = small.rejected.iter().map(|rejection| rejection.id.as_str()).collect();
        ids.extend(small.chosen.iter().map(|choice| choice.id.as_str()));
        ids.sort_unstable();
        prop_assert_eq!(ids, ["gguf/IQ4_XS", "gguf/Q2_K", "gguf/Q4_K_M", "gguf/Q8_0"]);
        prop_assert_eq!(&small, &plan(&host(budget), &gpu_candidates(), &request));
    }
}

#[test]
fn a_projector_counts_where_images_are_to_be_read() {
    let mut candidates = candidates();
    let request = Request { images: true, ..Request::default() };
    let refused = plan(&host(16 << 30), &candidates, &request);
    assert!(refused.chosen.is_none() && refused.rejected.iter().all(|one| one.code == Code::Feature));
    let file_bytes = 800 << 20;
    candidates[1].projector = Some(Projector { file_bytes, encoder: None });
    let with = plan(&host(16 << 30), &candidates, &request);
    let memory = with.chosen.as_ref().unwrap().memory;
    let alone = Request { variant: Some("gguf/Q4_K_M".into()), ..Request::default() };
    let without = plan(&host(16 << 30), &candidates, &alone).chosen.unwrap().memory;
    assert_eq!((memory.projector_bytes, without.projector_bytes), (file_bytes, 0));
    // Of an encoder without a shape, the computation may take as much again.
    assert_eq!(memory.total_bytes(), without.total_bytes() + 2 * file_bytes);
    assert!(with.why.iter().any(|told| told.code == ReasonCode::Projector), "{:?}", with.why);
    // What fits alone does not fit with its projector.
    let least = without.total_bytes() + file_bytes;
    let short = Request { context_tokens: Some(4096), ..alone };
    assert!(plan(&host(least), &candidates, &short).chosen.is_some());
    let images = Request { images: true, ..short };
    assert!(plan(&host(least), &candidates, &images).chosen.is_none());
}

#[test]
fn a_draft_model_counts_with_a_context_of_its_own() {
    let candidates = candidates();
    let large = &candidates[0];
    let draft = |vocab: u64| {
        let mut description = large.description.clone();
        description.vocab_size = vocab;
        Arc::new(Draft { id: "small".into(), description, weights_bytes: 600 << 20, tensors: Vec::new() })
    };
    let context_tokens = Some(4096);
    let with =
        Request { draft: Some(draft(large.description.vocab_size)), context_tokens, ..Request::default() };
    let without = Request { context_tokens, ..Request::default() };
    let both = plan(&host(16 << 30), &candidates, &with);
    let memory = both.chosen.as_ref().unwrap().memory;
    let alone = plan(&host(16 << 30), &candidates, &without).chosen.unwrap().memory;
    let kv_and_compute = alone.kv_bytes + alone.compute_bytes;
    assert_eq!(memory.draft_bytes, (600 << 20) + kv_and_compute);
    assert!(memory.total_bytes() >= alone.total_bytes() + memory.draft_bytes);
    assert!(both.why.iter().any(|told| told.code == ReasonCode::Draft), "{:?}", both.why);
    let other = Request { draft: Some(draft(1000)), ..with };
    let refused = plan(&host(16 << 30), &candidates, &other);
    assert_eq!(refused.rejected[0].code, Code::Feature, "{:?}", refused.rejected);
}
