//! The report as Markdown. Knows summaries; must not know charts.

use super::{Summary, VariantSummary, recommendations, size};
use std::fmt::Write;

/// The report.
pub fn markdown(summary: &Summary) -> String {
    let mut out = format!("# {}\n\n", summary.model);
    for note in &summary.notes {
        let _ = writeln!(out, "- {note}");
    }
    out.push_str("\n## Variants\n\n");
    out.push_str(
        "| variant | size | KLD mean (95 %) | KLD 99.9 % | same top-1 | PPL ratio | tokens/s | quality |\n",
    );
    out.push_str("|---|---|---|---|---|---|---|---|\n");
    for variant in &summary.variants {
        let _ = writeln!(out, "| {} |", cells(variant).join(" | "));
    }
    let front = summary.front();
    let _ = writeln!(out, "\nNot beaten in both size and divergence: {}.", front.join(", "));
    let tasks = summary.tasks();
    if !tasks.is_empty() {
        out.push_str(
            "\n## Tasks\n\nShare of right answers, with its 95 % interval; chance in brackets.\n\n| task |",
        );
        summary.variants.iter().for_each(|variant| out += &format!(" {} |", variant.id));
        out.push_str("\n|---|");
        summary.variants.iter().for_each(|_| out += "---|");
        out.push('\n');
        for task in tasks {
            let _ = write!(out, "| {task} |");
            for variant in &summary.variants {
                let _ = match variant.tasks.get(task) {
                    Some(result) => write!(
                        out,
                        " {:.3} ({:.3} to {:.3}) of {} [{:.2}] |",
                        result.score, result.interval[0], result.interval[1], result.n, result.chance
                    ),
                    None => write!(out, " – |"),
                };
            }
            out.push('\n');
        }
    }
    out.push_str("\n## Recommendations\n\n| use | variant | because |\n|---|---|---|\n");
    for one in recommendations(summary) {
        let _ = writeln!(out, "| {} | {} | {} |", one.name, one.variant.unwrap_or("–"), one.because);
    }
    out
}

/// The cells of a variant's row, also of the other form's table.
pub(super) fn cells(variant: &VariantSummary) -> [String; 8] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".into());
    let kld = variant.kld.map(|(mean, interval)| match interval {
        Some([low, high]) => format!("{mean:.5} ({low:.5} to {high:.5})"),
        None => format!("{mean:.5}"),
    });
    let grade = match variant.is_original {
        true => Some("the original".to_string()),
        false => variant.grade.clone(),
    };
    [
        variant.id.clone(),
        size(variant.file_bytes),
        or_dash(kld),
        or_dash(variant.kld_p999.map(|kld| format!("{kld:.4}"))),
        or_dash(variant.same_top.map(|share| format!("{:.2} %", 100.0 * share))),
        or_dash(variant.ppl_ratio.map(|ratio| format!("{ratio:.4}"))),
        or_dash(variant.tokens_per_s.map(|speed| format!("{speed:.1}"))),
        or_dash(grade),
    ]
}
