//! `quantize --fit-device`: what a machine leaves for weights, told part by part, becomes the size to fit.
//! Knows machines and requests; must not count anything itself.

use super::foresee::{Seen, named, this_machine};
use crate::args::Fitting;
use crate::screen::{Screen, bytes};
use anyhow::{Context, Result, bail};
use llama_pajamas::planner::Room;
use llama_pajamas::quantizer::{self, BuildRequest, Inputs};
use llama_pajamas::{DeviceFit, FitRequest, PlanRequest, fit_device};
use serde::Serialize;

/// What fits on the machine that was named.
#[derive(Serialize)]
pub(crate) struct Fitted {
    /// As it was named.
    machine: String,
    #[serde(flatten)]
    fit: DeviceFit,
}

/// Counts what `--fit-device` asks for, where it is given.
pub(crate) fn fitted(args: &Fitting, request: &BuildRequest) -> Result<Option<Fitted>> {
    let Some(word) = &args.fit_device else { return Ok(None) };
    if args.context == Some(0) {
        bail!("--context: expected at least 1 token, got 0");
    }
    let Seen { host, devices } = match word.as_str() {
        "this" => this_machine()?,
        other => named(other).context("--fit-device")?,
    };
    let wish = PlanRequest { context_tokens: args.context, devices, ..PlanRequest::default() };
    let Inputs { source, sensitivity, .. } = quantizer::open_inputs(request)?;
    let fit = fit_device(
        source.as_ref(),
        &FitRequest {
            host: &host,
            request: &wish,
            sensitivity: sensitivity.as_ref(),
            wishes: &request.overrides,
            has_importance: request.moments.is_some() || request.imatrix.is_some(),
            allow_requantize: request.allow_requantize,
            any_type: args.any_type,
        },
    )?;
    Ok(Some(Fitted { machine: word.clone(), fit }))
}

impl Fitted {
    /// Adds what fits to what is to be made.
    pub(crate) fn ask(&self, request: &mut BuildRequest) {
        request.overrides.avoid.clone_from(&self.fit.avoided);
        match self.fit.recipe() {
            Some(recipe) => request.precisions.push(recipe),
            None => request.targets.push(quantizer::Target::FileBytes(self.fit.file_bytes)),
        }
    }

    /// The budget and its parts.
    pub(crate) fn print(&self, screen: &Screen) {
        let Room { memory, context_tokens, type_k, type_v, n_ubatch, .. } = &self.fit.room;
        let room = &self.fit.room;
        let line = |what: &str, count: u64, note: String| {
            println!("  {what:22} {:>11}  {}", bytes(count), screen.dim(&note));
        };
        println!("{}", screen.bold(&format!("room on {}", self.machine)));
        let placed = match &room.device {
            Some(device) => format!("computed by {} ({})", device, room.backend.name()),
            None => "computed by the processor".into(),
        };
        line("memory of the host", room.host_bytes, placed);
        if let Some(of_device) = room.device_bytes {
            let kind = if room.unified { "of it, for the device" } else { "memory of the device" };
            line(
                kind,
                of_device.min(if room.unified { room.host_bytes } else { u64::MAX }),
                format!("{} layers on it, the output counted", room.gpu_layers),
            );
        }
        let cache = if type_k == type_v { (*type_k).to_string() } else { format!("{type_k}, {type_v}") };
        line("cache", memory.kv_bytes, format!("{context_tokens} tokens in {cache}"));
        line("computing", memory.compute_bytes, format!("{n_ubatch} tokens at a time"));
        line("the process beside", memory.overhead_bytes, String::new());
        line("margin", memory.uncertainty_bytes, "how far these may be off".into());
        let is_copied = memory.weights_bytes > self.fit.weights_bytes;
        let copied = if is_copied { "an embedding that is the output too is held twice" } else { "" };
        line("left for weights", room.weights_bytes, copied.into());
        if self.fit.is_whole {
            println!(
                "  all of the model fits in Q8_0 ({} of weights): more bits would gain nothing",
                bytes(self.fit.weights_bytes)
            );
        } else {
            line("size to fit", self.fit.file_bytes, "with metadata and vocabulary".into());
            let avoided: Vec<&str> = self.fit.avoided.iter().map(|ty| ty.name()).collect();
            if !avoided.is_empty() {
                println!(
                    "  {}",
                    screen.dim(&format!(
                        "without types that are slow there: {} (--any-type: with them)",
                        avoided.join(", ")
                    ))
                );
            }
        }
    }
}
