//! The direction of the crates, read from their manifests: who may depend on whom.
//! Owns the table of allowed edges; must not build anything.

use super::Complaint;
use anyhow::{Context, Result};
use std::path::Path;

/// Folder of a crate, and the workspace crates it may use (dev-dependencies are free).
const EDGES: [(&str, &[&str]); 18] = [
    ("core/formats", &[]),
    ("core/families", &["formats"]),
    ("core/hardware", &[]),
    ("core/bundle", &["formats", "families"]),
    ("core/planner", &["formats", "families", "hardware"]),
    ("core/onnx", &["formats"]),
    ("core/mlx", &["formats", "families"]),
    ("core/engine", &["formats", "onnx", "mlx"]),
    ("core/tuner", &[]),
    ("core/evaluator", &["formats", "engine"]),
    ("core/quantizer", &["formats", "families", "bundle", "onnx", "engine", "evaluator"]),
    (
        "core/runtime",
        &[
            "formats",
            "families",
            "hardware",
            "bundle",
            "planner",
            "onnx",
            "engine",
            "tuner",
            "quantizer",
            "evaluator",
        ],
    ),
    ("ffi", &["llama-pajamas"]),
    ("server", &["llama-pajamas"]),
    ("cli", &["llama-pajamas", "llama-pajamas-server"]),
    ("examples/rust", &["llama-pajamas"]),
    ("tests", &["formats"]),
    ("xtask", &["formats", "families", "hardware", "planner", "quantizer"]),
];
const CRATES: [&str; 14] = [
    "formats",
    "families",
    "hardware",
    "bundle",
    "planner",
    "onnx",
    "mlx",
    "engine",
    "tuner",
    "evaluator",
    "quantizer",
    "llama-pajamas",
    "llama-pajamas-ffi",
    "llama-pajamas-server",
];

/// Crates that make and measure models, and what runs another format; apps that need none of it link none.
const OPTIONAL: [&str; 3] = ["quantizer", "evaluator", "onnx"];

pub(super) fn check(root: &Path) -> Result<Vec<Complaint>> {
    let workspace = read_toml(&root.join("Cargo.toml"))?;
    let members =
        workspace["workspace"]["members"].as_array().context("workspace.members is not an array")?;
    let mut complaints = Vec::new();
    for member in members.iter().filter_map(|member| member.as_str()) {
        let Some((_, allowed)) = EDGES.iter().find(|(folder, _)| *folder == member) else {
            complaints.push(Complaint {
                place: "Cargo.toml".into(),
                message: format!("crate {member} has no row in xtask's table of edges"),
            });
            continue;
        };
        let manifest = read_toml(&root.join(member).join("Cargo.toml"))?;
        complaints.extend(check_edges(member, &manifest, allowed));
    }
    Ok(complaints)
}

fn check_edges(member: &str, manifest: &toml::Table, allowed: &[&str]) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let used = manifest.get("dependencies").and_then(|value| value.as_table());
    for (name, settings) in used.into_iter().flatten() {
        if CRATES.contains(&name.as_str()) && !allowed.contains(&name.as_str()) {
            complaints.push(Complaint {
                place: format!("{member}/Cargo.toml"),
                message: format!("must not depend on {name}; allowed: {}", allowed.join(", ")),
            });
        }
        let optional = settings.get("optional").and_then(|value| value.as_bool()).unwrap_or(false);
        if member == "core/runtime" && OPTIONAL.contains(&name.as_str()) && !optional {
            complaints.push(Complaint {
                place: format!("{member}/Cargo.toml"),
                message: format!("{name} must stay optional: only a feature may bring it in"),
            });
        }
    }
    complaints
}

fn read_toml(path: &Path) -> Result<toml::Table> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    text.parse().with_context(|| format!("parsing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_edge_is_named() {
        let manifest: toml::Table =
            "[dependencies]\nengine.workspace = true\nserde = \"1\"\n".parse().unwrap();
        assert_eq!(check_edges("core/formats", &manifest, &[]).len(), 1);
        assert_eq!(check_edges("core/quantizer", &manifest, &["engine"]).len(), 0);
    }

    #[test]
    fn the_quantizer_and_the_evaluator_stay_optional() {
        let manifest: toml::Table =
            "[dependencies]\nquantizer.workspace = true\nevaluator.workspace = true\n".parse().unwrap();
        assert_eq!(check_edges("core/runtime", &manifest, &["quantizer", "evaluator"]).len(), 2);
    }
}
