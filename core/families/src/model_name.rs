//! `general.*` metadata that is read off a model's directory name, configuration and generation settings.
//! A port of the naming rules of llama.cpp's `gguf-py/gguf/metadata.py`; knows no architecture.

use formats::gguf::{Metadata, Value};
use regex::Regex;
use std::sync::LazyLock;

/// What the rules read.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// Last part of the checkpoint's path.
    pub directory: &'a str,
    /// Parsed `config.json`.
    pub config: &'a serde_json::Value,
    /// Parsed `generation_config.json`, where there is one.
    pub generation: Option<&'a serde_json::Value>,
    /// Licence, as the model card states it.
    pub licence: Option<&'a str>,
}

/// Weights of the converted tensors, for the size label.
#[derive(Debug, Clone, Copy, Default)]
pub struct WeightCounts {
    /// All weights.
    pub total: u64,
    /// Weights outside expert stacks.
    pub shared: u64,
    /// Weights of one expert of each stack.
    pub per_expert: u64,
    /// Experts per stack, 0 without any.
    pub n_experts: u64,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Parts {
    name: Option<String>,
    organization: Option<String>,
    basename: Option<String>,
    finetune: Option<String>,
    version: Option<String>,
    size_label: Option<String>,
}

/// The `general.*` keys behind `general.architecture`, in the converter's order.
pub fn general(sources: Sources<'_>, counts: WeightCounts) -> Metadata {
    let mut metadata = Metadata::new();
    metadata.insert("general.type", Value::String("model".into()));
    sampling(sources.generation, &mut metadata);
    let mut parts = Parts::default();
    let path = sources.config.get("_name_or_path").and_then(serde_json::Value::as_str);
    let path = path.filter(|path| path.matches('/').count() <= 1 && !path.is_empty());
    for id in path.into_iter().chain([sources.directory]) {
        let found = components(id, counts.total);
        parts.name = parts.name.or_else(|| found.name.as_deref().map(title));
        parts.organization = parts.organization.or_else(|| found.organization.as_deref().map(title));
        parts.basename = parts.basename.or(found.basename);
        parts.finetune = parts.finetune.or(found.finetune);
        parts.version = parts.version.or(found.version);
        parts.size_label = parts.size_label.or(found.size_label);
    }
    let size_label = parts.size_label.or_else(|| (counts.total > 0).then(|| size_label(counts)));
    let entries = [
        ("name", Some(parts.name.unwrap_or_else(|| sources.directory.into()))),
        ("version", parts.version),
        ("organization", parts.organization),
        ("finetune", parts.finetune),
        ("basename", parts.basename),
        ("size_label", size_label),
        ("license", sources.licence.map(str::to_string)),
    ];
    for (key, value) in entries {
        if let Some(value) = value {
            metadata.insert(format!("general.{key}"), Value::String(value));
        }
    }
    metadata
}

/// Recommended sampling settings of `generation_config.json`.
fn sampling(generation: Option<&serde_json::Value>, metadata: &mut Metadata) {
    let number = |field: &str| generation?.get(field).filter(|value| value.is_number());
    let float = |field: &str| number(field)?.as_f64().map(|v| Value::F32(v as f32));
    let whole = |field: &str| number(field)?.as_i64().and_then(|v| i32::try_from(v).ok()).map(Value::I32);
    let entries = [
        ("top_k", whole("top_k")),
        ("top_p", float("top_p")),
        ("min_p", float("min_p")),
        ("temp", float("temperature")),
        ("penalty_repeat", float("repetition_penalty")),
    ];
    for (key, value) in entries {
        if let Some(value) = value {
            metadata.insert(format!("general.sampling.{key}"), value);
        }
    }
}

/// `llama-2-chat` → `Llama 2 Chat`: lower-case words get a capital, versions and mixed case stay.
fn title(text: &str) -> String {
    static VERSION: LazyLock<Regex> = LazyLock::new(|| regex(r"^(v\d+(?:\.\d+)*|\d.*)$"));
    let word = |word: &str| {
        let lower = word.chars().any(char::is_lowercase) && !word.chars().any(char::is_uppercase);
        if !lower || VERSION.is_match(word) {
            return word.to_string();
        }
        let mut at_start = true;
        let capital = word.chars().flat_map(|c| {
            let upper = at_start && c.is_alphabetic();
            at_start = !c.is_alphabetic();
            if upper { c.to_uppercase().collect::<Vec<_>>() } else { vec![c] }
        });
        capital.collect()
    };
    text.replace('-', " ").split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Basename,
    SizeLabel,
    Finetune,
    Version,
    Type,
}

fn components(id: &str, total: u64) -> Parts {
    static VERSION: LazyLock<Regex> = LazyLock::new(|| regex(r"(?i)^(v|iter)?\d+([.]\d+)*$"));
    static TYPE: LazyLock<Regex> = LazyLock::new(|| regex(r"(?i)^(i?q\d(_\w)*|b?fp?(16|32))$"));
    static SIZE: LazyLock<Regex> = LazyLock::new(|| {
        regex(r"(?i)^(([A]|\d+[x])?\d+([._]\d+)?[KMBT][\d]?|small|mini|medium|large|x?xl)$")
    });
    static FINETUNE: LazyLock<Regex> = LazyLock::new(|| regex(r"(?i)^(chat|instruct|vision|lora)$"));
    if id.contains(' ') {
        return Parts { name: Some(id.into()), ..Parts::default() };
    }
    let (organization, full) = match id.split_once('/') {
        Some((organization, full)) => (Some(organization).filter(|o| !o.starts_with('.')), full),
        None => (None, id),
    };
    let mut names: Vec<String> =
        full.split('-').filter(|part| !part.is_empty()).map(str::to_string).collect();
    let mut kinds: Vec<Vec<Kind>> = vec![Vec::new(); names.len()];
    for (index, name) in names.iter_mut().enumerate() {
        if VERSION.is_match(name) {
            kinds[index].push(Kind::Version);
        } else if TYPE.is_match(name) {
            kinds[index].push(Kind::Type);
            *name = name.to_uppercase();
        } else if index > 0 && SIZE.is_match(name) {
            let (size, kind) = read_size(name, total);
            *name = size;
            kinds[index].push(kind);
        } else if index > 0 && FINETUNE.is_match(name) {
            kinds[index].push(Kind::Finetune);
        }
    }
    drop_word_sizes(&names, &mut kinds);
    mark_basename(&names, &mut kinds);
    let join = |wanted: &dyn Fn(&[Kind]) -> bool| {
        let mut parts: Vec<&str> = Vec::new();
        parts.extend(
            names.iter().zip(&kinds).filter(|(_, kinds)| wanted(kinds)).map(|(name, _)| name.as_str()),
        );
        parts
    };
    let text = |parts: Vec<&str>| (!parts.is_empty()).then(|| parts.join("-"));
    let mut sizes = join(&|kinds| kinds.contains(&Kind::SizeLabel));
    let mut seen = std::collections::HashSet::new();
    sizes.retain(|size| seen.insert(*size));
    let mut parts = Parts {
        name: Some(full.into()),
        organization: organization.map(str::to_string),
        basename: text(join(&|kinds| kinds.contains(&Kind::Basename))),
        finetune: text(join(&|kinds| kinds.contains(&Kind::Finetune))),
        version: text(join(&|kinds| kinds.contains(&Kind::Version) && !kinds.contains(&Kind::Basename))),
        size_label: text(sizes),
    };
    if parts.size_label.is_none() && parts.finetune.is_none() && parts.version.is_none() {
        parts.basename = None; // too ambiguous
    }
    parts
}

/// A part that looks like a size: its normal spelling, and whether it is one (or a context length).
fn read_size(part: &str, total: u64) -> (String, Kind) {
    let mut size: Vec<char> = part.replace('_', ".").chars().collect();
    let n = size.len();
    if size[n - 1].is_ascii_digit() && n >= 2 {
        let (unit, digit) = (size[n - 2], size[n - 1]);
        size.truncate(n - 2);
        size.extend(['.', digit, unit]); // 7b1 → 7.1b
    }
    let n = size.len();
    if n > 1 && size[n - 2].is_ascii_digit() {
        size[n - 1].make_ascii_uppercase();
    }
    let number: Option<f64> = size[..n - 1].iter().collect::<String>().parse().ok();
    let scale = ['K', 'M', 'B', 'T'].iter().position(|unit| *unit == size[n - 1]);
    if let (Some(number), Some(scale), true) = (number, scale, total > 0) {
        let label = number * 1000f64.powi(scale as i32 + 1);
        if (label - total as f64).abs() > (7 * total / 8) as f64 {
            size[n - 1].make_ascii_lowercase();
            return (size.into_iter().collect(), Kind::Finetune);
        }
    }
    (size.into_iter().collect(), Kind::SizeLabel)
}

/// `small` says nothing beside `7B`.
fn drop_word_sizes(names: &[String], kinds: &mut [Vec<Kind>]) {
    let is_size = |kinds: &[Kind]| kinds.contains(&Kind::SizeLabel);
    let has_digit = |name: &str| name.chars().any(|c| c.is_ascii_digit());
    if names.iter().zip(kinds.iter()).any(|(name, kinds)| is_size(kinds) && has_digit(name)) {
        for (name, kinds) in names.iter().zip(kinds) {
            if is_size(kinds) && name.chars().all(char::is_alphabetic) {
                kinds.retain(|kind| *kind != Kind::SizeLabel);
            }
        }
    }
}

/// The basename: the parts before the first that says something else, less trailing versions.
fn mark_basename(names: &[String], kinds: &mut [Vec<Kind>]) {
    let mut at_start = true;
    for (name, kinds) in names.iter().zip(kinds.iter_mut()) {
        let word = kinds.is_empty() && name.starts_with(char::is_alphabetic);
        if at_start && (word || kinds.contains(&Kind::Version)) {
            kinds.push(Kind::Basename);
        } else {
            at_start = false;
            if kinds.is_empty() {
                kinds.push(Kind::Finetune);
            }
        }
    }
    for kinds in kinds.iter_mut().rev() {
        if kinds.contains(&Kind::Basename) && kinds.len() > 1 {
            kinds.retain(|kind| *kind != Kind::Basename);
        } else {
            break;
        }
    }
}

/// `8x7B`, `656K`, `7.3M`: weights rounded to two digits.
fn size_label(counts: WeightCounts) -> String {
    if counts.n_experts > 0 {
        return format!("{}x{}", counts.n_experts, rounded(counts.shared + counts.per_expert));
    }
    rounded(counts.total)
}

fn rounded(count: u64) -> String {
    let count = count as f64;
    let (scaled, unit) = match count {
        c if c > 1e12 => (c * 1e-12, "T"),
        c if c > 1e9 => (c * 1e-9, "B"),
        c if c > 1e6 => (c * 1e-6, "M"),
        c => (c * 1e-3, "K"),
    };
    let digits = (scaled.round_ties_even() as u64).to_string().trim_start_matches('0').len();
    format!("{scaled:.*}{unit}", 2usize.saturating_sub(digits))
}

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is fixed and valid")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(id: &str, total: u64, expected: [&str; 5]) {
        let parts = components(id, total);
        let got = [parts.organization, parts.basename, parts.finetune, parts.version, parts.size_label];
        assert_eq!(got.map(Option::unwrap_or_default), expected, "{id}");
    }

    #[test]
    fn model_ids_fall_into_their_parts() {
        check("Mistral/Mixtral-8x7B-Instruct-v0.1", 0, ["Mistral", "Mixtral", "Instruct", "v0.1", "8x7B"]);
        check("meta-llama/Llama-2-7b-hf", 0, ["meta-llama", "Llama-2", "hf", "", "7B"]);
        check("bigscience/bloom-7b1-petals", 0, ["bigscience", "bloom", "petals", "", "7.1B"]);
        check("pajama-moe-21m", 21_143_296, ["", "pajama-moe", "", "", "21M"]);
        check("Phi-3-mini-128k-instruct", 3_800_000_000, ["", "Phi-3", "128k-instruct", "", "mini"]);
        check("just-a-name", 0, ["", "", "", "", ""]);
    }

    #[test]
    fn titles_and_labels_are_spelled_as_expected() {
        assert_eq!(title("pajama-stories-4m"), "Pajama Stories 4m");
        assert_eq!(title("Qwen3-8B"), "Qwen3 8B");
        assert_eq!(rounded(656_000), "656K");
        assert_eq!(rounded(7_345_000), "7.3M");
        assert_eq!(rounded(8_190_735_360), "8.2B");
    }
}
