//! A plan as text, for terminals and logs. Must not decide or compute anything.

use crate::choose::bytes;
use crate::{Choice, Plan};
use std::fmt::Write;

impl Plan {
    /// The plan in plain text, one fact per line.
    pub fn render(&self) -> String {
        let mut text = String::new();
        match &self.chosen {
            Some(chosen) => render_choice(chosen, &mut text),
            None => text.push_str("nothing fits\n"),
        }
        if let Some(nearest) = &self.nearest {
            let _ = writeln!(text, "nearest  {}", nearest.text);
        }
        let mut section = |title: &str, lines: Vec<String>| {
            if !lines.is_empty() {
                let _ = writeln!(text, "{title}");
                lines.iter().for_each(|line| _ = writeln!(text, "  - {line}"));
            }
        };
        section("why", self.why.iter().map(|reason| reason.text.clone()).collect());
        let rejected = self.rejected.iter().map(|rejection| {
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
        });
        section("not chosen", rejected.collect());
        section("assumed", self.assumptions.clone());
        text
    }
}

fn render_choice(chosen: &Choice, text: &mut String) {
    let memory = &chosen.memory;
    let [slow, fast] = chosen.speed.decode_tokens_per_s;
    let offload = match chosen.gpu_layers {
        0 => String::new(),
        n => format!(", {n} layers on the device"),
    };
    let _ = writeln!(text, "plan     {} on {}{offload}", chosen.id, chosen.backend.name());
    let _ =
        writeln!(text, "context  {} tokens, key-value cache in {}", chosen.context_tokens, chosen.kv_type);
    let _ = writeln!(
        text,
        "threads  {} for writing, {} for reading, {} tokens at a time",
        chosen.n_threads, chosen.n_threads_batch, chosen.n_ubatch
    );
    let _ = writeln!(
        text,
        "memory   {} = weights {} + cache {} + compute {} + rest {} + uncertainty {}",
        bytes(memory.total_bytes()),
        bytes(memory.weights_bytes),
        bytes(memory.kv_bytes),
        bytes(memory.compute_bytes),
        bytes(memory.overhead_bytes),
        bytes(memory.uncertainty_bytes)
    );
    let _ = writeln!(
        text,
        "speed    {slow:.0} to {fast:.0} tokens/s expected when writing ({})",
        chosen.speed.evidence.name()
    );
}
