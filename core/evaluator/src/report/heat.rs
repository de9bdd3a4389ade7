//! Heat maps as SVG. Knows numbers and names; must not know models.

use super::chart::{LEFT, RIGHT, TOP, WIDTH, escape, open};
use std::fmt::Write;

/// Shares by row and column: each row's cells are dark in proportion to its own greatest. `None` of nothing.
pub(super) fn heat(label: &str, row_name: &str, rows: &[(u32, Vec<u64>)]) -> Option<String> {
    let columns = rows.iter().map(|(_, counts)| counts.len()).max().filter(|columns| *columns > 0)?;
    let cell = ((WIDTH - LEFT - RIGHT) / columns as f64).clamp(3.0, 36.0);
    let tall = cell.min(18.0);
    let height = TOP + tall * rows.len() as f64 + 30.0;
    let mut svg = open(WIDTH, height, label);
    for (line, (number, counts)) in rows.iter().enumerate() {
        let y = TOP + tall * line as f64;
        let total: u64 = counts.iter().sum::<u64>().max(1);
        let most = counts.iter().max().copied().unwrap_or(0).max(1);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{} {number}</text>",
            LEFT - 8.0,
            y + tall * 0.7,
            escape(row_name)
        );
        for (column, count) in counts.iter().enumerate() {
            let share = *count as f64 / most as f64;
            let _ = writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\"><title>{} {number}, {column}: {count} ({:.1} %)</title></rect>",
                LEFT + cell * column as f64,
                cell - 1.0,
                tall - 1.0,
                shade(share),
                escape(row_name),
                100.0 * *count as f64 / total as f64
            );
        }
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// Shares from `least` (dark) to 1 (light) by named row and numbered column. `None` of nothing.
pub(super) fn shares(
    label: &str,
    column_name: &str,
    least: f64,
    rows: &[(&str, &[(u32, f64)])],
) -> Option<String> {
    const NAMES: f64 = 170.0;
    let columns = rows.iter().map(|(_, shares)| shares.len()).max().filter(|columns| *columns > 0)?;
    let cell = ((WIDTH - NAMES - RIGHT) / columns as f64).clamp(3.0, 36.0);
    let mut svg = open(WIDTH, TOP + 20.0 * rows.len() as f64 + 10.0, label);
    for (line, (name, shares)) in rows.iter().enumerate() {
        let y = TOP + 20.0 * line as f64;
        let name = escape(name);
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
            NAMES - 8.0,
            y + 14.0
        );
        for (column, (number, share)) in shares.iter().enumerate() {
            let missing = if least < 1.0 { (1.0 - share) / (1.0 - least) } else { 0.0 };
            let _ = writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"19\" fill=\"{}\"><title>{name}, {} {number}: {:.2} %</title></rect>",
                NAMES + cell * column as f64,
                cell - 1.0,
                shade(missing),
                escape(column_name),
                100.0 * share
            );
        }
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// From light to dark blue.
fn shade(share: f64) -> String {
    let mix = |light: f64, dark: f64| (light + (dark - light) * share.clamp(0.0, 1.0).sqrt()).round() as u8;
    format!("#{:02x}{:02x}{:02x}", mix(238.0, 0.0), mix(243.0, 60.0), mix(248.0, 120.0))
}
