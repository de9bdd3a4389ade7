//! Turns the TOML tables of `data/` into JSON, so that the library carries one parser instead of two and a table that
//! is no TOML stops the build. Knows files' names only; must not know what they say.

#![allow(clippy::print_stdout, reason = "build scripts speak to cargo on standard output")]

use std::path::Path;
use std::{env, fs};

fn main() {
    println!("cargo:rerun-if-changed=data");
    let out_dir = env::var_os("OUT_DIR").expect("cargo sets OUT_DIR");
    for entry in fs::read_dir("data").expect("the tables lie beside the build script") {
        let path = entry.expect("a folder that was just opened can be read").path();
        let Some(name) = path.file_stem().filter(|_| path.extension().is_some_and(|kind| kind == "toml"))
        else {
            continue;
        };
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let table: serde_json::Value =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let json = Path::new(&out_dir).join(name).with_extension("json");
        fs::write(json, table.to_string()).expect("OUT_DIR is writable");
    }
}
