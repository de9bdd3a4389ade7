//! Opening a bundle or a single file, and planning for it. Knows manifests and hosts; must not load weights.

mod devices;
mod engines;
mod header;
#[cfg(feature = "quantize")]
mod stated;
#[cfg(not(feature = "quantize"))]
#[path = "open/stated_disabled.rs"]
mod stated;

pub use devices::{backend_devices, supplied_devices};
pub(crate) use header::{digest_of, read_header};

use crate::tune::{compared, seen_memory, seen_speeds};
use crate::{Error, Result};
use bundle::{Bundle, Format, Presence, Variant};
use engine::Engine;
use engines::{Engines, Missing, Wanted};
use families::Description;
use families::projector::Encoder;
use formats::gguf::{GgmlType, Header, TensorSpec};
use hardware::{Host, Supplied};
use header::{header_beside, open_reader};
use planner::speed::Work;
use planner::{Candidate, Code, OwnCache, Plan, Projector, QualityEstimate, Request};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How to open.
#[derive(Default)]
pub struct RuntimeSettings {
    /// The host to plan for; `None`: this one.
    pub host: Option<Host>,
    /// The engine; `None`: the built-in one for GGUF.
    pub engine: Option<Arc<dyn Engine>>,
    /// What only the app can ask the system for; laid over what is detected of this host.
    pub supplied: Supplied,
    /// CPU kernel variant to force, by name; `None`: the best. Only for the built-in engine.
    pub cpu_variant: Option<String>,
    /// ONNX Runtime's library, or folders that may have it, in order: it computes variants that are graphs of ONNX (feature
    /// `onnx`), and is opened where there are such. Only beside the built-in engine.
    pub onnx_libraries: Vec<PathBuf>,
    /// The projector of a single GGUF file; bundles have their own. Read where a plan is for images.
    pub projector: Option<PathBuf>,
    /// Folder in which what is measured of models on this machine is kept between starts, made when needed; `None`: nothing
    /// is kept.
    pub tuning_folder: Option<PathBuf>,
    /// Most memory of the host that any plan may use, in bytes, whatever there is: the app needs the rest. `None`: no cap.
    pub memory_cap_bytes: Option<u64>,
    /// Most memory of a device that any plan may use, in bytes, whatever is free: the app draws with the rest.
    pub device_memory_cap_bytes: Option<u64>,
}

/// What is wished of a plan.
pub type PlanRequest = Request;

/// An opened model, not loaded yet.
pub struct Runtime {
    host: Host,
    engine: Arc<dyn Engine>,
    variants: Vec<Opened>,
    bundle: Option<Bundle>,
    tuning_folder: Option<PathBuf>,
    /// Whether the host is this machine, whose conditions can be asked for again.
    is_here: bool,
    /// Most memory of the host and of a device that plans may use, in bytes.
    caps: (Option<u64>, Option<u64>),
}

struct Opened {
    candidate: Candidate,
    path: Option<PathBuf>,
    projector: Option<PathBuf>,
}

impl Runtime {
    /// Opens the bundle directory or GGUF file at `path`. Reads the manifest and the headers of the
    /// files that are here; no weights.
    ///
    /// # Errors
    /// Neither a bundle nor a GGUF file, a broken one, or a host that cannot be described.
    pub fn open(path: &Path, mut settings: RuntimeSettings) -> Result<Self> {
        let bundle = if Bundle::is_bundle(path) { Some(Bundle::open(path)?) } else { None };
        let has = |format| bundle.as_ref().is_some_and(|bundle| has(bundle, format));
        let wanted = Wanted { onnx: has(Format::Onnx), mlx: has(Format::Mlx) };
        let is_here = settings.host.is_none();
        let mut host = settings.host.take().map_or_else(hardware::detect, Ok)?;
        let Engines { engine, missing } = Engines::of(&mut settings, wanted, &host)?;
        if is_here {
            let mut supplied = std::mem::take(&mut settings.supplied);
            supplied.devices.extend(supplied_devices(&*engine));
            host.supply(&supplied);
        }
        let variants = match &bundle {
            Some(bundle) => open_variants(bundle, &missing)?,
            None => vec![open_file(path, settings.projector)?],
        };
        let RuntimeSettings { memory_cap_bytes, device_memory_cap_bytes, tuning_folder, .. } = settings;
        let caps = (memory_cap_bytes, device_memory_cap_bytes);
        Ok(Self { host, engine, variants, bundle, tuning_folder, is_here, caps })
    }

    /// The bundle, where one was opened.
    pub fn bundle(&self) -> Option<&Bundle> {
        self.bundle.as_ref()
    }

    /// The host that plans are made for.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Whether the host is this machine and not one that was described by the app.
    pub(crate) fn is_here(&self) -> bool {
        self.is_here
    }

    /// What computes here: engine, version, kernels. Measurements hold for one build only.
    pub fn engine_build(&self) -> String {
        self.engine.build()
    }

    /// What computes.
    pub(crate) fn engine(&self) -> &dyn Engine {
        self.engine.as_ref()
    }

    /// The same, to be kept.
    #[cfg_attr(not(feature = "quantize"), expect(dead_code, reason = "only requantizing keeps it"))]
    pub(crate) fn shared_engine(&self) -> Arc<dyn Engine> {
        Arc::clone(&self.engine)
    }

    /// Most memory of the host and of a device that plans may use, in bytes.
    #[cfg_attr(not(feature = "quantize"), expect(dead_code, reason = "only requantizing hands it on"))]
    pub(crate) fn caps(&self) -> (Option<u64>, Option<u64>) {
        self.caps
    }

    /// The folder in which measurements are kept.
    pub(crate) fn tuning_folder(&self) -> Option<&Path> {
        self.tuning_folder.as_deref()
    }

    /// The variant of this id and its file, where that is on this machine.
    pub(crate) fn variant(&self, id: &str) -> Option<(&Candidate, &Path)> {
        let variant = self.variants.iter().find(|variant| variant.candidate.id == id)?;
        Some((&variant.candidate, variant.path.as_deref()?))
    }

    /// What the variant of this id reads images with.
    pub(crate) fn projector(&self, id: &str) -> Option<&Path> {
        let variant = self.variants.iter().find(|variant| variant.candidate.id == id)?;
        variant.projector.as_deref()
    }

    /// Every variant, as the planner sees it.
    pub fn candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.variants.iter().map(|variant| &variant.candidate)
    }

    /// Plans for the host. Adds the engine's devices to those of the request, and what normal
    /// use and comparing variants ([`Runtime::compare`]) have shown of speeds and memory here.
    pub fn plan(&self, request: &PlanRequest) -> Plan {
        let candidates: Vec<Candidate> = self.candidates().cloned().collect();
        planner::plan(&self.host, &candidates, &self.completed(request))
    }

    /// The request with all that is known here.
    pub(crate) fn completed(&self, request: &PlanRequest) -> PlanRequest {
        let mut request = request.clone();
        let lower = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
        request.memory_cap_bytes = lower(request.memory_cap_bytes, self.caps.0);
        request.device_memory_cap_bytes = lower(request.device_memory_cap_bytes, self.caps.1);
        request.devices.extend(backend_devices(&*self.engine, &self.host));
        if let Some(folder) = &self.tuning_folder {
            request.observations.extend(seen_speeds(&self.host, self.engine(), folder));
            if request.residuals.is_empty() {
                request.residuals = seen_memory(&self.host, self.engine(), folder);
            }
            if let Some(bundle) = self.bundle.as_ref().filter(|_| request.measured.is_empty()) {
                request.measured = compared(&self.host, self.engine(), folder, bundle);
            }
        }
        request
    }
}

/// What could be loaded of the bundle directory or GGUF file at `path`, as the planner sees it. Needs no engine; of a
/// file, the header alone may be there.
///
/// # Errors
/// As [`Runtime::open`].
pub fn candidates_at(path: &Path) -> Result<Vec<Candidate>> {
    if Bundle::is_bundle(path) {
        let opened = open_variants(&Bundle::open(path)?, &Missing::of_build())?;
        return Ok(opened.into_iter().map(|opened| opened.candidate).collect());
    }
    let gguf = |source| Error::Gguf { path: path.into(), source };
    let (reader, bytes) = open_reader(path)?;
    let header = Header::read_beginning(reader, bytes).map_err(gguf)?;
    Ok(vec![candidate_of(path, header)?])
}

fn describe(path: &Path, header: &Header) -> Result<Description> {
    if header.tensors.is_empty() {
        let expected = format!("at least one in {}", path.display());
        return Err(Error::Request { what: "tensors", expected, got: "none".into() });
    }
    families::detect_gguf(header).map_err(|source| Error::Family { path: path.into(), source })
}

/// What one token costs in this file.
fn work_of(header: &Header, description: &Description) -> Work {
    let tensors = header.tensors.iter();
    Work::of_tensors(
        description,
        tensors.map(|tensor| (tensor.name.as_str(), tensor.dims.as_slice(), tensor.ty)),
    )
}

/// Every tensor of a header.
fn specs(header: &Header) -> Vec<TensorSpec> {
    let spec = |tensor: &formats::gguf::TensorInfo| TensorSpec {
        name: tensor.name.clone(),
        dims: tensor.dims.clone(),
        ty: tensor.ty,
    };
    header.tensors.iter().map(spec).collect()
}

fn open_file(path: &Path, projector: Option<PathBuf>) -> Result<Opened> {
    let mut candidate = candidate_of(path, read_header(path)?)?;
    if let Some(projector) = &projector {
        let header = read_header(projector)?;
        let file_bytes = header.data_offset + header.tensors.iter().map(|tensor| tensor.bytes).sum::<u64>();
        candidate.projector = Some(Projector { file_bytes, encoder: Encoder::of(&header.metadata) });
    }
    Ok(Opened { candidate, path: Some(path.into()), projector })
}

fn candidate_of(path: &Path, header: Header) -> Result<Candidate> {
    let description = describe(path, &header)?;
    let weights_bytes = header.tensors.iter().map(|tensor| tensor.bytes).sum();
    let largest = header.tensors.iter().max_by_key(|tensor| tensor.bytes);
    let precision = largest.map_or("F32", |tensor| tensor.ty.name()).to_string();
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let work = Some(work_of(&header, &description));
    let experts = |name: &str| families::role_of(name).is_routed_expert();
    let routed =
        header.tensors.iter().filter(|tensor| experts(&tensor.name)).map(|tensor| tensor.bytes).sum();
    Ok(Candidate {
        id: name,
        precision,
        active_weights_bytes: weights_bytes - unread_bytes(&description, routed),
        description,
        weights_bytes,
        tensors: specs(&header),
        work,
        quality: None,
        compatible_backends: ["cpu", "vulkan", "cuda", "metal"].map(String::from).to_vec(),
        present: true,
        projector: None,
        cache: None,
        blocked: None,
    })
}

/// Bytes of experts that a token does not read.
pub(crate) fn unread_bytes(description: &Description, routed_bytes: u64) -> u64 {
    let Some(moe) = description.moe else { return 0 };
    let unread = u64::from(moe.n_experts.saturating_sub(moe.n_active));
    routed_bytes / u64::from(moe.n_experts.max(1)) * unread
}

/// Whether one of its variants has this format.
fn has(bundle: &Bundle, format: Format) -> bool {
    bundle.variants().iter().any(|variant| variant.format == format)
}

/// All variants share one architecture, which the first file that is here tells.
fn open_variants(bundle: &Bundle, missing: &Missing) -> Result<Vec<Opened>> {
    let mut description: Option<Description> = None;
    let mut variants = Vec::new();
    for variant in bundle.variants() {
        let presence = bundle.presence(variant);
        let path = match presence {
            Presence::Complete => bundle.files(&variant.id)?.into_iter().next(),
            _ => None,
        };
        let is_told = path.as_deref().is_some_and(is_told);
        if let (None, Some(path), true) = (&description, &path, is_told) {
            description = Some(describe(path, &read_header(path)?)?);
        }
        let no_engine = match variant.format {
            Format::Onnx => missing.onnx.as_deref(),
            Format::Mlx => missing.mlx.as_deref(),
            _ => None,
        };
        let blocked = match &presence {
            _ if no_engine.is_some() => no_engine.map(|reason| (Code::Engine, reason.to_string())),
            Presence::Complete if !is_told => {
                Some((Code::Feature, format!("without {}: make it again", bundle::MODEL_HEADER)))
            }
            Presence::Absent => Some((Code::Missing, "pull it first".into())),
            Presence::Damaged(error) => Some((Code::Missing, format!("{error}: pull it again"))),
            Presence::Complete => variant
                .check_runtime(env!("CARGO_PKG_VERSION"))
                .err()
                .map(|error| (Code::Feature, error.to_string())),
        };
        variants.push((variant, path, blocked));
    }
    let description = description.or_else(|| stated::description(bundle));
    let Some(description) = description else { return Err(nothing_here(bundle)) };
    let opened = variants.into_iter().map(|(variant, path, blocked)| {
        // Where a file is here its header tells each tensor; a header that does not read shows when it is loaded.
        let header = path.as_deref().and_then(|path| read_header(path).ok());
        let tensors = header.as_ref().map(specs).unwrap_or_default();
        let candidate = Candidate {
            id: variant.id.clone(),
            precision: variant.precision.clone(),
            description: description.clone(),
            weights_bytes: variant.memory.weights_bytes,
            tensors,
            active_weights_bytes: variant.memory.active_weights_bytes.unwrap_or(variant.memory.weights_bytes),
            work: header.as_ref().map(|header| work_of(header, &description)),
            quality: variant.quality.as_ref().and_then(|quality| {
                let kld_mean = quality.kld_mean?;
                let interval = quality.kld_interval.unwrap_or([kld_mean, kld_mean]);
                Some(QualityEstimate { kld_mean, interval, measured: true })
            }),
            compatible_backends: variant.compatible_backends.clone(),
            present: path.is_some(),
            projector: projector_of(bundle, variant),
            cache: own_cache(variant, &description),
            blocked,
        };
        let projector = variant.projector().map(|entry| bundle.root().join(entry.path.as_str()));
        Opened { candidate, path, projector }
    });
    Ok(opened.collect())
}

/// Whether a header tells the model of a variant's first file: one of its own, or one beside it.
fn is_told(path: &Path) -> bool {
    header_beside(path).is_none_or(|header| header.is_file())
}

/// How ONNX Runtime keeps a graph's keys and values: as its inputs are, and a run gives new ones back while the old are there. The
/// manifest tells a token's bytes, which tell the type.
fn own_cache(variant: &Variant, description: &Description) -> Option<OwnCache> {
    if variant.format != Format::Onnx {
        return None;
    }
    let bytes_of = |ty| families::memory::kv_bytes(description, 1, ty, ty);
    let stated = variant.memory.kv_bytes_per_token.or_else(|| bytes_of(GgmlType::F32))?;
    let ty = if bytes_of(GgmlType::F16) == Some(stated) { GgmlType::F16 } else { GgmlType::F32 };
    Some(OwnCache { ty, bytes_per_token: stated, copies: 2 })
}

/// What a variant reads images with: its size by the manifest, its shape where the file is here.
fn projector_of(bundle: &Bundle, variant: &Variant) -> Option<Projector> {
    let entry = variant.projector()?;
    let path = bundle.root().join(entry.path.as_str());
    let encoder = read_header(&path).ok().and_then(|header| Encoder::of(&header.metadata));
    Some(Projector { file_bytes: entry.bytes, encoder })
}

/// Why no file of the bundle can be opened: the first damage, else what there is instead.
fn nothing_here(bundle: &Bundle) -> Error {
    let mut ids = Vec::new();
    for variant in bundle.variants() {
        match bundle.presence(variant) {
            Presence::Damaged(error) => return Error::Bundle(error),
            _ => ids.push(variant.id.as_str()),
        }
    }
    let got = match ids.is_empty() {
        true => "none".to_string(),
        false => format!("none of {}: pull one first", ids.join(", ")),
    };
    let expected = format!("at least one variant in {}", bundle.root().display());
    Error::Request { what: "bundle", expected, got }
}
