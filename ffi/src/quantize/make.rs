//! Asking the quantizer, and telling how far it is.
//!
//! Owns: the translation of options. May know: the quantizer's requests. Must not know: how rows are rounded.

use std::ffi::c_char;
use std::ops::ControlFlow;
use std::path::PathBuf;

use llama_pajamas::quantizer::{BuildReport, BuildRequest, Progress, Target, build_bundle, mlx, model_id};
use llama_pajamas::{CancelToken, hardware, requantize};
use serde_json::{Value, json};

use super::lp_quantize_options;
use crate::arguments::{items, optional_text, text};
use crate::cancel::{lp_cancel, token};
use crate::error::Failure;
use crate::event::{Listener, lp_event_kind, share};
use crate::requantize::make::recipe;

/// # Safety
/// Those of [`super::lp_quantize`].
pub(super) unsafe fn make(
    model: *const c_char,
    output: *const c_char,
    options: *const lp_quantize_options,
    cancel: *const lp_cancel,
    listener: &Listener,
) -> Result<BuildReport, Failure> {
    // SAFETY: by this function's contract.
    let (wish, cancel) = unsafe {
        let (model, output) = (text(model, "model")?, text(output, "output")?);
        (wish(model, output, &crate::arguments::options(options)?)?, token(cancel))
    };
    run(wish, &cancel, &mut |fraction, value| {
        listener.json(lp_event_kind::LP_EVENT_QUANTIZING, fraction, value)
    })
}

/// What to make, in words.
pub(crate) struct Wish {
    pub(crate) format: Option<String>,
    pub(crate) precisions: Vec<String>,
    pub(crate) target_bytes: Vec<u64>,
    /// All but formats and precisions.
    pub(crate) request: BuildRequest,
}

/// Does the work; `hear` is told how far it is and may stop it.
pub(crate) fn run(
    wish: Wish,
    cancel: &CancelToken,
    hear: &mut dyn FnMut(f64, &Value) -> ControlFlow<()>,
) -> Result<BuildReport, Failure> {
    let request = wish.into_request()?;
    if cancel.is_cancelled() {
        return Err(llama_pajamas::Error::Cancelled.into());
    }
    let report = build_bundle(&request, &mut |_| {}, &mut |progress| {
        let (fraction, value) = described(&progress);
        hear(fraction, &value)?;
        if cancel.is_cancelled() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    Ok(report.map_err(requantize::Error::from)?)
}

fn described(progress: &Progress<'_>) -> (f64, Value) {
    let Progress { label, done_bytes, total_bytes, eta } = progress;
    let value = json!({
        "label": label, "done_bytes": done_bytes, "total_bytes": total_bytes, "eta_s": eta.map(|eta| eta.as_secs_f64()),
    });
    (share(*done_bytes, *total_bytes), value)
}

impl Wish {
    /// Words become recipes of the one format.
    fn into_request(self) -> Result<BuildRequest, Failure> {
        let Self { format, mut precisions, target_bytes, mut request } = self;
        if precisions.is_empty() && target_bytes.is_empty() && request.plans.is_empty() {
            precisions.push("balanced".into());
        }
        match format.as_deref().unwrap_or("gguf") {
            "gguf" => {
                request.precisions =
                    precisions.iter().map(|name| recipe(name)).collect::<Result<_, Failure>>()?;
                request.targets = target_bytes.into_iter().map(Target::FileBytes).collect();
            }
            "mlx" => {
                if let Some(plan) = request.plans.first() {
                    let plan = plan.display();
                    return Err(Failure::invalid(format!("plans has {plan}, expected none for mlx")));
                }
                let named = precisions.iter().map(|name| {
                    mlx::Recipe::from_name(name).ok_or_else(|| {
                        let known = mlx::Recipe::names();
                        Failure::invalid(format!("precision is {name}, expected for mlx {known}"))
                    })
                });
                request.mlx = named.collect::<Result<_, Failure>>()?;
                request.mlx.extend(target_bytes.into_iter().map(|bytes| mlx::Recipe::Fitted { bytes }));
            }
            other => return Err(Failure::invalid(format!("format is {other}, expected gguf or mlx"))),
        }
        if request.model_id.is_empty() {
            request.model_id = model_id(&request.model);
        }
        if request.memory_budget_bytes.is_none() {
            request.memory_budget_bytes = hardware::detect().ok().map(|host| host.memory.budget_bytes);
        }
        Ok(request)
    }
}

/// # Safety
/// The texts are null or end in NUL, and the arrays are as long as they say.
unsafe fn wish(model: &str, output: &str, options: &lp_quantize_options) -> Result<Wish, Failure> {
    // SAFETY: by this function's contract.
    let [format, sensitivity, moments, imatrix, model_id] = unsafe {
        [
            optional_text(options.format, "format")?,
            optional_text(options.sensitivity, "sensitivity")?,
            optional_text(options.moments, "moments")?,
            optional_text(options.imatrix, "imatrix")?,
            optional_text(options.model_id, "model_id")?,
        ]
    };
    // SAFETY: by this function's contract.
    let texts = |array, count, name: &str| unsafe {
        let texts = items(array, count, name)?.iter().map(|item| text(*item, name).map(str::to_owned));
        texts.collect::<Result<Vec<String>, Failure>>()
    };
    let paths = |texts: Vec<String>| texts.into_iter().map(PathBuf::from).collect();
    let precisions = texts(options.precisions, options.n_precisions, "precisions")?;
    let plans = texts(options.plans, options.n_plans, "plans")?;
    let adapters = texts(options.adapters, options.n_adapters, "adapters")?;
    // SAFETY: by this function's contract.
    let target_bytes = unsafe { items(options.target_bytes, options.n_target_bytes, "target_bytes") }?;
    Ok(Wish {
        format: format.map(str::to_owned),
        precisions,
        target_bytes: target_bytes.to_vec(),
        request: BuildRequest {
            model: model.into(),
            model_id: model_id.unwrap_or_default().to_owned(),
            output: output.into(),
            sensitivity: sensitivity.map(PathBuf::from),
            plans: paths(plans),
            moments: moments.map(PathBuf::from),
            adapters: paths(adapters),
            imatrix: imatrix.map(PathBuf::from),
            allow_requantize: options.allow_requantize != 0,
            threads: options.n_threads as usize,
            memory_budget_bytes: (options.memory_budget_bytes != 0).then_some(options.memory_budget_bytes),
            dry_run: options.dry_run != 0,
            ..BuildRequest::default()
        },
    })
}
