//! `transcribe`: a recording → text, as it is written.
//! Knows recordings and what is printed; must not know how a model hears.

use super::graphs::library_path;
use crate::args::Transcribe;
use crate::screen::Screen;
use crate::{interrupt, recording};
use anyhow::Result;
use llama_pajamas::onnx::{Library, Options};
use llama_pajamas::transcribe::{Segment, TranscribeSettings, Transcriber, TranscriberSettings};
use std::io::Write;
use std::ops::ControlFlow;

pub(crate) fn run(args: &Transcribe, screen: &Screen) -> Result<()> {
    let library = Library::open(&library_path(args.onnx_library.as_deref())?)?;
    let settings = TranscriberSettings {
        ending: args.graphs.clone(),
        encoder: args.encoder.clone(),
        decoder: args.decoder.clone(),
        options: Options { threads: args.threads, ..Options::default() },
    };
    let mut transcriber = Transcriber::open(&library, &args.model, &settings)?;
    let samples = recording::read(&args.audio, transcriber.rate())?;
    let wanted = TranscribeSettings {
        language: args.language.clone(),
        translate: args.translate,
        timestamps: args.timestamps,
        max_tokens: args.max_tokens,
    };
    let mut told = |segment: &Segment| {
        if !screen.json {
            match args.timestamps {
                true => println!(
                    "{} {}",
                    screen.dim(&format!("[{} – {}]", clock(segment.start), clock(segment.end))),
                    segment.text.trim()
                ),
                false => print!("{}", segment.text),
            }
            // What reads this may be gone; the next line tells.
            let _ = std::io::stdout().flush();
        }
        ControlFlow::Continue(())
    };
    let transcript = transcriber.transcribe(&samples, &wanted, &interrupt::token(), &mut told)?;
    if screen.json {
        return screen.print_json(&transcript);
    }
    if !args.timestamps {
        println!();
    }
    Ok(())
}

/// Seconds as `1:02:03.45`.
fn clock(seconds: f64) -> String {
    let hundredths = (seconds * 100.0).round() as u64;
    let (hours, minutes) = (hundredths / 360_000, hundredths / 6_000 % 60);
    let rest = (hundredths % 6_000) as f64 / 100.0;
    if hours > 0 { format!("{hours}:{minutes:02}:{rest:05.2}") } else { format!("{minutes}:{rest:05.2}") }
}

#[cfg(test)]
mod tests {
    use super::clock;

    #[test]
    fn times_read_as_on_a_clock() {
        assert_eq!([clock(0.0), clock(61.5), clock(3723.456)], ["0:00.00", "1:01.50", "1:02:03.46"]);
    }
}
