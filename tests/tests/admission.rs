//! Admission: what a plan admits fits its budget by the engine's own account, what it refuses does not, and a refusal names
//! what would fit. Owns random budgets; must not load weights.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod outline;

use engine::gguf::{EngineOptions, GgufEngine};
use engine::{ContextSettings, DryModel, Engine, KvType, LoadSettings};
use formats::gguf::GgmlType;
use hardware::{Cpu, Host, Memory};
use outline::compare::of_planner;
use outline::{Outline, in_type, samples};
use planner::{Candidate, Choice, Plan, Request};
use std::collections::HashMap;
use std::sync::Arc;

/// What a process takes beside the engine's buffers and what a plan allows for: beyond it nothing may be refused.
const MARGIN_BYTES: u64 = 80 << 20;
const KV_TYPES: [KvType; 9] = [
    KvType::F32,
    KvType::F16,
    KvType::Bf16,
    KvType::Q8_0,
    KvType::Q5_1,
    KvType::Q5_0,
    KvType::Q4_1,
    KvType::Q4_0,
    KvType::Iq4Nl,
];

struct Known {
    candidate: Candidate,
    dry: Arc<dyn DryModel>,
    measured: HashMap<(u64, &'static str, &'static str, u32), u64>,
}

impl Known {
    /// What the engine says that a choice takes, logits included.
    fn bytes(&mut self, context: u64, k: &'static str, v: &'static str, n_ubatch: u32) -> u64 {
        let dry = &self.dry;
        let logits = self.candidate.description.vocab_size * 4;
        *self.measured.entry((context, k, v, n_ubatch)).or_insert_with(|| {
            let of = |name: &str| KV_TYPES.into_iter().find(|kv| of_planner(*kv).name() == name).unwrap();
            let settings = ContextSettings {
                n_ctx: context as u32,
                n_batch: 512.max(n_ubatch),
                n_ubatch,
                type_k: of(k),
                type_v: of(v),
                ..ContextSettings::default()
            };
            let memory = dry.measure(&settings).expect("what is planned opens");
            memory.model_bytes + memory.context_bytes + memory.compute_bytes + logits
        })
    }
}

fn host(budget_bytes: u64) -> Host {
    let memory = Memory { total_bytes: budget_bytes, budget_bytes, ..Memory::default() };
    Host {
        cpu: Cpu { isa: hardware::detect().unwrap().cpu.isa, ..Cpu::default() },
        memory,
        ..Host::default()
    }
}

/// Numbers without a pattern, the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end.max(1)
    }
}

fn models(engine: &GgufEngine, folder: &std::path::Path) -> Vec<Known> {
    let qwen3 = serde_json::json!({"model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072,
        "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
        "vocab_size": 151936, "max_position_embeddings": 40960, "rope_theta": 1000000, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": true});
    let gemma = serde_json::json!({"model_type": "gemma3_text", "hidden_size": 1152, "intermediate_size": 6912,
        "num_hidden_layers": 26, "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 256,
        "vocab_size": 262144, "max_position_embeddings": 32768, "sliding_window": 512, "sliding_window_pattern": 6});
    let mut configs = vec![("qwen3-0.6b".to_string(), qwen3), ("gemma-3-1b".to_string(), gemma)];
    let wanted = ["llama", "qwen3moe", "deepseek2", "falcon-h1", "mamba2", "lfm2", "qwen35", "gpt-oss"];
    configs.extend(samples().into_iter().filter(|(name, _)| wanted.contains(&name.as_str())));
    let mut known = Vec::new();
    for (name, config) in configs {
        for ty in [GgmlType::Q8_0, GgmlType::Q4_0] {
            let Ok(outline) = Outline::write(folder, &format!("{name}-{ty}"), &config, in_type(ty)) else {
                continue;
            };
            let dry = engine.dry_load(&outline.path, &LoadSettings::default()).unwrap();
            let candidate = Candidate {
                id: format!("{name}/{ty}"),
                precision: ty.name().to_string(),
                description: outline.description,
                weights_bytes: outline.bytes,
                tensors: outline.tensors,
                active_weights_bytes: outline.bytes,
                work: None,
                quality: None,
                compatible_backends: vec!["cpu".into()],
                present: true,
                projector: None,
                cache: None,
                blocked: None,
            };
            known.push(Known { candidate, dry, measured: HashMap::new() });
        }
    }
    known
}

#[test]
fn ten_thousand_budgets() {
    let folder = tempfile::tempdir().unwrap();
    let engine = GgufEngine::start(EngineOptions::default()).expect("starts");
    let mut models = models(&engine, folder.path());
    let mut random = Random(0x9E37_79B9_7F4A_7C15);
    let (mut admitted, mut refused, mut wrongly) = (0, 0, 0);
    let template = host(0);
    for _ in 0..10_000 {
        let index = random.below(models.len() as u64) as usize;
        let model = &mut models[index];
        let longest = model.candidate.description.max_context;
        // Few contexts, so that the engine is asked once for each.
        let context = [512, 1024, 2000, 4096, 8192, 16384, 32768][random.below(7) as usize].min(longest);
        let least = |model: &mut Known| {
            let keeps = model.candidate.description.layers.iter().all(|layer| {
                layer
                    .attention()
                    .is_none_or(|attention| attention.key_dim % 32 == 0 && attention.value_dim % 32 == 0)
                    && !matches!(layer.mixer, families::Mixer::Latent(_))
            });
            let (k, v) = match (keeps, context >= 8192) {
                (false, _) => ("F16", "F16"),
                (true, false) => ("Q8_0", "Q8_0"),
                (true, true) => ("Q8_0", "IQ4_NL"),
            };
            model.bytes(context, k, v, 128)
        };
        let take = least(model);
        let budget = take / 2 + random.below(take + (160 << 20));
        let machine = Host {
            memory: Memory { total_bytes: budget, budget_bytes: budget, ..Memory::default() },
            ..template.clone()
        };
        let ask = |context| Request { context_tokens: Some(context), ..Request::default() };
        let candidates = std::slice::from_ref(&model.candidate);
        let plan: Plan = planner::plan(&machine, candidates, &ask(context));
        match plan.chosen {
            Some(Choice { context_tokens, type_k, type_v, n_ubatch, .. }) => {
                admitted += 1;
                let taken = model.bytes(context_tokens, type_k, type_v, n_ubatch);
                assert!(taken <= budget, "{}: {taken} of {budget}", model.candidate.id);
            }
            None => {
                refused += 1;
                wrongly += usize::from(take + MARGIN_BYTES + take / 50 <= budget);
                let rejection = &plan.rejected[0];
                let (need, have) = (rejection.need_bytes.unwrap(), rejection.have_bytes.unwrap());
                assert_eq!(rejection.shortfall_bytes, Some(need - have));
                let nearest = plan.nearest.expect("a plan that fits");
                let other = nearest.context_tokens.unwrap_or(context);
                let room = budget + nearest.shortfall_bytes;
                let larger = Host {
                    memory: Memory { total_bytes: room, budget_bytes: room, ..Memory::default() },
                    ..machine
                };
                let fits = planner::plan(&larger, candidates, &ask(other)).chosen;
                assert!(fits.is_some(), "{}: {} does not fit", model.candidate.id, nearest.text);
            }
        }
    }
    assert!(admitted > 2000 && refused > 2000, "{admitted} {refused}");
    assert!(wrongly * 100 <= refused, "{wrongly} of {refused} refused although they fit");
    println!("{admitted} admitted, {refused} refused, {wrongly} of them although they would fit");
}

#[test]
fn a_draft_model_takes_what_the_engine_says() {
    let folder = tempfile::tempdir().unwrap();
    let engine = GgufEngine::start(EngineOptions::default()).expect("starts");
    let mut models = models(&engine, folder.path());
    let (k, v, n_ubatch) = ("F16", "F16", 512);
    for model in &mut models {
        let candidate = &model.candidate;
        let draft = planner::Draft {
            id: candidate.id.clone(),
            description: candidate.description.clone(),
            weights_bytes: candidate.weights_bytes,
            tensors: candidate.tensors.clone(),
        };
        let context = candidate.description.max_context.min(2048);
        let request =
            Request { context_tokens: Some(context), draft: Some(Arc::new(draft)), ..Request::default() };
        let plan = planner::plan(&host(64 << 30), std::slice::from_ref(candidate), &request);
        let choice = plan.chosen.expect("64 GiB do");
        assert_eq!((choice.type_k, choice.n_ubatch), (k, n_ubatch));
        let taken = model.bytes(context, k, v, n_ubatch);
        let predicted = choice.memory.draft_bytes;
        let room = (taken / 100).max(1 << 20);
        assert!(predicted.abs_diff(taken) <= room, "{}: {predicted}, the engine {taken}", choice.id);
    }
}
