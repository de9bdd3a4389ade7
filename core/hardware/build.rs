//! Turns `hardware-profiles/*.toml` into one compressed JSON text without what only people and tests need (sources, samples,
//! troubles): the library carries one parser instead of two, and a table that is no TOML stops the build.
//! Knows the places of files and the names of those keys; must not know what the rest says.

use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Keys that stay behind.
const LEFT_OUT: [&str; 3] = ["source", "sample", "trouble"];
/// Deflate's level: the smallest result.
const SMALLEST: u8 = 10;

fn main() {
    let folder =
        PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets it")).join("../../hardware-profiles");
    println!("cargo::rerun-if-changed={}", folder.display());
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("the folder can be read").path());
    let mut paths: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    paths.sort();
    let mut classes = Vec::new();
    let (mut arm_parts, mut systems) = (Map::new(), Map::new());
    for path in paths {
        let mut table = read(&path);
        let name = path.file_stem().expect("a table has a name").to_string_lossy().into_owned();
        match (table.remove("arm_parts"), table.remove("systems")) {
            (Some(Value::Object(parts)), _) => arm_parts.extend(parts),
            (_, Some(Value::Object(rows))) => systems.extend(rows),
            _ => {
                table.insert("id".into(), name.into());
                classes.push(Value::Object(table));
            }
        }
    }
    let mut tables = serde_json::json!({"classes": classes, "arm_parts": arm_parts, "systems": systems});
    strip(&mut tables);
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets it")).join("profiles.deflate");
    let compressed = miniz_oxide::deflate::compress_to_vec(tables.to_string().as_bytes(), SMALLEST);
    fs::write(out, compressed).expect("the output folder can be written");
}

fn read(path: &Path) -> Map<String, Value> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !LEFT_OUT.contains(&key.as_str()));
            map.values_mut().for_each(strip);
        }
        Value::Array(list) => list.iter_mut().for_each(strip),
        _ => {}
    }
}
