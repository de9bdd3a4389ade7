//! Turns the TOML tables of `data/` into JSON, one text after the other and compressed to a seventh: the library carries
//! one parser instead of two, a table that is no TOML stops the build, and a new family or part is a new file and
//! nothing else.
//! Knows the places of files only; must not know what they say.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Deflate's level: the smallest result.
const SMALLEST: u8 = 10;

fn main() {
    println!("cargo::rerun-if-changed=data");
    let data = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("data");
    let mut texts = Texts::default();
    let mut code = String::new();
    for path in tables(&data) {
        let name = stem(&path).to_uppercase();
        writeln!(code, "pub(crate) const {name}: Table = {};", texts.push(&path)).expect("strings grow");
    }
    for (name, folder) in
        [("FAMILIES", "families"), ("PARTS", "parts"), ("PROJECTORS", "projectors"), ("MLX", "mlx")]
    {
        writeln!(code, "pub(crate) const {name}: &[(&str, Table)] = &[").expect("strings grow");
        for path in tables(&data.join(folder)) {
            writeln!(code, "    ({:?}, {}),", stem(&path), texts.push(&path)).expect("strings grow");
        }
        code.push_str("];\n");
    }
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it"));
    let compressed = miniz_oxide::deflate::compress_to_vec(texts.all.as_bytes(), SMALLEST);
    fs::write(out.join("tables.deflate"), compressed).expect("the output folder can be written");
    fs::write(out.join("tables.rs"), code).expect("the output folder can be written");
}

/// Tables as JSON, one after the other.
#[derive(Default)]
struct Texts {
    all: String,
}

impl Texts {
    /// Adds a table, and says as code where it stands.
    fn push(&mut self, path: &Path) -> String {
        let start = self.all.len();
        self.all.push_str(&json(path));
        format!("Table {{ start: {start}, end: {} }}", self.all.len())
    }
}

/// The TOML files of a folder by name.
fn tables(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    paths.sort();
    paths
}

fn stem(path: &Path) -> String {
    path.file_stem().expect("a table has a name").to_string_lossy().into_owned()
}

fn json(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let table: serde_json::Value =
        toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    table.to_string()
}
