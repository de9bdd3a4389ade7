//! Low-rank adapters that are cut, of another kind or made for another model.
//! Knows the files that `peft` writes; must not know checkpoints.

use super::stage::{Door, Stage};
use super::{Case, case};
use serde_json::{Value, json};
use std::fs;

/// Width of the repository's model, rows of its first query projection.
const WIDTH: usize = 256;
const A: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
const B: &str = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";

/// A good configuration.
fn config() -> Value {
    json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"]})
}

/// Names and shapes of tensors of zeros.
type Rows = Vec<(&'static str, Vec<usize>)>;

fn rows() -> Rows {
    vec![(A, vec![2, WIDTH]), (B, vec![WIDTH, 2])]
}

/// The bytes of a file of these tensors.
fn file(rows: &Rows) -> Vec<u8> {
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, shape) in rows {
        let start = end;
        end += shape.iter().product::<usize>() * 4;
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [start, end]});
        header.insert((*name).into(), entry);
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &vec![0; end]].concat()
}

/// `quantize` with an adapter of these two files.
fn doors(stage: &Stage<'_>, config: &Value, weights: Option<&[u8]>) -> Vec<Door> {
    stage.checkpoint();
    let adapter = stage.path("adapter");
    fs::create_dir(&adapter).unwrap();
    fs::write(adapter.join("adapter_config.json"), config.to_string()).unwrap();
    if let Some(weights) = weights {
        fs::write(adapter.join("adapter_model.safetensors"), weights).unwrap();
    }
    let adapter = stage.text("adapter");
    vec![stage.quantize(&["--lora", &adapter]), stage.quantize(&["--lora", &adapter, "--dry-run"])]
}

/// A row whose configuration has another field.
fn field(name: &'static str, words: &'static [&'static str], field: &'static str, value: Value) -> Case {
    case(name, words, move |stage| {
        let mut config = config();
        config[field] = value.clone();
        doors(stage, &config, Some(&file(&rows())))
    })
}

/// A row of other tensors.
fn tensors(name: &'static str, words: &'static [&'static str], rows: Rows) -> Case {
    case(name, words, move |stage| doors(stage, &config(), Some(&file(&rows))))
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        case("adapter: nothing there", &["adapter_config.json"], |stage| {
            stage.checkpoint();
            vec![stage.quantize(&["--lora", &stage.text("nowhere")])]
        }),
        case("adapter: no weights", &["adapter", "adapter_model.safetensors, found nothing"], |stage| {
            doors(stage, &config(), None)
        }),
        case("adapter: cut", &["adapter_model.safetensors"], |stage| {
            let whole = file(&rows());
            doors(stage, &config(), Some(&whole[..whole.len() - 4]))
        }),
        case("adapter: for a GGUF file", &["adapter", "expected a checkpoint directory"], |stage| {
            stage.gguf("model.gguf");
            vec![stage.quantize_from("model.gguf", &["--lora", &stage.text("adapter")])]
        }),
        field("adapter: DoRA", &["adapter_config.json", "`use_dora`", "DoRA"], "use_dora", json!(true)),
        field(
            "adapter: of another kind",
            &["`peft_type`", "expected LORA", "IA3"],
            "peft_type",
            json!("IA3"),
        ),
        field("adapter: rank of 2^60", &["`r`", "1152921504606846976"], "r", json!(1u64 << 60)),
        field("adapter: no pattern", &["`rank_pattern`"], "rank_pattern", json!({"(": 2})),
        field("adapter: another rank", &["lora_A.weight`", "shape", "[3, 256]", "[2, 256]"], "r", json!(3)),
        tensors(
            "adapter: for another model",
            &[
                "adapter_model.safetensors",
                "`base_model.model.h.0.q.lora_A.weight`",
                "no tensor `h.0.q.weight`",
            ],
            vec![
                ("base_model.model.h.0.q.lora_A.weight", vec![2, 4]),
                ("base_model.model.h.0.q.lora_B.weight", vec![4, 2]),
            ],
        ),
        tensors(
            "adapter: half of one",
            &["lora_A.weight`", "both lora_A and lora_B"],
            vec![(A, vec![2, WIDTH])],
        ),
        tensors(
            "adapter: another width",
            &["lora_B.weight`", "[256, 2]", "[8, 2]"],
            vec![(A, vec![2, WIDTH]), (B, vec![8, 2])],
        ),
        tensors("adapter: nothing in it", &["adapter_model.safetensors", "found none"], Vec::new()),
    ]
}
