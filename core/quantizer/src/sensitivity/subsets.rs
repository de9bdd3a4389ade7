//! Probes of many tensors at once: random subsets rounded, priors refined by what they measure, and a check on subsets that
//! no fit has seen.
//! Knows probes and priors; must not know budgets.

use super::probe::{Probe, Probes};
use super::refine::{Kind, Measured, Spread, best_spread, misfit, predicted, refine};
use super::{Outline, Priors, Sensitivity};
use crate::moments::Moments;
use crate::progress::Meter;
use crate::recipe::order;
use crate::source::TensorSource;
use crate::{Error, Result, Watch};
use evaluator::seed::Seeded;
use families::role_of;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Fewest subsets that tell anything, four of five to fit to.
pub const FEWEST_SUBSETS: usize = 10;
/// One subset in so many is kept for the check.
const CHECKED_EVERY: usize = 5;
/// Shares of the tensors that a subset has, evenly spread in logarithms.
const SHARES: [f64; 2] = [0.125, 0.5];

/// Which subsets are probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subsets {
    /// How many, [`FEWEST_SUBSETS`] at least.
    pub n: usize,
    /// Seed of the draw.
    pub seed: u64,
}

/// How subsets were probed, and how well a fit to most of them foretold the others.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubsetProbes {
    /// Subsets that were measured.
    pub n: usize,
    /// Seed of their draw.
    pub seed: u64,
    /// Type that tensors were rounded to, where their rows divide into its blocks.
    #[serde(rename = "type")]
    pub ty: String,
    /// What the fit takes tensors to have in common: what foretold best within those that it was fitted to.
    pub spread: Spread,
    /// Root of the mean square of the logarithms of predicted against measured, over the checks, by priors alone but for their
    /// unit.
    pub error_of_priors: f64,
    /// The same by the fit to the others.
    pub error: f64,
    /// The same by every spread that could have been chosen.
    pub choices: Vec<SpreadCheck>,
    /// Every check.
    pub checks: Vec<SubsetCheck>,
}

/// What a spread foretells of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpreadCheck {
    /// The spread.
    pub spread: Spread,
    /// As [`SubsetProbes::error`].
    pub error: f64,
}

/// A subset that the fit had not seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SubsetCheck {
    /// Tensors in it.
    pub n_tensors: usize,
    /// Mean KLD in nats that priors foretell in the unit that the fit finds.
    pub by_priors: f64,
    /// What the fit foretells.
    pub predicted: f64,
    /// What was measured.
    pub measured: f64,
}

/// Probes random subsets of the tensors of `sensitivity` and refines what priors say of each: `kappa` of every tensor is set,
/// and how well that foretells is kept. One subset in five is held out for the check; then all of them count.
///
/// # Errors
/// Too few subsets, a model that cannot be loaded, a full disk, or [`Error::Cancelled`].
pub fn refine_kappas(
    source: &dyn TensorSource,
    moments: &Moments,
    sensitivity: &mut Sensitivity,
    probes: &Probes<'_>,
    subsets: Subsets,
    watch: &mut Watch<'_>,
) -> Result<()> {
    if subsets.n < FEWEST_SUBSETS {
        let expected = format!("at least {FEWEST_SUBSETS} subsets of tensors");
        return Err(Error::Request { wish: "probes".into(), expected, got: subsets.n.to_string() });
    }
    let mut probe = Probe::start(source, moments, sensitivity.feedback, probes)?;
    let outline = Outline::of(source.tensors().iter().map(|tensor| &tensor.name));
    let mut names = Vec::new();
    let mut priors = Vec::new();
    let mut errors = Vec::new();
    for (name, tensor) in &sensitivity.tensors {
        let error = probe.type_for(name).and_then(|ty| tensor.errors.get(ty.name())).copied();
        if let Some(error) = error.filter(|error| *error > 0.0) {
            names.push(name.clone());
            priors.push(Priors::built_in().of(name, outline) * error);
            errors.push(error);
        }
    }
    let drawn = draw(names.len(), subsets);
    let measured = measure(&mut probe, &names, &drawn, probes, watch)?;
    let kinds: Vec<Kind> = names.iter().map(|name| kind_of(name, outline.n_layers)).collect();
    let part = |held: bool| -> Vec<Measured> {
        let of_part = measured.iter().enumerate().filter(|(at, _)| (at % CHECKED_EVERY == 0) == held);
        of_part.map(|(_, probe)| probe.clone()).collect()
    };
    let (fitted, held) = (part(false), part(true));
    let spread = best_spread(&priors, &kinds, &fitted);
    let by_priors = refine(&priors, &kinds, &fitted, &Spread::PRIORS);
    let by_fit = refine(&priors, &kinds, &fitted, &spread);
    let check = |probe: &Measured| SubsetCheck {
        n_tensors: probe.tensors.len(),
        by_priors: predicted(&by_priors, &probe.tensors),
        predicted: predicted(&by_fit, &probe.tensors),
        measured: probe.kld,
    };
    let by_spread = |spread: Spread| {
        let harms = refine(&priors, &kinds, &fitted, &spread);
        SpreadCheck { spread, error: misfit(&harms, &held) }
    };
    sensitivity.subset_probes = Some(SubsetProbes {
        n: subsets.n,
        seed: subsets.seed,
        ty: probes.ty.name().into(),
        spread,
        error_of_priors: misfit(&by_priors, &held),
        error: misfit(&by_fit, &held),
        choices: Spread::CHOICES.map(by_spread).to_vec(),
        checks: held.iter().map(check).collect(),
    });
    let harms = refine(&priors, &kinds, &measured, &spread);
    for ((name, harm), error) in names.iter().zip(harms).zip(errors) {
        sensitivity.tensors.get_mut(name).expect("a name of its own").kappa = Some(harm / error);
    }
    sensitivity.probe_tokens = probe.n_judged() as u64;
    Ok(())
}

/// What a tensor has in common with others.
fn kind_of(name: &str, n_layers: usize) -> Kind {
    let layer = usize::try_from(order(name).0).ok().filter(|layer| *layer < n_layers);
    let quarter = layer.map(|layer| (4 * layer / n_layers) as u8);
    Kind { role: role_of(name), quarter }
}

/// Subsets of `n_tensors` tensors, none empty.
fn draw(n_tensors: usize, subsets: Subsets) -> Vec<Vec<usize>> {
    let mut seeded = Seeded::of(&[subsets.seed, n_tensors as u64]);
    let [least, most] = SHARES.map(f64::ln);
    let mut all: Vec<usize> = (0..n_tensors).collect();
    let mut subset = |at: usize| {
        let share = (least + (most - least) * (at as f64 + 0.5) / subsets.n as f64).exp();
        let n = ((n_tensors as f64 * share).round() as usize).clamp(1, n_tensors);
        seeded.shuffle(&mut all);
        let mut chosen = all[..n].to_vec();
        chosen.sort_unstable();
        chosen
    };
    let mut drawn: Vec<Vec<usize>> = (0..subsets.n).map(&mut subset).collect();
    // Small and large ones in every part that is held out.
    seeded.shuffle(&mut drawn);
    drawn
}

fn measure(
    probe: &mut Probe<'_>,
    names: &[String],
    drawn: &[Vec<usize>],
    probes: &Probes<'_>,
    watch: &mut Watch<'_>,
) -> Result<Vec<Measured>> {
    let rounded = Rounded(probes.scratch.with_extension("rounded"));
    std::fs::copy(probes.scratch, &rounded.0).map_err(|error| Error::io(&rounded.0, error))?;
    let mut meter = Meter::new(watch, "rounding for probes", names.len() as u64);
    for name in names {
        probe.put(&rounded.0, name, probe.type_for(name))?;
        meter.add(1)?;
    }
    let mut meter = Meter::new(watch, "probes", drawn.len() as u64);
    let mut measured = Vec::with_capacity(drawn.len());
    for tensors in drawn {
        for tensor in tensors {
            probe.copy(&rounded.0, &names[*tensor])?;
        }
        // What is told by 32-bit logits is never less than nothing; equal ones would tell no logarithm.
        let kld = probe.divergence()?.max(1e-9);
        for tensor in tensors {
            probe.put(probes.scratch, &names[*tensor], None)?;
        }
        measured.push(Measured { tensors: tensors.clone(), kld });
        meter.add(1)?;
    }
    Ok(measured)
}

/// The file with all tensors rounded, which goes with its owner.
struct Rounded(PathBuf);

impl Drop for Rounded {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_are_the_seed_s_and_of_many_sizes() {
        let drawn = draw(40, Subsets { n: 20, seed: 3 });
        assert_eq!(drawn, draw(40, Subsets { n: 20, seed: 3 }));
        assert_ne!(drawn, draw(40, Subsets { n: 20, seed: 4 }));
        let sizes: Vec<usize> = drawn.iter().map(Vec::len).collect();
        assert!(sizes.iter().min() <= Some(&6) && sizes.iter().max() >= Some(&18), "{sizes:?}");
        assert!(drawn.iter().flatten().all(|tensor| *tensor < 40));
        let times = |tensor: usize| drawn.iter().filter(|subset| subset.contains(&tensor)).count();
        assert!((0..40).all(|tensor| times(tensor) > 0));
        assert_eq!(draw(1, Subsets { n: 10, seed: 0 }), vec![vec![0]; 10]);
    }
}
