//! Lists the tables of `data/families` and `data/parts`, so that a new one is a new file and nothing else.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let mut code = String::new();
    for (name, folder) in [("FAMILIES", "data/families"), ("PARTS", "data/parts")] {
        println!("cargo::rerun-if-changed={folder}");
        writeln!(code, "static {name}_TOML: &[(&str, &str)] = &[").expect("strings grow");
        for path in tables(&root.join(folder)) {
            let stem = path.file_stem().expect("a table has a name").to_string_lossy().into_owned();
            writeln!(code, "    ({stem:?}, include_str!({:?})),", path.display().to_string())
                .expect("strings grow");
        }
        code.push_str("];\n");
    }
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("tables.rs");
    fs::write(out, code).expect("the output folder can be written");
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
