//! Adapters of GGUF models: low-rank ones, which llama.cpp holds, and control vectors, which are numbers here.
//!
//! Owns: [`GgufAdapter`], what a file of one must satisfy so that llama.cpp does not end the process over it, and applying
//! them. May know: models, contexts. Must not know: which adapter is whose.

use std::any::Any;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use formats::gguf::{GgmlType, Header, TensorInfo};
use llama_cpp_sys_2::{llama_adapter_lora, llama_adapter_lora_free, llama_adapter_lora_init};

use super::context::GgufContext;
use super::loading::native_path;
use super::model::GgufModel;
use super::{log, shim, validate};
use crate::{Adapter, AdapterKind, Applied, Error};

/// `general.architecture` of control vectors.
const CONTROL: &str = "controlvector";
/// What a control vector's tensors are called before the layer's number.
const DIRECTION: &str = "direction.";
/// Ends of the names of a low-rank adapter's factors.
const FACTORS: [&str; 2] = [".lora_a", ".lora_b"];
/// Types that cannot be computed with.
const NO_FACTORS: [GgmlType; 7] = [
    GgmlType::I8,
    GgmlType::I16,
    GgmlType::I32,
    GgmlType::I64,
    GgmlType::F64,
    GgmlType::Q8_1,
    GgmlType::Q8_K,
];

/// An adapter of a GGUF model. Keeps its model alive.
#[derive(Debug)]
pub struct GgufAdapter {
    what: What,
    bytes: u64,
    model: Arc<GgufModel>,
}

#[derive(Debug)]
enum What {
    LowRank(NonNull<llama_adapter_lora>),
    /// A direction for each layer but the first.
    Control(Vec<f32>),
}

// SAFETY: after the load nothing changes an adapter: contexts read it.
unsafe impl Send for GgufAdapter {}
// SAFETY: as above.
unsafe impl Sync for GgufAdapter {}

impl Adapter for GgufAdapter {
    fn kind(&self) -> AdapterKind {
        match self.what {
            What::LowRank(_) => AdapterKind::LowRank,
            What::Control(_) => AdapterKind::Control,
        }
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for GgufAdapter {
    fn drop(&mut self) {
        if let What::LowRank(adapter) = self.what {
            let _one_at_a_time = self.model.one_at_a_time();
            // SAFETY: the adapter came from a load, and contexts that apply it hold this value.
            unsafe { llama_adapter_lora_free(adapter.as_ptr()) };
        }
    }
}

impl GgufAdapter {
    pub(super) fn load(model: Arc<GgufModel>, path: &Path) -> Result<Self, Error> {
        let invalid = |reason| Error::InvalidFile { path: path.to_owned(), reason };
        let header = validate::read_header(path)?;
        let bytes = header.tensors.iter().map(|tensor| tensor.bytes).sum();
        if header.metadata.str("general.architecture") == Some(CONTROL) {
            let directions = directions(&model, path, &header)?;
            return Ok(Self { what: What::Control(directions), bytes, model });
        }
        check_low_rank(&model, &header).map_err(invalid)?;
        let name = native_path(path)?;
        let guard = model.one_at_a_time();
        let (adapter, reason) = log::capture(|| {
            // SAFETY: the model is live, the name ends in NUL, and the file was checked.
            unsafe { llama_adapter_lora_init(model.as_ptr(), name.as_ptr()) }
        });
        drop(guard);
        let adapter = NonNull::new(adapter).ok_or_else(|| Error::Load { path: path.to_owned(), reason })?;
        Ok(Self { what: What::LowRank(adapter), bytes, model })
    }
}

/// Applies these adapters to a context and no others.
pub(super) fn apply(context: &mut GgufContext, adapters: &[Applied]) -> Result<(), Error> {
    let (mut low_rank, mut scales) = (Vec::new(), Vec::new());
    let mut control: Vec<f32> = Vec::new();
    for Applied { adapter, scale } in adapters {
        let adapter: &dyn Any = &**adapter;
        let own = adapter.downcast_ref::<GgufAdapter>();
        let own = own.filter(|own| std::ptr::eq(Arc::as_ptr(&own.model), context.model()));
        let Some(own) = own else {
            return Err(Error::Adapter { expected: "one of the same loaded model", got: "another's".into() });
        };
        if !scale.is_finite() {
            return Err(Error::Adapter { expected: "a finite scale", got: scale.to_string() });
        }
        match &own.what {
            What::LowRank(adapter) => match low_rank.iter().position(|other| *other == adapter.as_ptr()) {
                Some(at) => scales[at] += scale,
                None => {
                    low_rank.push(adapter.as_ptr());
                    scales.push(*scale);
                }
            },
            What::Control(directions) => {
                control.resize(directions.len(), 0.0);
                control.iter_mut().zip(directions).for_each(|(sum, value)| *sum += value * scale);
            }
        }
    }
    let shape = *context.model().shape();
    let outcome = {
        let _one_at_a_time = context.model().one_at_a_time();
        // SAFETY: the context is live and borrowed mutably; the adapters are of its model, and the caller keeps them; the
        // lock keeps other adapters and contexts of the model from coming and going.
        unsafe {
            shim::adapt(context.as_ptr(), &mut low_rank, &mut scales, &control, shape.n_embd, shape.n_layer)
        }
    };
    outcome.map_err(|reason| Error::Context { reason })
}

/// Whether every factor has its partner and fits the weight that it is for.
fn check_low_rank(model: &GgufModel, header: &Header) -> Result<(), String> {
    let stated = |key: &str| header.metadata.str(key).unwrap_or("nothing").to_owned();
    for (key, expected) in [
        ("general.type", "adapter"),
        ("general.architecture", model.architecture()),
        ("adapter.type", "lora"),
    ] {
        if stated(key) != expected {
            return Err(format!("`{key}`: expected `{expected}`, got `{}`", stated(key)));
        }
    }
    let factors = header.tensors.iter().filter(|tensor| !tensor.name.ends_with("_norm.weight"));
    for tensor in factors {
        let weight = FACTORS.iter().find_map(|end| tensor.name.strip_suffix(end));
        let weight = weight.ok_or_else(|| {
            format!("tensor `{}`: expected a name that ends in .lora_a or .lora_b", tensor.name)
        })?;
        let factor = |end: &str| {
            let name = format!("{weight}{end}");
            header.tensor(&name).ok_or_else(|| format!("tensor `{name}` is missing"))
        };
        let shape = model
            .shape_of(weight)
            .ok_or_else(|| format!("tensor `{}`: the model has no `{weight}`", tensor.name))?;
        check_factors(weight, shape, factor(FACTORS[0])?, factor(FACTORS[1])?)?;
    }
    Ok(())
}

fn check_factors(weight: &str, shape: &[u64], a: &TensorInfo, b: &TensorInfo) -> Result<(), String> {
    if let Some(odd) = [a, b].into_iter().find(|factor| NO_FACTORS.contains(&factor.ty)) {
        return Err(format!("tensor `{}` is of {}, which cannot be computed with", odd.name, odd.ty));
    }
    let at = |dims: &[u64], n: usize| dims.get(n).copied().unwrap_or(1);
    let rank = at(&b.dims, 0);
    // Rows of an embedding are looked up: there the first factor is as long as the vocabulary.
    let (inner, fits) = match weight.ends_with("token_embd.weight") {
        true => ([rank, at(shape, 1)], [rank, at(shape, 0)]),
        false => ([at(shape, 0), rank], [rank, at(shape, 1)]),
    };
    for (factor, expected) in [(a, inner), (b, fits)] {
        let got = [at(&factor.dims, 0), at(&factor.dims, 1)];
        let same_rest = (2..4).all(|n| at(&factor.dims, n) == at(shape, n));
        if got != expected || !same_rest || rank == 0 {
            return Err(format!("tensor `{}`: expected {expected:?}, got {:?}", factor.name, factor.dims));
        }
    }
    Ok(())
}

/// The directions of a control vector, zeros for layers that have none.
fn directions(model: &GgufModel, path: &Path, header: &Header) -> Result<Vec<f32>, Error> {
    let invalid = |reason: String| Error::InvalidFile { path: path.to_owned(), reason };
    let unreadable = |source| Error::Read { path: path.to_owned(), source };
    let shape = model.shape();
    let (width, n_layers) = (shape.n_embd.unsigned_abs() as usize, shape.n_layer.unsigned_abs() as usize);
    let mut directions = vec![0.0; width * n_layers.saturating_sub(1)];
    let mut file = File::open(path).map_err(unreadable)?;
    for tensor in &header.tensors {
        let layer = tensor.name.strip_prefix(DIRECTION).and_then(|number| number.parse::<usize>().ok());
        let layer = layer.filter(|layer| (1..n_layers).contains(layer)).ok_or_else(|| {
            invalid(format!("tensor `{}`: expected {DIRECTION}1 to {DIRECTION}{}", tensor.name, n_layers - 1))
        })?;
        if tensor.ty != GgmlType::F32 || tensor.n_elements() != width as u64 {
            let (got, dims) = (tensor.ty, &tensor.dims);
            return Err(invalid(format!(
                "tensor `{}`: expected {width} of F32, got {dims:?} of {got}",
                tensor.name
            )));
        }
        let mut bytes = vec![0; width * 4];
        file.seek(SeekFrom::Start(header.data_offset + tensor.offset)).map_err(unreadable)?;
        file.read_exact(&mut bytes).map_err(unreadable)?;
        let values = bytes.as_chunks().0.iter().map(|four| f32::from_le_bytes(*four));
        let place = &mut directions[(layer - 1) * width..layer * width];
        place.iter_mut().zip(values).for_each(|(place, value)| *place = value);
        if let Some(value) = place.iter().find(|value| !value.is_finite()) {
            return Err(invalid(format!("tensor `{}`: expected finite numbers, got {value}", tensor.name)));
        }
    }
    if header.tensors.is_empty() {
        return Err(invalid("expected directions, found none".into()));
    }
    Ok(directions)
}
