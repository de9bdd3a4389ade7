//! A mixture of experts larger than the memory: resident memory, speed and what is read, paged and plainly mapped.
//!
//! Owns: a measurement. May know: the public API. Must not know: what the figures are for.
//!
//!     cargo run --release -p llama-pajamas-engine --example paging -- MODEL.gguf TOKENS [EXPERT_MIB [THREADS]]
//!
//! Loads, reads a prompt of 16 tokens and writes TOKENS more, random ones, each after the other. With EXPERT_MIB that much of the
//! experts is held, without it the file is mapped as any other. Prints a line of JSON. `scripts/bench-paging` runs it under
//! a limit of memory.

#![allow(clippy::print_stdout, reason = "the result goes to standard output")]

use std::error::Error;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use llama_pajamas_engine::gguf::{EngineOptions, GgufEngine};
use llama_pajamas_engine::{CancelToken, ContextSettings, Engine as _, LoadSettings, Logits, Token};

const PROMPT: usize = 16;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [path, n_tokens, ..] = &words[..] else {
        return Err("usage: paging MODEL.gguf TOKENS [EXPERT_MIB [THREADS]]".into());
    };
    let n_tokens: usize = n_tokens.parse()?;
    let expert_mib: Option<u64> =
        words.get(2).filter(|word| *word != "none").map(|word| word.parse()).transpose()?;
    let n_threads: u32 = words.get(3).map_or(Ok(2), |word| word.parse())?;
    let engine = GgufEngine::start(EngineOptions::default())?;
    let settings = LoadSettings {
        repack: false,
        expert_memory_bytes: expert_mib.map(|mib| mib << 20),
        ..LoadSettings::default()
    };
    let start = Instant::now();
    let model = engine.load(Path::new(path), &settings, &mut |_| ControlFlow::Continue(()))?;
    let load_s = start.elapsed().as_secs_f64();
    let context = ContextSettings {
        n_ctx: u32::try_from(PROMPT + n_tokens)?.next_multiple_of(256),
        n_threads,
        n_threads_batch: n_threads,
        ..ContextSettings::default()
    };
    let mut context = Arc::clone(&model).new_context(&context)?;
    let tokens = tokens(model.n_vocab(), PROMPT + n_tokens);
    let (prompt, rest) = tokens.split_at(PROMPT);
    let loaded = Pages::now()?;
    let start = Instant::now();
    context.decode(prompt, Logits::Last, &CancelToken::new())?;
    let prompt_s = start.elapsed().as_secs_f64();
    let after_prompt = Pages::now()?;
    let mut seconds = Vec::new();
    for token in rest {
        let start = Instant::now();
        context.decode(&[*token], Logits::Last, &CancelToken::new())?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    let end = Pages::now()?;
    // The second half: the first fills what is held.
    let settled = &seconds[seconds.len() / 2..];
    let tokens_per_s = settled.len() as f64 / settled.iter().sum::<f64>();
    // So that a paged run can be compared with a plain one.
    let logits = context.logits(0)?;
    let sum: f64 = logits.iter().map(|logit| f64::from(*logit)).sum();
    let (paging, n) = (model.paging().unwrap_or_default(), rest.len() as u64);
    println!(
        "{{\"load_s\": {load_s:.2}, \"prompt_s\": {prompt_s:.2}, \"tokens_per_s\": {tokens_per_s:.3}, \
         \"major_faults_per_token\": {}, \"read_bytes_of_load\": {}, \"read_bytes_of_prompt\": {}, \
         \"read_bytes_per_token\": {}, \"resident_peak_bytes\": {}, \"experts_wanted\": {}, \"experts_held\": {}, \
         \"expert_bytes\": {}, \"logits\": {sum}}}",
        (end.major_faults - after_prompt.major_faults) / n.max(1),
        loaded.read_bytes,
        after_prompt.read_bytes - loaded.read_bytes,
        (end.read_bytes - after_prompt.read_bytes) / n.max(1),
        end.resident_peak_bytes,
        paging.wanted,
        paging.held,
        paging.expert_bytes,
    );
    Ok(())
}

/// Tokens that hang together in nothing, the same every time.
fn tokens(n_vocab: usize, count: usize) -> Vec<Token> {
    let mut state = 88_172_645_463_325_252_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % n_vocab as u64) as Token
    };
    std::iter::repeat_with(next).take(count).collect()
}

/// What this process has read and holds, by Linux's account.
struct Pages {
    read_bytes: u64,
    major_faults: u64,
    resident_peak_bytes: u64,
}

impl Pages {
    fn now() -> Result<Self, Box<dyn Error>> {
        let field = |file: &str, name: &str| -> Result<u64, Box<dyn Error>> {
            let text = std::fs::read_to_string(file)?;
            let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or("no such field")?;
            Ok(line.trim().trim_end_matches(" kB").trim().parse()?)
        };
        let stat = std::fs::read_to_string("/proc/self/stat")?;
        let after_name = stat.rsplit(") ").next().ok_or("no fields")?;
        Ok(Self {
            read_bytes: field("/proc/self/io", "read_bytes:")?,
            major_faults: after_name.split(' ').nth(9).ok_or("too few fields")?.parse()?,
            resident_peak_bytes: field("/proc/self/status", "VmHWM:")? * 1024,
        })
    }
}
