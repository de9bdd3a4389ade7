//! The report as one HTML file: tables, charts in SVG, its own style, no script, nothing that is fetched.
//! Knows summaries; must not draw.

use super::chart::{Point, bars, escape, scatter};
use super::heat::{heat, shares};
use super::markdown::cells;
use super::{Summary, VariantSummary, recommendations, size};
use std::fmt::Write;

/// Forbids whatever the file itself does not hold.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--dim:#5a6572;--line:#d6dce2;--paper:#fff;--best:#0072b2;--other:#a3adb8}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ec;--dim:#9aa5b1;--line:#3a434d;--paper:#14181c;--best:#56b4e9;--other:#6b7682}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem}h2{font-size:1.2rem;margin-top:2.5rem}
table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.wide{overflow-x:auto}
svg{width:100%;height:auto;font:12px system-ui,sans-serif}svg text{fill:var(--ink)}
.grid{stroke:var(--line)}.front{fill:none;stroke:var(--best);stroke-width:2;stroke-dasharray:5 4}
.best{fill:var(--best)}.other{fill:var(--other)}
p.note,li{color:var(--dim);font-size:.9rem}";

/// The report.
pub fn html(summary: &Summary) -> String {
    let model = escape(&summary.model);
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{model}: variants</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n<h1>{model}</h1>\n<ul>\n"
    );
    for note in &summary.notes {
        let _ = writeln!(out, "<li>{}</li>", escape(note));
    }
    out.push_str("</ul>\n");
    section(&mut out, "Recommendations", Some(recommended(summary)));
    section(&mut out, "Variants", Some(table(summary)));
    section(&mut out, "Divergence over size", size_chart(summary));
    section(&mut out, "Divergence over speed", speed_chart(summary));
    section(&mut out, "Scores by category", category_chart(summary));
    section(&mut out, "Scores by task", tasks(summary));
    section(&mut out, "Experts chosen as the original chooses them", router_chart(summary));
    for (name, coverage) in &summary.experts {
        let rows: Vec<_> = coverage.layers.iter().map(|layer| (layer.layer, layer.counts.clone())).collect();
        let label = format!("Experts chosen while reading {name}");
        section(&mut out, &label, heat(&label, "layer", &rows));
    }
    out.push_str("</body>\n</html>\n");
    out
}

fn section(out: &mut String, heading: &str, content: Option<String>) {
    if let Some(content) = content {
        let _ = write!(out, "<h2>{}</h2>\n{content}", escape(heading));
    }
}

fn recommended(summary: &Summary) -> String {
    let mut out = String::from("<table>\n<tr><th>use</th><th>variant</th><th>because</th></tr>\n");
    for one in recommendations(summary) {
        let variant = escape(one.variant.unwrap_or("–"));
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td>{variant}</td><td>{}</td></tr>",
            escape(one.name),
            escape(&one.because)
        );
    }
    out + "</table>\n"
}

fn table(summary: &Summary) -> String {
    let heads = [
        "variant",
        "size",
        "KLD mean (95 %)",
        "KLD 99.9 %",
        "same top-1",
        "PPL ratio",
        "tokens/s",
        "quality",
    ];
    let heads: String = heads.iter().map(|head| format!("<th>{head}</th>")).collect();
    let mut out = format!("<div class=\"wide\"><table>\n<tr>{heads}</tr>\n");
    for variant in &summary.variants {
        let cell = |(place, text): (usize, &String)| {
            let class = if (1..=6).contains(&place) { " class=\"n\"" } else { "" };
            format!("<td{class}>{}</td>", escape(text))
        };
        let row: String = cells(variant).iter().enumerate().map(cell).collect();
        let _ = writeln!(out, "<tr>{row}</tr>");
    }
    out + "</table></div>\n"
}

fn kld(variant: &VariantSummary) -> Option<f64> {
    if variant.is_original { Some(0.0) } else { variant.kld.map(|(mean, _)| mean.max(0.0)) }
}

fn title(variant: &VariantSummary) -> String {
    let speed = variant.tokens_per_s.map(|speed| format!(", {speed:.1} tokens/s")).unwrap_or_default();
    let kld = kld(variant).unwrap_or_default();
    format!("{}: {}, divergence {kld:.5}{speed}", variant.id, size(variant.file_bytes))
}

/// Size to the right, divergence upwards, speed as the point's area.
fn size_chart(summary: &Summary) -> Option<String> {
    let front = summary.front();
    let fastest = summary.variants.iter().filter_map(|v| v.tokens_per_s).fold(0.0, f64::max);
    let point = |variant: &'_ VariantSummary| {
        let radius = match variant.tokens_per_s {
            Some(speed) if fastest > 0.0 => 4.0 + 6.0 * (speed / fastest).sqrt(),
            _ => 6.0,
        };
        Some((kld(variant)?, radius))
    };
    let points: Vec<Point<'_>> = summary
        .variants
        .iter()
        .filter_map(|variant| {
            let (y, radius) = point(variant)?;
            Some(Point {
                name: &variant.id,
                x: variant.file_bytes as f64 / f64::from(1 << 20),
                y,
                radius,
                on_front: front.contains(&variant.id.as_str()),
                title: title(variant),
            })
        })
        .collect();
    let chart =
        scatter("Divergence over size", "size in MiB", "mean divergence in nats, logarithmic", &points)?;
    let note = "The dashed line joins the variants that no other beats in both; larger points write faster; the original \
                lies at the lower edge.";
    Some(format!("{chart}<p class=\"note\">{note}</p>\n"))
}

fn speed_chart(summary: &Summary) -> Option<String> {
    let points: Vec<Point<'_>> = summary
        .variants
        .iter()
        .filter_map(|variant| {
            let (x, y) = (variant.tokens_per_s?, kld(variant)?);
            let beats = |other: &VariantSummary| {
                let (Some(speed), Some(loss)) = (other.tokens_per_s, kld(other)) else { return false };
                speed >= x && loss <= y && (speed > x || loss < y)
            };
            let on_front = !summary.variants.iter().any(beats);
            Some(Point { name: &variant.id, x, y, radius: 6.0, on_front, title: title(variant) })
        })
        .collect();
    scatter(
        "Divergence over speed",
        "tokens per second when writing",
        "mean divergence in nats, logarithmic",
        &points,
    )
}

fn category_chart(summary: &Summary) -> Option<String> {
    let categories = summary.categories();
    let series: Vec<(&str, Vec<Option<f64>>)> = summary
        .variants
        .iter()
        .filter(|variant| !variant.categories.is_empty())
        .map(|variant| {
            let scores = categories.iter().map(|name| variant.categories.get(*name).copied()).collect();
            (variant.id.as_str(), scores)
        })
        .collect();
    bars("Scores by category", &categories, &series)
}

/// Variants downwards, layers to the right.
fn router_chart(summary: &Summary) -> Option<String> {
    let rows: Vec<(&str, &[(u32, f64)])> = summary
        .variants
        .iter()
        .filter(|variant| !variant.routers.is_empty())
        .map(|variant| (variant.id.as_str(), variant.routers.as_slice()))
        .collect();
    let least = rows.iter().flat_map(|(_, shares)| *shares).map(|(_, share)| *share).fold(1.0, f64::min);
    let chart = shares("Experts chosen as the original chooses them", "layer", least, &rows)?;
    let note = format!(
        "Layers from left to right; the lightest is all of them, the darkest {:.1} %.",
        100.0 * least
    );
    Some(format!("{chart}<p class=\"note\">{note}</p>\n"))
}

fn tasks(summary: &Summary) -> Option<String> {
    let tasks = summary.tasks();
    if tasks.is_empty() {
        return None;
    }
    let heads: String = summary.variants.iter().map(|v| format!("<th>{}</th>", escape(&v.id))).collect();
    let mut out = format!("<div class=\"wide\"><table>\n<tr><th>task</th>{heads}</tr>\n");
    for task in tasks {
        let _ = write!(out, "<tr><td>{}</td>", escape(task));
        for variant in &summary.variants {
            let text = variant.tasks.get(task).map_or_else(
                || "–".to_string(),
                |result| {
                    format!(
                        "{:.1} % ± {:.1}",
                        100.0 * result.score,
                        50.0 * (result.interval[1] - result.interval[0])
                    )
                },
            );
            let _ = write!(out, "<td class=\"n\">{text}</td>");
        }
        out.push_str("</tr>\n");
    }
    Some(out + "</table></div>\n")
}
