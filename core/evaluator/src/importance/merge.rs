//! Several matrices as one, and experts that saw little lent the layer's shape.
//! Knows tables of sums; must not know where they come from.

use crate::{Error, Result};
use formats::imatrix::{Entry, Imatrix};

/// Sums and counts of `matrices` added up. Matrices of the legacy form hold means times calls: those count as
/// `chunk_size` tokens for each call, as llama-imatrix takes them. A tensor that only some have is taken from these.
///
/// # Errors
/// Nothing to merge, tensors of other sizes than in the matrices before.
pub fn merge(matrices: Vec<Imatrix>, chunk_size: u32) -> Result<Imatrix> {
    let mut merged: Option<Imatrix> = None;
    for matrix in matrices {
        let matrix = modern(matrix, chunk_size);
        let Some(all) = &mut merged else {
            merged = Some(matrix);
            continue;
        };
        for (name, entry) in matrix.entries {
            match all.entries.get_mut(&name) {
                None => {
                    all.entries.insert(name, entry);
                }
                Some(known) => add(known, entry).map_err(|(expected, got)| Error::Text {
                    name: name.clone(),
                    problem: format!("expected {expected} sums as in the matrices before, got {got}"),
                })?,
            }
        }
        for dataset in matrix.datasets {
            if !all.datasets.contains(&dataset) {
                all.datasets.push(dataset);
            }
        }
        all.chunk_count = all.chunk_count.saturating_add(matrix.chunk_count);
        all.chunk_size = all.chunk_size.max(matrix.chunk_size);
    }
    merged.ok_or_else(|| Error::request("merge", "at least one importance matrix", "none"))
}

/// In the form of sums.
fn modern(mut matrix: Imatrix, chunk_size: u32) -> Imatrix {
    let tokens = chunk_size as f32;
    for entry in matrix.entries.values_mut().filter(|entry| entry.legacy) {
        entry.sums.iter_mut().for_each(|sum| *sum *= tokens);
        entry.counts.iter_mut().for_each(|count| *count *= tokens);
        entry.legacy = false;
    }
    if matrix.chunk_size == 0 {
        matrix.chunk_size = chunk_size;
    }
    matrix
}

fn add(known: &mut Entry, entry: Entry) -> std::result::Result<(), (usize, usize)> {
    if known.sums.len() != entry.sums.len() {
        return Err((known.sums.len(), entry.sums.len()));
    }
    // A form that does not know the matrices of a stack has one count for all of them.
    let n_matrices = known.n_matrices.max(entry.n_matrices);
    let counts = |entry: &Entry| match entry.counts.as_slice() {
        [one] => vec![*one; n_matrices],
        counts => counts.to_vec(),
    };
    let (ours, theirs) = (counts(known), counts(&entry));
    if ours.len() != n_matrices || theirs.len() != n_matrices {
        return Err((ours.len(), theirs.len()));
    }
    known.sums.iter_mut().zip(&entry.sums).for_each(|(sum, more)| *sum += more);
    known.counts = ours.iter().zip(&theirs).map(|(count, more)| count + more).collect();
    known.n_columns = known.sums.len() / n_matrices.max(1);
    known.n_matrices = n_matrices;
    Ok(())
}

/// Adds to each matrix of a stack as many tokens of the stack's mean row as `tokens` says: one that saw nothing gets the
/// layer's shape instead of none, one that saw much keeps its own. Readers need no knowledge of it.
pub fn shrink(matrix: &mut Imatrix, tokens: f32) {
    for entry in matrix.entries.values_mut().filter(|entry| entry.n_matrices > 1 && !entry.legacy) {
        let count: f64 = entry.counts.iter().map(|count| f64::from(*count)).sum();
        if count <= 0.0 || tokens <= 0.0 {
            continue;
        }
        let mut pooled = vec![0.0f64; entry.n_columns];
        for row in entry.sums.chunks_exact(entry.n_columns.max(1)) {
            pooled.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        for row in entry.sums.chunks_exact_mut(entry.n_columns.max(1)) {
            row.iter_mut()
                .zip(&pooled)
                .for_each(|(sum, of_all)| *sum += (of_all / count * f64::from(tokens)) as f32);
        }
        entry.counts.iter_mut().for_each(|count| *count += tokens);
    }
}
