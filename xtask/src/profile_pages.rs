//! `cargo xtask profile-pages`: the pages that are made of profiles and plans, written anew by the test that keeps them
//! current. Knows which test that is; must not know what stands on a page.

use anyhow::{Context, Result, bail};
use std::path::Path;
use std::process::Command;

pub(crate) fn run(root: &Path) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let words = [
        "test",
        "--quiet",
        "--package",
        "llama-pajamas-cli",
        "--test",
        "planning",
        "--",
        "pages::",
        "table::",
    ];
    let status = Command::new(cargo)
        .args(words)
        .env("UPDATE_EXPECT", "1")
        .current_dir(root)
        .status()
        .context("running cargo test")?;
    if !status.success() {
        bail!("the pages could not be written: {status}");
    }
    println!("docs/hardware/ and docs/would-it-run.md are current; `git diff` shows what changed");
    Ok(())
}
