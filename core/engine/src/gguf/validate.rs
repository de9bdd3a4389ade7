//! Files are checked here before llama.cpp sees them.
//!
//! Owns: what a file must satisfy so that llama.cpp either loads it or refuses it, and does not
//! end the process. May know: GGUF headers. Must not know: how models are loaded.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use formats::gguf::{Array, GgmlType, Header, Metadata, Split, Value};

use super::predictions;
use crate::Error;

/// Most layers that llama.cpp has room for (`LLAMA_MAX_LAYERS`).
const MAX_LAYERS: u64 = 512;
/// Most experts that llama.cpp has room for (`LLAMA_MAX_EXPERTS`).
const MAX_EXPERTS: u64 = 1024;
/// Fewest kinds of distances that its formula has room for.
const MIN_BUCKETS: u64 = 4;
/// The last kind of pooling (`LLAMA_POOLING_TYPE_RANK`).
const MAX_POOLING: u64 = 4;
/// A matrix even where it has one row.
const ONE_SCORE: &str = "cls.output.weight";
/// What llama.cpp knows under `rope.scaling.type`.
const ROPE_SCALINGS: &[&str] = &["none", "linear", "yarn", "longrope"];

/// A file that was checked: the right to hand it to llama.cpp.
pub(super) struct ModelFile {
    /// The parts, in order; one for a model in one file.
    pub(super) parts: Vec<PathBuf>,
    /// `general.architecture`.
    pub(super) architecture: String,
    /// The number of tokens in the vocabulary.
    pub(super) n_vocab: u32,
    /// Every token sees the whole text: there is nothing to write with.
    pub(super) reads_only: bool,
    /// Shapes of its weights, by name.
    pub(super) shapes: BTreeMap<String, Vec<u64>>,
    /// Levels of a picture are added behind every layer, so behind the last one too.
    pub(super) adds_behind_last: bool,
    /// It has prediction layers that can be asked.
    pub(super) predicts: bool,
}

/// Checks the file at `path` and, if it is the first of several parts, the others beside it.
pub(super) fn read(path: &Path) -> Result<ModelFile, Error> {
    let mut header = read_header(path)?;
    let mut shapes = BTreeMap::new();
    let parts = parts(path, &header.metadata)?;
    for (number, part) in parts.iter().enumerate().skip(1) {
        let header = read_header(part)?;
        check_part(part, &header.metadata, number, parts.len())?;
        check_weight_types(&header).map_err(|reason| Error::InvalidFile { path: part.clone(), reason })?;
        shapes.extend(header.tensors.into_iter().map(|tensor| (tensor.name, tensor.dims)));
    }
    let invalid = |reason| Error::InvalidFile { path: path.to_owned(), reason };
    let architecture = check_architecture(&header.metadata).map_err(invalid)?;
    let n_vocab = n_vocab(&header, &architecture).map_err(invalid)?;
    check_weight_types(&header).map_err(invalid)?;
    check_pooling(&header, &architecture).map_err(invalid)?;
    check_biases(&header, &architecture).map_err(invalid)?;
    let reads_only = header.metadata.bool(&format!("{architecture}.attention.causal")) == Some(false);
    let number = |name: &str| header.metadata.u64(&format!("{architecture}.{name}"));
    let adds_behind_last =
        number("n_deepstack_layers").is_some_and(|levels| number("block_count") <= Some(levels));
    shapes.extend(header.tensors.drain(..).map(|tensor| (tensor.name, tensor.dims)));
    let predicts = predictions::are_known(&header.metadata, &architecture, |name| shapes.contains_key(name));
    Ok(ModelFile { parts, architecture, n_vocab, reads_only, shapes, adds_behind_last, predicts })
}

pub(super) fn read_header(path: &Path) -> Result<Header, Error> {
    let unreadable = |source| Error::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    let bytes = file.metadata().map_err(unreadable)?.len();
    Header::read(BufReader::with_capacity(1 << 16, file), bytes)
        .map_err(|error| Error::InvalidFile { path: path.to_owned(), reason: error.to_string() })
}

/// The parts of the model of which `path` is the first: names end in `-00001-of-00003.gguf`.
fn parts(path: &Path, metadata: &Metadata) -> Result<Vec<PathBuf>, Error> {
    let invalid = |reason: String| Error::InvalidFile { path: path.to_owned(), reason };
    let Some(split) = Split::of(metadata).map_err(|error| invalid(error.to_string()))? else {
        return Ok(vec![path.to_owned()]);
    };
    let count = usize::from(split.n_parts);
    check_part(path, metadata, 0, count)?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let suffix = |number: usize| format!("-{number:05}-of-{count:05}.gguf");
    let Some(stem) = name.strip_suffix(&suffix(1)) else {
        let reason = format!("it is the first of {count} parts, its name should end in `{}`", suffix(1));
        return Err(invalid(reason));
    };
    Ok((1..=count).map(|number| path.with_file_name(format!("{stem}{}", suffix(number)))).collect())
}

/// Checks that a part says that it is number `number` of `count`.
fn check_part(path: &Path, metadata: &Metadata, number: usize, count: usize) -> Result<(), Error> {
    let refuse = |reason: String| Err(Error::InvalidFile { path: path.to_owned(), reason });
    let split = match Split::of(metadata) {
        Ok(Some(split)) => split,
        Ok(None) => return refuse(format!("`split.count`: expected {count}, got a whole model")),
        Err(error) => return refuse(error.to_string()),
    };
    let (got_number, got_count) = (usize::from(split.number), usize::from(split.n_parts));
    if got_count != count {
        return refuse(format!("`split.count`: expected {count}, got {got_count}"));
    }
    if got_number != number {
        return refuse(format!("`split.no`: expected {number}, got {got_number}"));
    }
    Ok(())
}

/// The architecture, if the keys that llama.cpp asserts on are sound.
fn check_architecture(metadata: &Metadata) -> Result<String, String> {
    let architecture = metadata.str("general.architecture").ok_or("`general.architecture` is missing")?;
    let key = |name: &str| format!("{architecture}.{name}");
    in_range(metadata, &key("block_count"), 1, MAX_LAYERS, Presence::Required)?;
    in_range(metadata, &key("embedding_length"), 1, 1 << 24, Presence::Required)?;
    in_range(metadata, &key("expert_count"), 0, MAX_EXPERTS, Presence::Optional)?;
    let n_layers = metadata.u64(&key("block_count")).unwrap_or(0);
    in_range(metadata, &key("nextn_predict_layers"), 0, n_layers, Presence::Optional)?;
    check_experts(metadata, &key)?;
    check_heads(metadata, &key)?;
    let scaling = metadata.str(&key("rope.scaling.type")).unwrap_or("none");
    if !ROPE_SCALINGS.contains(&scaling) {
        let key = key("rope.scaling.type");
        return Err(format!("`{key}` is `{scaling}`, expected one of {ROPE_SCALINGS:?}"));
    }
    Ok(architecture.to_owned())
}

fn check_experts(metadata: &Metadata, key: &impl Fn(&str) -> String) -> Result<(), String> {
    let n_experts = metadata.u64(&key("expert_count")).unwrap_or(0);
    let used_key = key("expert_used_count");
    let used = numbers(metadata, &used_key)?.into_iter().max().unwrap_or(0);
    if used > n_experts || (n_experts > 0 && used == 0) {
        return Err(format!("`{used_key}` is {used}, expected a part of {n_experts} experts"));
    }
    let group_key = key("expert_group_count");
    let groups = metadata.u64(&group_key).unwrap_or(0);
    let fits = groups == 0 || (groups < n_experts && n_experts.is_multiple_of(groups));
    if !fits {
        return Err(format!("`{group_key}` is {groups}, expected a divisor of {n_experts} experts"));
    }
    let used_key = key("expert_group_used_count");
    let used = metadata.u64(&used_key).unwrap_or(0);
    if groups > 1 && !(1..groups).contains(&used) {
        return Err(format!("`{used_key}` is {used}, expected 1 .. {groups}"));
    }
    Ok(())
}

/// Every layer's query heads share its key heads evenly.
fn check_heads(metadata: &Metadata, key: &impl Fn(&str) -> String) -> Result<(), String> {
    let heads_key = key("attention.head_count");
    let kv_key = key("attention.head_count_kv");
    let heads = numbers(metadata, &heads_key)?;
    let kv_heads = numbers(metadata, &kv_key)?;
    let layers = heads.len().max(kv_heads.len());
    for layer in 0..layers {
        let at = |list: &[u64]| list.get(layer).or(list.last()).copied().unwrap_or(0);
        let (n_heads, n_kv_heads) = (at(&heads), at(&kv_heads));
        if n_heads > 1 << 16 {
            return Err(format!("`{heads_key}` is {n_heads}, expected at most 65536"));
        }
        if n_kv_heads > 0 && !n_heads.is_multiple_of(n_kv_heads) {
            return Err(format!("`{kv_key}` is {n_kv_heads}, expected a divisor of {n_heads} heads"));
        }
    }
    Ok(())
}

/// Kinds of pooling that llama.cpp knows, and labels that something scores.
fn check_pooling(header: &Header, architecture: &str) -> Result<(), String> {
    let key = |name: &str| format!("{architecture}.{name}");
    for name in ["pooling_type", "classifier.pooling_type"] {
        in_range(&header.metadata, &key(name), 0, MAX_POOLING, Presence::Optional)?;
    }
    let labels = key("classifier.output_labels");
    let n_labels = header.metadata.strings(&labels).map_or(0, <[String]>::len) as u64;
    let width = header.metadata.u64(&key("embedding_length")).unwrap_or(0);
    if n_labels > width && header.tensor("cls.output.weight").is_none() {
        return Err(format!("`{labels}` has {n_labels} labels, and `cls.output.weight` is missing"));
    }
    Ok(())
}

/// Biases by distance, which llama.cpp takes from the first layer without asking whether it has them.
fn check_biases(header: &Header, architecture: &str) -> Result<(), String> {
    let key = |name: &str| format!("{architecture}.{name}");
    in_range(&header.metadata, &key("decoder_block_count"), 1, MAX_LAYERS, Presence::Optional)?;
    let buckets = key("attention.relative_buckets_count");
    in_range(&header.metadata, &buckets, MIN_BUCKETS, 1 << 16, Presence::Optional)?;
    if header.metadata.get(&buckets).is_none() {
        return Ok(());
    }
    for stack in ["enc.", "dec."] {
        let first = format!("{stack}blk.0.attn_rel_b.weight");
        let has_layers = header.tensors.iter().any(|tensor| tensor.name.starts_with(stack));
        if has_layers && header.tensor(&first).is_none() {
            return Err(format!("tensor `{first}` is missing, and `{buckets}` is stated"));
        }
    }
    Ok(())
}

/// Weights are of types that can be computed with: vectors, which are added and multiplied by
/// element, F32; matrices floats or block formats.
fn check_weight_types(header: &Header) -> Result<(), String> {
    use GgmlType as T;
    for tensor in &header.tensors {
        let name = &tensor.name;
        if !name.ends_with(".weight") && !name.ends_with(".bias") {
            continue;
        }
        let is_vector = tensor.dims.iter().skip(1).all(|dim| *dim == 1) && name != ONE_SCORE;
        if is_vector && tensor.ty != T::F32 {
            return Err(format!("tensor `{name}` is a vector of {}, expected F32", tensor.ty));
        }
        let no_weights = [T::I8, T::I16, T::I32, T::I64, T::F64, T::Q8_1, T::Q8_K];
        if no_weights.contains(&tensor.ty) {
            return Err(format!("tensor `{name}` is of {}, which cannot be computed with", tensor.ty));
        }
    }
    Ok(())
}

/// A number or a list of one number per layer; empty when the key is missing.
fn numbers(metadata: &Metadata, key: &str) -> Result<Vec<u64>, String> {
    let from_i32s = |list: &[i32]| list.iter().map(|number| u64::try_from(*number).ok()).collect();
    let list: Option<Vec<u64>> = match metadata.get(key) {
        None => Some(Vec::new()),
        Some(Value::Array(Array::U32(list))) => Some(list.iter().map(|number| u64::from(*number)).collect()),
        Some(Value::Array(Array::I32(list))) => from_i32s(list),
        Some(value) => value.as_u64().map(|number| vec![number]),
    };
    list.ok_or_else(|| format!("`{key}` is not a number or a list of numbers"))
}

#[derive(PartialEq, Eq)]
enum Presence {
    Required,
    Optional,
}

fn in_range(metadata: &Metadata, key: &str, least: u64, most: u64, presence: Presence) -> Result<(), String> {
    let Some(value) = metadata.get(key) else {
        return match presence {
            Presence::Required => Err(format!("`{key}` is missing")),
            Presence::Optional => Ok(()),
        };
    };
    match value.as_u64() {
        Some(number) if (least..=most).contains(&number) => Ok(()),
        _ => Err(format!("`{key}` is {value:?}, expected {least} ..= {most}")),
    }
}

/// The size of the vocabulary: of the token list, else as the metadata or the embedding say.
fn n_vocab(header: &Header, architecture: &str) -> Result<u32, String> {
    let metadata = &header.metadata;
    let listed = match metadata.get("tokenizer.ggml.tokens") {
        Some(Value::Array(Array::String(tokens))) => Some(tokens.len() as u64),
        Some(_) => return Err("`tokenizer.ggml.tokens` is not a list of texts".to_owned()),
        None => metadata.u64(&format!("{architecture}.vocab_size")),
    };
    let embedded = || header.tensor("token_embd.weight").and_then(|tensor| tensor.dims.get(1)).copied();
    let count = listed.or_else(embedded).ok_or("there is no vocabulary and no token embedding")?;
    u32::try_from(count)
        .ok()
        .filter(|count| (1..=i32::MAX as u32).contains(count))
        .ok_or_else(|| format!("the vocabulary has {count} tokens, expected 1 ..= {}", i32::MAX))
}
