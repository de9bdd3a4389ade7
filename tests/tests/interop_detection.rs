//! Detection on real configurations, and our metadata against llama.cpp's own converter, without weights.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use families::model_name::ModelCard;
use families::model_name::{Sources, WeightCounts, general};
use families::{Description, Family, OutputType, detect_config};
use formats::gguf::{Array, GgmlType, Metadata, Value};
use llama_pajamas_tests::{oracle, repository, shared};
use serde_json::{Value as Json, json};
use std::io::Write;
use std::process::{Command, Stdio};

type Row = (&'static str, u64, u64, [u32; 4], (u32, u32), u64);

/// File in data/configs, total and active parameters, layers, query and KV heads, head width, experts (all, used),
/// KV cache bytes per token in F16. Parameters as the model cards and safetensors indices publish them, where they do.
const REAL: [Row; 29] = [
    ("meta-llama--Llama-2-7b-hf", 6_738_415_616, 6_738_415_616, [32, 32, 32, 128], (0, 0), 524_288),
    ("meta-llama--Llama-2-13b-hf", 13_015_864_320, 13_015_864_320, [40, 40, 40, 128], (0, 0), 819_200),
    ("meta-llama--Llama-2-70b-hf", 68_976_648_192, 68_976_648_192, [80, 64, 8, 128], (0, 0), 327_680),
    ("meta-llama--Meta-Llama-3.1-8B", 8_030_261_248, 8_030_261_248, [32, 32, 8, 128], (0, 0), 131_072),
    ("meta-llama--Meta-Llama-3.1-70B", 70_553_706_496, 70_553_706_496, [80, 64, 8, 128], (0, 0), 327_680),
    ("meta-llama--Llama-3.3-70B-Instruct", 70_553_706_496, 70_553_706_496, [80, 64, 8, 128], (0, 0), 327_680),
    (
        "meta-llama--Meta-Llama-3.1-405B",
        405_853_388_800,
        405_853_388_800,
        [126, 128, 8, 128],
        (0, 0),
        516_096,
    ),
    ("Mistral-7B-Instruct-v0.3", 7_248_023_552, 7_248_023_552, [32, 32, 8, 128], (0, 0), 131_072),
    ("mistralai--Mixtral-8x7B-v0.1", 46_702_792_704, 12_879_925_248, [32, 32, 8, 128], (8, 2), 131_072),
    ("mistralai--Mixtral-8x22B-v0.1", 140_620_634_112, 39_152_031_744, [56, 48, 8, 128], (8, 2), 229_376),
    ("Qwen--Qwen2.5-1.5B", 1_543_714_304, 1_543_714_304, [28, 12, 2, 128], (0, 0), 28_672),
    ("Qwen--Qwen2.5-7B", 7_615_616_512, 7_615_616_512, [28, 28, 4, 128], (0, 0), 57_344),
    ("Qwen--Qwen2.5-32B", 32_763_876_352, 32_763_876_352, [64, 40, 8, 128], (0, 0), 262_144),
    ("Qwen--Qwen2.5-72B", 72_706_203_648, 72_706_203_648, [80, 64, 8, 128], (0, 0), 327_680),
    ("Qwen--Qwen3-0.6B", 596_049_920, 596_049_920, [28, 16, 8, 128], (0, 0), 114_688),
    ("Qwen--Qwen3-1.7B", 1_720_574_976, 1_720_574_976, [28, 16, 8, 128], (0, 0), 114_688),
    ("Qwen--Qwen3-8B", 8_190_735_360, 8_190_735_360, [36, 32, 8, 128], (0, 0), 147_456),
    ("Qwen--Qwen3-32B", 32_762_123_264, 32_762_123_264, [64, 64, 8, 128], (0, 0), 262_144),
    ("Qwen--Qwen3-30B-A3B", 30_532_122_624, 3_353_032_704, [48, 32, 4, 128], (128, 8), 98_304),
    ("Qwen--Qwen3-235B-A22B", 235_093_634_560, 22_190_763_520, [94, 64, 4, 128], (128, 8), 192_512),
    (
        "Qwen--Qwen3-Coder-480B-A35B-Instruct",
        480_154_875_392,
        35_474_765_312,
        [62, 96, 8, 128],
        (160, 8),
        253_952,
    ),
    ("phi-4-mini", 3_836_021_760, 3_836_021_760, [32, 24, 8, 128], (0, 0), 131_072),
    ("LFM2.5-VL-1.6B", 1_170_340_608, 1_170_340_608, [16, 32, 8, 64], (0, 0), 12_288),
    ("nvidia--Nemotron-H-56B-Base-8K", 56_324_350_464, 56_324_350_464, [118, 64, 8, 128], (0, 0), 40_960),
    (
        "nvidia--NVIDIA-Nemotron-3-Nano-30B-A3B-BF16",
        31_577_940_288,
        3_580_076_352,
        [52, 32, 2, 128],
        (128, 6),
        6_144,
    ),
    ("openai--gpt-oss-20b", 20_914_757_184, 4_187_440_704, [24, 64, 8, 64], (32, 4), 49_152),
    ("openai--gpt-oss-120b", 116_829_156_672, 5_711_982_912, [36, 64, 8, 64], (128, 4), 73_728),
    ("deepseek-ai--DeepSeek-V3", 671_026_419_200, 37_552_297_472, [61, 128, 1, 576], (256, 8), 70_272),
    (
        "meta-llama--Llama-4-Scout-17B-16E-Instruct",
        107_769_861_120,
        17_172_894_720,
        [48, 40, 8, 128],
        (16, 1),
        196_608,
    ),
];

fn real(name: &str) -> Json {
    let folder = shared("data/configs");
    let path = ["_config.json", ".json"].map(|end| folder.join(format!("{name}{end}")));
    let path = path.iter().find(|path| path.exists()).unwrap_or_else(|| panic!("{name}"));
    families::parse_config(&std::fs::read(path).unwrap()).unwrap()
}

#[test]
fn real_configurations_are_described_exactly() {
    let mut lines = Vec::new();
    for (name, total, active, shape, experts, kv) in REAL {
        let found = detect_config(&real(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let Description { n_layers, n_heads, n_kv_heads, head_dim, .. } = found;
        let moe = found.moe.map_or((0, 0), |moe| (moe.n_experts, moe.n_active));
        let bytes = families::memory::kv_bytes(&found, 1, GgmlType::F16, GgmlType::F16);
        let own = (
            found.parameters.total,
            found.parameters.active,
            [n_layers, n_heads, n_kv_heads, head_dim],
            moe,
            bytes,
        );
        if own != (total, active, shape, experts, Some(kv)) {
            lines.push(format!("{name}: {own:?}"));
        }
    }
    assert!(lines.is_empty(), "{}", lines.join("\n"));
}

#[test]
fn every_configuration_has_a_clear_answer() {
    let mut described = 0;
    for entry in std::fs::read_dir(shared("data/configs")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read(&path).unwrap();
        let Ok(config) = families::parse_config(&text) else {
            println!("{}: no JSON", path.display());
            continue;
        };
        match detect_config(&config) {
            Ok(found) => {
                described += 1;
                println!("{}: {} {:.1}B", path.display(), found.family, found.parameters.total as f64 / 1e9);
            }
            Err(error) => println!("{}: {error}", path.display()),
        }
    }
    assert!(described >= REAL.len(), "{described}");
}

struct Case {
    directory: &'static str,
    config: Json,
    generation: Option<Json>,
    card: Option<&'static str>,
    total: u64,
}

const CARD: &str = "---
license: apache-2.0
license_link: https://example.com/LICENSE
base_model:
- Qwen/Qwen3-8B-Base
- https://huggingface.co/meta-llama/Llama-3.1-8B-Instruct
datasets:
- wikimedia/wikipedia
tags:
- chat
pipeline_tag: text-generation
language:
- en
- no
library_name: transformers
model-index:
- name: x
  results:
  - task: {type: text-generation}
---
# A model
";

fn cases() -> Vec<Case> {
    let plain = |directory, config: Json| {
        let total = detect_config(&config).unwrap().parameters.total;
        Case { directory, config, generation: None, card: None, total }
    };
    let mut cases: Vec<Case> =
        REAL.map(|(name, ..)| plain(name.rsplit("--").next().unwrap(), real(name))).into();
    let with = |name: &str, fields: Json| {
        let mut config = real(name);
        for (field, value) in fields.as_object().unwrap() {
            config[field] = value.clone();
        }
        config
    };
    for (directory, name, fields) in [
        ("Qwen3-8B-128k", "Qwen--Qwen3-8B", json!({"rope_scaling": {"type": "yarn", "factor": 4.0}})),
        (
            "my-model-v2",
            "Qwen--Qwen3-8B",
            json!({"rope_scaling": {"rope_type": "yarn", "factor": 4, "beta_fast": 32.0,
            "beta_slow": 1, "attention_factor": 1.2, "original_max_position_embeddings": 32768}}),
        ),
        (
            "A name of words",
            "meta-llama--Llama-2-7b-hf",
            json!({"rope_scaling": {"type": "linear", "factor": 8}}),
        ),
        (
            "llama-dynamic",
            "meta-llama--Llama-2-7b-hf",
            json!({"rope_scaling": {"type": "dynamic", "factor": 2.0}}),
        ),
        (
            "7b",
            "meta-llama--Llama-2-7b-hf",
            json!({"rope_theta": 1000000, "num_key_value_heads": 8, "head_dim": 64}),
        ),
        (
            "checkout",
            "mistralai--Mixtral-8x7B-v0.1",
            json!({"head_dim": 64, "_name_or_path": "mistralai/Mixtral-8x7B-v0.1"}),
        ),
        (
            "bias",
            "meta-llama--Meta-Llama-3.1-8B",
            json!({"attention_bias": true, "mlp_bias": true,
            "_name_or_path": "/somewhere/on/a/disk"}),
        ),
        (
            "small-factors",
            "meta-llama--Meta-Llama-3.1-8B",
            json!({"head_dim": 64, "rope_theta": 10000.0, "rope_scaling": {
            "rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192}}),
        ),
        (
            "Qwen3-30B-A3B-Instruct-2507",
            "Qwen--Qwen3-30B-A3B",
            json!({"rope_parameters": {"rope_theta": 10000000.0,
            "rope_type": "default"}, "shared_expert_intermediate_size": 512}),
        ),
        ("sigmoid", "Qwen--Qwen3-30B-A3B", json!({"scoring_func": "sigmoid", "n_group": 8, "topk_group": 4})),
    ] {
        cases.push(plain(directory, with(name, fields)));
    }
    for (directory, total) in [
        ("Phi-3-mini-128k-instruct", 3_800_000_000),
        ("bloom-7b1-petals", 7_000_000_000),
        ("open-llama_3b-q4_0-chat", 3_000_000_000),
        ("Model-v1.0-13B-vision-xl", 13_000_000_000),
        ("UPPER-lower-MiXed-1_5b", 1_500_000_000),
        ("v2-iter3-8x7B", 50_000_000_000),
        ("1.5", 1000),
        ("--a--", 2_000_000),
    ] {
        let generation = json!({"temperature": 0.6, "top_k": 20, "top_p": 0.95, "repetition_penalty": 1,
            "do_sample": true, "min_p": null, "eos_token_id": [1, 2]});
        let (config, generation) = (real("Qwen--Qwen3-0.6B"), Some(generation));
        cases.push(Case { directory, config, generation, card: Some(CARD), total });
    }
    cases
}

/// Ours as the script spells it.
fn spelled(metadata: &Metadata) -> Vec<Json> {
    let bits = |n: &f32| json!(n.to_le_bytes().map(|byte| format!("{byte:02x}")).concat());
    let one = |(key, value): (&str, &Value)| match value {
        Value::String(text) => json!([key, "STRING", text]),
        Value::U32(n) => json!([key, "UINT32", n]),
        Value::I32(n) => json!([key, "INT32", n]),
        Value::Bool(flag) => json!([key, "BOOL", flag]),
        Value::F32(n) => json!([key, "FLOAT32", bits(n)]),
        Value::Array(Array::String(items)) => json!([key, "ARRAY", items]),
        Value::Array(Array::I32(items)) => json!([key, "ARRAY", items]),
        other => panic!("{key}: {other:?}"),
    };
    metadata.iter().map(one).collect()
}

fn ours(case: &Case) -> (Vec<Json>, Option<Vec<f32>>) {
    let description = detect_config(&case.config).unwrap();
    let family = Family::for_architecture(&description.architecture).unwrap();
    let card = case.card.map(ModelCard::parse).unwrap_or_default();
    let sources = Sources {
        directory: case.directory,
        config: &case.config,
        generation: case.generation.as_ref(),
        card: &card,
    };
    let counts = WeightCounts { total: case.total, shared: case.total, ..WeightCounts::default() };
    let mut metadata = Metadata::new();
    metadata.insert("general.architecture", Value::String(family.architecture().into()));
    let own = family.metadata(&case.config, OutputType::Bf16).unwrap();
    for (key, value) in general(sources, counts).iter().chain(own.iter()) {
        metadata.insert(key, value.clone());
    }
    let factors = family.rope_factors(&description).into_iter().next().map(|(_, factors)| factors);
    (spelled(&metadata), factors)
}

#[test]
fn metadata_equals_the_outside_converter_s() {
    let cases = cases();
    let asked: Vec<Json> = cases
        .iter()
        .map(|case| {
            json!({"directory": case.directory, "config": case.config, "generation": case.generation,
                "card": case.card, "total": case.total})
        })
        .collect();
    let mut script = Command::new(oracle("venv/bin/python"))
        .arg(repository().join("scripts/oracles/metadata.py"))
        .arg(oracle("src"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = script.stdin.take().unwrap();
    input.write_all(Json::from(asked).to_string().as_bytes()).unwrap();
    drop(input);
    let answers: Vec<Json> = serde_json::from_slice(&script.wait_with_output().unwrap().stdout).unwrap();
    let mut differences = Vec::new();
    for (case, answer) in cases.iter().zip(&answers) {
        let (keys, factors) = ours(case);
        let theirs = answer["keys"].as_array().unwrap();
        // Their order means nothing.
        let only =
            |a: &[Json], b: &[Json]| a.iter().filter(|key| !b.contains(key)).cloned().collect::<Vec<_>>();
        let (ours, theirs) = (only(&keys, theirs), only(theirs, &keys));
        if !ours.is_empty() || !theirs.is_empty() {
            differences.push(format!("{}: ours {ours:?}, theirs {theirs:?}", case.directory));
        }
        let bits = factors.map(|f| {
            f.iter().map(|n| n.to_le_bytes().map(|b| format!("{b:02x}")).concat()).collect::<Vec<_>>()
        });
        if json!(bits) != answer["factors"] {
            differences.push(format!("{}: factors {bits:?} {}", case.directory, answer["factors"]));
        }
    }
    println!("{} configurations, {} differences", answers.len(), differences.len());
    assert!(answers.len() == cases.len() && differences.is_empty(), "{}", differences.join("\n"));
}
