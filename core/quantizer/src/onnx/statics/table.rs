//! What is coded and what is tried for it, as data (`data/onnx_static.toml`). Owns the table; must not know text.

use super::magnitudes::Reach;
use serde::Deserialize;
use std::sync::LazyLock;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    serde_json::from_slice(include_bytes!(concat!(env!("OUT_DIR"), "/onnx_static.json")))
        .expect("the built-in table parses: every test of this file reads it")
});

/// The table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::onnx) struct Table {
    /// Exponents that are tried.
    pub(super) strengths: Vec<f64>,
    pub(super) ranges: Vec<Reach>,
    pub(super) most_error: f64,
    pub(super) held_out_every: usize,
    pub(super) most_rows: usize,
    /// Type of the embedding and the output.
    pub(in crate::onnx) whole: String,
}

impl Table {
    pub(in crate::onnx) fn built_in() -> &'static Self {
        &TABLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_what_the_search_asks_for() {
        let table = Table::built_in();
        assert!(table.held_out_every > 1 && table.most_rows > 0 && !table.ranges.is_empty());
        assert!(table.strengths.iter().all(|strength| (0.0..=1.0).contains(strength)));
        assert!(crate::recipe::parse_type(&table.whole).is_ok());
    }
}
