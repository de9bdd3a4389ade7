//! Model ids: what `org/Name-7B-Instruct-v0.1` says of a model, after the naming rules of llama.cpp's
//! `gguf-py/gguf/metadata.py`. Owns the rules; must not know files or metadata keys.

use regex::Regex;
use std::sync::LazyLock;

/// What the parts of an id are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) name: Option<String>,
    pub(crate) organization: Option<String>,
    pub(crate) basename: Option<String>,
    pub(crate) finetune: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) size_label: Option<String>,
}

/// `llama-2-chat` → `Llama 2 Chat`: lower-case words get a capital, versions and mixed case stay.
pub(crate) fn title(text: &str) -> String {
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

pub(crate) fn components(id: &str, total: u64) -> Parts {
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
        if (label - total as f64).abs() > ((u128::from(total) * 7 / 8) as u64) as f64 {
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

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is fixed and valid")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        check(
            "Qwen/Qwen3-30B-A3B-Instruct-2507",
            30_532_122_624,
            ["Qwen", "Qwen3", "Instruct", "2507", "30B-A3B"],
        );
        check("./Llama-3.1-8B", 0, ["", "Llama-3.1", "", "", "8B"]);
        check("just-a-name", 0, ["", "", "", "", ""]);
        check("A name of words", 0, ["", "", "", "", ""]);
        check("---", 0, ["", "", "", "", ""]);
    }

    #[test]
    fn titles_are_spelled_as_expected() {
        assert_eq!(title("pajama-stories-4m"), "Pajama Stories 4m");
        assert_eq!(title("Qwen3-8B"), "Qwen3 8B");
        assert_eq!(title("open-llama_3b v2"), "Open Llama_3B v2");
    }

    proptest! {
        #[test]
        fn no_id_panics(id in "[-./ _a-zA-Z0-9é中]{0,24}", total in any::<u64>()) {
            let _ = components(&id, total);
            let _ = title(&id);
        }
    }
}
