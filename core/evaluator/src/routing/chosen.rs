//! Seeing which experts a model chooses while it reads. Owns the watch; must not know what the choice is compared with.

use super::{Choices, Router};
use crate::Result;
use crate::divergence::Computing;
use engine::{CancelToken, Logits, Model, Product, Watch};
use formats::gguf::layer_of;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What stacks of experts are called in files, and the one whose input is one row for each expert instead of each token.
const EXPERTS: &str = "_exps.";
const SECOND: &str = "_down_";

/// Sees the choice of every router, shared by the watch inside of a context and whoever drives it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Chosen(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    is_on: bool,
    layers: BTreeMap<u32, Layer>,
}

#[derive(Debug)]
struct Layer {
    /// The stack that stands for all of the layer's: they see the same tokens.
    weight: String,
    router: Router,
    experts: Vec<u16>,
}

impl Chosen {
    fn locked(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what is computed from here on is looked at.
    pub(crate) fn turn(&self, is_on: bool) {
        self.locked().is_on = is_on;
    }

    /// What was chosen since it was last taken, by router in order of layers.
    pub(crate) fn take(&self) -> Choices {
        self.locked().layers.values_mut().map(|layer| std::mem::take(&mut layer.experts)).collect()
    }

    fn routers(&self) -> Vec<Router> {
        self.locked().layers.values().map(|layer| layer.router).collect()
    }
}

impl Watch for Chosen {
    fn wants(&mut self, weight: &str) -> bool {
        let seen = self.locked();
        if !seen.is_on || !weight.contains(EXPERTS) || weight.contains(SECOND) {
            return false;
        }
        let Some(layer) = layer_of(weight) else { return false };
        seen.layers.get(&layer).is_none_or(|layer| layer.weight == weight)
    }

    fn saw(&mut self, product: &Product<'_>) {
        let Some(layer) = layer_of(product.weight) else { return };
        let router = Router { layer, n_experts: product.n_matrices, n_used: product.matrices_per_row() };
        let mut seen = self.locked();
        let layer = seen.layers.entry(layer).or_insert_with(|| Layer {
            weight: product.weight.into(),
            router,
            experts: Vec::new(),
        });
        layer.experts.extend(product.matrices.iter().map(|expert| *expert as u16));
    }
}

/// The routers of a model: none where it has no experts, where its engine shows none, or where they are too many to be numbered
/// in 16 bits.
pub(crate) fn routers(model: &Arc<dyn Model>, computing: &Computing) -> Result<Vec<Router>> {
    let chosen = Chosen::default();
    let (settings, _) = computing.settings(model.n_vocab(), 32)?;
    let Ok(mut context) = Arc::clone(model).new_watched_context(&settings, Box::new(chosen.clone())) else {
        return Ok(Vec::new());
    };
    chosen.turn(true);
    context.decode(&[0], Logits::Last, &CancelToken::new())?;
    let routers = chosen.routers();
    let fits = |router: &Router| router.n_used > 0 && router.n_experts <= 1 << 16;
    Ok(if routers.iter().all(fits) { routers } else { Vec::new() })
}
