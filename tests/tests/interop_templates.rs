//! Prompts against transformers: every chat template that llama.cpp's sources carry, and one of a model repository, over
//! conversations with systems, tools, calls, results and reasoning, must give the same text to the byte.
//! Knows the runtime's public API; what transformers refuses is not compared.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests that print what they compare"
)]

use llama_pajamas::{Template, TemplateInput};
use llama_pajamas_tests::{oracle, repository, run, shared};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

/// Templates whose prompts differ, each with the reason.
const DIFFERENT: [(&str, &str); 1] = [(
    "meetkai-functionary-medium-v3.1",
    "joins texts marked as safe with others, which jinja2 then escapes for HTML: `&#34;` in the prompt is no intention",
)];
/// Families among the templates, by the beginning of a file's name.
const FAMILIES: [&str; 22] = [
    "Apertus",
    "ByteDance-Seed",
    "CohereForAI",
    "GLM",
    "Kimi",
    "LFM2",
    "MiMo",
    "MiniMax",
    "Mistral",
    "NVIDIA",
    "NousResearch-Hermes",
    "Qwen-Qwen2.5",
    "Qwen-Qwen3",
    "Qwen3-Coder",
    "deepseek-ai",
    "google-gemma-2",
    "ibm-granite",
    "meta-llama-Llama-3.1",
    "microsoft-Phi",
    "openai-gpt-oss",
    "HuggingFaceTB-SmolLM3",
    "chat_template",
];

fn input(case: &Value) -> TemplateInput {
    TemplateInput {
        messages: case["messages"].as_array().unwrap().clone(),
        tools: case["tools"].as_array().unwrap().clone(),
        add_generation_prompt: case["add_generation_prompt"].as_bool().unwrap(),
        variables: case["variables"].as_object().unwrap().clone(),
        // 2026-02-03 12:34:56, as the oracle has it.
        now: Some(UNIX_EPOCH + Duration::from_secs(1_770_122_096)),
    }
}

#[test]
fn prompts_are_what_transformers_renders() {
    let mut files: Vec<PathBuf> = std::fs::read_dir(oracle("src/models/templates"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jinja"))
        .collect();
    files.push(shared("data/tokenizers/SmolLM2-135M-Instruct/chat_template.jinja"));
    files.sort();
    let work = tempfile::tempdir().unwrap();
    let out = work.path().join("cases.json");
    run(Command::new(oracle("venv/bin/python"))
        .arg(repository().join("scripts/oracles/chat_templates.py"))
        .arg(&out)
        .args(&files));
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(&out).unwrap()).unwrap();
    // Of every template: prompts that are equal, that differ, and that both refuse.
    let mut counts: BTreeMap<String, (usize, usize, usize)> = BTreeMap::new();
    let mut first_differences = BTreeMap::new();
    for case in &cases {
        let path = PathBuf::from(case["template"].as_str().unwrap());
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let count = counts.entry(name.clone()).or_default();
        let template = Template::new(std::fs::read_to_string(&path).unwrap(), "<s>", "</s>");
        let ours = template.render_input(&input(case));
        match (case["expected"].as_str(), ours) {
            (Some(expected), Ok(ours)) if expected == ours => count.0 += 1,
            (Some(expected), ours) => {
                count.1 += 1;
                let ours = ours.unwrap_or_else(|error| error.to_string());
                let at = expected.bytes().zip(ours.bytes()).take_while(|(a, b)| a == b).count();
                let part = |text: &str| {
                    let from = text.floor_char_boundary(at.saturating_sub(30).min(text.len()));
                    text[from..].chars().take(90).collect::<String>()
                };
                let line = format!("expected {:?}, got {:?}", part(expected), part(&ours));
                first_differences.entry(name).or_insert(line);
            }
            (None, _) => count.2 += 1,
        }
    }
    let equal: usize = counts.values().map(|count| count.0).sum();
    let whole: Vec<&str> = counts
        .iter()
        .filter(|(_, count)| count.0 > 0 && count.1 == 0)
        .map(|(name, _)| name.as_str())
        .collect();
    println!(
        "{} templates, {equal} prompts equal, {} templates without a difference",
        counts.len(),
        whole.len()
    );
    for (name, line) in &first_differences {
        println!("{name} {:?}: {line}", counts[name]);
    }
    let known = |name: &String| DIFFERENT.iter().any(|(different, _)| different == name);
    let unknown: Vec<&String> = first_differences.keys().filter(|name| !known(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    for (name, reason) in DIFFERENT {
        println!("not compared: {name}, because it {reason}");
        assert!(first_differences.contains_key(name), "{name} differs no longer");
    }
    for family in FAMILIES {
        assert!(whole.iter().any(|name| name.starts_with(family)), "{family}");
    }
}
