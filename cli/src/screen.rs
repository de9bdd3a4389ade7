//! What the user sees: colours, byte counts, progress bars, the JSON switch.
//! Knows the terminal; must not know models.

use crate::args::{Colour, Global};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};

/// Decides once how to print.
pub(crate) struct Screen {
    /// One JSON document on stdout instead of text.
    pub(crate) json: bool,
    colour: bool,
    bars: bool,
}

impl Screen {
    pub(crate) fn new(global: &Global) -> Self {
        let on = |terminal: bool| match global.color {
            Colour::Auto => terminal && std::env::var_os("NO_COLOR").is_none(),
            Colour::Always => true,
            Colour::Never => false,
        };
        Self {
            json: global.json,
            colour: on(std::io::stdout().is_terminal()),
            bars: global.color != Colour::Never && std::io::stderr().is_terminal(),
        }
    }

    /// Whether text on stdout is styled.
    pub(crate) fn is_coloured(&self) -> bool {
        self.colour
    }

    /// Text for stdout in bold where colours are on.
    pub(crate) fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    /// Text for stdout dimmed where colours are on.
    pub(crate) fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    /// Text for stdout in green where colours are on.
    pub(crate) fn green(&self, text: &str) -> String {
        self.paint("32", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }

    /// Prints a value as JSON on stdout, with a newline.
    pub(crate) fn print_json(&self, value: &impl serde::Serialize) -> anyhow::Result<()> {
        let mut out = std::io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, value)?;
        writeln!(out)?;
        Ok(())
    }

    /// Lines on stderr that are drawn anew; silent where stderr is no terminal.
    pub(crate) fn spinner(&self) -> ProgressBar {
        let target = if self.bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        ProgressBar::with_draw_target(None, target)
    }

    /// A bar over tokens or questions on stderr with ETA; silent where stderr is no terminal.
    pub(crate) fn steps_bar(&self, total: u64, label: &str) -> ProgressBar {
        let target = if self.bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} {per_sec} ETA {eta}")
            .expect("the template is fixed and valid")
            .progress_chars("=> ");
        let bar = ProgressBar::with_draw_target(Some(total), target).with_style(style);
        bar.set_message(label.to_string());
        bar
    }

    /// A bar over bytes on stderr with rate and ETA; silent where stderr is no terminal.
    pub(crate) fn bytes_bar(&self, total_bytes: u64, label: &str) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(
            Some(total_bytes),
            if self.bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() },
        );
        let style =
            ProgressStyle::with_template("{msg} [{bar:30}] {bytes}/{total_bytes} {bytes_per_sec} ETA {eta}")
                .expect("the template is fixed and valid")
                .progress_chars("=> ");
        bar.set_style(style);
        bar.set_message(label.to_string());
        bar
    }
}

impl Screen {
    /// A bar over things that are counted, on stderr, with the time left; silent where stderr is no terminal.
    pub(crate) fn count_bar(&self, total: u64, label: &str) -> ProgressBar {
        let bar = self.bytes_bar(total, label);
        bar.set_style(
            ProgressStyle::with_template("{msg} [{bar:30}] {pos}/{len} ETA {eta}")
                .expect("the template is fixed and valid")
                .progress_chars("=> "),
        );
        bar
    }
}

/// An error and its causes as one line. A cause that the text before it quotes is not told again.
pub(crate) fn one_line<'a>(chain: impl Iterator<Item = &'a (dyn std::error::Error + 'static)>) -> String {
    let mut told = String::new();
    for cause in chain {
        let text = cause.to_string();
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let text = lines.join(" ");
        if !told.contains(&text) {
            let between = if told.is_empty() { "" } else { ": " };
            told.push_str(between);
            told.push_str(&text);
        }
    }
    told
}

/// `7947872` → `7.58 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{count} B") } else { format!("{value:.2} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_one_line_without_echoes() {
        let told = |error: anyhow::Error| one_line(error.chain());
        let error = anyhow::anyhow!("no such file").context("a.json: no such file").context("reading");
        assert_eq!(told(error), "reading: a.json: no such file");
        assert_eq!(told(anyhow::anyhow!("regex:\n    (\n    ^\n\nunclosed")), "regex: ( ^ unclosed");
    }

    #[test]
    fn byte_counts_read_well() {
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(7_947_872), "7.58 MiB");
        assert_eq!(bytes(u64::MAX), "16777216.00 TiB");
    }
}
