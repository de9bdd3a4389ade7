//! What a report says, and that its HTML needs nothing else.

#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::importance::LayerCoverage;

fn variant(id: &str, mib: u64, kld: f64, grade: &str, speed: f64, maths: f64) -> VariantSummary {
    let task = TaskResult {
        category: "maths".into(),
        score: maths,
        interval: [maths - 0.1, maths + 0.1],
        n: 50,
        chance: 0.0,
        right: vec![true; 50],
    };
    VariantSummary {
        id: id.into(),
        file_bytes: mib << 20,
        kld: Some((kld, Some([kld * 0.9, kld * 1.1]))),
        grade: Some(grade.into()),
        tokens_per_s: Some(speed),
        tasks: BTreeMap::from([("gsm8k".to_string(), task)]),
        categories: BTreeMap::from([("maths".to_string(), maths)]),
        routers: vec![(1, 0.95), (3, 0.9)],
        ..VariantSummary::default()
    }
}

fn summary() -> Summary {
    let original =
        VariantSummary { id: "F16".into(), file_bytes: 100 << 20, is_original: true, ..Default::default() };
    let layer = |layer| LayerCoverage { layer, counts: vec![5, 0, 90, 3] };
    Summary {
        model: "a <model> & more".into(),
        notes: vec!["measured somewhere".into()],
        variants: vec![
            original,
            variant("Q8_0", 50, 0.001, "production", 40.0, 0.5),
            variant("Q4_K_M", 30, 0.02, "production", 60.0, 0.4),
            variant("Q4_0", 31, 0.05, "production", 70.0, 0.45),
            variant("Q2_K", 20, 0.12, "acceptable", 65.0, 0.1),
        ],
        experts: BTreeMap::from([("code".to_string(), Coverage { layers: vec![layer(0), layer(1)] })]),
    }
}

#[test]
fn the_front_is_what_nothing_beats() {
    assert_eq!(summary().front(), ["F16", "Q8_0", "Q4_K_M", "Q2_K"]);
}

#[test]
fn each_use_gets_its_variant() {
    let summary = summary();
    let of = |name: &str| recommendations(&summary).into_iter().find(|one| one.name == name).unwrap().variant;
    assert_eq!(of("closest to the original"), Some("Q8_0"));
    assert_eq!(of("production, as small as possible"), Some("Q4_K_M"));
    assert_eq!(of("production, as fast as possible"), Some("Q4_0"));
    assert_eq!(of("little memory"), Some("Q2_K"));
    assert_eq!((of("maths"), of("code")), (Some("Q8_0"), None));
}

#[test]
fn the_markdown_has_every_variant_and_task() {
    let text = markdown(&summary());
    assert!(text.contains("| Q4_K_M | 30.0 MiB | 0.02000 (0.01800 to 0.02200) |"), "{text}");
    assert!(text.contains("| gsm8k | – | 0.500 (0.400 to 0.600) of 50 [0.00] |"), "{text}");
    assert!(text.contains("Not beaten in both size and divergence: F16, Q8_0, Q4_K_M, Q2_K."));
}

#[test]
fn the_html_holds_charts_and_fetches_nothing() {
    let page = html(&summary());
    assert_eq!(page.matches("<svg ").count(), 5, "size, speed, categories, agreement, experts");
    assert!(page.contains("<title>Q8_0, layer 3: 90.00 %</title>"), "{page}");
    assert_eq!(page.matches("<circle ").count(), 5 + 4);
    assert_eq!(page.matches("<svg ").count(), page.matches("</svg>").count());
    assert!(page.contains("a &lt;model&gt; &amp; more") && !page.contains("<model>"));
    for fetched in ["src=", "href=", "@import", "url(", "<script", "<link", "<iframe"] {
        assert!(!page.contains(fetched), "{fetched}");
    }
    // The one address in it is the name of SVG's vocabulary.
    assert_eq!(page.matches("http").count() - page.matches("http-equiv").count(), 5);
    assert!(page.contains("default-src 'none'"));
    assert!(!page.contains("NaN"));
    let empty = html(&Summary { model: "m".into(), ..Summary::default() });
    assert!(!empty.contains("<svg"));
}
