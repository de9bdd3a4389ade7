//! Whole plans for replayed machines, as text. `UPDATE_EXPECT=1 cargo test` writes the files anew: read the difference.

#![allow(clippy::unwrap_used)]

use families::Description;
use llama_pajamas_planner::{Backend, BackendDevice, Candidate, Request, plan};
use serde_json::json;
use std::fmt::Write;
use std::path::Path;

struct Model {
    name: &'static str,
    config: serde_json::Value,
    /// Precision and bytes of weights.
    variants: &'static [(&'static str, u64)],
}

/// Sizes: tensor bytes by arithmetic on the shapes; the small model's are those of its files.
fn models() -> [Model; 3] {
    let qwen3 = json!({"model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288,
        "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "vocab_size": 151936, "max_position_embeddings": 40960, "rope_theta": 1000000, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": false});
    let pajama = json!({"model_type": "qwen3", "hidden_size": 256, "intermediate_size": 768,
        "num_hidden_layers": 8, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
        "vocab_size": 4096, "max_position_embeddings": 2048, "rope_theta": 10000, "rms_norm_eps": 1e-6,
        "tie_word_embeddings": true});
    let moe = json!({"model_type": "qwen3_moe", "norm_topk_prob": true, "hidden_size": 2048, "intermediate_size": 6144,
        "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4, "head_dim": 128,
        "vocab_size": 151936, "max_position_embeddings": 40960, "rope_theta": 1000000, "rms_norm_eps": 1e-6,
        "num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768, "norm_topk_prob": true,
        "decoder_sparse_step": 1, "mlp_only_layers": [], "tie_word_embeddings": false});
    [
        Model {
            name: "pajama-7m",
            config: pajama,
            variants: &[("Q8_0", 7_947_872), ("Q4_K_M", 4_784_736), ("IQ4_XS", 4_351_584)],
        },
        Model {
            name: "Qwen3-8B",
            config: qwen3,
            variants: &[
                ("Q8_0", 8_700_000_000),
                ("Q4_K_M", 5_020_000_000),
                ("IQ4_XS", 4_550_000_000),
                ("Q3_K_M", 4_120_000_000),
                ("Q2_K", 3_270_000_000),
                ("IQ2_XXS", 2_480_000_000),
            ],
        },
        Model {
            name: "Qwen3-30B-A3B",
            config: moe,
            variants: &[
                ("Q8_0", 32_480_000_000),
                ("Q4_K_M", 18_550_000_000),
                ("IQ4_XS", 16_360_000_000),
                ("Q2_K", 11_250_000_000),
                ("IQ2_XXS", 8_170_000_000),
                ("IQ1_S", 6_410_000_000),
            ],
        },
    ]
}

fn candidates(model: &Model, description: &Description) -> Vec<Candidate> {
    let share = description.parameters.active as f64 / description.parameters.total as f64;
    let candidate = |(precision, weights_bytes): &(&str, u64)| Candidate {
        id: format!("gguf/{precision}"),
        precision: precision.to_string(),
        description: description.clone(),
        weights_bytes: *weights_bytes,
        tensors: Vec::new(),
        active_weights_bytes: (*weights_bytes as f64 * share) as u64,
        work: None,
        quality: None,
        compatible_backends: vec!["cpu".into(), "vulkan".into()],
        present: true,
        projector: None,
        cache: None,
        blocked: None,
    };
    model.variants.iter().map(candidate).collect()
}

/// The plans of one machine for every model, beside what is committed.
fn check(machine: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let host = hardware::detect_at(&folder.join("../hardware/fixtures").join(machine).with_extension("host"))
        .unwrap();
    // What an engine would list: the devices whose memory the machine's files state.
    let devices = host.gpus.iter().filter_map(|gpu| {
        let (name, unified) = (gpu.name.clone(), gpu.unified);
        let (backend, free_bytes) = (Backend::Vulkan, gpu.free_bytes?);
        Some(BackendDevice { backend, name, free_bytes, unified, ..BackendDevice::default() })
    });
    let request = Request { devices: devices.collect(), ..Request::default() };
    let mut text = String::new();
    for model in models() {
        let description = families::detect_config(&model.config).unwrap();
        let plan = plan(&host, &candidates(&model, &description), &request);
        let _ = writeln!(text, "# {} on {machine}\n{}", model.name, plan.render());
    }
    let path = folder.join("tests/golden").join(machine).with_extension("txt");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
    assert!(text == expected, "{} differs; UPDATE_EXPECT=1 writes it anew. Now:\n{text}", path.display());
}

#[test]
fn desktop() {
    check("desktop-8-core-gpu");
}

#[test]
fn laptop() {
    check("hybrid-laptop");
}

#[test]
fn container_v1() {
    check("container-v1");
}

#[test]
fn container_v2() {
    check("container-v2-nested");
}

#[test]
fn board() {
    check("raspberry-pi-5");
}

#[test]
fn phone() {
    check("phone-big-little");
}
