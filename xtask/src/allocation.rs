//! Judging how types are chosen by sensitivities that others measured (`score-allocation`), and learning priors from them
//! (`fit-sensitivity`). Owns the protocol and the report; every choice that is judged comes from the quantizer.
//!
//! The tables hold the divergence with one tensor at a type of one to two bits (the probe), and of whole models by type.
//! Harm is taken as `Σ (probe - floor) · curve(type) / curve(probe)`, with the model's own figures: the curves are known to
//! both plans, as the quantizer measures errors of every model by itself.

mod table;

use anyhow::{Context, Result, ensure};
use formats::gguf::{GgmlType, layer_of};
use quantizer::allocate::{Candidate, allocate};
use quantizer::recipe::{FileType, Overrides};
use quantizer::sensitivity::{CANDIDATES, Outline, Priors};
use std::collections::BTreeMap;
use std::path::Path;
use table::Table;

/// Recipes at whose sizes plans are compared.
const RECIPES: [FileType; 3] = [FileType::Q4_K_M, FileType::Q3_K_M, FileType::Q2_K];

/// Prints how much of the gain over llama.cpp's recipe, in the logarithm of the divergence, a plan keeps whose
/// sensitivities were learned from the other models.
pub(crate) fn score(directory: &Path) -> Result<()> {
    let tables = read_all(directory)?;
    println!(
        "{:26} {:8} {:>11} {:>10} {:>10} {:>10} {:>6} {:>10} {:>6}",
        "model", "bytes of", "bytes", "recipe", "own", "learned", "kept", "groups", "kept"
    );
    let mut worst = f64::INFINITY;
    for left_out in &tables {
        let others: Vec<&Table> = tables.iter().filter(|table| table.name != left_out.name).collect();
        let priors = Priors::learn(others.iter().map(|table| &table.harm));
        for recipe in RECIPES {
            let Compared { bytes, stock, learned, grouped, own } = compare(left_out, recipe, &priors)?;
            let kept = |harm: f64| 100.0 * (stock / harm).ln() / (stock / own).ln();
            worst = worst.min(kept(learned));
            println!(
                "{:26} {:8} {bytes:>11} {stock:>10.5} {own:>10.5} {learned:>10.5} {:>5.1}% {grouped:>10.5} {:>5.1}%",
                left_out.name,
                recipe.name(),
                kept(learned),
                kept(grouped)
            );
        }
    }
    println!("worst of what was learned from others: {worst:.1}% of the logarithmic gain is kept");
    Ok(())
}

/// Prints the priors that all models together teach, as the quantizer's table.
pub(crate) fn fit(directory: &Path) -> Result<()> {
    let tables = read_all(directory)?;
    let priors = Priors::learn(tables.iter().map(|table| &table.harm));
    print!("{}", toml::to_string(&priors)?);
    Ok(())
}

fn read_all(directory: &Path) -> Result<Vec<Table>> {
    let mut folders: Vec<_> = std::fs::read_dir(directory)
        .with_context(|| directory.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    folders.retain(|path| path.is_dir());
    folders.sort();
    ensure!(folders.len() > 1, "{}: expected the tables of two models or more", directory.display());
    folders.iter().map(|folder| Table::read(folder)).collect()
}

/// Harm of plans at the same bytes.
struct Compared {
    bytes: u64,
    /// Of the recipe.
    stock: f64,
    /// Of the plan by what others taught.
    learned: f64,
    /// The same after the model's own figures of some groups of tensors ([`group`]).
    grouped: f64,
    /// Of the plan by all figures of its own.
    own: f64,
}

/// Groups of tensors that stand for a few probes: embedding, output, and feed-forwards and the others of each quarter of
/// the layers.
fn group(name: &str, outline: Outline) -> (bool, usize, &str) {
    match layer_of::<usize>(name) {
        Some(layer) => (name.contains(".ffn_"), 4 * layer / outline.n_layers, ""),
        None => (false, 0, name),
    }
}

/// The recipe and the plans at its bytes.
fn compare(table: &Table, recipe: FileType, priors: &Priors) -> Result<Compared> {
    let job = quantizer::plan_file(table, recipe, &Overrides::default(), None, false)?;
    let names: Vec<&String> = table.harm.keys().collect();
    let types: BTreeMap<&str, GgmlType> =
        job.tensors.iter().map(|plan| (plan.name.as_str(), plan.to)).collect();
    let bytes = |name: &str, ty: GgmlType| table.bytes(name, ty);
    let stock: Vec<GgmlType> = names.iter().map(|name| types[name.as_str()]).collect();
    let budget: u64 = names.iter().zip(&stock).filter_map(|(name, ty)| bytes(name, *ty)).sum();
    let outline = Outline::of(table.harm.keys());
    let learned = |name: &String| priors.of(name, outline);
    let own = |name: &String| table.harm[name];
    let mut sums: BTreeMap<_, (f64, f64)> = BTreeMap::new();
    for name in &names {
        let (of_learned, of_own) = sums.entry(group(name, outline)).or_default();
        *of_learned += learned(name);
        *of_own += own(name);
    }
    let grouped = |name: &String| {
        let (of_learned, of_own) = sums[&group(name, outline)];
        learned(name) * of_own / of_learned
    };
    let plan = |sensitivity: &dyn Fn(&String) -> f64| -> Result<Vec<GgmlType>> {
        let of = |name: &&String| -> Vec<(GgmlType, Candidate)> {
            let candidates = table.curve.iter().filter(|(ty, _)| CANDIDATES.contains(ty));
            let candidate = |(ty, harm): (&GgmlType, &f64)| {
                Some((*ty, Candidate { bytes: bytes(name, *ty)?, harm: sensitivity(name) * harm }))
            };
            candidates.filter_map(candidate).collect()
        };
        let options: Vec<Vec<(GgmlType, Candidate)>> = names.iter().map(of).collect();
        let candidates: Vec<Vec<Candidate>> =
            options.iter().map(|of| of.iter().map(|(_, candidate)| *candidate).collect()).collect();
        let chosen = allocate(&candidates, budget).context("the recipe's bytes hold no plan")?;
        Ok(options.iter().zip(chosen).map(|(of, at)| of[at].0).collect())
    };
    let judged = |types: &[GgmlType]| -> Result<f64> {
        let harm = |(name, ty): (&&String, &GgmlType)| {
            let curve = table.curve.get(ty).with_context(|| format!("{}: no figure for {ty}", table.name))?;
            Ok(table.harm[*name] * curve / table.probe_curve)
        };
        names.iter().zip(types).map(harm).sum()
    };
    Ok(Compared {
        bytes: budget,
        stock: judged(&stock)?,
        learned: judged(&plan(&learned)?)?,
        grouped: judged(&plan(&grouped)?)?,
        own: judged(&plan(&own)?)?,
    })
}
