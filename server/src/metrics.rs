//! Counts for `/metrics`, in Prometheus' text format.
//!
//! Owns the names of metrics. Must not know who scrapes.

use llama_pajamas::{Occupation, Usage};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of histograms, in seconds.
const BOUNDS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// How often values lay below each bound.
#[derive(Debug, Default)]
struct Histogram {
    counts: [AtomicU64; BOUNDS.len()],
    count: AtomicU64,
    sum_us: AtomicU64,
}

impl Histogram {
    fn add(&self, value: Duration) {
        for (bound, count) in BOUNDS.iter().zip(&self.counts) {
            if value.as_secs_f64() <= *bound {
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(u64::try_from(value.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn write(&self, name: &str, help: &str, text: &mut String) {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} histogram");
        for (bound, count) in BOUNDS.iter().zip(&self.counts) {
            let _ = writeln!(text, "{name}_bucket{{le=\"{bound}\"}} {}", count.load(Ordering::Relaxed));
        }
        let count = self.count.load(Ordering::Relaxed);
        let _ = writeln!(text, "{name}_bucket{{le=\"+Inf\"}} {count}");
        let seconds = self.sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(text, "{name}_sum {seconds}\n{name}_count {count}");
    }
}

/// Everything that is counted.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    /// By route and status.
    requests: Mutex<BTreeMap<(String, u16), u64>>,
    prompt_tokens: AtomicU64,
    reused_tokens: AtomicU64,
    completion_tokens: AtomicU64,
    guessed_tokens: AtomicU64,
    cancelled: AtomicU64,
    turned_away: AtomicU64,
    request_time: Histogram,
    first_token: Histogram,
    token_time: Histogram,
}

impl Metrics {
    pub(crate) fn request(&self, route: &str, status: u16, time: Duration) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((route.to_owned(), status)).or_default() += 1;
        drop(requests);
        self.request_time.add(time);
    }

    pub(crate) fn first_token(&self, time: Duration) {
        self.first_token.add(time);
    }

    pub(crate) fn answered(&self, usage: &Usage) {
        let add = |counter: &AtomicU64, n: usize| counter.fetch_add(n as u64, Ordering::Relaxed);
        add(&self.prompt_tokens, usage.prompt_tokens);
        add(&self.reused_tokens, usage.reused_tokens);
        add(&self.completion_tokens, usage.completion_tokens);
        add(&self.guessed_tokens, usage.guessed_tokens);
        if usage.completion_tokens > 1 {
            let tokens = u32::try_from(usage.completion_tokens - 1).unwrap_or(u32::MAX);
            self.token_time.add(usage.timings.decode / tokens);
        }
    }

    /// Answers that nobody waits for any more.
    pub(crate) fn cancelled(&self, n_answers: usize) {
        self.cancelled.fetch_add(n_answers as u64, Ordering::Relaxed);
    }

    /// Tokens that were read without an answer.
    pub(crate) fn read(&self, tokens: usize) {
        self.prompt_tokens.fetch_add(tokens as u64, Ordering::Relaxed);
    }

    pub(crate) fn turned_away(&self) {
        self.turned_away.fetch_add(1, Ordering::Relaxed);
    }

    /// The page; `models` are those that are loaded, with how busy they are.
    pub(crate) fn page(&self, models: &[(String, Occupation)]) -> String {
        let mut text = String::new();
        let _ = writeln!(
            text,
            "# HELP llama_pajamas_requests_total Requests by route and status.\n# TYPE llama_pajamas_requests_total counter"
        );
        for ((route, status), count) in self.requests.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _ = writeln!(
                text,
                "llama_pajamas_requests_total{{route=\"{}\",status=\"{status}\"}} {count}",
                escaped(route)
            );
        }
        for (name, help, counter) in [
            ("prompt_tokens_total", "Tokens of prompts.", &self.prompt_tokens),
            ("reused_tokens_total", "Of these, remembered and not computed again.", &self.reused_tokens),
            ("completion_tokens_total", "Tokens of answers.", &self.completion_tokens),
            ("guessed_tokens_total", "Of these, guessed rightly beforehand.", &self.guessed_tokens),
            ("cancelled_total", "Answers that were cancelled.", &self.cancelled),
            ("connections_turned_away_total", "Connections beyond the limit.", &self.turned_away),
        ] {
            let _ = writeln!(text, "# HELP llama_pajamas_{name} {help}\n# TYPE llama_pajamas_{name} counter");
            let _ = writeln!(text, "llama_pajamas_{name} {}", counter.load(Ordering::Relaxed));
        }
        let gauge = |text: &mut String, name: &str, help: &str, of: fn(&Occupation) -> usize| {
            let _ = writeln!(text, "# HELP llama_pajamas_{name} {help}\n# TYPE llama_pajamas_{name} gauge");
            for (model, occupation) in models {
                let _ =
                    writeln!(text, "llama_pajamas_{name}{{model=\"{}\"}} {}", escaped(model), of(occupation));
            }
        };
        gauge(&mut text, "sequences", "Answers that can be written at a time.", |o| o.n_sequences);
        gauge(&mut text, "sequences_busy", "Answers that are being written.", |o| o.n_busy);
        gauge(&mut text, "requests_waiting", "Requests that wait.", |o| o.n_waiting);
        self.request_time.write(
            "llama_pajamas_request_seconds",
            "From a request's head to the head of its answer.",
            &mut text,
        );
        self.first_token.write(
            "llama_pajamas_first_token_seconds",
            "From a request to its first text.",
            &mut text,
        );
        self.token_time.write("llama_pajamas_token_seconds", "Time per token of an answer.", &mut text);
        text
    }
}

/// A label's value.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
