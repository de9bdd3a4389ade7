//! Sizes told for a model in every precision against llama-quantize's own account of it (`--dry-run`), for published
//! configurations in full size: their headers are written here, their weights nowhere. Owns the selection; must not
//! know recipes.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

mod outline;

use families::Description;
use formats::gguf::GgmlType;
use formats::imatrix::{Entry, Imatrix, write_gguf};
use llama_pajamas_tests::{oracle, shared};
use outline::{Outline, in_type};
use quantizer::recipe::{FileType, Recipe};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

const PRECISIONS: [&str; 10] =
    ["Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "IQ3_XXS", "Q2_K", "IQ2_XXS", "IQ1_S"];

/// What llama-quantize would write, without writing it: the type of each tensor, and MiB with two digits. Its words
/// where it refuses.
fn outside(path: &Path, imatrix: &Path, precision: &str) -> Result<(BTreeMap<String, String>, f64), String> {
    let mut command = Command::new(oracle("build/bin/llama-quantize"));
    command.arg("--dry-run").arg("--imatrix").arg(imatrix).arg(path).arg(precision);
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    // `[   1/ 291] NAME - [ SHAPE ], type = f16, size = 1.00 MiB -> 0.28 MiB (q4_K)`, or without what follows the arrow.
    let tensor = |line: &str| {
        let (name, rest) = line.strip_prefix('[')?.split_once("] ")?.1.split_once(" - [")?;
        let before = rest.split_once("type = ")?.1.split_once(',')?.0;
        let after = rest.split_once("-> ").and_then(|(_, after)| after.split_once('(')?.1.split_once(')'));
        Some((name.trim().to_string(), after.map_or(before, |(ty, _)| ty).trim().to_uppercase()))
    };
    let told = |line: &str| line.split_once("quant size  =")?.1.split("MiB").next()?.trim().parse().ok();
    match text.lines().find_map(told) {
        Some(mib) => Ok((text.lines().filter_map(tensor).collect(), mib)),
        None => Err(text.lines().rev().take(3).collect::<Vec<_>>().join(" | ")),
    }
}

/// Recipes ask whether there is an importance matrix, a rehearsal asks for nothing in it.
fn any_imatrix() -> Imatrix {
    let entry = Entry { n_columns: 32, n_matrices: 1, sums: vec![1.0; 32], counts: vec![1.0], legacy: false };
    let entries = [("blk.0.attn_q.weight".to_string(), entry)].into();
    Imatrix { entries, datasets: vec!["none".into()], chunk_count: 1, chunk_size: 32 }
}

#[test]
fn sizes_are_those_that_llama_quantize_tells() {
    let folder = tempfile::tempdir().unwrap();
    let imatrix = folder.path().join("imatrix.gguf");
    write_gguf(std::fs::File::create(&imatrix).unwrap(), &any_imatrix()).unwrap();
    let mut paths: Vec<_> =
        std::fs::read_dir(shared("data/configs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let only = std::env::var("LLAMA_PAJAMAS_ONLY").ok();
    let (mut wrong, mut n_equal, mut n_models) = (Vec::new(), 0, 0);
    for path in paths {
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if only.as_ref().is_some_and(|only| !name.contains(only)) {
            continue;
        }
        let Ok(config) = serde_json::from_slice(&std::fs::read(&path).unwrap()) else { continue };
        // What no family describes is refused by the tests of detection.
        let Ok(outline) = Outline::write(folder.path(), &name, &config, in_type(GgmlType::F16)) else {
            continue;
        };
        // In 16 bits, as its outline: llama-quantize would keep what is in MXFP4.
        let described =
            Description { native_quantization: None, ..families::detect_config(&config).unwrap() };
        n_models += 1;
        for precision in PRECISIONS {
            let recipe = Recipe::Stock(FileType::from_name(precision).unwrap());
            let ours = quantizer::estimate(&described, recipe).unwrap();
            let (theirs, mib) = match outside(&outline.path, &imatrix, precision) {
                Ok(told) => told,
                Err(words) => {
                    wrong.push(format!("{name} {precision}: llama-quantize says {words}"));
                    continue;
                }
            };
            let types =
                ours.tensors.iter().map(|tensor| (tensor.name.clone(), tensor.ty.name().to_uppercase()));
            let types: BTreeMap<String, String> = types.collect();
            if let Some((tensor, ty)) = types.iter().find(|(tensor, ty)| theirs.get(*tensor) != Some(*ty)) {
                wrong.push(format!(
                    "{name} {precision}: {tensor} is {ty}, {:?} by llama-quantize",
                    theirs.get(tensor)
                ));
                continue;
            }
            let left_out: Vec<_> = theirs.keys().filter(|tensor| !types.contains_key(*tensor)).collect();
            let bytes = ours.tensor_bytes as f64;
            if !left_out.is_empty() || (bytes / 1_048_576.0 - mib).abs() > 0.0051 {
                wrong.push(format!(
                    "{name} {precision}: {bytes} bytes, {mib} MiB by llama-quantize; {left_out:?}"
                ));
                continue;
            }
            n_equal += 1;
        }
        std::fs::remove_file(&outline.path).unwrap();
    }
    println!("{n_equal} of {} sizes of {n_models} models equal", n_equal + wrong.len());
    assert!(n_equal > 0 && wrong.is_empty(), "{}", wrong.join("\n"));
}
