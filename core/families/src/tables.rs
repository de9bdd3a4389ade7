//! The tables of `data/`, as JSON: one constant per file, and the families, parts and projectors by name. The build script
//! makes them; the library carries their texts compressed and unfolds all of them when the first is read.
//! Knows how tables are carried; must not know what they say.

use std::sync::LazyLock;

include!(concat!(env!("OUT_DIR"), "/tables.rs"));

static TEXTS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let compressed = include_bytes!(concat!(env!("OUT_DIR"), "/tables.deflate"));
    miniz_oxide::inflate::decompress_to_vec(compressed).expect("the build script compressed them")
});

/// One file's table.
#[derive(Debug)]
pub(crate) struct Table {
    start: usize,
    end: usize,
}

impl Table {
    /// Its text.
    pub(crate) fn json(&self) -> &'static [u8] {
        &TEXTS[self.start..self.end]
    }
}
