//! The pace against steps of known times. Knows its inside; must not wait for anything.

use super::*;

const MS: Duration = Duration::from_millis(1);

fn pace(threads: u32) -> Pace {
    Pace::new(PaceSettings { slowest_expected: Some(50 * MS), ..PaceSettings::new(threads) })
}

/// Breaks off where the limit is shorter than the step.
fn step(pace: &mut Pace, time: impl Fn(u32) -> Duration) -> (bool, Option<Moved>) {
    let Step { threads, limit } = pace.next();
    let time = time(threads);
    match limit {
        Some(limit) if limit < time => (false, pace.too_late()),
        _ => (true, pace.took(time)),
    }
}

#[test]
fn a_collapse_at_the_start_costs_its_limits_and_is_left() {
    let mut pace = pace(8);
    assert_eq!(pace.next(), Step { threads: 8, limit: Some(400 * MS) });
    let collapsed = |threads| if threads > 2 { 5000 * MS } else { 40 * MS };
    assert_eq!(step(&mut pace, collapsed), (false, None));
    assert_eq!(pace.next(), Step { threads: 4, limit: Some(800 * MS) });
    assert_eq!(step(&mut pace, collapsed), (false, None));
    assert_eq!(pace.next(), Step { threads: 2, limit: Some(1600 * MS) });
    let moved = Moved { from: 8, to: 2, because: MovedBecause::TooLate };
    assert_eq!(step(&mut pace, collapsed), (true, Some(moved)));
    assert_eq!(pace.threads(), 2);
    (0..100).for_each(|_| assert_eq!(step(&mut pace, collapsed), (true, None)));
}

#[test]
fn a_collapse_in_the_middle_is_measured_by_what_was_usual() {
    let mut pace = pace(4);
    (0..20).for_each(|_| assert_eq!(step(&mut pace, |_| 100 * MS), (true, None)));
    assert_eq!(pace.usual(), Some(100 * MS));
    assert_eq!(pace.next().limit, Some(800 * MS));
    let collapsed = |threads| if threads > 1 { 9000 * MS } else { 300 * MS };
    while !step(&mut pace, collapsed).0 {}
    assert_eq!((pace.threads(), pace.next().limit), (1, None));
}

#[test]
fn a_machine_that_is_slow_with_any_threads_keeps_them() {
    let mut pace = pace(4);
    let slow = |_| 1000 * MS;
    while !step(&mut pace, slow).0 {}
    assert_eq!(pace.next(), Step { threads: 4, limit: Some(8000 * MS) });
    (0..20).for_each(|_| assert_eq!(step(&mut pace, slow), (true, None)));
}

#[test]
fn a_cap_holds_at_once_and_can_be_lifted() {
    let mut pace = pace(4);
    pace.cap(2);
    assert_eq!(pace.next().threads, 2);
    pace.cap(0);
    assert_eq!(pace.next(), Step { threads: 1, limit: None });
    pace.cap(u32::MAX);
    assert_eq!(pace.next().threads, 4);
}

#[test]
fn what_was_broken_off_comes_back_after_a_while_with_a_deadline() {
    let mut pace = pace(4);
    let collapsed = |threads| if threads > 2 { 5000 * MS } else { 40 * MS };
    while !step(&mut pace, collapsed).0 {}
    assert_eq!(pace.threads(), 2);
    (1..CEILING_STEPS).for_each(|_| assert_eq!(step(&mut pace, collapsed), (true, None)));
    assert_eq!(step(&mut pace, collapsed), (true, None));
    assert_eq!(pace.next(), Step { threads: 4, limit: Some(320 * MS) });
    let free = |_| 20 * MS;
    (0..5000).for_each(|_| assert_eq!(step(&mut pace, free), (true, None)));
    assert_eq!(pace.threads(), 4);
    pace.lower(3);
    pace.lower(9);
    assert_eq!(pace.next().threads, 3);
}

#[test]
fn without_leave_nothing_is_tried() {
    let mut pace = Pace::new(PaceSettings { max_threads: 8, ..PaceSettings::new(4) });
    for _ in 0..2000 {
        assert_eq!(pace.next().threads, 4);
        pace.took(10 * MS);
    }
}
