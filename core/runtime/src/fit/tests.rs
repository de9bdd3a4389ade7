//! Fits on made-up machines, held against the planner.

use super::*;
use hardware::{Cpu, Memory};
use planner::{Backend, BackendDevice};
use quantizer::sensitivity::{CANDIDATES, TensorSensitivity};
use std::path::PathBuf;

const MIB: u64 = 1 << 20;

fn source() -> Box<dyn TensorSource> {
    let model: PathBuf = [env!("CARGO_MANIFEST_DIR"), "../../models/pajama-7m"].iter().collect();
    quantizer::open_source(&model, &[]).unwrap()
}

fn host(budget_bytes: u64) -> Host {
    let memory = Memory { total_bytes: budget_bytes, budget_bytes, ..Memory::default() };
    let cpu = Cpu { usable_cpus: 4, usable_cores: 4, ..Cpu::default() };
    Host { os: "linux".into(), arch: "x86_64".into(), cpu, memory, ..Host::default() }
}

/// Errors that fall by four with every bit; no weight is read.
fn sensitivity(source: &dyn TensorSource) -> Sensitivity {
    let mut sensitivity = Sensitivity::default();
    for tensor in source.tensors().iter().filter(|tensor| tensor.dims.len() > 1) {
        let fits = |ty: &formats::gguf::GgmlType| tensor.dims[0].is_multiple_of(ty.block_len());
        let error = |ty: formats::gguf::GgmlType| (ty.name().into(), 4f64.powf(-ty.bits_per_weight()));
        let errors = CANDIDATES.into_iter().filter(fits).map(error).collect();
        sensitivity.tensors.insert(tensor.name.clone(), TensorSensitivity { kappa: None, errors });
    }
    sensitivity
}

fn fit(host: &Host, request: &Request, sensitivity: Option<&Sensitivity>) -> Result<DeviceFit, Box<Error>> {
    fit_among(host, request, sensitivity, true)
}

fn fit_among(
    host: &Host,
    request: &Request,
    sensitivity: Option<&Sensitivity>,
    any_type: bool,
) -> Result<DeviceFit, Box<Error>> {
    let wishes = Overrides::default();
    let wanted = FitRequest {
        host,
        request,
        sensitivity,
        wishes: &wishes,
        has_importance: true,
        allow_requantize: false,
        any_type,
    };
    fit_device(source().as_ref(), &wanted)
}

/// Whether the planner has a plan with this context for a file of this size.
fn has_plan(host: &Host, request: &Request, file_bytes: u64, context_tokens: u64) -> bool {
    let source = source();
    let sensitivity = sensitivity(source.as_ref());
    let target = Target::FileBytes(file_bytes);
    let plan = plan_for_target(source.as_ref(), &sensitivity, target, &Overrides::default(), Known::Moments)
        .unwrap();
    let job = plan_types(source.as_ref(), &plan, None, None).unwrap();
    let candidate = candidate(&describe(source.as_ref()).unwrap(), &job);
    let request = Request { context_tokens: Some(context_tokens), ..request.clone() };
    planner::plan(host, &[candidate], &request).chosen.is_some()
}

#[test]
fn all_of_a_small_model_fits_a_large_machine_and_needs_no_figures() {
    let fit = fit(&host(4096 * MIB), &Request::default(), None).unwrap();
    assert!(fit.is_whole && fit.recipe().is_some());
    // No longer than the model was made for.
    let longest = describe(source().as_ref()).unwrap().max_context;
    assert_eq!(fit.room.context_tokens, longest.min(4096));
    assert!(fit.room.weights_bytes > fit.weights_bytes);
}

#[test]
fn what_is_fitted_has_a_plan_and_a_percent_more_has_none() {
    let sensitivity = sensitivity(source().as_ref());
    // What the last rung takes beside the weights.
    let request = Request { context_tokens: Some(512), ..Request::default() };
    let beside = {
        let source = source();
        let job = plan_file(source.as_ref(), WHOLE, &Overrides::default(), None, false).unwrap();
        let candidate = candidate(&describe(source.as_ref()).unwrap(), &job);
        let room = room_for_weights(&host(4096 * MIB), &candidate, &request, u64::MAX);
        assert!(room.n_ubatch == 128 && room.type_k != "F16", "{room:?}");
        room.memory.total_bytes() - room.memory.weights_bytes
    };
    let mut n_last = 0;
    for weights_bytes in [3_200_000, 4_000_000, 4_784_736, 6_000_000] {
        let host = host(beside + weights_bytes);
        let fit = fit(&host, &request, Some(&sensitivity)).unwrap();
        assert!(!fit.is_whole && fit.recipe().is_none());
        assert!(fit.weights_bytes <= fit.room.weights_bytes);
        assert!(fit.weights_bytes as f64 > 0.995 * fit.room.weights_bytes as f64, "{fit:?}");
        let context = fit.room.context_tokens;
        assert!(has_plan(&host, &request, fit.file_bytes, context), "{fit:?}");
        if fit.room.n_ubatch == 128 && fit.room.type_k != "F16" {
            n_last += 1;
            assert!(!has_plan(&host, &request, fit.file_bytes + fit.file_bytes / 50, context), "{fit:?}");
        }
    }
    assert!(n_last > 0, "no size went down to the last rung");
}

#[test]
fn types_that_a_machine_computes_slowly_are_chosen_where_nothing_else_fits() {
    let sensitivity = sensitivity(source().as_ref());
    let request = Request { context_tokens: Some(512), ..Request::default() };
    let arm = |budget_bytes| Host { arch: "aarch64".into(), ..host(budget_bytes) };
    let types = |fit: &DeviceFit| -> Vec<String> {
        let (source, target) = (source(), Target::FileBytes(fit.file_bytes));
        let wishes = Overrides { avoid: fit.avoided.clone(), ..Overrides::default() };
        let plan = plan_for_target(source.as_ref(), &sensitivity, target, &wishes, Known::Moments).unwrap();
        plan.tensors.into_iter().map(|planned| planned.ty).collect()
    };
    let is_searched = |ty: &String| ty.starts_with("IQ2") || ty.starts_with("IQ3");
    // From the roomiest machine that does not hold all of it down to one that holds nothing.
    let (mut n_without, mut n_with) = (0, 0);
    for mib in (20..60).rev() {
        let [careful, free] =
            [false, true].map(|any_type| fit_among(&arm(mib * MIB), &request, Some(&sensitivity), any_type));
        let (Ok(careful), Ok(free)) = (careful, free) else { continue };
        if careful.is_whole {
            continue;
        }
        assert!(free.avoided.is_empty());
        if careful.avoided.is_empty() {
            n_with += 1;
            assert!(types(&careful).iter().any(is_searched), "{careful:?}");
        } else {
            n_without += 1;
            assert!(!types(&careful).iter().any(is_searched), "{careful:?}");
            assert!(careful.avoided.contains(&GgmlType::IQ3_S) && !careful.avoided.contains(&GgmlType::Q3_K));
        }
    }
    assert!(n_without > 0 && n_with > 0, "{n_without} {n_with}");
}

#[test]
fn a_device_of_its_own_memory_holds_all_layers_where_it_can() {
    let sensitivity = sensitivity(source().as_ref());
    let device = |free_bytes| BackendDevice {
        backend: Backend::Cuda,
        name: "device".into(),
        free_bytes,
        unified: false,
        max_allocation_bytes: None,
    };
    let request = |free_bytes| Request { devices: vec![device(free_bytes)], ..Request::default() };
    let host = host(4096 * MIB);
    let large = fit(&host, &request(1024 * MIB), Some(&sensitivity)).unwrap();
    assert!(large.is_whole && large.room.gpu_layers > 1, "{large:?}");
    // What the device leaves decides, though the host has room.
    let device_beside = large.room.memory.device_bytes - large.room.memory.device_weights_bytes;
    let small = fit(&host, &request((device_beside + 4_500_000) * 10 / 9), Some(&sensitivity)).unwrap();
    assert!(!small.is_whole, "{small:?}");
    assert_eq!(small.room.gpu_layers, large.room.gpu_layers);
    assert!(small.room.memory.device_bytes <= device_beside + 4_500_000);
    // A device that holds nothing leaves the work to the host.
    let tiny = fit(&host, &request(1024), Some(&sensitivity)).unwrap();
    assert!(tiny.is_whole && tiny.room.gpu_layers == 0, "{tiny:?}");
}

#[test]
fn too_little_room_is_told_with_what_was_counted() {
    let sensitivity = sensitivity(source().as_ref());
    let told = |host: &Host, figures| fit(host, &Request::default(), figures).unwrap_err().to_string();
    let error = told(&host(20 * MIB), Some(&sensitivity));
    assert!(error.starts_with("fit device: expected at least") && error.contains("for the cache"), "{error}");
    let error = told(&host(20 * MIB), None);
    assert!(error.starts_with("fit device: expected sensitivities"), "{error}");
}
