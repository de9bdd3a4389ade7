//! The XCFramework that the Swift package takes on Apple's systems.
//!
//! Owns its layout: a static library per platform with the header and module map that UniFFI generates. Needs a Mac with Xcode and
//! Rust's standard libraries for the targets.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::checked;

const TARGETS: [&str; 3] = ["aarch64-apple-ios", "aarch64-apple-ios-sim", "aarch64-apple-darwin"];

/// Makes it beside `Package.swift`.
pub(super) fn framework(root: &Path) -> Result<PathBuf> {
    ensure!(cfg!(target_os = "macos"), "an XCFramework is made on a Mac: xcodebuild is part of Xcode");
    checked(Command::new(root.join("scripts/foreign-bindings")).arg("swift"))?;
    let headers = root.join("bindings/swift/Sources/LlamaPajamasFFI");
    let made = root.join("bindings/swift/LlamaPajamasFFI.xcframework");
    if made.exists() {
        std::fs::remove_dir_all(&made).with_context(|| format!("removing {}", made.display()))?;
    }
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |path| root.join(path));
    let mut join = Command::new("xcodebuild");
    join.arg("-create-xcframework");
    for triple in TARGETS {
        let mut build = Command::new("cargo");
        build.current_dir(root).args([
            "rustc",
            "--profile",
            "dist",
            "--target",
            triple,
            "-p",
            "llama-pajamas-ffi",
        ]);
        checked(build.args(["--lib", "--crate-type", "staticlib", "--features", "uniffi"]))?;
        join.arg("-library")
            .arg(target.join(triple).join("dist/libllama_pajamas_ffi.a"))
            .arg("-headers")
            .arg(&headers);
    }
    checked(join.arg("-output").arg(&made))?;
    Ok(made)
}
