//! Vision and speech models in fewer bits: the graph made plain, what flows through it recorded, a plan, the quantized graph, and
//! a comparison of both. Owns the order of the work and its report. Knows models and samples in memory; touches no file.

mod architecture;
mod emit;
mod evaluate;
mod feeding;
mod fp16;
mod graph;
mod passes;
mod plan;
mod progress;
mod ranges;
mod record;
mod samples;
mod sensitivity;
mod target;
mod verify;
mod weights;

pub use architecture::Architecture;
pub use evaluate::Feed;
pub use feeding::{PictureForm, Scale, SoundForm, sound_samples, spectrogram_samples};
pub use passes::Cleaning;
pub use plan::{Choice, Plan};
pub use progress::Step;
pub use ranges::RangeMethod;
pub use samples::{Carried, Samples};
pub use target::Target;
pub use verify::{Coverage, Difference, Speed, Verification};

use crate::{Error, Library};
use emit::{Choices, emit};
use evaluate::Evaluator;
use formats::onnx::{ModelProto, StringStringEntryProto, write_model};
use progress::Progress;
use std::ops::ControlFlow;

/// In which form weights are, and what computes with them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Precision {
    /// As it was, made plain: what the others are compared with.
    Fp32,
    /// Half precision.
    Fp16,
    /// Eight bits, with ranges from samples.
    Int8,
    /// Eight bits for matrices and LSTMs, with ranges found while running.
    Dynamic,
}

/// What is more worth where both cannot be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Goal {
    /// Fewer bytes, never slower than nine tenths of the float model: what would be is an error.
    #[default]
    Balanced,
    /// Fewer bytes, however slow.
    Size,
}

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// In which form.
    pub precision: Precision,
    /// For what.
    pub target: Target,
    /// How ranges are chosen.
    pub method: RangeMethod,
    /// What matters.
    pub goal: Goal,
    /// The most bytes; what is left below it goes to the nodes that lose most.
    pub max_bytes: Option<u64>,
    /// Inputs that never change, and become constants.
    pub fixed: Vec<String>,
    /// Whether extents that the model leaves open stay so, instead of becoming those of the samples.
    pub open_shapes: bool,
    /// A plan to follow instead of making one.
    pub plan: Option<Plan>,
    /// Threads of each run.
    pub threads: usize,
}

impl Request {
    /// Everything by default but the precision.
    pub fn new(precision: Precision, target: Target) -> Self {
        Self {
            precision,
            target,
            method: RangeMethod::Mse,
            goal: Goal::Balanced,
            max_bytes: None,
            fixed: Vec::new(),
            open_shapes: false,
            plan: None,
            threads: 1,
        }
    }
}

/// What came of it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    /// In which form.
    pub precision: Precision,
    /// For what.
    pub target: String,
    /// What kind of model it is, where that is known.
    pub architecture: Option<String>,
    /// What making the graph plain did.
    pub cleaning: Cleaning,
    /// Bytes of the model that was given.
    pub bytes_before: u64,
    /// Bytes of the plain float model.
    pub bytes_plain: u64,
    /// Bytes of the result.
    pub bytes: u64,
    /// What every node with weights became.
    pub plan: Option<Plan>,
    /// How both compare.
    pub verification: Verification,
}

/// The result: its bytes, the plain float model's, and what is to be said of both.
#[derive(Debug)]
pub struct Quantized {
    /// The model that was asked for.
    pub model: Vec<u8>,
    /// The float model made plain.
    pub plain: Vec<u8>,
    /// What came of it.
    pub report: Report,
}

/// Makes a model of fewer bits.
///
/// `calibration` is what ranges are learned from; `held_out` is what both models are compared on, and may be the same.
/// `progress` is told of each step and may end the work.
///
/// # Errors
/// A model that the library refuses, samples that do not fit, a precision that the target does not have, a model of which
/// nothing can be quantized, a result that is slower than asked for, [`Error::Cancelled`].
pub fn quantize(
    library: &Library,
    model: &ModelProto,
    request: &Request,
    calibration: &Samples,
    held_out: &Samples,
    progress: &mut dyn FnMut(Step, usize, usize) -> ControlFlow<()>,
) -> Result<Quantized, Error> {
    let name = precision_name(request.precision);
    if request.precision != Precision::Fp32 && !request.target.precisions.contains(name) {
        return Err(Error::Setting {
            field: "precision",
            expected: format!(
                "one of {} for {}",
                request.target.precisions.iter().cloned().collect::<Vec<_>>().join(", "),
                request.target.name
            ),
            got: name.into(),
        });
    }
    let mut progress = Progress(progress);
    let evaluator = Evaluator { library, threads: request.threads };
    let mut plain = model.clone();
    let first = calibration.first()?;
    let cleaning = passes::clean(&mut plain, &evaluator, &first, request, &mut progress)?;
    sign(&mut plain);
    let plain_bytes = write_model(&plain)?;
    let mut runner = evaluator.runner(&plain, None, crate::Optimization::Full)?;
    let (inputs, outputs) = runner.ports();
    let architecture = Architecture::of(&plain, inputs, outputs).map(|row| row.name);
    let trace = calibration.trace(&mut runner)?;
    let record = record::record(&plain, &evaluator, &trace.feeds, &mut progress)?;
    let items = plan::items(&plain, &record)?;
    let choices = Choices { method: request.method, correct_bias: true };
    let mut chosen = None;
    let made = match request.precision {
        Precision::Fp32 => plain.clone(),
        Precision::Fp16 => fp16::convert(&plain, &record, &request.target)?,
        Precision::Int8 => {
            let plan = match &request.plan {
                Some(plan) => plan.clone(),
                None => {
                    let judge = sensitivity::Judge {
                        evaluator: &evaluator,
                        plain: &plain,
                        record: &record,
                        trace: &trace,
                    };
                    judge.plan(&items, request, choices, &mut progress)?
                }
            };
            let made = emit(&plain, &record, &plan, &request.target, choices)?;
            chosen = Some(plan);
            made
        }
        Precision::Dynamic => {
            let plan = request.plan.clone().unwrap_or_else(|| Plan::all_dynamic(&request.target, &items));
            let made = emit(&plain, &record, &plan, &request.target, choices)?;
            chosen = Some(plan);
            made
        }
    };
    let bytes = write_model(&made)?;
    let verification =
        verify::verify(&evaluator, &plain, &made, &items, chosen.as_ref(), held_out, request, &mut progress)?;
    let report = Report {
        precision: request.precision,
        target: request.target.name.clone(),
        architecture,
        cleaning,
        bytes_before: write_model(model)?.len() as u64,
        bytes_plain: plain_bytes.len() as u64,
        bytes: bytes.len() as u64,
        plan: chosen,
        verification,
    };
    Ok(Quantized { model: bytes, plain: plain_bytes, report })
}

pub(crate) fn precision_name(precision: Precision) -> &'static str {
    match precision {
        Precision::Fp32 => "fp32",
        Precision::Fp16 => "fp16",
        Precision::Int8 => "int8",
        Precision::Dynamic => "dynamic",
    }
}

/// What is said of where a model comes from: this program in place of the exporter, and no notes.
fn sign(model: &mut ModelProto) {
    model.producer_name = Some("llama-pajamas".into());
    model.producer_version = Some(env!("CARGO_PKG_VERSION").into());
    model.doc_string = None;
    let kept = |entry: &StringStringEntryProto| !entry.key().is_empty();
    model.metadata_props.retain(kept);
    if let Some(graph) = &mut model.graph {
        graph.doc_string = None;
        graph.value_info.clear();
        graph.quantization_annotation.clear();
        for node in &mut graph.node {
            node.doc_string = None;
            node.metadata_props.clear();
        }
        graph.initializer.iter_mut().for_each(|tensor| tensor.doc_string = None);
    }
}
