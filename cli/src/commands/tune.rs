//! `tune`: races settings on this machine, shows the race, and remembers what won.

use super::{load, open, request};
use crate::args::Tune;
use crate::interrupt;
use crate::screen::Screen;
use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use llama_pajamas::tuner::{ArmReport, Exactness, Halt, KnobReport, Skipped, Verdict};
use llama_pajamas::{TuneReport, TuneSettings, TuneStep};
use std::fmt::Write;
use std::ops::ControlFlow;
use std::time::Duration;

pub(crate) fn run(args: &Tune, screen: &Screen) -> Result<()> {
    if !(args.budget > 0.0 && args.budget <= 3600.0) {
        bail!("--budget: expected more than 0 and at most 3600 seconds, got {}", args.budget);
    }
    let cancel = interrupt::token();
    let (runtime, _located) = open(&args.model, &args.wishes, None, screen)?;
    let model = load(&runtime, request(&args.wishes)?, &cancel)?;
    let recall = model.recall();
    let settings = TuneSettings {
        budget: Duration::from_secs_f64(args.budget),
        allow_rounding: !args.bit_exact,
        seed: args.seed,
        ..TuneSettings::default()
    };
    let live = screen.spinner();
    live.set_style(ProgressStyle::with_template("{msg}").expect("the template is fixed and valid"));
    let mut show = |step: &TuneStep<'_>| {
        live.set_message(live_table(step));
        ControlFlow::Continue(())
    };
    let report = runtime.tune(&model, &settings, &cancel, &mut show)?;
    finish(&live);
    if screen.json {
        let (setting, from) = model.setting();
        screen.print_json(&serde_json::json!({
            "report": report, "setting": setting, "from": from, "recall": recall,
        }))?;
    } else {
        print!("{}", table(&report));
    }
    match report.halted {
        None => Ok(()),
        Some(Halt::Cancelled) => bail!("cancelled"),
        Some(halt) => bail!("stopped: {}", halt.text()),
    }
}

fn finish(live: &ProgressBar) {
    live.finish_and_clear();
}

fn live_table(step: &TuneStep<'_>) -> String {
    let mut text = format!("{:.1} s  {}\n", step.elapsed.as_secs_f64(), step.knob.name());
    rows(&mut text, step.values, &step.race.arms, None);
    text
}

fn table(report: &TuneReport) -> String {
    let mut text = String::new();
    for knob in &report.knobs {
        let exact = match knob.exactness {
            Exactness::BitExact => "",
            Exactness::RoundingOnly => " (changes rounding)",
        };
        let _ = writeln!(text, "{}{exact}", knob.knob.name());
        match (&knob.race, knob.skipped) {
            (Some(race), _) => rows(&mut text, &knob.values, &race.arms, Some(knob.chosen)),
            (None, skipped) => {
                let _ = writeln!(text, "  {} stays: {}", knob.chosen, skipped.map_or("", skipped_text));
            }
        }
        if let Some(again) = &knob.confirmation {
            let other = again.arms.get(1).map_or(1.0, |arm| arm.ratio);
            let _ = writeln!(
                text,
                "  close, so once more: the other one had {other:.3} of the speed, {} from now on",
                knob.chosen
            );
        }
        discarded(&mut text, knob);
    }
    let setting = &report.setting;
    let _ = writeln!(
        text,
        "from now on {} threads for writing, {} for reading, {} tokens at a time ({:.1} s)",
        setting.n_threads,
        setting.n_threads_batch,
        setting.n_ubatch,
        report.elapsed.as_secs_f64()
    );
    text
}

fn rows(text: &mut String, values: &[u32], arms: &[ArmReport], chosen: Option<u32>) {
    for (value, arm) in values.iter().zip(arms) {
        let mark = if chosen == Some(*value) { "*" } else { " " };
        let speed = match arm.tokens_per_s {
            speed if speed > 0.0 => format!("{speed:9.1} tokens/s"),
            _ => format!("{:>18}", "–"),
        };
        let ratio = match arm.verdict {
            Verdict::Incumbent => "     as it is".to_string(),
            _ if arm.n_blocks == 0 => "            –".to_string(),
            _ => format!("{:6.3} ± {:.3}", arm.ratio, arm.ratio * arm.error),
        };
        let _ = writeln!(
            text,
            "{mark} {value:4} {speed}  {ratio}  {:3} blocks  {}",
            arm.n_blocks,
            verdict_text(arm.verdict)
        );
    }
}

fn discarded(text: &mut String, knob: &KnobReport) {
    if let Some(race) = knob.race.as_ref().filter(|race| race.n_discarded > 0) {
        let _ =
            writeln!(text, "  {} groups of blocks discarded: the machine's speed moved", race.n_discarded);
    }
}

fn verdict_text(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Racing => "not decided",
        Verdict::Incumbent => "the start",
        Verdict::Slower => "slower",
        Verdict::NotWorthIt => "not worth it",
        Verdict::TooLate => "broken off",
        Verdict::Finished | Verdict::Won => "faster",
    }
}

fn skipped_text(skipped: Skipped) -> &'static str {
    match skipped {
        Skipped::NoChoice => "there is nothing else to choose",
        Skipped::Rounding => "it changes rounding",
        Skipped::NoTime => "a race would take longer than there is time",
        Skipped::Halted => "tuning was stopped",
    }
}
