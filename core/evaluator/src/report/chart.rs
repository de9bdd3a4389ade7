//! Charts as SVG: points on two axes, bars by group. Knows numbers and names; must not know models.

use std::fmt::Write;

pub(super) const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
pub(super) const LEFT: f64 = 80.0;
pub(super) const RIGHT: f64 = 20.0;
pub(super) const TOP: f64 = 20.0;
const BOTTOM: f64 = 60.0;

/// Colours that people with any kind of colour vision tell apart (Okabe and Ito, 2008).
const COLOURS: [&str; 8] =
    ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#999933", "#555555"];

/// A point of a scatter chart.
pub(super) struct Point<'a> {
    pub(super) name: &'a str,
    pub(super) x: f64,
    pub(super) y: f64,
    /// Radius in pixels.
    pub(super) radius: f64,
    /// Whether the line of the best goes through it.
    pub(super) on_front: bool,
    /// Said when it is pointed at.
    pub(super) title: String,
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

pub(super) fn open(width: f64, height: f64, label: &str) -> String {
    format!(
        "<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{}\" xmlns=\"http://www.w3.org/2000/svg\">\n",
        escape(label)
    )
}

/// Where values lie on an axis.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn over(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut low, mut high) =
            values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        let margin = ((high - low) * 0.08).max(1e-6);
        (low, high) = (low - margin, high + margin);
        Self { low, high, from, to }
    }

    fn at(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }

    /// About five round values.
    fn ticks(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / 5.0;
        let power = 10f64.powf(rough.log10().floor());
        let step =
            [1.0, 2.0, 5.0, 10.0].iter().map(|n| n * power).find(|step| *step >= rough).unwrap_or(rough);
        let first = (self.low / step).ceil();
        (0..12).map(|n| (first + f64::from(n)) * step).take_while(|tick| *tick <= self.high).collect()
    }
}

/// Points over two axes, `y` on a logarithmic one, and the line through those on the front. `None` of fewer than two.
pub(super) fn scatter(label: &str, x_name: &str, y_name: &str, points: &[Point<'_>]) -> Option<String> {
    if points.len() < 2 {
        return None;
    }
    let least = points.iter().map(|point| point.y).filter(|y| *y > 0.0).fold(f64::MAX, f64::min);
    // What is nothing lies at the lower edge.
    let log = |y: f64| y.max(least / 3.0).log10();
    let x = Axis::over(points.iter().map(|point| point.x), LEFT, WIDTH - RIGHT);
    let y = Axis::over(points.iter().map(|point| log(point.y)), HEIGHT - BOTTOM, TOP);
    let mut svg = open(WIDTH, HEIGHT, label);
    for tick in x.ticks() {
        let at = x.at(tick);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{}\"/>",
            HEIGHT - BOTTOM
        );
        let _ = writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - BOTTOM + 18.0,
            short(tick)
        );
    }
    for power in (y.low.floor() as i32)..=(y.high.ceil() as i32) {
        for factor in [1.0, 2.0, 5.0] {
            let value = factor * 10f64.powi(power);
            if (y.low..=y.high).contains(&value.log10()) {
                let at = y.at(value.log10());
                let _ = writeln!(
                    svg,
                    "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{}\" y2=\"{at:.1}\"/>",
                    WIDTH - RIGHT
                );
                let _ = writeln!(
                    svg,
                    "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                    LEFT - 8.0,
                    at + 4.0,
                    short(value)
                );
            }
        }
    }
    let _ = writeln!(
        svg,
        "<text x=\"{:.0}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 16.0,
        escape(x_name)
    );
    let _ = writeln!(
        svg,
        "<text transform=\"translate(18 {:.0}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        (TOP + HEIGHT - BOTTOM) / 2.0,
        escape(y_name)
    );
    let mut front: Vec<&Point<'_>> = points.iter().filter(|point| point.on_front).collect();
    front.sort_by(|a, b| a.x.total_cmp(&b.x));
    let line: Vec<String> = front.iter().map(|p| format!("{:.1},{:.1}", x.at(p.x), y.at(log(p.y)))).collect();
    let _ = writeln!(svg, "<polyline class=\"front\" points=\"{}\"/>", line.join(" "));
    let mut written: Vec<(f64, f64)> = Vec::new();
    for point in points {
        let (cx, cy) = (x.at(point.x), y.at(log(point.y)));
        let class = if point.on_front { "best" } else { "other" };
        let _ = writeln!(
            svg,
            "<circle class=\"{class}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"{:.1}\"><title>{}</title></circle>",
            point.radius,
            escape(&point.title)
        );
        // Names stay inside of the chart.
        let (anchor, at) = match cx > WIDTH - RIGHT - 90.0 {
            true => ("end", cx - point.radius - 4.0),
            false => ("start", cx + point.radius + 4.0),
        };
        // And below one that is there already.
        let mut line = cy - 4.0;
        while written.iter().any(|(x, y)| (x - at).abs() < 90.0 && (y - line).abs() < 13.0) {
            line += 13.0;
        }
        written.push((at, line));
        let _ = writeln!(
            svg,
            "<text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{}</text>",
            line,
            escape(point.name)
        );
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

/// Bars from 0 to 1: for each group one bar of each series. `None` of nothing.
pub(super) fn bars(label: &str, groups: &[&str], series: &[(&str, Vec<Option<f64>>)]) -> Option<String> {
    if groups.is_empty() || series.is_empty() {
        return None;
    }
    let height = HEIGHT + 20.0 * series.len().div_ceil(4) as f64;
    let mut svg = open(WIDTH, height, label);
    let y = |value: f64| HEIGHT - BOTTOM - value.clamp(0.0, 1.0) * (HEIGHT - BOTTOM - TOP);
    for tick in 0..=5 {
        let value = f64::from(tick) / 5.0;
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{:.1}\" x2=\"{}\" y2=\"{:.1}\"/>",
            y(value),
            WIDTH - RIGHT,
            y(value)
        );
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{:.0} %</text>",
            LEFT - 8.0,
            y(value) + 4.0,
            100.0 * value
        );
    }
    let room = (WIDTH - LEFT - RIGHT) / groups.len() as f64;
    let width = (room * 0.8 / series.len() as f64).min(40.0);
    for (number, group) in groups.iter().enumerate() {
        let middle = LEFT + room * (number as f64 + 0.5);
        let start = middle - width * series.len() as f64 / 2.0;
        for (place, (name, values)) in series.iter().enumerate() {
            let Some(value) = values.get(number).copied().flatten() else { continue };
            let (x, colour) = (start + width * place as f64, COLOURS[place % COLOURS.len()]);
            let _ = writeln!(
                svg,
                "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"><title>{}: {:.1} % ({})</title></rect>",
                y(value),
                (width - 1.0).max(1.0),
                y(0.0) - y(value),
                escape(name),
                100.0 * value,
                escape(group)
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{middle:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - BOTTOM + 18.0,
            escape(group)
        );
    }
    for (place, (name, _)) in series.iter().enumerate() {
        let (column, line) = ((place % 4) as f64, (place / 4) as f64);
        let (x, at) = (LEFT + column * 165.0, HEIGHT - 16.0 + line * 20.0);
        let colour = COLOURS[place % COLOURS.len()];
        let _ = writeln!(
            svg,
            "<rect x=\"{x:.0}\" y=\"{:.0}\" width=\"12\" height=\"12\" fill=\"{colour}\"/>",
            at - 10.0
        );
        let _ = writeln!(svg, "<text x=\"{:.0}\" y=\"{at:.0}\">{}</text>", x + 18.0, escape(name));
    }
    svg.push_str("</svg>\n");
    Some(svg)
}

fn short(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text.is_empty() { "0".into() } else { text.to_string() }
}
