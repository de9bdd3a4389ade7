//! Any text as the front matter of a model card: fields, or an empty card. Knows the public API alone.
#![no_main]

use families::model_name::{ModelCard, Sources, WeightCounts, general};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let none = serde_json::json!({});
    for card in [ModelCard::parse(text), ModelCard::parse(&format!("---\n{text}\n---\n"))] {
        // What the naming rules make of it.
        let sources =
            Sources { directory: "organisation/name-7B", config: &none, generation: None, card: &card };
        let metadata = general(sources, WeightCounts::default());
        assert!(metadata.iter().all(|(key, _)| key.starts_with("general.")));
    }
});
