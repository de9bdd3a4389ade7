//! `profile`: what a model takes in memory, predicted and measured: it is loaded and writes a few tokens.
//! Owns the table of both; must not estimate anything itself.

use super::{load, open, request};
use crate::args::Profile;
use crate::interrupt;
use crate::screen::{Screen, bytes};
use anyhow::Result;
use llama_pajamas::engine::MemoryUse;
use llama_pajamas::hardware::{self, ProcessMemory};
use llama_pajamas::planner::{Choice, MemoryEstimate};
use llama_pajamas::{GenerateSettings, Sampling, SessionSettings};
use std::ops::ControlFlow;

/// Tokens that are written: enough that every buffer was used.
const WRITTEN_TOKENS: u32 = 16;
/// Reads more tokens than one, as prompts do.
const PROMPT: &str =
    "Once upon a time there was a llama who wore pyjamas to bed, and every evening it asked:";

/// One row of the table.
#[derive(serde::Serialize)]
struct Part {
    name: &'static str,
    predicted_bytes: u64,
    measured_bytes: Option<u64>,
    /// Measured less predicted.
    difference_bytes: Option<i64>,
}

pub(crate) fn run(args: &Profile, screen: &Screen) -> Result<()> {
    let cancel = interrupt::token();
    let mut wishes = args.wishes.clone();
    wishes.context = args.context_length.or(wishes.context);
    let (runtime, _located) = open(&args.model, &wishes, None, screen)?;
    let before = hardware::process_memory();
    let model = load(&runtime, request(&wishes)?, &cancel)?;
    let mut session = model.session(&SessionSettings::default())?;
    let settings = GenerateSettings {
        max_tokens: WRITTEN_TOKENS,
        sampling: Sampling { temperature: 0.0, ..Sampling::default() },
        ..GenerateSettings::default()
    };
    let usage = session.generate(PROMPT, &settings, &cancel, &mut |_| ControlFlow::Continue(()))?;
    let after = hardware::process_memory();
    let counted = session.memory();
    let grown = before.zip(after).map(|(before, after)| growth(&before, &after));
    let parts = parts(&model.choice().memory, &counted, after.as_ref());
    if screen.json {
        return screen.print_json(&serde_json::json!({
            "choice": model.choice(), "parts": parts, "engine": counted, "resident_before": before,
            "resident_after": after, "usage": usage,
        }));
    }
    print(&parts, &counted, screen);
    let choice = model.choice();
    println!(
        "{} on {}, {} tokens of context, cache in {}, {} tokens at a time; {} read, {} written",
        choice.id,
        choice.backend.name(),
        choice.context_tokens,
        cache(choice),
        choice.n_ubatch,
        usage.prompt_tokens,
        usage.completion_tokens
    );
    match grown {
        Some(grown) => println!(
            "resident memory grew by {}: {} of mapped files, {} of its own",
            bytes(grown.resident_bytes),
            bytes(grown.file_bytes),
            bytes(grown.anonymous_bytes)
        ),
        None => println!("this system does not tell the memory of a process"),
    }
    Ok(())
}

/// The types of the cache: one where keys and values share it.
fn cache(choice: &Choice) -> String {
    match choice.type_k == choice.type_v {
        true => choice.type_k.to_string(),
        false => format!("{} and {}", choice.type_k, choice.type_v),
    }
}

fn growth(before: &ProcessMemory, after: &ProcessMemory) -> ProcessMemory {
    ProcessMemory {
        resident_bytes: after.resident_bytes.saturating_sub(before.resident_bytes),
        anonymous_bytes: after.anonymous_bytes.saturating_sub(before.anonymous_bytes),
        file_bytes: after.file_bytes.saturating_sub(before.file_bytes),
    }
}

fn parts(predicted: &MemoryEstimate, counted: &MemoryUse, process: Option<&ProcessMemory>) -> Vec<Part> {
    let part = |name, predicted_bytes: u64, measured_bytes: Option<u64>| Part {
        name,
        predicted_bytes,
        measured_bytes,
        difference_bytes: measured_bytes
            .and_then(|measured| i64::try_from(i128::from(measured) - i128::from(predicted_bytes)).ok()),
    };
    let buffers = counted.total_bytes();
    let resident = process.map(|process| process.resident_bytes);
    vec![
        part("weights", predicted.weights_bytes, Some(counted.model_bytes)),
        part("key-value cache", predicted.kv_bytes, Some(counted.context_bytes)),
        part("compute", predicted.compute_bytes, Some(counted.compute_bytes)),
        // Buffers that were never touched are counted and not resident.
        part("everything else", predicted.overhead_bytes, resident.map(|all| all.saturating_sub(buffers))),
        part("resident", predicted.resident_bytes(), resident),
        part("at most", predicted.total_bytes(), None),
    ]
}

fn print(parts: &[Part], counted: &MemoryUse, screen: &Screen) {
    let heading = format!("{:16}{:>12}{:>12}{:>12}", "", "predicted", "measured", "difference");
    println!("{}", screen.bold(&heading));
    for part in parts {
        let measured = part.measured_bytes.map(bytes).unwrap_or_default();
        let difference = part.difference_bytes.map(signed).unwrap_or_default();
        let share = part.difference_bytes.filter(|_| part.predicted_bytes > 0);
        let share = share.map(|by| format!("{:+.1} %", by as f64 * 100.0 / part.predicted_bytes as f64));
        println!(
            "{:16}{:>12}{measured:>12}{difference:>12}{:>12}",
            part.name,
            bytes(part.predicted_bytes),
            share.unwrap_or_default()
        );
    }
    for buffer in &counted.buffers {
        let (weights, cache, compute) =
            (bytes(buffer.model_bytes), bytes(buffer.context_bytes), bytes(buffer.compute_bytes));
        let text = format!("{}: weights {weights}, cache {cache}, compute {compute}", buffer.name);
        println!("{}", screen.dim(&text));
    }
}

fn signed(difference: i64) -> String {
    let sign = if difference < 0 { "−" } else { "+" };
    format!("{sign}{}", bytes(difference.unsigned_abs()))
}
