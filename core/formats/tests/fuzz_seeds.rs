//! The seeds of the fuzz targets: made here, committed in `fuzz/seeds`, compared by every test run.
//! `UPDATE_SEEDS=1 cargo test -p llama-pajamas-formats --test fuzz_seeds` writes them anew.

use formats::gguf::{Array, GgmlType, Metadata, TensorSpec, Value, Writer};
use formats::imatrix::{Entry, Imatrix};
use formats::{gguf, imatrix, safetensors, tokenizer_json};
use llama_pajamas_formats as formats;
use std::collections::BTreeMap;
use std::path::Path;

/// Compares the seeds of `target` with the committed files, or writes them where that is asked for.
fn check(target: &str, seeds: &[(&str, Vec<u8>)]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds").join(target);
    if std::env::var_os("UPDATE_SEEDS").is_some() {
        std::fs::create_dir_all(&folder).expect("a seed");
    }
    for (name, bytes) in seeds {
        let path = folder.join(name);
        if std::env::var_os("UPDATE_SEEDS").is_some() {
            std::fs::write(&path, bytes).expect("a seed");
        }
        let committed = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(committed == *bytes, "{}: stale, run with UPDATE_SEEDS=1", path.display());
    }
}

fn gguf_file(metadata: &Metadata, types: &[GgmlType]) -> Vec<u8> {
    let specs: Vec<_> = types
        .iter()
        .map(|&ty| TensorSpec { name: format!("blk.0.{ty}"), dims: vec![ty.block_len(), 1], ty })
        .collect();
    let mut writer = Writer::new(Vec::new(), metadata, &specs).expect("a seed");
    for &ty in types {
        writer.write(&vec![1; ty.block_bytes() as usize]).expect("a seed");
    }
    writer.finish().expect("a seed")
}

/// A file with what describes a decoder of two layers, and no weights to speak of.
fn described(architecture: &str, more: &[(&str, Value)]) -> Vec<u8> {
    let numbers = [
        ("block_count", 2),
        ("embedding_length", 32),
        ("feed_forward_length", 32),
        ("attention.head_count", 4),
        ("attention.head_count_kv", 2),
        ("context_length", 1024),
    ];
    let mut metadata = Metadata::from_iter([("general.architecture", Value::String(architecture.into()))]);
    for (key, number) in numbers {
        metadata.insert(format!("{architecture}.{key}"), Value::U32(number));
    }
    for (key, value) in more {
        metadata.insert(format!("{architecture}.{key}"), value.clone());
    }
    let tokens = Array::String(vec!["a".into(), "b".into()]);
    metadata.insert("tokenizer.ggml.tokens", Value::Array(tokens));
    let spec = |name: &str| TensorSpec { name: name.into(), dims: vec![32, 2], ty: GgmlType::F32 };
    let specs = ["token_embd.weight", "blk.0.ffn_gate_inp.weight"].map(spec);
    let mut writer = Writer::new(Vec::new(), &metadata, &specs).expect("a seed");
    specs.iter().for_each(|_| writer.write(&[0; 256]).expect("a seed"));
    writer.finish().expect("a seed")
}

#[test]
fn gguf_descriptions() {
    let experts = [
        ("expert_count", Value::U32(4)),
        ("expert_used_count", Value::U32(2)),
        ("attention.key_length", Value::U32(16)),
        ("attention.sliding_window", Value::U32(8)),
        ("attention.sliding_window_pattern", Value::Array(Array::Bool(vec![true, false]))),
    ];
    let rope = [("rope.freq_base", Value::F32(1e4)), ("rope.scaling.type", Value::String("yarn".into()))];
    let seeds = [
        ("dense", described("llama", &rope)),
        ("experts", described("qwen3moe", &experts)),
        ("unknown", described("unheard-of", &[])),
    ];
    check("gguf_description", &seeds);
    for (name, seed) in seeds {
        let header = gguf::Header::read(seed.as_slice(), seed.len() as u64).expect("a seed");
        assert_eq!(header.tensors.len(), 2, "{name}");
    }
}

#[test]
fn gguf_headers() {
    let every_value = Metadata::from_iter([
        ("general.architecture", Value::String("llama".into())),
        ("general.alignment", Value::U32(64)),
        ("a", Value::U8(1)),
        ("b", Value::I8(-1)),
        ("c", Value::U16(2)),
        ("d", Value::I16(-2)),
        ("e", Value::I32(-3)),
        ("f", Value::F32(0.5)),
        ("g", Value::Bool(true)),
        ("h", Value::U64(1 << 40)),
        ("i", Value::I64(-1)),
        ("j", Value::F64(0.25)),
    ]);
    let every_array = Metadata::from_iter([
        ("a", Value::Array(Array::U8(vec![1, 2]))),
        ("b", Value::Array(Array::I8(vec![-1]))),
        ("c", Value::Array(Array::U16(vec![3]))),
        ("d", Value::Array(Array::I16(vec![-3]))),
        ("e", Value::Array(Array::U32(vec![4]))),
        ("f", Value::Array(Array::I32(vec![-4]))),
        ("g", Value::Array(Array::F32(vec![1.5]))),
        ("h", Value::Array(Array::Bool(vec![true, false]))),
        ("i", Value::Array(Array::String(vec!["x".into(), "é".into(), String::new()]))),
        ("j", Value::Array(Array::U64(vec![5]))),
        ("k", Value::Array(Array::I64(vec![-5]))),
        ("l", Value::Array(Array::F64(vec![2.5]))),
    ]);
    let split = Metadata::from_iter([
        ("split.no", Value::U16(0)),
        ("split.count", Value::U16(2)),
        ("split.tensors.count", Value::I32(2)),
    ]);
    let mut version_2 = gguf_file(&Metadata::new(), &[GgmlType::F32]);
    version_2[4] = 2;
    let seeds = [
        ("empty", gguf_file(&Metadata::new(), &[])),
        ("every-value", gguf_file(&every_value, &[GgmlType::F32, GgmlType::Q4_K])),
        ("every-array", gguf_file(&every_array, &[GgmlType::Q8_0])),
        ("every-type", gguf_file(&Metadata::new(), GgmlType::ALL)),
        ("split", gguf_file(&split, &[GgmlType::F16])),
        ("version-2", version_2),
    ];
    for (name, bytes) in &seeds {
        gguf::Header::read(bytes.as_slice(), bytes.len() as u64).expect(name);
    }
    check("gguf_header", &seeds);
}

fn safetensors_file(json: &str, data_bytes: usize) -> Vec<u8> {
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    bytes.resize(bytes.len() + data_bytes, 0);
    bytes
}

#[test]
fn safetensors_headers() {
    let json = r#"{"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},"a":{"dtype":"F32","shape":[],"data_offsets":[12,16]}}"#;
    let small = r#"{"a":{"dtype":"F4","shape":[2,16],"data_offsets":[0,16]}}"#;
    let seeds = [
        ("empty", safetensors_file("{}", 0)),
        ("two-tensors", safetensors_file(json, 16)),
        ("padded", safetensors_file(&format!("{small}   "), 16)),
    ];
    for (name, bytes) in &seeds {
        safetensors::Header::read(bytes.as_slice(), bytes.len() as u64).expect(name);
    }
    // The target also takes its input as the JSON alone.
    let [empty, two, padded] = seeds;
    check(
        "safetensors_header",
        &[empty, two, padded, ("json-alone", json.into()), ("json-small", small.into())],
    );
}

#[test]
fn safetensors_indices() {
    let seeds = [
        ("empty", br#"{"weight_map":{}}"#.to_vec()),
        (
            "two-shards",
            br#"{"metadata":{"total_size":28.0,"x":[1]},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}"#.to_vec(),
        ),
    ];
    for (name, bytes) in &seeds {
        safetensors::Index::parse(bytes).expect(name);
    }
    check("safetensors_index", &seeds);
}

#[test]
fn importance_matrices() {
    let entry = |n_matrices: usize| Entry {
        n_columns: 3,
        n_matrices,
        sums: vec![1.5; 3 * n_matrices],
        counts: vec![2.0; n_matrices],
        legacy: false,
    };
    let matrix = Imatrix {
        entries: BTreeMap::from([
            ("blk.0.ffn_down.weight".to_string(), entry(1)),
            ("blk.0.ffn_up_exps.weight".to_string(), entry(2)),
        ]),
        datasets: vec!["text".into()],
        chunk_count: 3,
        chunk_size: 512,
    };
    let mut legacy = Vec::new();
    let put = |out: &mut Vec<u8>, number: i32| out.extend(number.to_le_bytes());
    put(&mut legacy, 2);
    for name in ["blk.0.ffn_down.weight", "output.weight"] {
        put(&mut legacy, name.len() as i32);
        legacy.extend(name.as_bytes());
        put(&mut legacy, 7);
        put(&mut legacy, 2);
        legacy.extend([1f32, 2.0].iter().flat_map(|value| value.to_le_bytes()));
    }
    let mut legacy_whole = legacy.clone();
    put(&mut legacy_whole, 7);
    put(&mut legacy_whole, 4);
    legacy_whole.extend(b"text");
    let seeds = [
        ("gguf", imatrix::write_gguf(Vec::new(), &matrix).expect("a seed")),
        ("legacy", legacy),
        ("legacy-whole", legacy_whole),
    ];
    for (name, bytes) in &seeds {
        imatrix::read(bytes).expect(name);
    }
    check("imatrix", &seeds);
}

#[test]
fn tokenizer_documents() {
    let bpe = r#"{"version":"1.0","truncation":{"max_length":8},"padding":null,
"added_tokens":[{"id":3,"content":"<s>","single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}],
"normalizer":{"type":"Sequence","normalizers":[{"type":"Prepend","prepend":"▁"},{"type":"Replace","pattern":{"String":" "},"content":"x"},
{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":true},{"type":"NFC"}]},
"pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"Split","pattern":{"Regex":"\\p{N}"},"behavior":"Isolated","invert":false},
{"type":"Digits","individual_digits":true},{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":false}]},
"post_processor":{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},{"Sequence":{"id":"A","type_id":0}}],
"pair":[],"special_tokens":{"<s>":{"id":"<s>","ids":[3],"tokens":["<s>"]}}},
"decoder":{"type":"Sequence","decoders":[{"type":"ByteFallback"},{"type":"Fuse"},{"type":"Strip","content":" ","start":1,"stop":0}]},
"model":{"type":"BPE","dropout":null,"unk_token":"a","fuse_unk":true,"byte_fallback":true,"ignore_merges":false,
"vocab":{"a":0,"b":1,"ab":2},"merges":["a b",["ab","a"]]}}"#;
    let unigram = r#"{"model":{"type":"Unigram","unk_id":0,"byte_fallback":false,"vocab":[["<unk>",0.0],["a",-1.5]]},
"normalizer":{"type":"Precompiled","precompiled_charsmap":"AAAA"},
"pre_tokenizer":{"type":"Metaspace","replacement":"▁","prepend_scheme":"always","split":true}}"#;
    let word_piece = r###"{"model":{"type":"WordPiece","vocab":{"[UNK]":0,"##a":1},"unk_token":"[UNK]",
"continuing_subword_prefix":"##","max_input_chars_per_word":100},
"post_processor":{"type":"BertProcessing","sep":["x",1],"cls":["y",2]},"decoder":{"type":"WordPiece","prefix":"##","cleanup":true}}"###;
    let word_level = r#"{"model":{"type":"WordLevel","vocab":{"a":0},"unk_token":"a"},"pre_tokenizer":{"type":"Whitespace"},"decoder":null}"#;
    let unknown = r#"{"model":{"type":"New","x":[1]},"normalizer":{"type":"New"},"x":{}}"#;
    let seeds = [
        ("bpe", bpe.as_bytes().to_vec()),
        ("unigram", unigram.into()),
        ("word-piece", word_piece.into()),
        ("word-level", word_level.into()),
        ("unknown-kinds", unknown.into()),
    ];
    for (name, bytes) in &seeds {
        tokenizer_json::parse(bytes).expect(name);
    }
    check("tokenizer_json", &seeds);
}
