//! What speed decides: the backend of a variant, and the variant where targets or the objective ask for it.

#![allow(clippy::unwrap_used)]

use hardware::{Fact, Host, Limit, Memory, Origin};
use llama_pajamas_planner::speed::{Observation, Phase, SpeedModel, Tables, Work};
use llama_pajamas_planner::{
    Backend, BackendDevice, Candidate, Choice, Code, Evidence, MeasuredSpeed, Objective, Plan, ReasonCode,
    Request, competitors, plan,
};

/// A phone with 12 GiB to spare.
fn phone() -> Host {
    let budget_bytes = 12 << 30;
    let mut host = Host {
        os: "android".into(),
        arch: "aarch64".into(),
        memory: Memory {
            total_bytes: budget_bytes,
            available_bytes: budget_bytes,
            budget_bytes,
            limits: vec![Limit { source: "test".into(), headroom_bytes: budget_bytes }],
            unified: true,
            ..Memory::default()
        },
        ..Host::default()
    };
    (host.cpu.usable_cpus, host.cpu.usable_cores, host.cpu.fast_cores) = (8, 8, 6);
    host.priors.bandwidth_gbs =
        Some(Fact { range: [67.0, 67.0], origin: Origin::Profile, source: "test".into() });
    host
}

/// Variants of a model of Qwen3-1.7B's shape.
fn candidates() -> Vec<Candidate> {
    let config = serde_json::json!({"model_type": "qwen3", "hidden_size": 2048, "intermediate_size": 6144,
        "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
        "vocab_size": 151936, "max_position_embeddings": 40960, "rope_theta": 1000000, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": true});
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
        compatible_backends: ["cpu", "opencl", "hexagon"].map(String::from).to_vec(),
        present: true,
        projector: None,
        cache: None,
        blocked: None,
    };
    [("Q8_0", 1.83), ("Q6_K", 1.41), ("Q4_K_M", 1.10), ("Q4_0", 1.05), ("Q2_K", 0.78), ("IQ2_M", 0.70)]
        .map(candidate)
        .into()
}

fn device(backend: Backend) -> BackendDevice {
    BackendDevice { backend, name: backend.name().into(), free_bytes: 8 << 30, ..BackendDevice::default() }
}

fn ask(request: Request) -> Plan {
    plan(&phone(), &candidates(), &request)
}

fn chosen(request: Request) -> Choice {
    ask(request).chosen.unwrap()
}

fn only(precision: &str, devices: &[Backend]) -> Request {
    let devices = devices.iter().copied().map(device).collect();
    Request { variant: Some(format!("gguf/{precision}")), devices, ..Request::default() }
}

#[test]
fn the_backend_that_is_faster_altogether_is_taken() {
    let both = [Backend::Opencl, Backend::Hexagon];
    assert_ne!(chosen(only("Q8_0", &both)).backend, Backend::Cpu);
    // What a device does not hold crosses to the processor and back at every layer.
    assert_eq!(chosen(only("Q2_K", &[Backend::Opencl])).backend, Backend::Cpu);
    assert_eq!(chosen(only("IQ2_M", &[Backend::Opencl])).gpu_layers, 0);
    // Layers that are asked for stay where they were asked for.
    let asked = Request { gpu_layers: Some(10), ..only("Q2_K", &[Backend::Opencl]) };
    assert_eq!((chosen(asked.clone()).backend, chosen(asked).gpu_layers), (Backend::Opencl, 10));
}

#[test]
fn a_driver_that_allocates_too_little_is_told() {
    let mut candidates = candidates();
    candidates.truncate(1);
    let work = Work::of_bytes(&candidates[0].description, "Q8_0", candidates[0].active_weights_bytes);
    candidates[0].work = Some(Work { largest_matrix_bytes: 330 << 20, ..work });
    let device =
        |max_mib: u64| BackendDevice { max_allocation_bytes: Some(max_mib << 20), ..device(Backend::Opencl) };
    let ask = |candidates: &[Candidate], max_mib| {
        plan(&phone(), candidates, &Request { devices: vec![device(max_mib)], ..Request::default() })
    };
    assert_eq!(ask(&candidates, 1024).chosen.unwrap().backend, Backend::Opencl);
    let small = ask(&candidates, 256);
    assert_eq!(small.chosen.as_ref().unwrap().backend, Backend::Cpu);
    assert!(small.why.iter().any(|reason| reason.text.contains("largest allocation")), "{:?}", small.why);
    candidates[0].compatible_backends = vec!["opencl".into()];
    let refused = ask(&candidates, 256).rejected.remove(0);
    assert_eq!((refused.code, refused.shortfall_bytes), (Code::MaxAlloc, Some(74 << 20)));
}

#[test]
fn targets_lower_the_precision_and_say_so() {
    let request = |slowest| Request { min_decode_tokens_per_s: Some(slowest), ..Request::default() };
    let best = chosen(Request::default());
    assert_eq!(best.id, "gguf/Q8_0");
    let wished = best.speed.decode_tokens_per_s[0] * 1.05;
    let plan = ask(request(wished));
    let lowered = plan.chosen.as_ref().unwrap();
    assert!(lowered.id != best.id && lowered.speed.decode_tokens_per_s[0] >= wished, "{lowered:?}");
    assert!(plan.why.iter().any(|reason| reason.text.contains("gguf/Q8_0")), "{:?}", plan.why);
    let impossible = ask(request(1e6));
    assert!(impossible.rejected.iter().all(|rejection| rejection.code == Code::Speed));
    let nearest = impossible.nearest.clone().unwrap();
    assert!(nearest.text.contains("is the fastest"), "{nearest:?}");
    assert_eq!(impossible.refusal(), Some(nearest.text));
}

#[test]
fn a_first_token_that_is_too_late_is_refused() {
    let request = |seconds| Request {
        max_first_token_s: Some(seconds),
        prompt_tokens: Some(2000),
        ..Request::default()
    };
    let late = ask(request(0.01));
    assert!(late.chosen.is_none() && late.rejected.iter().all(|rejection| rejection.code == Code::Ttft));
    let speed = chosen(request(1e4)).speed;
    assert_eq!(speed.prompt_tokens, 2000);
    assert!(speed.first_token_s[0] < speed.first_token_s[1]);
    assert!(speed.sustained_tokens_per_s[0] < speed.decode_tokens_per_s[0], "phones slow down");
    // K-quants of two bits are read more slowly than Q4_0, whatever their bytes.
    let read = |precision| chosen(only(precision, &[])).speed.prefill_tokens_per_s[0];
    assert!(read("Q2_K") < read("Q4_0"));
}

#[test]
fn speed_as_the_objective_takes_the_fastest_that_is_good_enough() {
    let fastest =
        |max_kld| chosen(Request { objective: Objective::Speed { max_kld }, ..Request::default() }).precision;
    // Neither the smallest nor the largest: types cost more than their bytes.
    assert!(["Q4_0", "Q4_K_M"].contains(&fastest(10.0).as_str()), "{}", fastest(10.0));
    assert_eq!(fastest(0.002), "Q8_0");
    let plan = ask(Request { objective: Objective::Speed { max_kld: 0.002 }, ..Request::default() });
    assert!(plan.rejected.iter().all(|rejection| rejection.code == Code::QualityDominated));
}

#[test]
fn measurements_on_this_device_stand_above_what_is_known_of_such_devices() {
    let candidate = candidates().into_iter().find(|candidate| candidate.precision == "Q8_0").unwrap();
    let work = Work::of_bytes(&candidate.description, "Q8_0", candidate.active_weights_bytes);
    let observation = |variant: &str, phase, milliseconds| Observation {
        backend: Backend::Cpu,
        phase,
        model: candidate.description.family.clone(),
        variant: variant.into(),
        work: work.clone(),
        n_tokens: 512.0,
        milliseconds,
    };
    let seen = |variant| {
        vec![observation(variant, Phase::Decode, 200.0), observation(variant, Phase::Prefill, 20_000.0)]
    };
    let before = chosen(only("Q8_0", &[]));
    assert_eq!(before.speed.evidence, Evidence::Profile);
    let measured = chosen(Request { observations: seen("gguf/Q8_0"), ..only("Q8_0", &[]) });
    assert_eq!(measured.speed.evidence, Evidence::Measured);
    let [slow, fast] = measured.speed.decode_tokens_per_s;
    assert!(slow < 5.0 && fast < before.speed.decode_tokens_per_s[0], "{slow} {fast}");
    // What another engine took teaches nothing of this one.
    let other = chosen(Request { observations: seen("onnx/int8"), ..only("Q8_0", &[]) });
    assert_eq!(other.speed, before.speed);
    // The same, remembered without the model, for a variant that was never run.
    let taught = SpeedModel::new(&phone(), Tables::default()).observed(&seen("gguf/Q8_0"));
    let calibrations = vec![taught.calibration(Backend::Cpu)];
    let calibrated = chosen(Request { calibrations, ..only("Q4_0", &[]) });
    assert_eq!(calibrated.speed.evidence, Evidence::Calibrated);
    let blank = chosen(only("Q4_0", &[])).speed.decode_tokens_per_s;
    assert!(calibrated.speed.decode_tokens_per_s[1] < blank[0], "{calibrated:?}");
}

/// A desktop of four cores with a discrete device that has little memory free.
fn desktop() -> Host {
    let mut host = phone();
    (host.os, host.arch) = ("linux".into(), "x86_64".into());
    host.memory.unified = false;
    (host.cpu.usable_cpus, host.cpu.usable_cores, host.cpu.fast_cores) = (4, 4, 4);
    host.priors.bandwidth_gbs =
        Some(Fact { range: [40.0, 40.0], origin: Origin::Profile, source: "test".into() });
    host
}

fn cuda(free_bytes: u64, precision: &str, prompt_tokens: u32) -> (Vec<Candidate>, Request) {
    let mut candidates = candidates();
    candidates.iter_mut().for_each(|one| one.compatible_backends = vec!["cpu".into(), "cuda".into()]);
    let devices = vec![BackendDevice { free_bytes, ..device(Backend::Cuda) }];
    let variant = Some(format!("gguf/{precision}"));
    let request = Request { devices, variant, prompt_tokens: Some(prompt_tokens), ..Request::default() };
    (candidates, request)
}

#[test]
fn prompts_go_to_a_device_that_cannot_hold_the_layers() {
    let on = |free_bytes, prompt_tokens| {
        let (candidates, request) = cuda(free_bytes, "Q8_0", prompt_tokens);
        plan(&desktop(), &candidates, &request)
    };
    let split = on(900 << 20, 2048);
    let choice = split.chosen.clone().unwrap();
    assert!(choice.copies_weights && choice.prompt_backend == Backend::Cuda, "{split:?}");
    assert!(choice.gpu_layers < 29 && choice.device.as_deref() == Some("cuda"), "{choice:?}");
    // What is copied needs room on the device, and no more than there is.
    assert!(choice.memory.device_bytes > 0 && choice.memory.device_bytes <= 900 << 20);
    assert_eq!(choice.memory.repacked_bytes, 0);
    let told = split.why.iter().find(|reason| reason.code == ReasonCode::PromptsElsewhere);
    assert!(told.is_some_and(|reason| reason.text.contains("prompts are computed by cuda")), "{split:?}");
    assert!(split.render().contains("prompts by cuda"));
    // A device that holds everything needs no copies.
    let whole = on(24 << 30, 2048).chosen.unwrap();
    assert!(!whole.copies_weights);
    assert_eq!((whole.backend, whole.prompt_backend, whole.gpu_layers), (Backend::Cuda, Backend::Cuda, 29));
    // Without room for what is copied nothing is.
    let none = on(20 << 20, 2048).chosen.unwrap();
    assert_eq!((none.copies_weights, none.memory.device_bytes, none.device), (false, 0, None));
    // Prompts shorter than a batch stay where the weights are.
    let short = on(900 << 20, 8).chosen.unwrap();
    assert!(!short.copies_weights && short.prompt_backend == short.backend);
}

#[test]
fn backends_that_copy_no_weights_compute_no_prompts_for_others() {
    let choice = chosen(only("Q2_K", &[Backend::Opencl]));
    assert_eq!((choice.backend, choice.prompt_backend, choice.device), (Backend::Cpu, Backend::Cpu, None));
}

fn measured(id: &str, decode_tokens_per_s: f64) -> MeasuredSpeed {
    let prefill_tokens_per_s = 8.0 * decode_tokens_per_s;
    MeasuredSpeed {
        id: id.into(),
        backend: Backend::Cpu,
        gpu_layers: 0,
        decode_tokens_per_s,
        prefill_tokens_per_s,
    }
}

/// Two formats of one quality, the first smaller, and one that is worse.
fn formats() -> Vec<Candidate> {
    let mut formats: Vec<Candidate> = candidates().drain(3..5).collect();
    let mut other = formats[0].clone();
    (other.id, other.precision) = ("onnx/int4".into(), "int4".into());
    other.weights_bytes += 1000;
    formats.insert(1, other);
    formats
}

#[test]
fn speeds_that_were_measured_decide_between_equals_alone() {
    let (host, formats) = (phone(), formats());
    let with = |measured: &[MeasuredSpeed]| {
        let request = Request { measured: measured.to_vec(), ..Request::default() };
        assert_eq!(competitors(&host, &formats, &request), ["gguf/Q4_0", "onnx/int4"]);
        plan(&host, &formats, &request)
    };
    let id = |plan: &Plan| plan.chosen.as_ref().unwrap().id.clone();
    let told = |plan: &Plan| plan.why.iter().any(|reason| reason.code == ReasonCode::SpeedMeasured);
    let (gguf, onnx) = ("gguf/Q4_0", "onnx/int4");
    let guessed = with(&[]);
    assert_eq!((id(&guessed).as_str(), told(&guessed)), (gguf, false));
    let faster = with(&[measured(gguf, 100.0), measured(onnx, 143.0)]);
    assert_eq!((id(&faster).as_str(), told(&faster)), (onnx, true));
    assert_eq!(faster.evidence, Evidence::Measured);
    let rejected = faster.rejected.iter().find(|one| one.id == gguf).unwrap();
    assert_eq!(rejected.code, Code::Slower);
    assert!(
        rejected.fix.contains("143 tokens/s") && rejected.fix.contains("100 tokens/s"),
        "{}",
        rejected.fix
    );
    // As fast, as far as a few tokens tell: the smaller one.
    let equal = with(&[measured(gguf, 100.0), measured(onnx, 103.0)]);
    assert_eq!(id(&equal), gguf);
    // One alone says nothing of the other, and what is worse does not come in by speed.
    let alone = with(&[measured(onnx, 900.0)]);
    assert_eq!((id(&alone).as_str(), told(&alone)), (gguf, false));
    let worse = with(&[measured("gguf/Q2_K", 900.0), measured(onnx, 143.0)]);
    assert_eq!(id(&worse), gguf);
    // What was measured elsewhere, or is no speed, counts for nothing.
    let elsewhere = MeasuredSpeed { gpu_layers: 28, backend: Backend::Opencl, ..measured(onnx, 900.0) };
    assert_eq!(id(&with(&[measured(gguf, 100.0), elsewhere])), gguf);
    assert_eq!(id(&with(&[measured(gguf, 100.0), measured(onnx, f64::NAN)])), gguf);
}
