//! Types for tensors within a number of bytes, so that the sum of what they harm is least.
//! Owns the choice alone: a pure function of bytes and harm by candidate. Must not know models or files.
//!
//! First the lower convex hulls of all candidates and one exchange rate between bytes and harm, found by bisection; then
//! the best combinations by whole units of bytes, and single steps into what is left. Where more than a thousandth of the
//! budget is left then, the best combination that uses it is taken if its harm is larger by a hundredth at most: figures
//! say less than that.

use std::ops::RangeInclusive;

/// What a tensor may become.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Bytes in the file, padding included.
    pub bytes: u64,
    /// What it adds to the divergence, in any unit common to all tensors.
    pub harm: f64,
}

/// Units that a budget is cut into for combinations, where those that sizes are multiples of are more.
const UNITS: u64 = 60_000;

/// Most units of which sizes are multiples that combinations are looked for by: those are exact.
const EXACT_UNITS: u64 = 120_000;

/// The share of the budget that may stay unused.
const UNUSED: f64 = 1e-3;

/// Harms that differ by this share are as good as one another: figures say less.
const INDIFFERENT: f64 = 1e-2;

/// Most steps that pairs are made of: they take the square of it.
const MOST_PAIRED: usize = 6000;

/// For each tensor of `tensors`, which all have candidates, the index of the one chosen. The sum of bytes is at most
/// `budget_bytes`; `None` where even the smallest candidates take more.
pub fn allocate(tensors: &[Vec<Candidate>], budget_bytes: u64) -> Option<Vec<usize>> {
    let smallest: u64 = tensors.iter().map(|of| smallest_of(of)).sum();
    if smallest > budget_bytes {
        return None;
    }
    let by_rate = by_exchange_rate(tensors, budget_bytes);
    let combine = Combinations::new(tensors, budget_bytes);
    let anything = 0..=budget_bytes;
    let used_up = budget_bytes - (budget_bytes as f64 * UNUSED) as u64..=budget_bytes;
    let combined =
        |bytes: &RangeInclusive<u64>| combine.as_ref().and_then(|combine| combine.best(bytes.clone()));
    let starts =
        [(Some(by_rate), &anything), (combined(&anything), &anything), (combined(&used_up), &used_up)];
    let filled = starts.into_iter().filter_map(|(from, bytes)| Some(fill(tensors, bytes, from?)));
    let found: Vec<(f64, Vec<usize>)> = filled.map(|chosen| (harm_of(tensors, &chosen), chosen)).collect();
    let by_harm = |a: &&(f64, Vec<usize>), b: &&(f64, Vec<usize>)| a.0.total_cmp(&b.0);
    let least = found.iter().min_by(by_harm)?;
    let as_good = found.iter().filter(|(harm, chosen)| {
        used_up.contains(&bytes_of(tensors, chosen)) && *harm <= least.0 * (1.0 + INDIFFERENT)
    });
    Some(as_good.min_by(by_harm).unwrap_or(least).1.clone())
}

/// Bytes of a choice.
fn bytes_of(tensors: &[Vec<Candidate>], chosen: &[usize]) -> u64 {
    tensors.iter().zip(chosen).map(|(candidates, at)| candidates[*at].bytes).sum()
}

/// Harm of a choice.
fn harm_of(tensors: &[Vec<Candidate>], chosen: &[usize]) -> f64 {
    tensors.iter().zip(chosen).map(|(candidates, at)| candidates[*at].harm).sum()
}

/// The best choice within the budget at which every tensor trades bytes for harm at the same rate.
fn by_exchange_rate(tensors: &[Vec<Candidate>], budget_bytes: u64) -> Vec<usize> {
    let at_rate = |rate: f64| -> Vec<usize> {
        let cost = |c: &Candidate| c.harm + rate * c.bytes as f64;
        let cheapest = |candidates: &Vec<Candidate>| {
            let order = |a: &usize, b: &usize| {
                let (a, b) = (&candidates[*a], &candidates[*b]);
                cost(a).total_cmp(&cost(b)).then(a.bytes.cmp(&b.bytes))
            };
            (0..candidates.len()).min_by(order).unwrap_or(0)
        };
        tensors.iter().map(cheapest).collect()
    };
    // In logarithms: harms and bytes of real models differ by many powers of ten.
    let (mut low, mut high) = (-80.0f64, 40.0f64);
    let mut best = at_rate(f64::MAX / 1e30);
    for _ in 0..200 {
        let middle = (low + high) / 2.0;
        let chosen = at_rate(middle.exp());
        if bytes_of(tensors, &chosen) <= budget_bytes {
            best = chosen;
            high = middle;
        } else {
            low = middle;
        }
    }
    best
}

/// Bytes in a unit of combinations within `spare` bytes beyond the smallest candidates: the largest that all sizes are
/// multiples of, where that makes few enough.
fn unit_of(tensors: &[Vec<Candidate>], spare: u64) -> u64 {
    let divisor = |a: u64, b: u64| {
        let (mut a, mut b) = (a, b);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let apart = tensors.iter().flat_map(|of| of.iter().map(|c| c.bytes.abs_diff(of[0].bytes)));
    let common = apart.fold(0, divisor).max(1);
    if spare / common <= EXACT_UNITS { common } else { spare.div_ceil(UNITS).max(1) }
}

/// The least harm of all combinations by the bytes they take, rounded up to whole units tensor by tensor.
struct Combinations<'a> {
    tensors: &'a [Vec<Candidate>],
    /// Bytes of the smallest candidates together.
    smallest: u64,
    /// Bytes of a unit.
    unit: u64,
    /// Least harm by units beyond the smallest candidates, all of them used; infinite where no combination does.
    least: Vec<f64>,
    /// By tensor, what it becomes in the combination of it and those before it, by the units they use.
    choices: Vec<Vec<u8>>,
}

impl<'a> Combinations<'a> {
    fn new(tensors: &'a [Vec<Candidate>], budget_bytes: u64) -> Option<Self> {
        let smallest: u64 = tensors.iter().map(|of| smallest_of(of)).sum();
        let spare = budget_bytes.checked_sub(smallest)?;
        let unit = unit_of(tensors, spare);
        let n_units = usize::try_from(spare / unit).ok()?;
        let mut least = vec![f64::INFINITY; n_units + 1];
        least[0] = 0.0;
        let mut choices: Vec<Vec<u8>> = Vec::with_capacity(tensors.len());
        for candidates in tensors {
            let mut next = vec![f64::INFINITY; n_units + 1];
            let mut choice = vec![u8::MAX; n_units + 1];
            for (at, candidate) in candidates.iter().enumerate() {
                let Some(units) = units_of(candidates, at, unit) else { continue };
                let at = u8::try_from(at).ok()?;
                for used in units..=n_units {
                    let harm = least[used - units] + candidate.harm;
                    if harm < next[used] {
                        (next[used], choice[used]) = (harm, at);
                    }
                }
            }
            least = next;
            choices.push(choice);
        }
        Some(Self { tensors, smallest, unit, least, choices })
    }

    /// The combination of least harm that takes a number of bytes within `range`.
    fn best(&self, range: RangeInclusive<u64>) -> Option<Vec<usize>> {
        let fits = |used: &usize| range.contains(&(self.smallest + self.unit * *used as u64));
        let possible = (0..self.least.len()).filter(|used| fits(used) && self.least[*used].is_finite());
        let mut used = possible.min_by(|a, b| self.least[*a].total_cmp(&self.least[*b]))?;
        let mut chosen = vec![0; self.tensors.len()];
        for (tensor, candidates) in self.tensors.iter().enumerate().rev() {
            chosen[tensor] = usize::from(self.choices[tensor][used]);
            used -= units_of(candidates, chosen[tensor], self.unit)?;
        }
        Some(chosen)
    }
}

fn smallest_of(candidates: &[Candidate]) -> u64 {
    candidates.iter().map(|c| c.bytes).min().unwrap_or(0)
}

/// Units that a candidate takes beyond the smallest.
fn units_of(candidates: &[Candidate], at: usize, unit: u64) -> Option<usize> {
    usize::try_from((candidates[at].bytes - smallest_of(candidates)).div_ceil(unit)).ok()
}

/// One or two changes of a tensor's candidate.
type Steps = [Option<(usize, usize)>; 2];

/// Takes single steps, and pairs of one up and one down, that lessen the harm, as long as all take a number of bytes
/// within `range`.
fn fill(tensors: &[Vec<Candidate>], range: &RangeInclusive<u64>, mut chosen: Vec<usize>) -> Vec<usize> {
    loop {
        let now = i128::from(bytes_of(tensors, &chosen));
        let fits = |more: i128| u64::try_from(now + more).is_ok_and(|bytes| range.contains(&bytes));
        let steps: Vec<(usize, usize, i128, f64)> = tensors
            .iter()
            .enumerate()
            .flat_map(|(tensor, candidates)| {
                let now = candidates[chosen[tensor]];
                candidates.iter().enumerate().map(move |(at, c)| {
                    (tensor, at, i128::from(c.bytes) - i128::from(now.bytes), c.harm - now.harm)
                })
            })
            .filter(|(_, _, bytes, harm)| *bytes != 0 || *harm != 0.0)
            .collect();
        let mut best: Option<(f64, Steps)> = None;
        let mut offer = |gain: f64, steps: Steps| {
            if gain < 0.0 && best.as_ref().is_none_or(|(least, _)| gain < *least) {
                best = Some((gain, steps));
            }
        };
        for (tensor, at, bytes, harm) in &steps {
            if fits(*bytes) {
                offer(*harm, [Some((*tensor, *at)), None]);
            }
            if *harm >= 0.0 || steps.len() > MOST_PAIRED {
                continue;
            }
            for (other, other_at, more, other_harm) in &steps {
                if other != tensor && fits(bytes + more) {
                    offer(harm + other_harm, [Some((*tensor, *at)), Some((*other, *other_at))]);
                }
            }
        }
        let Some((_, steps)) = best else { return chosen };
        steps.into_iter().flatten().for_each(|(tensor, at)| chosen[tensor] = at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidates(sizes: &[u64], bits: &[f64], harm: &[f64]) -> Vec<Vec<Candidate>> {
        let of = |(size, sensitivity): (&u64, &f64)| {
            let bytes = |bits: f64| (*size as f64 * bits / 8.0) as u64;
            bits.iter()
                .map(|b| Candidate { bytes: bytes(*b), harm: sensitivity * (-1.4 * b).exp() })
                .collect()
        };
        sizes.iter().zip(harm).map(of).collect()
    }

    #[test]
    fn small_cases_are_solved_exactly() {
        let bits = [2.5, 3.4, 4.5, 8.5];
        for seed in 1..20u64 {
            let random = |i: u64| (seed * 7919 + i * 104_729) % 1000;
            let sizes: Vec<u64> = (0..5).map(|i| 400 + random(i)).collect();
            let harm: Vec<f64> = (5..10).map(|i| 1.0 + random(i) as f64 / 40.0).collect();
            let tensors = candidates(&sizes, &bits, &harm);
            let most = sizes.iter().sum::<u64>() * 85 / 80;
            let budget = most * (40 + random(11) % 55) / 100;
            let mut best = f64::INFINITY;
            for number in 0..4usize.pow(5) {
                let chosen: Vec<usize> = (0..5).map(|i| number / 4usize.pow(i) % 4).collect();
                if bytes_of(&tensors, &chosen) <= budget {
                    best = best.min(harm_of(&tensors, &chosen));
                }
            }
            let found = allocate(&tensors, budget);
            match found {
                None => assert_eq!(best, f64::INFINITY),
                Some(chosen) => {
                    assert!(bytes_of(&tensors, &chosen) <= budget);
                    let harm = harm_of(&tensors, &chosen);
                    assert!(harm <= best * (1.0 + 1e-9), "{seed}: {harm}, best {best}");
                }
            }
        }
    }

    #[test]
    fn budgets_are_used_and_never_exceeded() {
        let sizes: Vec<u64> = (0..60).map(|i| 32_768 * (1 + i % 24)).collect();
        let harm: Vec<f64> = (0..60).map(|i| 1.0 + f64::from(i * i % 17)).collect();
        let tensors = candidates(&sizes, &[2.0625, 2.625, 3.4375, 4.25, 4.5, 5.5, 6.5625, 8.5], &harm);
        let (least, most) = (sizes.iter().sum::<u64>() * 22 / 80, sizes.iter().sum::<u64>());
        for step in 0..20 {
            let budget = least + (most - least) * step / 20;
            let bytes = bytes_of(&tensors, &allocate(&tensors, budget).unwrap());
            assert!(bytes <= budget && bytes as f64 >= 0.999 * budget as f64, "{bytes} of {budget}");
        }
        assert_eq!(allocate(&tensors, least / 2), None);
    }
}
