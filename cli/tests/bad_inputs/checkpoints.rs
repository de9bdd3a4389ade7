//! Checkpoints that are cut, contradictory or of another kind.
//! Knows the layout of safetensors and of the JSON files beside them.

use super::stage::{Door, Stage, edit, edit_json};
use super::{Case, case};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

pub(crate) fn cases() -> Vec<Case> {
    [weights(), shards(), numbers(), configs(), tokenizers()].into_iter().flatten().collect()
}

/// Quantizing, and planning to.
fn both(stage: &Stage<'_>) -> Vec<Door> {
    vec![stage.quantize(&[]), stage.quantize(&["--dry-run"])]
}

fn weights() -> Vec<Case> {
    /// A row whose header text is changed.
    fn header(
        name: &'static str,
        words: &'static [&'static str],
        change: impl Fn(&str) -> String + Send + Sync + 'static,
    ) -> Case {
        case(name, words, move |stage| {
            edit_header(&stage.checkpoint().join("model.safetensors"), &change);
            both(stage)
        })
    }
    const NORM: &str =
        r#""model.norm.weight":{"dtype":"BF16","shape":[256],"data_offsets":[8393728,8394240]}"#;
    let norm = |entry: &'static str| move |text: &str| text.replace(NORM, entry);
    vec![
        case(
            "safetensors: cut in the data",
            &[
                "model.safetensors",
                "`model.layers.3.mlp.up_proj.weight`",
                "inside 7995072 data bytes",
                "7606528..7999744",
            ],
            |stage| {
                cut(&stage.checkpoint().join("model.safetensors"), 8_000_000);
                both(stage)
            },
        ),
        case(
            "safetensors: cut in the header",
            &["model.safetensors", "header length", "got 4920"],
            |stage| {
                cut(&stage.checkpoint().join("model.safetensors"), 1000);
                both(stage)
            },
        ),
        case("safetensors: empty", &["model.safetensors", "header length"], |stage| {
            cut(&stage.checkpoint().join("model.safetensors"), 0);
            both(stage)
        }),
        case(
            "safetensors: header of 2^63 bytes",
            &["model.safetensors", "header length", "9223372036854775808"],
            |stage| {
                let path = stage.checkpoint().join("model.safetensors");
                let mut bytes = fs::read(&path).unwrap();
                bytes[..8].copy_from_slice(&(1u64 << 63).to_le_bytes());
                fs::write(path, bytes).unwrap();
                both(stage)
            },
        ),
        header(
            "safetensors: tensor outside the file",
            &["model.safetensors", "`model.norm.weight`", "data_offsets", "9393728..9394240"],
            norm(r#""model.norm.weight":{"dtype":"BF16","shape":[256],"data_offsets":[9393728,9394240]}"#),
        ),
        header(
            "safetensors: tensors over each other",
            &["model.safetensors", "`model.norm.weight`", "data_offsets", "behind"],
            norm(r#""model.norm.weight":{"dtype":"BF16","shape":[256],"data_offsets":[8393726,8394238]}"#),
        ),
        header(
            "safetensors: bytes of no tensor",
            &["model.safetensors", "belong to no tensor"],
            norm(r#""model.norm.weight":{"dtype":"BF16","shape":[128],"data_offsets":[8393728,8393984]}"#),
        ),
        header(
            "safetensors: 2^60 weights",
            &["model.safetensors", "`model.norm.weight`", "shape", "2^61", "1152921504606846976"],
            norm(
                r#""model.norm.weight":{"dtype":"BF16","shape":[1152921504606846976],"data_offsets":[8393728,8394240]}"#,
            ),
        ),
        header(
            "safetensors: extents whose product overflows",
            &["model.safetensors", "`model.norm.weight`", "shape", "2^61"],
            norm(
                r#""model.norm.weight":{"dtype":"BF16","shape":[4294967296,4294967296],"data_offsets":[8393728,8394240]}"#,
            ),
        ),
        header(
            "safetensors: quantized in a way that is not read",
            &["model.safetensors", "`model.norm.weight.SCB`", "bitsandbytes", "float checkpoint"],
            norm(
                r#""model.norm.weight.SCB":{"dtype":"BF16","shape":[256],"data_offsets":[8393728,8394240]}"#,
            ),
        ),
        header(
            "safetensors: one name twice",
            &["model.safetensors", "`model.layers.0.mlp.up_proj.weight`", "twice"],
            |text| text.replace("model.layers.1.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.weight"),
        ),
        header(
            "safetensors: unknown dtype",
            &["model.safetensors", "`model.norm.weight`", "dtype", "BF17"],
            |text| {
                text.replace(
                    r#""model.norm.weight":{"dtype":"BF16""#,
                    r#""model.norm.weight":{"dtype":"BF17""#,
                )
            },
        ),
        header(
            "safetensors: weights that are integers",
            &["`model.norm.weight`", "expected F32, F16 or BF16", "got I16"],
            |text| {
                text.replace(
                    r#""model.norm.weight":{"dtype":"BF16""#,
                    r#""model.norm.weight":{"dtype":"I16""#,
                )
            },
        ),
        header("safetensors: not JSON", &["model.safetensors", "header", "line 1"], |text| {
            text.replace(r#""dtype""#, "dtype")
        }),
        header(
            "checkpoint: another shape than config.json",
            &["`model.layers.0.mlp.up_proj.weight`", "expected [768, 256]", "got [256, 768]"],
            |text| {
                let name = r#""model.layers.0.mlp.up_proj.weight":{"dtype":"BF16","shape""#;
                text.replace(&format!("{name}:[768,256]"), &format!("{name}:[256,768]"))
            },
        ),
        header("checkpoint: a tensor is missing", &["`model.layers.3.mlp.up_proj.weights`"], |text| {
            text.replace("model.layers.3.mlp.up_proj.weight", "model.layers.3.mlp.up_proj.weights")
        }),
        header(
            "checkpoint: a layer that is none",
            &["`model.layers.4.input_layernorm.weight`", "qwen3"],
            |text| text.replace("model.layers.3.input_layernorm", "model.layers.4.input_layernorm"),
        ),
    ]
}

fn shards() -> Vec<Case> {
    /// A row whose weights are named by an index.
    fn index(name: &'static str, words: &'static [&'static str], file: &'static str) -> Case {
        case(name, words, move |stage| {
            let model = stage.checkpoint();
            fs::rename(model.join("model.safetensors"), model.join("model-00001-of-00002.safetensors"))
                .unwrap();
            let header = fs::read(model.join("model-00001-of-00002.safetensors")).unwrap();
            let header: Value = serde_json::from_slice(&header[8..8 + 4920]).unwrap();
            let names = header.as_object().unwrap().keys().filter(|name| *name != "__metadata__");
            let mut map: serde_json::Map<_, _> =
                names.map(|name| (name.clone(), json!("model-00001-of-00002.safetensors"))).collect();
            map["model.norm.weight"] = json!(file);
            let index = json!({"weight_map": map}).to_string();
            fs::write(model.join("model.safetensors.index.json"), index).unwrap();
            both(stage)
        })
    }
    vec![
        index(
            "checkpoint: a shard is missing",
            &["model-00002-of-00002.safetensors", "not there"],
            "model-00002-of-00002.safetensors",
        ),
        index(
            "checkpoint: a shard's path leads out",
            &["index.json", "`model.norm.weight`", "../model.safetensors"],
            "../model.safetensors",
        ),
        index("checkpoint: a shard is another file", &["config.json", "header length"], "config.json"),
        case("checkpoint: weights that can run code", &["model", ".bin", "safetensors"], |stage| {
            let model = stage.checkpoint();
            fs::rename(model.join("model.safetensors"), model.join("pytorch_model.bin")).unwrap();
            both(stage)
        }),
        case("checkpoint: no weights", &["expected model.safetensors", "found neither"], |stage| {
            fs::remove_file(stage.checkpoint().join("model.safetensors")).unwrap();
            both(stage)
        }),
        case("checkpoint: an empty directory", &["config.json"], |stage| {
            fs::create_dir(stage.path("model")).unwrap();
            [both(stage), vec![Door::command(&["info", &stage.text("model")])]].concat_doors()
        }),
        case("checkpoint: nothing there", &["model", "found nothing"], |stage| {
            [both(stage), vec![Door::command(&["info", &stage.text("model")])]].concat_doors()
        }),
    ]
}

/// Numbers that no quantized type can hold.
fn numbers() -> Vec<Case> {
    /// A row whose third weight of the last layer's up-projection is `bits` (bfloat16).
    fn weight(
        name: &'static str,
        words: &'static [&'static str],
        bits: u16,
        precision: &'static str,
    ) -> Case {
        case(name, words, move |stage| {
            let path = stage.checkpoint().join("model.safetensors");
            let mut bytes = fs::read(&path).unwrap();
            let header: Value = serde_json::from_slice(&bytes[8..8 + 4920]).unwrap();
            let start = &header["model.layers.3.mlp.up_proj.weight"]["data_offsets"][0];
            let at = 8 + 4920 + start.as_u64().unwrap() as usize + 2 * 2;
            bytes[at..at + 2].copy_from_slice(&bits.to_le_bytes());
            fs::write(path, bytes).unwrap();
            vec![stage.quantize(&["--precision", precision])]
        })
    }
    const PLACE: &str = "`model.layers.3.mlp.up_proj.weight`: row 0, column 2: expected a finite number";
    vec![
        weight("weights: NaN", &["model.safetensors", PLACE, "got NaN"], 0x7fc0, "Q8_0"),
        weight("weights: infinity", &["model.safetensors", PLACE, "got -inf"], 0xff80, "Q4_0"),
        weight("weights: NaN when converting", &["model.safetensors", PLACE, "got NaN"], 0x7fc0, "BF16"),
        weight("weights: too large for F16", &["`blk.3.ffn_up.weight`", "F16", "100352"], 0x47c4, "F16"),
    ]
}

fn configs() -> Vec<Case> {
    /// A row whose config.json is changed.
    fn config(
        name: &'static str,
        words: &'static [&'static str],
        change: impl Fn(&mut Value) + Send + Sync + 'static,
    ) -> Case {
        case(name, words, move |stage| {
            edit_json(&stage.checkpoint().join("config.json"), &change);
            [both(stage), vec![Door::command(&["info", &stage.text("model")])]].concat_doors()
        })
    }
    fn without(field: &str) -> impl Fn(&mut Value) + use<> {
        let field = field.to_string();
        move |config| _ = config.as_object_mut().unwrap().shift_remove(&field)
    }
    vec![
        config("config: unknown architecture", &["config.json", "unknown model type `mamba9`"], |config| {
            config["model_type"] = json!("mamba9");
            config["state_size"] = json!(16);
            config.as_object_mut().unwrap().shift_remove("num_attention_heads");
        }),
        config(
            "config: no layer count",
            &["config.json", "`num_hidden_layers` is missing"],
            without("num_hidden_layers"),
        ),
        config("config: no width", &["config.json", "`hidden_size` is missing"], without("hidden_size")),
        config("config: no model type", &["config.json", "`model_type` is missing"], without("model_type")),
        config("config: a field of another type", &["config.json", "`hidden_size`", "wide"], |config| {
            config["hidden_size"] = json!("wide")
        }),
        config(
            "config: 2^60 layers",
            &["config.json", "`num_hidden_layers`", "1152921504606846976"],
            |config| {
                config["num_hidden_layers"] = json!(1u64 << 60);
            },
        ),
        config("config: heads that do not divide", &["config.json", "num_key_value_heads"], |config| {
            config["num_key_value_heads"] = json!(3)
        }),
        case("config: not JSON", &["config.json", "line 2 column 18"], |stage| {
            edit(&stage.checkpoint().join("config.json"), |text| text.replacen('{', "", 1));
            [both(stage), vec![Door::command(&["info", &stage.text("model")])]].concat_doors()
        }),
        case("config: missing", &["config.json"], |stage| {
            fs::remove_file(stage.checkpoint().join("config.json")).unwrap();
            [both(stage), vec![Door::command(&["info", &stage.text("model")])]].concat_doors()
        }),
    ]
}

fn tokenizers() -> Vec<Case> {
    /// A row whose tokenizer.json is changed.
    fn tokenizer(
        name: &'static str,
        words: &'static [&'static str],
        change: impl Fn(&mut Value) + Send + Sync + 'static,
    ) -> Case {
        case(name, words, move |stage| {
            edit_json(&stage.checkpoint().join("tokenizer.json"), &change);
            both(stage)
        })
    }
    vec![
        case("tokenizer: missing", &["model", "expected tokenizer.json or tokenizer.model"], |stage| {
            fs::remove_file(stage.checkpoint().join("tokenizer.json")).unwrap();
            both(stage)
        }),
        case("tokenizer: not JSON", &["tokenizer.json", "at byte 0", "got `[`"], |stage| {
            fs::write(stage.checkpoint().join("tokenizer.json"), "[").unwrap();
            both(stage)
        }),
        tokenizer(
            "tokenizer: an id above the vocabulary",
            &["tokenizer.json", "vocab_size", "5001", "4096"],
            |json| {
                json["model"]["vocab"]["beyond"] = json!(5000);
            },
        ),
        tokenizer(
            "tokenizer: an id that is none",
            &["tokenizer.json", "model.vocab.beyond", "expected u32"],
            |json| {
                json["model"]["vocab"]["beyond"] = json!(1u64 << 60);
            },
        ),
        tokenizer("tokenizer: no vocabulary", &["tokenizer.json", "model.vocab"], |json| {
            json["model"]["vocab"] = json!(7)
        }),
        tokenizer(
            "tokenizer: unknown pre-tokenizer",
            &["tokenizer.json", "pre_tokenizer", "Cleverly"],
            |json| {
                json["pre_tokenizer"] = json!({"type": "Cleverly"});
            },
        ),
        tokenizer("tokenizer: unknown kind", &["tokenizer.json", "model.type", "WordLevel"], |json| {
            json["model"]["type"] = json!("WordLevel");
            json["model"]["unk_token"] = json!("?");
        }),
    ]
}

trait Concat {
    fn concat_doors(self) -> Vec<Door>;
}

impl Concat for [Vec<Door>; 2] {
    fn concat_doors(self) -> Vec<Door> {
        self.into_iter().flatten().collect()
    }
}

fn cut(path: &Path, bytes: u64) {
    fs::File::options().write(true).open(path).unwrap().set_len(bytes).unwrap();
}

/// Changes the JSON header and keeps the data behind it.
fn edit_header(path: &Path, change: &impl Fn(&str) -> String) {
    let bytes = fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let before = std::str::from_utf8(&bytes[8..8 + length]).unwrap();
    let after = change(before);
    assert_ne!(before, after, "nothing to change");
    let mut changed = (after.len() as u64).to_le_bytes().to_vec();
    changed.extend(after.as_bytes());
    changed.extend(&bytes[8 + length..]);
    fs::write(path, changed).unwrap();
}
