//! Directories that MLX loads: the grids of weights, what a recipe gives each tensor, and writing them.
//! Knows checkpoints and `families`' layouts; must not know GGUF or bundles.

mod affine;
mod allocation;
mod config;
mod grid;
mod minifloat;
mod plan;
mod recipe;
mod search;
mod write;

pub(crate) use allocation::Guide;
pub use grid::{AFFINE_BITS, AFFINE_GROUPS, Grid, Packed};
pub use plan::Plan;
pub(crate) use plan::PlannedTensor;
pub use recipe::{Recipe, Wishes};

use crate::source::mlx::MlxSource;
use crate::{Result, Watch};
use allocation::Choices;
use plan::{plan_with, pure_form};
use std::io::Write;

/// Plans the files that each of `recipes` makes of `source`; `guide` says what grids cost where they are chosen, which is
/// measured once.
///
/// # Errors
/// A file that goes along and cannot be read, names and shapes that safetensors does not allow, a size that cannot be met, bad
/// weights, or [`crate::Error::Cancelled`].
pub(crate) fn plans(
    source: &MlxSource,
    recipes: &[Recipe],
    wishes: Wishes,
    guide: Guide<'_>,
    threads: usize,
    watch: &mut Watch<'_>,
) -> Result<Vec<Plan>> {
    let mut measured: Option<Choices> = None;
    let mut plans = Vec::with_capacity(recipes.len());
    for recipe in recipes {
        let grid = recipe.grid();
        if let Recipe::Pure(_) = recipe {
            let forms: Vec<_> =
                source.tensors.iter().map(|held| (pure_form(held, grid, wishes), None)).collect();
            plans.push(plan_with(source, *recipe, &forms, None)?);
            continue;
        }
        let choices = match &mut measured {
            Some(choices) => choices,
            None => measured.insert(Choices::measure(source, wishes, guide, threads, watch)?),
        };
        let plan = fitted(source, choices, *recipe)?;
        plans.push(Plan { moments: guide.moments.cloned(), ..plan });
    }
    Ok(plans)
}

/// The plan of a recipe that chooses among grids.
fn fitted(source: &MlxSource, choices: &Choices, recipe: Recipe) -> Result<Plan> {
    let grid = recipe.grid();
    let (usual_bytes, other_bytes) = choices.usual_bytes(source, grid);
    let within = |bytes: u64| plan_with(source, recipe, &choices.within(source, grid, bytes)?, None);
    let Recipe::Fitted { bytes } = recipe else { return within(usual_bytes) };
    // Headers name lengths, which have as many digits as they have.
    let mut budget_bytes = bytes.saturating_sub(other_bytes);
    loop {
        let plan = within(budget_bytes)?;
        match plan.weights_file_bytes().saturating_sub(bytes) {
            0 => return Ok(plan),
            over => budget_bytes = budget_bytes.saturating_sub(over),
        }
    }
}

/// Writes the files of `plan` in order, weights first: `open` gives what a file's bytes go into, `close` ends it.
///
/// # Errors
/// A weight that is no finite number or that its floats cannot hold, whatever writing reports, or [`crate::Error::Cancelled`].
pub(crate) fn write<W: Write>(
    plan: &Plan,
    source: &MlxSource,
    threads: usize,
    watch: &mut Watch<'_>,
    open: &mut dyn FnMut(&str) -> Result<W>,
    close: &mut dyn FnMut(W) -> Result<()>,
) -> Result<()> {
    let mut meter = write::meter(plan, source, watch);
    for shard in &plan.shards {
        let mut out = open(&shard.name)?;
        write::write_shard(plan, shard, source, &mut out, threads, &mut meter)?;
        close(out)?;
    }
    let failed = |name: &str, error| crate::Error::io(std::path::Path::new(name), error);
    for (name, text) in &plan.texts {
        let mut out = open(name)?;
        out.write_all(text).map_err(|error| failed(name, error))?;
        close(out)?;
    }
    for (name, path, _) in &plan.companions {
        let mut out = open(name)?;
        let mut file = std::fs::File::open(path).map_err(|error| crate::Error::io(path, error))?;
        std::io::copy(&mut file, &mut out).map_err(|error| failed(name, error))?;
        close(out)?;
    }
    Ok(())
}
