//! One distribution of a store: the likeliest tokens, the mass of the others, a sample of them; and its bytes.
//! Owns the draw, the rounding and the layout of a record; must not know windows.

use super::{Header, Keep};
use crate::seed::Seeded;
use crate::{Error, Result};
use engine::Token;

/// Log-probabilities further below the greatest are rounded up to that: e^-60 of its weight moves no sum.
const MAX_DEPTH: f32 = 60.0;

/// A reference's distribution after one position.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Log-probability of the token that follows in the text.
    pub target: f32,
    /// Probability of all tokens outside `top`.
    pub tail_mass: f32,
    /// Ids and log-probabilities of the likeliest tokens, in falling order.
    pub top: Vec<(u32, f32)>,
    /// Of the other tokens a sample drawn by probability, each for an equal share of their mass; a token may come more
    /// than once.
    pub tail: Vec<(u32, f32)>,
}

/// What the logits of one position come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Logarithm of the sum of exponentials: a logit less this is a log-probability.
    pub log_sum: f64,
    /// Id of the likeliest token, the first where several are.
    pub top: usize,
}

impl Summary {
    /// Of a row of logits.
    ///
    /// # Errors
    /// What is wrong with a row that is no distribution.
    pub fn of(row: &[f32]) -> std::result::Result<Self, String> {
        let mut top = 0;
        for (id, logit) in row.iter().enumerate() {
            if logit.is_nan() || *logit == f32::INFINITY {
                return Err(format!("the logit of token {id} is {logit}"));
            }
            if *logit > row[top] {
                top = id;
            }
        }
        let greatest = row.get(top).copied().filter(|logit| logit.is_finite());
        let greatest = greatest.ok_or("no logit is finite")?;
        let sum: f64 = row.iter().map(|logit| f64::from((logit - greatest).exp())).sum();
        Ok(Self { log_sum: f64::from(greatest) + sum.ln(), top })
    }

    /// Log-probability of token `id` of the row.
    pub fn log_probability(&self, row: &[f32], id: usize) -> f64 {
        f64::from(row[id]) - self.log_sum
    }
}

impl Record {
    /// Of a row of logits; `target` is the token that follows.
    pub(crate) fn of(
        row: &[f32],
        target: Token,
        keep: Keep,
        seeded: &mut Seeded,
    ) -> std::result::Result<Self, String> {
        let summary = Summary::of(row)?;
        let n_top = keep.n_top.min(row.len());
        let mut ids: Vec<u32> = (0..row.len() as u32).collect();
        let falling = |a: &u32, b: &u32| row[*b as usize].total_cmp(&row[*a as usize]).then(a.cmp(b));
        if n_top < ids.len() {
            ids.select_nth_unstable_by(n_top - 1, falling);
        }
        let (top, tail) = ids.split_at_mut(n_top);
        top.sort_unstable_by(falling);
        let of = |id: u32| summary.log_probability(row, id as usize) as f32;
        let (tail_mass, tail) = draw(tail, &of, keep.n_tail, seeded);
        Ok(Self {
            target: of(target as u32),
            tail_mass,
            top: top.iter().map(|id| (*id, of(*id))).collect(),
            tail,
        })
    }
}

/// The mass of the tokens `ids` and, of them, `n` by systematic sampling: a comb with `n` teeth, laid at random over
/// their probabilities in order of id, takes each token with the chance that its probability asks for.
pub(super) fn draw(
    ids: &mut [u32],
    of: &impl Fn(u32) -> f32,
    n: usize,
    seeded: &mut Seeded,
) -> (f32, Vec<(u32, f32)>) {
    ids.sort_unstable();
    let mass: f64 = ids.iter().map(|id| f64::from(of(*id)).exp()).sum();
    let mut drawn = Vec::with_capacity(n);
    if ids.is_empty() || n == 0 || mass <= 0.0 {
        return (mass as f32, drawn);
    }
    let step = mass / n as f64;
    let mut tooth = seeded.unit() * step;
    let mut passed = 0.0;
    for id in ids.iter() {
        let log_probability = of(*id);
        passed += f64::from(log_probability).exp();
        while tooth < passed && drawn.len() < n {
            drawn.push((*id, log_probability));
            tooth += step;
        }
    }
    // Rounding may leave the last tooth beyond the end.
    while drawn.len() < n {
        let last = ids[ids.len() - 1];
        drawn.push((last, of(last)));
    }
    (mass as f32, drawn)
}

/// The bytes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    n_vocab: usize,
    n_top: usize,
    n_tail: usize,
    id_bytes: usize,
}

impl Layout {
    pub(super) fn of(header: &Header) -> Self {
        let n_top = header.keep.n_top.min(header.n_vocab);
        // Where the top is everything there is nothing to draw from.
        let n_tail = if n_top < header.n_vocab { header.keep.n_tail } else { 0 };
        let id_bytes = if header.n_vocab > 1 << 16 { 4 } else { 2 };
        Self { n_vocab: header.n_vocab, n_top, n_tail, id_bytes }
    }

    pub(super) fn record_bytes(self) -> usize {
        16 + (self.n_top + self.n_tail) * (self.id_bytes + 2)
    }

    pub(super) fn encode(self, record: &Record, out: &mut Vec<u8>) {
        let high = record.top.first().map_or(0.0, |(_, log_probability)| *log_probability);
        // Of a tail without mass nothing is drawn; its places hold the last of the top.
        let filler = record.top.last().copied().unwrap_or_default();
        let tail = record.tail.iter().copied().chain(std::iter::repeat(filler)).take(self.n_tail);
        let kept: Vec<(u32, f32)> = record.top.iter().copied().chain(tail).collect();
        let low = kept.iter().map(|(_, lp)| lp.max(high - MAX_DEPTH)).fold(high, f32::min);
        let step = (high - low) / f32::from(u16::MAX);
        for number in [record.target, record.tail_mass, high, step] {
            out.extend(number.to_le_bytes());
        }
        for (id, _) in &kept {
            out.extend(&id.to_le_bytes()[..self.id_bytes]);
        }
        for (_, log_probability) in &kept {
            let code = if step > 0.0 { ((high - log_probability) / step).round() } else { 0.0 };
            // Saturates, which is what the depth asks for.
            out.extend((code as u16).to_le_bytes());
        }
    }

    pub(super) fn decode(self, bytes: &[u8]) -> Result<Record> {
        let (numbers, kept) = bytes.split_at(16);
        let number = |i: usize| {
            let four = numbers[4 * i..4 * i + 4].try_into().expect("four bytes");
            let number = f32::from_le_bytes(four);
            match number.is_finite() {
                true => Ok(number),
                false => Err(Error::reference("records", "finite numbers", number)),
            }
        };
        let (target, tail_mass, high, step) = (number(0)?, number(1)?, number(2)?, number(3)?);
        let n_kept = self.n_top + self.n_tail;
        let (ids, codes) = kept.split_at(n_kept * self.id_bytes);
        let mut pairs = Vec::with_capacity(n_kept);
        for (id, code) in ids.chunks_exact(self.id_bytes).zip(codes.chunks_exact(2)) {
            let mut four = [0; 4];
            four[..self.id_bytes].copy_from_slice(id);
            let id = u32::from_le_bytes(four);
            if id as usize >= self.n_vocab {
                return Err(Error::reference("ids", format!("0 .. {}", self.n_vocab), id));
            }
            let code = u16::from_le_bytes([code[0], code[1]]);
            pairs.push((id, high - f32::from(code) * step));
        }
        let tail = pairs.split_off(self.n_top);
        Ok(Record { target, tail_mass, top: pairs, tail })
    }
}
