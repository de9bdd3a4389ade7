//! Opening, planning, loading.
//!
//! Owns: the runtime's object. May know: the C functions' bodies. Must not know: sessions.

use std::path::Path;
use std::sync::Arc;

use llama_pajamas::Runtime;

use super::cancel::{CancelToken, token};
use super::error::{Told, call};
use super::event::{Ear, Listener};
use super::model::NativeModel;
use super::options::{PlanOptions, RequantizeOptions, RuntimeOptions, TuneOptions};
use super::owned::Owned;
use super::plan::Plan;
use super::requantize::requantize;
use crate::arguments::text_of;
use crate::runtime::lp_runtime;

/// An opened bundle or model file, of which nothing is loaded yet. Any number of threads may use it.
#[derive(uniffi::Object)]
pub struct NativeRuntime(Owned<lp_runtime>);

#[uniffi::export]
impl NativeRuntime {
    /// Opens the bundle directory or GGUF file at `path`: reads its description, no weights.
    #[uniffi::constructor]
    pub fn open(path: String, options: RuntimeOptions) -> Told<Arc<Self>> {
        call(|| Ok(Arc::new(Self(Owned::new(Runtime::open(Path::new(&path), options.settings())?)))))
    }

    /// Describes what was opened, as JSON (C's lp_runtime_describe).
    pub fn describe(&self) -> Told<String> {
        call(|| crate::runtime::described(&*self.0.get()?))
    }

    /// Chooses a variant and settings for this device and explains the choice. Reads no weights.
    pub fn plan(&self, options: PlanOptions) -> Told<Plan> {
        call(|| Plan::of(&self.0.get()?.plan(&options.request())))
    }

    /// Plans and loads what is chosen; DoesNotFit when nothing fits. Tells Loading.
    pub fn load(
        &self,
        options: PlanOptions,
        cancel: Option<Arc<CancelToken>>,
        listener: Option<Arc<dyn Listener>>,
    ) -> Told<Arc<NativeModel>> {
        call(|| {
            let (runtime, ear) = (self.0.get()?, Ear(listener));
            let hear = |fraction| ear.loading(fraction);
            let model = crate::model::load(&runtime, &options.request(), &token(cancel), hear)?;
            Ok(Arc::new(NativeModel(Owned::new(model))))
        })
    }

    /// Races settings of a model that this runtime loaded, for at most the budget, and uses the best from now on. Tells Tuning. Being
    /// stopped is no error. What was found, as JSON (C's lp_model_tune).
    pub fn tune(
        &self,
        model: Arc<NativeModel>,
        options: TuneOptions,
        cancel: Option<Arc<CancelToken>>,
        listener: Option<Arc<dyn Listener>>,
    ) -> Told<String> {
        call(|| {
            let (runtime, model, ear) = (self.0.get()?, model.0.get()?, Ear(listener));
            let settings = options.settings()?;
            let mut hear = |step: &llama_pajamas::TuneStep<'_>| {
                let (fraction, value) = crate::tune::told(step, settings.budget.as_secs_f64());
                ear.tuning(fraction, &value)
            };
            text_of(&runtime.tune(&model, &settings, &token(cancel), &mut hear)?)
        })
    }

    /// Makes a further variant of the opened bundle out of one of its own, for a thread of the app's own. Tells Requantizing. What
    /// came of it, as JSON (C's lp_runtime_requantize).
    pub fn requantize(
        &self,
        options: RequantizeOptions,
        cancel: Option<Arc<CancelToken>>,
        listener: Option<Arc<dyn Listener>>,
    ) -> Told<String> {
        call(|| requantize(&*self.0.get()?, options, &token(cancel), &Ear(listener)))
    }

    /// Closes it; calls that use it go on. May be called again.
    pub fn release(&self) {
        self.0.close();
    }
}
