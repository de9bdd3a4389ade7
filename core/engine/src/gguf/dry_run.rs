//! Dry runs: what a model and a context would occupy, without weights.
//!
//! Owns: [`GgufDryModel`]. May know: models without weights, settings of contexts. Must not know: budgets.

use super::model::GgufModel;
use super::{log, parameters, shim};
use crate::{ContextSettings, DryModel, Error, MemoryUse};

/// A model that was laid out without its weights. Nothing can be computed with it.
#[derive(Debug)]
pub struct GgufDryModel(GgufModel);

impl GgufDryModel {
    pub(super) fn new(model: GgufModel) -> Self {
        Self(model)
    }
}

impl DryModel for GgufDryModel {
    fn measure(&self, settings: &ContextSettings) -> Result<MemoryUse, Error> {
        parameters::check(settings, self.0.shape())?;
        let parameters = parameters::native(settings, None, std::ptr::null_mut());
        let _one_at_a_time = self.0.one_at_a_time();
        let (outcome, reason) = log::capture(|| {
            // SAFETY: the model is live and without weights, the lock keeps others out, the settings were checked.
            unsafe { shim::measure(self.0.as_ptr(), parameters) }
        });
        outcome.map_err(|exception| Error::Context { reason: exception.unwrap_or(reason) })
    }
}
