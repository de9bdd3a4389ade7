//! Measures tuning and deadlines on this machine, beside processes that keep its processors busy.
//!
//! Owns: two measurements. May know: the public API. Must not know: what the figures are for.
//!
//!     cargo run --release -p llama-pajamas --example tuning -- under-load MODEL.gguf [RUNS [BUSY]]
//!     cargo run --release -p llama-pajamas --example tuning -- collapse MODEL.gguf [THREADS [BUSY]]
//!
//! `under-load` tunes the model RUNS times (5) while BUSY processes (2) compute, and compares the tuned settings with every
//! other one and with the start: all are measured in short blocks in random order, each against the mean of its round, for
//! a minute behind every run; what differs by a few percent shows in all of these together. Then it starts again: the time for reading the cache, and what changed keys do.
//! `collapse` writes with THREADS threads (8) while BUSY processes compute: as the engine does it by itself, and as a
//! session does it with its deadlines.

#![allow(clippy::print_stdout, reason = "the result goes to standard output")]

mod busy;
mod collapse;
mod sweep;
mod under_load;

use std::error::Error;
use std::path::Path;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize, default: u32| words.get(index).map_or(Ok(default), |word| word.parse());
    match (words.first().map(String::as_str), words.get(1)) {
        (Some("under-load"), Some(model)) => under_load::run(Path::new(model), number(2, 5)?, number(3, 2)?),
        (Some("collapse"), Some(model)) => collapse::run(Path::new(model), number(2, 8)?, number(3, 2)?),
        (Some(busy::WORD), _) => busy::compute(),
        _ => Err("usage: tuning under-load|collapse MODEL.gguf [RUNS|THREADS [BUSY]]".into()),
    }
}
