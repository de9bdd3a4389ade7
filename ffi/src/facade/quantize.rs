//! Making a bundle: the translation of its options.

use std::path::PathBuf;

use llama_pajamas::CancelToken;
use llama_pajamas::quantizer::BuildRequest;

use super::event::{Ear, Event};
use super::options::QuantizeOptions;
use crate::arguments::text_of;
use crate::error::Failure;
use crate::quantize::make::{Wish, run};

pub(super) fn quantize(
    model: String,
    output: String,
    options: QuantizeOptions,
    cancel: &CancelToken,
    ear: &Ear,
) -> Result<String, Failure> {
    let paths = |names: Vec<String>| names.into_iter().map(PathBuf::from).collect();
    let wish = Wish {
        format: options.format,
        precisions: options.precisions,
        target_bytes: options.target_bytes,
        request: BuildRequest {
            model: model.into(),
            model_id: options.model_id.unwrap_or_default(),
            output: output.into(),
            sensitivity: options.sensitivity.map(PathBuf::from),
            plans: paths(options.plans),
            moments: options.moments.map(PathBuf::from),
            adapters: paths(options.adapters),
            imatrix: options.imatrix.map(PathBuf::from),
            allow_requantize: options.allow_requantize,
            threads: options.n_threads.unwrap_or(0) as usize,
            memory_budget_bytes: options.memory_budget_bytes,
            dry_run: options.dry_run,
            ..BuildRequest::default()
        },
    };
    let report = run(wish, cancel, &mut |fraction, value| {
        ear.hear(|| Event::Quantizing { fraction, json: value.to_string() })
    })?;
    text_of(&report)
}
