//! Close races once more, at another time: a machine that others use may favour a setting for seconds and then another.
//! Owns which races are close and what two of them say together. Must not know how anything is measured.

use super::{KnobArms, LEAST_BLOCKS, OneKnob, TuneBench, TuneReport, TuneSettings, min_block, race_settings};
use crate::race::{Race, RaceReport, Verdict};
use crate::setting::Knob;
use std::ops::ControlFlow;
use std::time::Duration;

/// Sure to be so many times as fast as any other: no other time is expected to say otherwise.
const CLEAR: f64 = 1.5;

/// Races the chosen value of a close race against the closest other one, and changes it where both races together say that
/// the other is faster by more than the least gain.
pub(super) fn confirm(
    report: &mut TuneReport,
    arms: &KnobArms,
    settings: &TuneSettings,
    left: Duration,
    bench: &mut dyn TuneBench,
) {
    if !matches!(arms.knob, Knob::DecodeThreads | Knob::BatchThreads) || report.halted.is_some() {
        return;
    }
    let Some(knob) = report.knobs.iter_mut().find(|knob| knob.knob == arms.knob) else { return };
    let Some(close) = knob.race.as_ref().and_then(closest) else { return };
    if min_block(arms.knob, settings).mul_f64(LEAST_BLOCKS) > left {
        return;
    }
    let values = [knob.chosen, knob.values[close.arm]];
    let mut one = OneKnob { bench, base: report.setting, knob: knob.knob, values: &values };
    let again = race_settings(arms, settings, left);
    let race = Race::run(values.len(), &again, &mut one, &mut |_| ControlFlow::Continue(()));
    report.halted = race.halted;
    let both = (close.ratio + race.arms[1].ratio.ln()) / 2.0;
    let is_changed = race.winner == 1 && both > settings.min_gain;
    knob.confirmation = Some(race);
    if is_changed {
        knob.chosen = values[1];
        report.setting = knob.knob.with(report.setting, knob.chosen);
        if arms.knob == Knob::BatchThreads {
            forget_ubatch(report);
        }
    }
}

/// What was found for other threads holds no more.
fn forget_ubatch(report: &mut TuneReport) {
    let start = report.start;
    for knob in report.knobs.iter_mut().filter(|knob| knob.knob == Knob::Ubatch) {
        knob.chosen = knob.knob.of(&start);
        report.setting = knob.knob.with(report.setting, knob.chosen);
    }
}

/// An arm that did not win.
struct Close {
    arm: usize,
    /// ln(its speed) − ln(the winner's).
    ratio: f64,
}

/// The one that came closest to the winner, unless the winner is clearly ahead of all.
fn closest(race: &RaceReport) -> Option<Close> {
    let winner = &race.arms[race.winner];
    let finished = |arm: &usize| *arm != race.winner && race.arms[*arm].verdict != Verdict::TooLate;
    let others = (0..race.arms.len()).filter(finished).filter(|arm| {
        // Without blocks nothing is known of an arm but where it stood in for the one the others are compared with.
        race.arms[*arm].n_blocks > 0 || race.arms[*arm].verdict == Verdict::Incumbent
    });
    let of = |arm: usize| (race.arms[arm].ratio / winner.ratio).ln();
    let arm = others.max_by(|a, b| of(*a).total_cmp(&of(*b)))?;
    let error = race.arms[arm].error.hypot(winner.error);
    let ratio = of(arm);
    (ratio + 3.0 * error > -CLEAR.ln()).then_some(Close { arm, ratio })
}
