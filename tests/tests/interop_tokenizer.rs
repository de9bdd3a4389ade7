//! Our tokenizer, built from GGUF metadata, against llama.cpp's test vectors and the Hugging Face library: the same ids
//! for every text, and the same text for the ids.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

#[path = "interop_tokenizer/altered.rs"]
mod altered;

use altered::altered;
use families::Family;
use formats::gguf::{Header, Metadata, Value as GgufValue, Writer};
use llama_pajamas::{Token, Tokenizer, tokenizer::TextStream};
use llama_pajamas_tests::random_text::{Ingredients, RandomText};
use llama_pajamas_tests::{oracle, repository, run, shared, tiny_model};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Random texts per tokenizer.
const N_TEXTS: usize = 100_000;
/// How many of them are turned back into text.
const N_DECODED: usize = 20_000;
/// Texts for the library as Python has it, per tokenizer.
const N_PYTHON: usize = 2_000;
/// Texts for llama.cpp's own tokenizer, which starts anew for each.
const N_LLAMA_CPP: usize = 60;
/// Texts per altered tokenizer.
const N_ALTERED: usize = 10_000;

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
    for (folder, name) in [("gpt2", "gpt-2"), ("llama2", "llama-spm"), ("llama2", "phi-3")] {
        let metadata = converted(&shared(&format!("data/tokenizers/{folder}")), json!({}));
        equal.push(check_vectors(&format!("{folder}/tokenizer.json"), name, &metadata));
    }
    assert!(equal.iter().all(|equal| *equal));
}

/// What our converter makes of the tokenizer in `folder`.
fn converted(folder: &Path, config: Value) -> Metadata {
    let family = Family::for_architecture("llama").unwrap();
    quantizer::tokenizer::convert(folder, &config, family).unwrap_or_else(|error| panic!("{error}"))
}

/// A tokenizer of the library, without the limits that it was trained with.
fn library(folder: &Path) -> tokenizers::Tokenizer {
    let mut tokenizer = tokenizers::Tokenizer::from_file(folder.join("tokenizer.json")).unwrap();
    tokenizer.with_padding(None).with_truncation(None).unwrap();
    tokenizer
}

/// Tokenizers at hand, by the folder of their tokenizer.json.
fn folders() -> Vec<(String, PathBuf)> {
    let mut folders = Vec::new();
    for place in ["data/tokenizers", "models"] {
        for entry in std::fs::read_dir(shared(place)).unwrap() {
            let folder = entry.unwrap().path();
            if folder.join("tokenizer.json").is_file() {
                let name = folder.file_name().unwrap().to_string_lossy().into_owned();
                folders.push((format!("{place}/{name}"), folder));
            }
        }
    }
    folders.sort();
    assert!(folders.len() >= 8, "{folders:?}");
    folders
}

fn config(folder: &Path) -> Value {
    let config = std::fs::read(folder.join("config.json")).unwrap_or_else(|_| b"{}".to_vec());
    serde_json::from_slice(&config).unwrap()
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
            let line = format!("    {text:?}\n      ours   {ours:?}\n      theirs {theirs:?}");
            self.shown.push(line.chars().take(3000).collect());
        }
    }
}

/// Counts of one tokenizer: ids, ids with special tokens, text.
#[derive(Default)]
struct Counts([Count; 3]);

impl Counts {
    /// Compares with what the library makes of `text`; its decoded text where `theirs` has one.
    fn add(&mut self, ours: &Arc<Tokenizer>, text: &str, theirs: &(Vec<u32>, Vec<u32>, Option<String>)) {
        let tokens = |ids: &[u32]| ids.iter().map(|id| *id as Token).collect::<Vec<_>>();
        let Self([plain, special, decoded]) = self;
        plain.add(text, ours.encode(text, false).unwrap(), tokens(&theirs.0));
        special.add(text, ours.encode(text, true).unwrap(), tokens(&theirs.1));
        if let Some(their_text) = &theirs.2 {
            let mut stream = TextStream::from_start(Arc::clone(ours));
            let mut own: String = theirs.1.iter().map(|id| stream.push(*id as Token)).collect();
            own.push_str(&stream.finish());
            decoded.add(text, &own, their_text);
        }
    }

    /// Prints one row and what differs; true when nothing does.
    fn print(&self, name: &str) -> bool {
        print!("{name:38}");
        self.0.iter().for_each(|count| print!(" {:>7} of {:>6}", count.equal, count.all));
        println!();
        for (kind, count) in ["ids", "with special", "text"].iter().zip(&self.0) {
            if !count.shown.is_empty() {
                println!("  {kind}:\n{}", count.shown.join("\n"));
            }
        }
        self.0.iter().all(|count| count.equal == count.all)
    }
}

fn print_head(what: &str) {
    println!("{what:38} {:>17} {:>17} {:>17}", "ids", "with special", "text");
}

fn prose() -> Vec<char> {
    let file = |name: &str| std::fs::read_to_string(shared(&format!("data/text/{name}"))).unwrap();
    ["pajama_eval.txt", "pajama_eval_code.txt", "pajama_eval_multilingual.txt"]
        .iter()
        .flat_map(|name| file(name).chars().collect::<Vec<_>>())
        .collect()
}

/// Texts of tokens that random texts are to hold.
fn token_texts(library: &tokenizers::Tokenizer) -> Vec<String> {
    let added = library.get_added_tokens_decoder().into_values().map(|token| token.content);
    let more = ["<s>", "</s>", "<unk>", "<pad>", "[PAD5]", "<0x0A>", "<|im_end|>"].map(String::from);
    let mut tokens: Vec<String> = added.chain(more).collect();
    tokens.sort();
    tokens
}

fn check_library(name: &str, folder: &Path, config: Value, prose: &[char], n_texts: usize) -> bool {
    let theirs = library(folder);
    let metadata = converted(folder, config);
    let ours =
        Arc::new(Tokenizer::from_metadata(&metadata).unwrap_or_else(|error| panic!("{name}: {error}")));
    let tokens = token_texts(&theirs);
    let mut random = RandomText::new(20_260_101, Ingredients { tokens: &tokens, prose });
    let mut counts = Counts::default();
    let writes = !matches!(theirs.get_model(), tokenizers::ModelWrapper::WordPiece(_)); // others only read
    for index in 0..n_texts {
        let text = random.text();
        let ids = |add: bool| theirs.encode_fast(text.as_str(), add).unwrap().get_ids().to_vec();
        let (plain, special) = (ids(false), ids(true));
        let decoded = (writes && index < N_DECODED).then(|| theirs.decode(&special, true).unwrap());
        counts.add(&ours, &text, &(plain, special, decoded));
    }
    let equal = counts.print(name);
    let own: Vec<&str> =
        metadata.iter().filter_map(|(key, _)| key.strip_prefix("llama_pajamas.tokenizer.")).collect();
    if !own.is_empty() {
        println!("  own keys: {}", own.join(", "));
    }
    equal
}

#[test]
fn random_texts_give_the_ids_of_the_library() {
    print_head("tokenizer.json");
    let (prose, work) = (prose(), tempfile::tempdir().unwrap());
    let mut equal = Vec::new();
    for (name, folder) in folders() {
        equal.push(check_library(&name, &folder, config(&folder), &prose, N_TEXTS));
    }
    // Vocabularies with ids beyond the tokenizer's, as most checkpoints have them.
    for (name, n_vocab) in [("data/tokenizers/gpt2", 50_304), ("data/tokenizers/t5", 32_128)] {
        let config = json!({"vocab_size": n_vocab});
        equal.push(check_library(&format!("{name} ({n_vocab})"), &shared(name), config, &prose, N_TEXTS));
    }
    for model in ["bert-mean", "xlm-roberta-cls"].map(|name| tiny_model(work.path(), name)) {
        let name = model.file_name().unwrap().to_string_lossy();
        equal.push(check_library(&name, &model, config(&model), &prose, N_TEXTS));
    }
    assert!(equal.iter().all(|equal| *equal));
}

#[test]
fn altered_tokenizers_give_the_ids_of_the_library() {
    print_head("altered tokenizer.json");
    let (prose, work) = (prose(), tempfile::tempdir().unwrap());
    let mut equal = Vec::new();
    for (index, (base, name, parts)) in altered().into_iter().enumerate() {
        let bytes = std::fs::read(shared(&format!("data/tokenizers/{base}/tokenizer.json"))).unwrap();
        let mut document: Value = serde_json::from_slice(&bytes).unwrap();
        for (field, part) in parts.as_object().unwrap() {
            match (field.as_str(), part) {
                ("model", Value::Object(fields)) => {
                    fields.iter().for_each(|(field, value)| document["model"][field] = value.clone());
                }
                _ => document[field] = part.clone(),
            }
        }
        let folder = work.path().join(index.to_string());
        std::fs::create_dir(&folder).unwrap();
        std::fs::write(folder.join("tokenizer.json"), document.to_string()).unwrap();
        equal.push(check_library(&format!("{base}: {name}"), &folder, json!({}), &prose, N_ALTERED));
    }
    assert!(equal.iter().all(|equal| *equal));
}

#[test]
fn the_python_library_agrees() {
    print_head("the same in Python");
    let (prose, work) = (prose(), tempfile::tempdir().unwrap());
    let mut equal = Vec::new();
    for (name, folder) in folders() {
        let tokens = token_texts(&library(&folder));
        let mut random = RandomText::new(7, Ingredients { tokens: &tokens, prose: &prose });
        let texts: Vec<String> = (0..N_PYTHON).map(|_| random.text()).collect();
        let (input, output) = (work.path().join("texts.json"), work.path().join("rows.json"));
        std::fs::write(&input, serde_json::to_vec(&texts).unwrap()).unwrap();
        let script = repository().join("scripts/oracles/library_ids.py");
        let json = folder.join("tokenizer.json");
        run(Command::new(oracle("venv/bin/python")).arg(script).args([&json, &input, &output]));
        let rows: Vec<(Vec<u32>, Vec<u32>, Option<String>)> =
            serde_json::from_slice(&std::fs::read(&output).unwrap()).unwrap();
        assert_eq!(rows.len(), texts.len());
        let ours = Arc::new(Tokenizer::from_metadata(&converted(&folder, config(&folder))).unwrap());
        let mut counts = Counts::default();
        texts.iter().zip(&rows).for_each(|(text, row)| counts.add(&ours, text, row));
        equal.push(counts.print(&name));
    }
    assert!(equal.iter().all(|equal| *equal));
}

/// llama.cpp on the files that we make: where it differs, it differs from the library, and the table says how often.
#[test]
fn llama_cpp_reads_our_files() {
    println!("{:38} {:>17} {:>8}   first text that differs", "llama.cpp on our files", "ids", "aborted");
    let (prose, work) = (prose(), tempfile::tempdir().unwrap());
    for (name, folder) in folders() {
        let mut metadata = Metadata::from_iter([("general.architecture", GgufValue::String("llama".into()))]);
        let converted = converted(&folder, config(&folder));
        converted.iter().for_each(|(key, value)| drop(metadata.insert(key, value.clone())));
        let (file, prompt) = (work.path().join("vocabulary.gguf"), work.path().join("prompt.txt"));
        Writer::new(std::fs::File::create(&file).unwrap(), &metadata, &[]).unwrap().finish().unwrap();
        let ours = Tokenizer::from_metadata(&metadata).unwrap();
        let tokens = token_texts(&library(&folder));
        let mut random = RandomText::new(9, Ingredients { tokens: &tokens, prose: &prose });
        let (mut count, mut n_aborted) = (Count::default(), 0);
        while count.all < N_LLAMA_CPP {
            let text = random.text();
            if text.is_empty() {
                continue;
            }
            std::fs::write(&prompt, &text).unwrap();
            let mut command = Command::new(oracle("build/bin/llama-tokenize"));
            command.arg("-m").arg(&file).arg("-f").arg(&prompt);
            let output =
                command.args(["--ids", "--no-bos", "--no-escape", "--log-disable"]).output().unwrap();
            // It ends abnormally where a byte of the text has no token.
            n_aborted += usize::from(!output.status.success());
            let theirs: Vec<Token> = serde_json::from_slice(&output.stdout).unwrap_or_default();
            count.add(&text, ours.encode(&text, false).unwrap(), theirs);
        }
        let shown: String = count.shown.iter().flat_map(|text| text.trim().lines().next()).take(1).collect();
        let (equal, all, shown) = (count.equal, count.all, shown.chars().take(80).collect::<String>());
        println!("{name:38} {equal:>7} of {all:>6} {n_aborted:>8}   {shown}");
        // Prose that holds no token's text is read alike by all.
        assert!(count.equal > 0, "{name}");
    }
}

#[test]
fn other_kinds_are_refused_by_name() {
    let work = tempfile::tempdir().unwrap();
    for (model, refused) in [
        (
            json!({"type": "WordPiece", "vocab": {"[UNK]": 0}, "continuing_subword_prefix": "@@"}),
            "model: expected \"##\" and words of up to 100 characters, got \"@@\" and 100",
        ),
        (
            json!({"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}),
            "model.type: expected BPE, Unigram or WordPiece, got WordLevel",
        ),
        (
            json!({"type": "BPE", "vocab": {"a": 0}, "merges": []}),
            "pre_tokenizer: expected one that llama.cpp knows, got null",
        ),
    ] {
        std::fs::write(work.path().join("tokenizer.json"), json!({"model": model}).to_string()).unwrap();
        let family = Family::for_architecture("llama").unwrap();
        let error = quantizer::tokenizer::convert(work.path(), &json!({}), family).unwrap_err().to_string();
        assert!(error.ends_with(&format!("tokenizer.json: {refused}")), "{error}");
    }
}
