//! Types for tensors within a number of bytes, so that the sum of what they harm is least.
//! Owns the choice alone: a pure function of bytes and harm by candidate. Must not know models or files.
//!
//! First the lower convex hulls of all candidates and one exchange rate between bytes and harm, found by bisection; then,
//! around what that chooses, the best combination by whole units of bytes, and single steps into what is left.

/// What a tensor may become.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Bytes in the file, padding included.
    pub bytes: u64,
    /// What it adds to the divergence, in any unit common to all tensors.
    pub harm: f64,
}

/// Units that a budget is cut into for combinations.
const UNITS: u64 = 60_000;

/// For each tensor of `tensors`, which all have candidates, the index of the one chosen. The sum of bytes is at most
/// `budget_bytes`; `None` where even the smallest candidates take more.
pub fn allocate(tensors: &[Vec<Candidate>], budget_bytes: u64) -> Option<Vec<usize>> {
    let smallest: u64 = tensors.iter().map(|of| of.iter().map(|c| c.bytes).min().unwrap_or(0)).sum();
    if smallest > budget_bytes {
        return None;
    }
    let by_rate = by_exchange_rate(tensors, budget_bytes);
    let combined = combine(tensors, budget_bytes).unwrap_or_else(|| by_rate.clone());
    let best = [by_rate, combined].into_iter().map(|chosen| fill(tensors, budget_bytes, chosen));
    best.min_by(|a, b| harm_of(tensors, a).total_cmp(&harm_of(tensors, b)))
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

/// The least harm of all combinations, with bytes rounded up to whole units.
fn combine(tensors: &[Vec<Candidate>], budget_bytes: u64) -> Option<Vec<usize>> {
    let base: u64 = tensors.iter().map(|of| of.iter().map(|c| c.bytes).min().unwrap_or(0)).sum();
    let spare = budget_bytes - base;
    let unit = spare.div_ceil(UNITS).max(1);
    let n_units = usize::try_from(spare / unit).ok()?;
    let mut least = vec![0f64; n_units + 1];
    let mut choices: Vec<Vec<u8>> = Vec::with_capacity(tensors.len());
    for candidates in tensors {
        let smallest = candidates.iter().map(|c| c.bytes).min()?;
        let mut next = vec![f64::INFINITY; n_units + 1];
        let mut choice = vec![u8::MAX; n_units + 1];
        for (at, candidate) in candidates.iter().enumerate() {
            let Ok(units) = usize::try_from((candidate.bytes - smallest).div_ceil(unit)) else { continue };
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
    let mut used = n_units;
    let mut chosen = vec![0; tensors.len()];
    for (tensor, candidates) in tensors.iter().enumerate().rev() {
        chosen[tensor] = choices[tensor][used] as usize;
        let smallest = candidates.iter().map(|c| c.bytes).min()?;
        used -= usize::try_from((candidates[chosen[tensor]].bytes - smallest).div_ceil(unit)).ok()?;
    }
    Some(chosen)
}

/// One or two changes of a tensor's candidate.
type Steps = [Option<(usize, usize)>; 2];

/// Takes single steps, and pairs of one up and one down, that lessen the harm within what is left of the budget.
fn fill(tensors: &[Vec<Candidate>], budget_bytes: u64, mut chosen: Vec<usize>) -> Vec<usize> {
    loop {
        let left = budget_bytes - bytes_of(tensors, &chosen);
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
            if *bytes <= i128::from(left) {
                offer(*harm, [Some((*tensor, *at)), None]);
            }
            if *harm >= 0.0 || steps.len() > 6000 {
                continue;
            }
            for (other, other_at, more, other_harm) in &steps {
                if other != tensor && bytes + more <= i128::from(left) {
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
