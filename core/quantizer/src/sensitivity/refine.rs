//! Sensitivities refined by probes of several tensors at once: what is known beforehand, moved as far as the measurements ask
//! for and no further.
//! A pure function of harms, kinds and measurements; must not know weights or engines.
//!
//! A probe's divergence is taken as the sum `Σ hᵢ exp(uᵢ)` over the tensors that it rounds, `hᵢ` their harm by the priors.
//! The `u` are normal with mean 0; those of tensors of one role, of one quarter of the depth, or of both, go together as
//! [`Spread`] says. The measurements are right to a factor that is log-normal too. What is likeliest then is a regularised
//! least squares in logarithms, with positive sensitivities, that Gauss and Newton's method solves by a system as large as
//! there are probes (Rasmussen and Williams, Gaussian Processes for Machine Learning, 3.4).

use families::Role;
use serde::{Deserialize, Serialize};

/// How far measurements are from sums of harms, as a standard deviation of logarithms: interactions between tensors.
const MISFIT: f64 = 0.1;
const ITERATIONS: usize = 40;
/// Parts that probes are split into to compare spreads.
const FOLDS: usize = 5;

/// What tensors have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) role: Role,
    /// Of the depth; `None` outside of layers.
    pub(crate) quarter: Option<u8>,
}

/// A probe: the tensors that were rounded, and the divergence that they made together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Measured {
    pub(crate) tensors: Vec<usize>,
    pub(crate) kld: f64,
}

/// Standard deviations of logarithms of what is wrong with priors.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// Of all tensors together: priors tell ratios alone.
    pub all: f64,
    /// Of each role.
    pub role: f64,
    /// Of each quarter of the depth.
    pub quarter: f64,
    /// Of each role in each quarter.
    pub group: f64,
    /// Of each tensor.
    pub tensor: f64,
}

impl Spread {
    /// Nothing but the unit.
    pub(crate) const PRIORS: Self = Self { all: 5.0, role: 0.0, quarter: 0.0, group: 0.0, tensor: 0.0 };
    /// What is compared: groups, tensors, and both.
    pub(crate) const CHOICES: [Self; 4] = [
        Self { role: 0.8, quarter: 0.5, group: 0.3, ..Self::PRIORS },
        Self { tensor: 0.8, ..Self::PRIORS },
        Self { role: 0.8, quarter: 0.5, group: 0.3, tensor: 0.3, ..Self::PRIORS },
        Self { role: 0.5, quarter: 0.3, group: 0.3, tensor: 0.5, ..Self::PRIORS },
    ];

    /// The covariance of the logarithms, times `vector`.
    fn times(&self, kinds: &[Kind], vector: &[f64]) -> Vec<f64> {
        let sum = |same: &dyn Fn(&Kind) -> bool| -> f64 {
            kinds.iter().zip(vector).filter(|(kind, _)| same(kind)).map(|(_, value)| value).sum()
        };
        let all = sum(&|_| true);
        let mut known: Vec<(Kind, f64)> = Vec::new();
        let mut product = Vec::with_capacity(vector.len());
        for (kind, value) in kinds.iter().zip(vector) {
            let shared = match known.iter().find(|(of, _)| of == kind) {
                Some((_, shared)) => *shared,
                None => {
                    let role = sum(&|other| other.role == kind.role);
                    let quarter = sum(&|other| other.quarter == kind.quarter);
                    let group = sum(&|other| other == kind);
                    let shared = self.all.powi(2) * all
                        + self.role.powi(2) * role
                        + self.quarter.powi(2) * quarter
                        + self.group.powi(2) * group;
                    known.push((*kind, shared));
                    shared
                }
            };
            product.push(shared + self.tensor.powi(2) * value);
        }
        product
    }
}

/// What a probe of these tensors is expected to measure.
pub(crate) fn predicted(harms: &[f64], tensors: &[usize]) -> f64 {
    tensors.iter().map(|tensor| harms[*tensor]).sum()
}

/// Root of the mean square of the logarithms of predicted against measured.
pub(crate) fn misfit(harms: &[f64], probes: &[Measured]) -> f64 {
    let log = |probe: &Measured| (predicted(harms, &probe.tensors) / probe.kld).ln();
    let squares: f64 = probes.iter().map(|probe| log(probe).powi(2)).sum();
    (squares / probes.len().max(1) as f64).sqrt()
}

/// The likeliest harm of every tensor.
pub(crate) fn refine(priors: &[f64], kinds: &[Kind], probes: &[Measured], spread: &Spread) -> Vec<f64> {
    let n = probes.len();
    let mut logs = vec![0f64; priors.len()];
    for _ in 0..ITERATIONS {
        let harms = moved(priors, &logs);
        // Shares of a probe's tensors in its sum: the slopes of its logarithm.
        let slopes: Vec<Vec<f64>> = probes
            .iter()
            .map(|probe| {
                let sum = predicted(&harms, &probe.tensors);
                let mut row = vec![0f64; priors.len()];
                probe.tensors.iter().for_each(|tensor| row[*tensor] = harms[*tensor] / sum);
                row
            })
            .collect();
        let spreads: Vec<Vec<f64>> = slopes.iter().map(|row| spread.times(kinds, row)).collect();
        let wanted: Vec<f64> = probes
            .iter()
            .zip(&slopes)
            .map(|(probe, row)| (probe.kld / predicted(&harms, &probe.tensors)).ln() + dot(row, &logs))
            .collect();
        let mut matrix = vec![0f64; n * n];
        for (i, row) in slopes.iter().enumerate() {
            for (j, spread) in spreads.iter().enumerate() {
                matrix[i * n + j] = dot(row, spread) + if i == j { MISFIT.powi(2) } else { 0.0 };
            }
        }
        let weights = solve(matrix, wanted);
        for (tensor, log) in logs.iter_mut().enumerate() {
            let likeliest: f64 = weights.iter().zip(&spreads).map(|(weight, row)| weight * row[tensor]).sum();
            // Far steps leave the part where logarithms of sums are nearly straight.
            *log += (likeliest - *log).clamp(-1.0, 1.0);
        }
    }
    moved(priors, &logs)
}

/// The spread whose fits to most of the probes foretell the others best.
pub(crate) fn best_spread(priors: &[f64], kinds: &[Kind], probes: &[Measured]) -> Spread {
    let error = |spread: &Spread| -> f64 {
        let of_fold = |fold: usize| {
            let part = |held: bool| -> Vec<Measured> {
                let of_part = probes.iter().enumerate().filter(|(at, _)| (at % FOLDS == fold) == held);
                of_part.map(|(_, probe)| probe.clone()).collect()
            };
            let harms = refine(priors, kinds, &part(false), spread);
            misfit(&harms, &part(true)).powi(2)
        };
        (0..FOLDS).map(of_fold).sum()
    };
    let errors = Spread::CHOICES.map(|spread| (error(&spread), spread));
    errors.into_iter().min_by(|a, b| a.0.total_cmp(&b.0)).expect("there are choices").1
}

fn moved(priors: &[f64], logs: &[f64]) -> Vec<f64> {
    priors.iter().zip(logs).map(|(prior, log)| prior * log.exp()).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Solves a symmetric positive definite system (Cholesky).
fn solve(mut matrix: Vec<f64>, mut right: Vec<f64>) -> Vec<f64> {
    let n = right.len();
    for column in 0..n {
        for row in column..n {
            let done: f64 = (0..column).map(|k| matrix[row * n + k] * matrix[column * n + k]).sum();
            let left = matrix[row * n + column] - done;
            matrix[row * n + column] =
                if row == column { left.max(1e-12).sqrt() } else { left / matrix[column * n + column] };
        }
    }
    for row in 0..n {
        let done: f64 = (0..row).map(|k| matrix[row * n + k] * right[k]).sum();
        right[row] = (right[row] - done) / matrix[row * n + row];
    }
    for row in (0..n).rev() {
        let done: f64 = (row + 1..n).map(|k| matrix[k * n + row] * right[k]).sum();
        right[row] = (right[row] - done) / matrix[row * n + row];
    }
    right
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty-four tensors of three roles in eight layers.
    fn kinds() -> Vec<Kind> {
        let roles = [Role::AttentionQ, Role::FfnUp, Role::FfnDown];
        let of = |layer: u8| roles.map(|role| Kind { role, quarter: Some(layer / 2) });
        (0..8).flat_map(of).collect()
    }

    fn probes(truth: &[f64], n: usize) -> Vec<Measured> {
        let probe = |at: usize| {
            let chosen = |tensor: &usize| (tensor * 7919 + at * 104_729 + tensor * at * 31) % 97 < 35;
            let tensors: Vec<usize> = (0..truth.len()).filter(chosen).collect();
            Measured { kld: predicted(truth, &tensors), tensors }
        };
        (0..n).map(probe).filter(|probe| !probe.tensors.is_empty()).collect()
    }

    #[test]
    fn what_groups_have_in_common_is_found_from_fewer_probes_than_tensors() {
        let kinds = kinds();
        let priors = vec![0.01; kinds.len()];
        let truth: Vec<f64> = kinds
            .iter()
            .map(|kind| {
                let role = if kind.role == Role::FfnDown { 6.0 } else { 1.0 };
                0.03 * role * (1.0 + f64::from(kind.quarter.unwrap_or(0)))
            })
            .collect();
        let (seen, unseen) = (probes(&truth, 16), probes(&truth, 40)[24..].to_vec());
        let spread = best_spread(&priors, &kinds, &seen);
        assert!(spread.role > 0.0, "{spread:?}");
        let before = refine(&priors, &kinds, &seen, &Spread::PRIORS);
        let after = refine(&priors, &kinds, &seen, &spread);
        let (before, fitted) = (misfit(&before, &unseen), misfit(&after, &unseen));
        // Below what measurements are taken to be off by, and what priors are off by.
        assert!(fitted < MISFIT.min(before / 3.0), "{fitted} of {before}");
        let ratio = after[2] / after[1];
        // Drawn back towards equal ones, and most of the way to 6.
        assert!((3.0..8.0).contains(&ratio), "{ratio}");
    }

    #[test]
    fn without_probes_priors_stay_and_nothing_becomes_negative() {
        let kinds = kinds();
        let priors: Vec<f64> = (1..=kinds.len()).map(|at| at as f64).collect();
        assert_eq!(refine(&priors, &kinds, &[], &Spread::CHOICES[2]), priors);
        // What measures nothing at all would ask for negative sums of squares.
        let mut probes = probes(&priors, 12);
        probes[0].kld = 1e-12;
        let refined = refine(&priors, &kinds, &probes, &Spread::CHOICES[2]);
        assert!(refined.iter().all(|harm| *harm > 0.0 && harm.is_finite()));
    }

    #[test]
    fn systems_are_solved() {
        let solved = solve(vec![4.0, 2.0, 2.0, 3.0], vec![10.0, 9.0]);
        assert!((solved[0] - 1.5).abs() < 1e-12 && (solved[1] - 2.0).abs() < 1e-12, "{solved:?}");
    }
}
