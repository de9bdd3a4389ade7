//! GGUF files that are whole as containers, and whose model is not.
//! Knows metadata keys and tensor names; the good file is the repository's model as Q8_0.

use super::gguf_files::{DOWN, after_string, bytes, put, rename, spoil};
use super::stage::Stage;
use super::{Case, case};
use llama_pajamas::formats::gguf::{Header, Metadata, TensorSpec, Value, Writer};
use std::fs;

pub(crate) fn cases() -> Vec<Case> {
    [models(), splits()].into_iter().flatten().collect()
}

/// A row whose file cannot be run.
fn running(
    name: &'static str,
    words: &'static [&'static str],
    change: impl Fn(&mut Vec<u8>) + Send + Sync + 'static,
) -> Case {
    case(name, words, move |stage| {
        spoil(&stage.gguf("model.gguf"), &change);
        vec![stage.run("model.gguf", &[])]
    })
}

fn models() -> Vec<Case> {
    vec![
        bytes("gguf: unknown architecture", &["model.gguf", "qwenX"], |file| {
            let at = after_string(file, "general.architecture") + 4 + 8;
            put(file, at, b"qwenX");
        }),
        bytes("gguf: no layer count", &["model.gguf", "qwen3.block_count"], |file| {
            rename(file, "qwen3.block_count", "qwen3.block_cound")
        }),
        running("gguf: no tensors", &["model.gguf", "tensors", "expected at least one"], |file| {
            put(file, 8, &[0; 8])
        }),
        running(
            "gguf: a width that its tensors do not have",
            &["model.gguf", "token_embd.weight", "512", "256"],
            |file| {
                let at = after_string(file, "qwen3.embedding_length") + 4;
                put(file, at, &512u32.to_le_bytes());
            },
        ),
        running(
            "gguf: a tensor of another shape",
            &["model.gguf", "blk.0.ffn_down.weight", "expected", "got"],
            |file| {
                let at = after_string(file, DOWN) + 4;
                put(file, at, &[256u64.to_le_bytes(), 768u64.to_le_bytes()].concat());
            },
        ),
        running("gguf: a tensor is missing", &["model.gguf", "blk.0.ffn_down.weight", "not found"], |file| {
            rename(file, DOWN, "blk.0.ffn_dawn.weight");
        }),
        running("gguf: no tokens", &["model.gguf", "tokenizer.ggml.tokens"], |file| {
            rename(file, "tokenizer.ggml.tokens", "tokenizer.ggml.tokenz");
        }),
        running("gguf: no merges", &["model.gguf", "tokenizer.ggml.merges"], |file| {
            rename(file, "tokenizer.ggml.merges", "tokenizer.ggml.mergez");
        }),
        running("gguf: unknown pre-tokenizer", &["model.gguf", "tokenizer.ggml.pre", "qwen9"], |file| {
            let at = after_string(file, "tokenizer.ggml.pre") + 4 + 8;
            put(file, at, b"qwen9");
        }),
        case(
            "gguf: NaN in a block's scale",
            &["model.gguf", "`blk.0.ffn_down.weight`", "finite", "NaN"],
            |stage| {
                spoil(&stage.gguf("model.gguf"), &|file: &mut Vec<u8>| {
                    let header = Header::read(&file[..], file.len() as u64).unwrap();
                    let at = (header.data_offset + header.tensor(DOWN).unwrap().offset) as usize;
                    put(file, at, &0x7e00u16.to_le_bytes());
                });
                vec![stage.quantize_from("model.gguf", &["--allow-requantize", "--precision", "Q4_0"])]
            },
        ),
        case(
            "gguf: quantized again without leave",
            &["model.gguf", "is Q8_0 already", "must be asked for"],
            |stage| {
                stage.gguf("model.gguf");
                let again = ["--precision", "Q4_0"];
                vec![
                    stage.quantize_from("model.gguf", &again),
                    stage.quantize_from("model.gguf", &[&again[..], &["--dry-run"]].concat()),
                ]
            },
        ),
    ]
}

fn splits() -> Vec<Case> {
    const FIRST: &str = "model-00001-of-00002.gguf";
    const SECOND: &str = "model-00002-of-00002.gguf";
    vec![
        case("split gguf: a part is missing", &[SECOND, "No such file"], |stage| {
            split(stage, FIRST, Value::U16(0), Value::U16(2));
            vec![stage.run(FIRST, &[])]
        }),
        case("split gguf: the second part first", &[SECOND, "split.no", "expected 0, got 1"], |stage| {
            split(stage, SECOND, Value::U16(1), Value::U16(2));
            vec![stage.run(SECOND, &[])]
        }),
        case("split gguf: one part twice", &[SECOND, "split.no", "expected 1, got 0"], |stage| {
            split(stage, FIRST, Value::U16(0), Value::U16(2));
            fs::copy(stage.path(FIRST), stage.path(SECOND)).unwrap();
            vec![stage.run(FIRST, &[])]
        }),
        case(
            "split gguf: a part of another number of parts",
            &[SECOND, "split.count", "expected 2, got 3"],
            |stage| {
                split(stage, FIRST, Value::U16(0), Value::U16(2));
                split(stage, SECOND, Value::U16(1), Value::U16(3));
                vec![stage.run(FIRST, &[])]
            },
        ),
        case(
            "split gguf: a number beyond the count",
            &[FIRST, "split.no", "less than 2", "got 7"],
            |stage| {
                split(stage, FIRST, Value::U16(7), Value::U16(2));
                vec![stage.run(FIRST, &[])]
            },
        ),
        case("split gguf: a count of another type", &[FIRST, "split.count", "u16"], |stage| {
            split(stage, FIRST, Value::U16(0), Value::String("two".into()));
            vec![stage.run(FIRST, &[])]
        }),
        case("split gguf: as a source", &[FIRST, "one part of a split file"], |stage| {
            split(stage, FIRST, Value::U16(0), Value::U16(2));
            vec![stage.quantize_from(FIRST, &["--allow-requantize"])]
        }),
    ]
}

/// The good file under another name, with the keys of a part.
fn split(stage: &Stage<'_>, name: &str, number: Value, count: Value) {
    let bytes = fs::read(stage.gguf(name)).unwrap();
    let header = Header::read(&bytes[..], bytes.len() as u64).unwrap();
    let mut metadata: Metadata = header.metadata.clone();
    metadata.insert("split.no", number);
    metadata.insert("split.count", count);
    metadata.insert("split.tensors.count", Value::I32(2 * header.tensors.len() as i32));
    let specs: Vec<TensorSpec> = header
        .tensors
        .iter()
        .map(|tensor| TensorSpec { name: tensor.name.clone(), dims: tensor.dims.clone(), ty: tensor.ty })
        .collect();
    let mut writer = Writer::new(Vec::new(), &metadata, &specs).unwrap();
    for tensor in &header.tensors {
        let start = (header.data_offset + tensor.offset) as usize;
        writer.write(&bytes[start..start + tensor.bytes as usize]).unwrap();
    }
    fs::write(stage.path(name), writer.finish().unwrap()).unwrap();
}
