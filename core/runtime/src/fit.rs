//! How large a file of a model a machine can run: what the planner leaves for weights, and the types that fill it.
//! Knows sources, the planner and the quantizer's plans (feature `quantize`); must not write files or render anything.

use families::Description;
use formats::gguf::{GgmlType, TensorSpec};
use hardware::Host;
use planner::speed::{Tables, Work};
use planner::{Candidate, Request, Room, room_for_weights};
use quantizer::recipe::{FileType, Overrides, Recipe};
use quantizer::sensitivity::CANDIDATES;
use quantizer::source::{TensorSource, describe};
use quantizer::{Error, Job, Known, Sensitivity, Target, plan_file, plan_for_target, plan_types};
use serde::Serialize;

/// Above this nothing is gained: answers are no better and come more slowly.
const WHOLE: FileType = FileType::Q8_0;
/// Bits per weight below which the planner's other concessions (batch, types of the cache) are made first: what a file of four
/// bits with its larger tensors takes.
const ENOUGH_BITS: f64 = 4.5;
/// Plans that are tried until one fills the room.
const MOST_PLANS: usize = 8;
/// Share of the room that may stay empty.
const CLOSE: f64 = 0.001;

/// What is fitted, and by what.
#[derive(Debug, Clone, Copy)]
pub struct FitRequest<'a> {
    /// The machine.
    pub host: &'a Host,
    /// Context, caps and devices.
    pub request: &'a Request,
    /// What was measured of the model's tensors; needed where not all of it fits at Q8_0.
    pub sensitivity: Option<&'a Sensitivity>,
    /// Wishes for single tensors.
    pub wishes: &'a Overrides,
    /// Whether types may be chosen that need an importance matrix.
    pub has_importance: bool,
    /// Accept quantized input.
    pub allow_requantize: bool,
    /// Choose types too that the machine computes slowly ([`Tables::slow_types`]); they are chosen anyway where nothing fits
    /// without them.
    pub any_type: bool,
}

/// The largest file that a machine can run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceFit {
    /// What was counted; its memory is that of the weights below.
    pub room: Room,
    /// Bytes of weights in the file.
    pub weights_bytes: u64,
    /// Most bytes of the file: weights, metadata, vocabulary.
    pub file_bytes: u64,
    /// Whether all of the model fits in the highest precision that is useful, Q8_0.
    pub is_whole: bool,
    /// Types that were not chosen, since the machine computes them slowly.
    #[serde(skip_serializing_if = "Vec::is_empty", serialize_with = "names")]
    pub avoided: Vec<GgmlType>,
}

fn names<S: serde::Serializer>(types: &[GgmlType], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(types.iter().map(|ty| ty.name()))
}

impl DeviceFit {
    /// The recipe to make, where there is nothing to fit.
    pub fn recipe(&self) -> Option<Recipe> {
        self.is_whole.then_some(Recipe::Stock(WHOLE))
    }
}

/// Finds the largest file of `source` that the machine can run with the request's context, with the planner's margins.
///
/// # Errors
/// A machine without room for the smallest types, no sensitivities where they are needed, bad input.
pub fn fit_device(source: &dyn TensorSource, wanted: &FitRequest<'_>) -> Result<DeviceFit, Box<Error>> {
    let description = describe(source)?;
    let n_weights: u64 = source.tensors().iter().map(|tensor| tensor.dims.iter().product::<u64>()).sum();
    let enough_bytes = (n_weights as f64 * ENOUGH_BITS / 8.0) as u64;
    let room = |job: &Job| {
        let candidate = candidate(&description, job);
        (room_for_weights(wanted.host, &candidate, wanted.request, enough_bytes), candidate.weights_bytes)
    };
    let whole = plan_file(source, WHOLE, wanted.wishes, None, wanted.allow_requantize)?;
    let (of_whole, weights_bytes) = room(&whole);
    if weights_bytes <= of_whole.weights_bytes {
        let file_bytes = whole.predicted_bytes()?;
        let avoided = Vec::new();
        return Ok(DeviceFit { room: of_whole, weights_bytes, file_bytes, is_whole: true, avoided });
    }
    let sensitivity = wanted.sensitivity.ok_or_else(|| Error::Request {
        wish: "fit device".into(),
        expected: format!(
            "sensitivities (`sensitivity` measures them), as Q8_0 takes {} of the {} that are left for weights",
            planner::bytes(weights_bytes),
            planner::bytes(of_whole.weights_bytes)
        ),
        got: "none".into(),
    })?;
    let beside_weights = whole.predicted_bytes()? - weights_bytes;
    let mut slow = Tables::default().slow_types(of_whole.backend, wanted.host);
    slow.retain(|ty| CANDIDATES.contains(ty) && !wanted.any_type);
    let among = |avoided: Vec<GgmlType>| {
        let wishes = Overrides { avoid: avoided.clone(), ..wanted.wishes.clone() };
        let fit = filled(source, wanted, sensitivity, &wishes, (&of_whole, beside_weights), &room)?;
        Ok::<_, Box<Error>>(DeviceFit { avoided, ..fit })
    };
    match among(slow.clone()) {
        Err(error) if !slow.is_empty() && matches!(*error, Error::Request { .. }) => among(Vec::new()),
        tried => tried,
    }
}

/// Fills the room with types that `wishes` allow, plan after plan.
fn filled(
    source: &dyn TensorSource,
    wanted: &FitRequest<'_>,
    sensitivity: &Sensitivity,
    wishes: &Overrides,
    (of_whole, beside_weights): (&Room, u64),
    room: &dyn Fn(&Job) -> (Room, u64),
) -> Result<DeviceFit, Box<Error>> {
    let mut budget = beside_weights.saturating_add(of_whole.weights_bytes);
    let mut best: Option<DeviceFit> = None;
    for _ in 0..MOST_PLANS {
        let target = Target::FileBytes(budget);
        // What the file tells of an importance matrix takes no memory.
        let known = Known::of(None, wanted.has_importance);
        let plan = plan_for_target(source, sensitivity, target, wishes, known);
        let plan = match (plan, &best) {
            (Ok(plan), _) => plan,
            (Err(_), Some(_)) => break,
            (Err(error), None) => return Err(without_room(error, of_whole).into()),
        };
        let job = plan_types(source, &plan, None, None)?;
        let (room, weights_bytes) = room(&job);
        let left = room.weights_bytes as f64 - weights_bytes as f64;
        if left >= 0.0 && best.as_ref().is_none_or(|best| weights_bytes > best.weights_bytes) {
            let (room, avoided) = (room.clone(), Vec::new());
            best = Some(DeviceFit { weights_bytes, file_bytes: budget, is_whole: false, room, avoided });
        }
        let next = beside_weights.saturating_add(room.weights_bytes);
        if next == budget || (left >= 0.0 && left <= CLOSE * room.weights_bytes as f64) {
            break;
        }
        // Where weights of other types need more beside them, the next plan is aimed a little lower.
        budget = if left < 0.0 { next.min(budget - budget / 2000) } else { next };
    }
    let fit = best.ok_or_else(|| Error::Request {
        wish: "fit device".into(),
        expected: "a machine with room for the smallest types".into(),
        got: counted(of_whole),
    })?;
    Ok(fit)
}

/// The error of a budget below the smallest types, with what made it so small.
fn without_room(error: Error, room: &Room) -> Error {
    match error {
        Error::Request { expected, got, .. } => {
            let got = format!("room for {got}: {}", counted(room));
            Error::Request { wish: "fit device".into(), expected, got }
        }
        other => other,
    }
}

fn counted(room: &Room) -> String {
    let bytes = planner::bytes;
    let memory = &room.memory;
    let beside = memory.overhead_bytes + memory.uncertainty_bytes;
    let (have, kv, compute) = (bytes(room.host_bytes), bytes(memory.kv_bytes), bytes(memory.compute_bytes));
    format!("{have}, of which {kv} are for the cache, {compute} for computing, {} beside", bytes(beside))
}

fn candidate(description: &Description, job: &Job) -> Candidate {
    let specs: Vec<TensorSpec> = job.specs();
    let bytes: u64 = job.tensors.iter().map(|tensor| tensor.bytes().next_multiple_of(32)).sum();
    let tensors = specs.iter().map(|spec| (spec.name.as_str(), &spec.dims[..], spec.ty));
    Candidate {
        id: job.label.clone(),
        precision: job.label.clone(),
        description: description.clone(),
        weights_bytes: bytes,
        active_weights_bytes: bytes,
        work: Some(Work::of_tensors(description, tensors)),
        tensors: specs,
        quality: None,
        compatible_backends: ["cpu", "vulkan", "cuda", "metal"].map(String::from).to_vec(),
        present: true,
        projector: None,
        cache: None,
        blocked: None,
    }
}

#[cfg(test)]
mod tests;
