//! What flows into products while a model reads: largest magnitudes, some rows, and then how large numbers are under each
//! candidate's factors.
//! Knows the engine's products; must not know matrices or which candidate is best.

use super::magnitudes::Magnitudes;
use engine::{Product, Watch};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the present text is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Largest magnitudes of columns.
    Largest,
    /// Rows to judge by: the first, and one of so many.
    Judging { every: usize },
    /// How large numbers are.
    Counting,
}

/// What is known of an input.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Largest magnitude by column.
    pub(super) largest: Vec<f32>,
    /// Rows to judge by.
    pub(super) rows: Vec<f32>,
    /// By candidate: what columns are divided by, and what came of it.
    pub(super) counts: Vec<(Vec<f32>, Magnitudes)>,
}

/// By the weight that shows it.
type Inputs = BTreeMap<String, Seen>;

/// Shared by the watch of a context and whoever runs it.
#[derive(Clone)]
pub(super) struct Collector {
    state: Arc<Mutex<(Phase, Inputs)>>,
}

impl Collector {
    /// Looks at what flows into these weights.
    pub(super) fn new(weights: impl IntoIterator<Item = String>) -> Self {
        let inputs = weights.into_iter().map(|weight| (weight, Seen::default())).collect();
        Self { state: Arc::new(Mutex::new((Phase::Largest, inputs))) }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.lock().0 = phase;
    }

    /// What is known of the input of a weight.
    pub(super) fn with<T>(&self, weight: &str, look: impl FnOnce(&mut Seen) -> T) -> Option<T> {
        self.lock().1.get_mut(weight).map(look)
    }

    fn lock(&self) -> MutexGuard<'_, (Phase, Inputs)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch for Collector {
    fn wants(&mut self, weight: &str) -> bool {
        self.lock().1.contains_key(weight)
    }

    fn saw(&mut self, product: &Product<'_>) {
        let mut state = self.lock();
        let phase = state.0;
        let Some(seen) = state.1.get_mut(product.weight) else { return };
        let rows = product.rows.chunks_exact(product.n_columns);
        match phase {
            Phase::Largest => {
                seen.largest.resize(product.n_columns, 0.0);
                for row in rows {
                    let columns = seen.largest.iter_mut().zip(row);
                    columns.for_each(|(largest, value)| *largest = largest.max(value.abs()));
                }
            }
            Phase::Judging { every } => {
                rows.step_by(every.max(1)).for_each(|row| seen.rows.extend_from_slice(row));
            }
            Phase::Counting => {
                for (divisors, magnitudes) in &mut seen.counts {
                    for row in product.rows.chunks_exact(product.n_columns) {
                        row.iter().zip(&*divisors).for_each(|(value, by)| magnitudes.add(value / by));
                    }
                }
            }
        }
    }
}
