//! Build script of MLX's bindings for the tests on Linux, in place of their own: links the C interface that
//! `scripts/oracles/mlx/prepare` built, and MLX's library from its Python package. Must not build anything.

#[path = "src/bindgen_config.rs"]
mod bindgen_config;

use std::path::{Path, PathBuf};

fn main() {
    let root = Path::new("src/mlx-c");
    // Written beside this script when it is put into its place.
    let folders = std::fs::read_to_string("link-search.txt").expect("link-search.txt beside the build script");
    for folder in folders.lines() {
        println!("cargo:rustc-link-search=native={folder}");
    }
    println!("cargo:rustc-link-lib=static=mlxc");
    println!("cargo:rustc-link-lib=dylib=mlx");
    println!("cargo:rustc-link-lib=dylib=stdc++");
    println!("cargo:rerun-if-changed=build.rs");
    let headers = bindgen_config::discover_headers(root).expect("the interface's headers");
    let bindings = bindgen_config::builder(root, &headers).generate().expect("bindings");
    let out = PathBuf::from(std::env::var("OUT_DIR").expect("cargo names it"));
    let mut text = bindings.to_string();
    if !text.contains("mlx_array_data_bfloat16") {
        text.push_str(include_str!("half.txt"));
    }
    std::fs::write(out.join("bindings.rs"), text).expect("a file for the bindings");
}
