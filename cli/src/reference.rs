//! The manual of the command, `docs/commands.md`, made of its help texts. Owns: nothing but the comparison. Tests only.
//!
//! `UPDATE_EXPECT=1 cargo test -p llama-pajamas-cli --bin llama-pajamas reference` writes it anew; read the difference.

use crate::args::Cli;

#[test]
fn the_manual_is_current() {
    let options = clap_markdown::MarkdownOptions::new()
        .title("Commands".to_owned())
        .show_footer(false)
        .show_aliases(true);
    let told = clap_markdown::help_markdown_custom::<Cli>(&options);
    let lines: Vec<&str> = told.lines().map(str::trim_end).collect();
    let text = format!("{}\n", lines.join("\n").trim_end());
    let page = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/commands.md");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&page, &text).expect("the repository can be written");
    }
    let expected = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(text == expected, "docs/commands.md is not current; UPDATE_EXPECT=1 writes it anew");
}
