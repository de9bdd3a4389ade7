//! Our tokenizer, built from GGUF metadata, against llama.cpp's test vectors and the Hugging Face library: the same ids
//! for every text, and the same text for the ids.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use families::Family;
use formats::gguf::{Header, Metadata};
use llama_pajamas::{Token, Tokenizer, tokenizer::TextStream};
use llama_pajamas_tests::random_text::{Ingredients, RandomText};
use llama_pajamas_tests::shared;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Random texts per tokenizer.
const N_TEXTS: usize = 100_000;
/// How many of them are turned back into text.
const N_DECODED: usize = 20_000;

/// Texts and ids of a pair of vector files.
fn vectors(name: &str) -> Vec<(String, Vec<Token>)> {
    let file = |ending: &str| {
        let path = shared(&format!("data/tokenizers/vectors/ggml-vocab-{name}.gguf.{ending}"));
        std::fs::read_to_string(path).unwrap()
    };
    let (texts, ids) = (file("inp"), file("out"));
    let texts = texts.strip_suffix("\n__ggml_vocab_test__\n").expect("a separator behind the last text");
    let ids = ids.lines().map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect());
    let (texts, ids): (Vec<&str>, Vec<Vec<Token>>) =
        (texts.split("\n__ggml_vocab_test__\n").collect(), ids.collect());
    assert_eq!(texts.len(), ids.len());
    texts.into_iter().map(String::from).zip(ids).collect()
}

fn check_vectors(vocabulary: &str, name: &str, metadata: &Metadata) -> bool {
    let tokenizer = Tokenizer::from_metadata(metadata).unwrap_or_else(|error| panic!("{name}: {error}"));
    let vectors = vectors(name);
    let mut unequal = Vec::new();
    for (text, expected) in &vectors {
        let ids = tokenizer.encode(text, false).unwrap();
        if ids != *expected {
            unequal.push(format!("    {text:?}\n      ours   {ids:?}\n      theirs {expected:?}"));
        }
    }
    println!("{vocabulary:36} {name:16} {:>3} of {:>3}", vectors.len() - unequal.len(), vectors.len());
    unequal.iter().take(5).for_each(|line| println!("{line}"));
    unequal.is_empty()
}

#[test]
fn vectors_give_their_ids() {
    println!("{:36} {:16} texts", "vocabulary", "vectors");
    let mut equal = Vec::new();
    let folder = shared("data/tokenizers/vectors");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "gguf"));
    files.sort();
    assert_eq!(files.len(), 6);
    for path in files {
        let bytes = std::fs::read(&path).unwrap();
        let header = Header::read(bytes.as_slice(), bytes.len() as u64).unwrap();
        let file = path.file_name().unwrap().to_string_lossy().into_owned();
        let name = file.trim_start_matches("ggml-vocab-").trim_end_matches(".gguf").to_string();
        equal.push(check_vectors(&file, &name, &header.metadata));
    }
    for (folder, name) in [("gpt2", "gpt-2"), ("llama2", "llama-spm")] {
        let metadata = converted(&shared(&format!("data/tokenizers/{folder}")), json!({}));
        equal.push(check_vectors(&format!("{folder}/tokenizer.json"), name, &metadata));
    }
    assert!(equal.iter().all(|equal| *equal));
}

/// What our converter makes of the tokenizer in `folder`.
fn converted(folder: &Path, config: Value) -> Metadata {
    let family = Family::for_model_type("llama").unwrap();
    quantizer::tokenizer::convert(folder, &config, family).unwrap_or_else(|error| panic!("{error}"))
}

/// A tokenizer of the library, without the limits that it was trained with.
fn library(folder: &Path) -> tokenizers::Tokenizer {
    let mut tokenizer = tokenizers::Tokenizer::from_file(folder.join("tokenizer.json")).unwrap();
    tokenizer.with_padding(None).with_truncation(None).unwrap();
    tokenizer
}

/// Equal texts of all that were compared.
#[derive(Default)]
struct Count {
    equal: usize,
    all: usize,
    shown: Vec<String>,
}

impl Count {
    fn add<T: PartialEq + std::fmt::Debug>(&mut self, text: &str, ours: T, theirs: T) {
        self.all += 1;
        if ours == theirs {
            self.equal += 1;
        } else if self.shown.len() < 4 {
            self.shown.push(format!("    {text:?}\n      ours   {ours:?}\n      theirs {theirs:?}"));
        }
    }
}

fn prose() -> Vec<char> {
    let file = |name: &str| std::fs::read_to_string(shared(&format!("data/text/{name}"))).unwrap();
    ["pajama_eval.txt", "pajama_eval_code.txt", "pajama_eval_multilingual.txt"]
        .iter()
        .flat_map(|name| file(name).chars().collect::<Vec<_>>())
        .collect()
}

fn check_library(name: &str, folder: &Path, config: Value, prose: &[char]) -> bool {
    let theirs = library(folder);
    let metadata = converted(folder, config);
    let ours =
        Arc::new(Tokenizer::from_metadata(&metadata).unwrap_or_else(|error| panic!("{name}: {error}")));
    let mut tokens: Vec<String> =
        theirs.get_added_tokens_decoder().into_values().map(|token| token.content).collect();
    tokens.extend(["<s>", "</s>", "<unk>", "<pad>", "[PAD5]", "<0x0A>", "<|im_end|>"].map(String::from));
    tokens.sort();
    let mut random = RandomText::new(20_260_101, Ingredients { tokens: &tokens, prose });
    let (mut plain, mut special, mut decoded) = (Count::default(), Count::default(), Count::default());
    for index in 0..N_TEXTS {
        let text = random.text();
        let ids = |add: bool| -> Vec<Token> {
            let encoding = theirs.encode_fast(text.as_str(), add).unwrap();
            encoding.get_ids().iter().map(|id| *id as Token).collect()
        };
        plain.add(&text, ours.encode(&text, false).unwrap(), ids(false));
        let with_special = ids(true);
        special.add(&text, ours.encode(&text, true).unwrap(), with_special.clone());
        if index < N_DECODED {
            let mut stream = TextStream::from_start(Arc::clone(&ours));
            let mut own: String = with_special.iter().map(|id| stream.push(*id)).collect();
            own.push_str(&stream.finish());
            let ids: Vec<u32> = with_special.iter().map(|id| *id as u32).collect();
            decoded.add(&text, own, theirs.decode(&ids, true).unwrap());
        }
    }
    let counts = [("ids", plain), ("with special", special), ("text", decoded)];
    print!("{name:28}");
    counts.iter().for_each(|(_, count)| print!(" {:>7} of {:>6}", count.equal, count.all));
    println!();
    for (kind, count) in &counts {
        if !count.shown.is_empty() {
            println!("  {kind}:\n{}", count.shown.join("\n"));
        }
    }
    counts.iter().all(|(_, count)| count.equal == count.all)
}

#[test]
fn random_texts_give_the_ids_of_the_library() {
    println!("{:28} {:>17} {:>17} {:>17}", "tokenizer.json", "ids", "with special", "text");
    let prose = prose();
    let given = |name: &str| {
        let folder = shared(name);
        let config = std::fs::read(folder.join("config.json")).unwrap_or_else(|_| b"{}".to_vec());
        (folder, serde_json::from_slice::<Value>(&config).unwrap())
    };
    let mut equal = Vec::new();
    for name in [
        "data/tokenizers/gpt2",
        "data/tokenizers/llama2",
        "data/tokenizers/SmolLM2-135M-Instruct",
        "data/tokenizers/t5",
        "models/pajama-7m",
        "models/pajama-moe-21m",
        "models/pajama-stories-4m",
        "models/tinystories-656k",
    ] {
        let (folder, config) = given(name);
        equal.push(check_library(name, &folder, config, &prose));
    }
    // Vocabularies with ids beyond the tokenizer's, as most checkpoints have them.
    for (name, n_vocab) in [("data/tokenizers/gpt2", 50_304), ("data/tokenizers/t5", 32_128)] {
        let config = json!({"vocab_size": n_vocab});
        equal.push(check_library(&format!("{name} ({n_vocab})"), &shared(name), config, &prose));
    }
    assert!(equal.iter().all(|equal| *equal));
}
