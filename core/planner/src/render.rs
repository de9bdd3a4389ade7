//! A plan as text, for terminals and logs: in short, or whole. Must not decide or compute anything.

use crate::choose::bytes;
use crate::{CacheStep, Choice, MeasuredKv, Plan, Reason, Rejection};
use std::fmt::Write;

impl Plan {
    /// What to do in a few lines: variant, settings, memory, speed; else what would fit.
    pub fn summary(&self) -> String {
        let mut text = String::new();
        match &self.chosen {
            Some(chosen) => {
                let memory = &chosen.memory;
                let _ = writeln!(text, "{}", headline(chosen));
                let _ = writeln!(text, "context  {}", context(chosen));
                let _ = writeln!(text, "memory   {}{}", bytes(memory.total_bytes()), on_device(chosen));
                let _ = writeln!(text, "speed    {}", writing(chosen));
            }
            None => text.push_str("nothing fits\n"),
        }
        if let Some(nearest) = &self.nearest {
            let _ = writeln!(text, "nearest  {}", nearest.text);
        }
        text
    }

    /// The whole plan: settings, memory and speed by part, the reasons, what was not chosen and what would help it,
    /// and what was assumed.
    pub fn render(&self) -> String {
        let mut text = String::new();
        match &self.chosen {
            Some(chosen) => render_choice(chosen, &mut text),
            None => text.push_str("nothing fits\n"),
        }
        if let Some(nearest) = &self.nearest {
            let _ = writeln!(text, "\nnearest\n  {}", nearest.text);
        }
        let mut section = |title: &str, lines: Vec<String>| {
            if !lines.is_empty() {
                let _ = writeln!(text, "\n{title}");
                lines.iter().for_each(|line| _ = writeln!(text, "  - {line}"));
            }
        };
        let texts = |reasons: &[Reason]| reasons.iter().map(|reason| reason.text.clone()).collect();
        section("why", texts(&self.why));
        section("not chosen", self.rejected.iter().map(rejection).collect());
        section("assumed", texts(&self.assumptions));
        text
    }
}

fn rejection(rejection: &Rejection) -> String {
    let code = serde_json::to_value(rejection.code).ok();
    let code = code.as_ref().and_then(|code| code.as_str()).unwrap_or_default();
    let memory = match (rejection.need_bytes, rejection.have_bytes) {
        (Some(need), Some(have)) => {
            let short = bytes(rejection.shortfall_bytes.unwrap_or(0));
            format!(" needs {}, has {}, lacks {short};", bytes(need), bytes(have))
        }
        _ => String::new(),
    };
    format!("{} [{code}]{memory} {}", rejection.id, rejection.fix)
}

fn headline(chosen: &Choice) -> String {
    let offload = match chosen.gpu_layers {
        0 => String::new(),
        n => format!(", {n} layers on the device"),
    };
    let prompts = match chosen.copies_weights {
        false => String::new(),
        true => format!(", prompts on {}", chosen.prompt_backend.name()),
    };
    format!("plan     {} on {}{offload}{prompts}", chosen.id, chosen.backend.name())
}

fn context(chosen: &Choice) -> String {
    format!("{} tokens, key-value cache in {}", chosen.context_tokens, cache(chosen))
}

fn cache(chosen: &Choice) -> String {
    match chosen.type_k == chosen.type_v {
        true => chosen.type_k.to_string(),
        false => format!("{} keys, {} values", chosen.type_k, chosen.type_v),
    }
}

fn cache_step(step: &CacheStep) -> String {
    let types = match step.type_k == step.type_v {
        true => step.type_k.to_string(),
        false => format!("{} + {}", step.type_k, step.type_v),
    };
    let cost = match &step.measured {
        None => String::new(),
        Some(MeasuredKv { model, kld_mean, standard_error }) => {
            format!("  divergence {kld_mean:.5} ± {standard_error:.5} (measured on {model})")
        }
    };
    let mark = if step.is_chosen { "  chosen" } else { "" };
    format!("{types:15}{:>11}{cost}{mark}", bytes(step.kv_bytes))
}

fn on_device(chosen: &Choice) -> String {
    match chosen.memory.device_bytes {
        0 => String::new(),
        device => format!(", of it {} on the device", bytes(device)),
    }
}

fn writing(chosen: &Choice) -> String {
    let [slow, fast] = chosen.speed.decode_tokens_per_s;
    let evidence = chosen.speed.evidence.name();
    format!("{} to {} tokens/s expected when writing ({evidence})", rate(slow), rate(fast))
}

/// Slow rates to a tenth: between 0.6 and 1.4 lies more than between 60 and 61.
pub(crate) fn rate(tokens_per_s: f64) -> String {
    if tokens_per_s < 10.0 { format!("{tokens_per_s:.1}") } else { format!("{tokens_per_s:.0}") }
}

fn render_choice(chosen: &Choice, text: &mut String) {
    let memory = &chosen.memory;
    let mut line = |name: &str, what: String| _ = writeln!(text, "{name:17}{what}");
    line("variant", format!("{} ({})", chosen.id, chosen.precision));
    let by = chosen.backend.name();
    line(
        "computed by",
        match chosen.copies_weights {
            false => by.to_string(),
            true => format!("{by}, prompts by {}", chosen.prompt_backend.name()),
        },
    );
    line("context", format!("{} tokens", chosen.context_tokens));
    line("key-value cache", cache(chosen));
    if chosen.gpu_layers > 0 {
        line("on the device", format!("{} layers", chosen.gpu_layers));
    }
    line("threads", format!("{} for writing, {} for reading", chosen.n_threads, chosen.n_threads_batch));
    line("prompts", format!("{} tokens at a time", chosen.n_ubatch));
    let _ = writeln!(text, "\nmemory");
    let mut part = |name: &str, count: u64| _ = writeln!(text, "  {name:15}{:>11}", bytes(count));
    part("weights", memory.weights_bytes);
    if memory.paged_bytes > 0 {
        part("in the file", memory.paged_bytes);
    }
    part("key-value cache", memory.kv_bytes);
    part("compute", memory.compute_bytes);
    part("everything else", memory.overhead_bytes);
    if memory.projector_bytes > 0 {
        part("projector", memory.projector_bytes);
    }
    if memory.draft_bytes > 0 {
        part("draft model", memory.draft_bytes);
    }
    part("uncertainty", memory.uncertainty_bytes);
    part("in all", memory.total_bytes());
    if memory.device_bytes > 0 {
        part("on the device", memory.device_bytes);
    }
    if chosen.cache_steps.len() > 1 {
        let _ = writeln!(text, "\nkey-value cache by precision");
        chosen.cache_steps.iter().for_each(|step| _ = writeln!(text, "  {}", cache_step(step)));
    }
    let speed = &chosen.speed;
    let _ = writeln!(text, "\nspeed\n  {}", writing(chosen));
    let [low, high] = speed.sustained_tokens_per_s.map(rate);
    let _ = writeln!(text, "  {low} to {high} tokens/s after minutes of work");
    let [low, high] = speed.prefill_tokens_per_s.map(rate);
    let _ = writeln!(text, "  {low} to {high} tokens/s when reading a prompt");
    let [low, high] = speed.first_token_s;
    let _ =
        writeln!(text, "  {low:.2} to {high:.2} s to the first token after {} tokens", speed.prompt_tokens);
    if let Some([low, high]) = speed.first_token_cold_s {
        let _ = writeln!(text, "  {low:.1} to {high:.1} s with loading before");
    }
}
