//! A bundle from an address: its manifest, its signature, and the files of the wanted variants.
//!
//! Owns the order: trust first, then files, then publication. Must not know hubs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::bundle::Bundle;
use crate::digest::Sha256Digest;
use crate::download::address::{self, Address, encode_path, join};
use crate::download::{Downloader, Job, Problem};
use crate::error::{Error, Result};
use crate::manifest::{FileEntry, MAX_MANIFEST_BYTES, Manifest, Variant};
use crate::signature::{
    self, MAX_SIGNATURE_BYTES, SIGNATURE_FILE, SignaturePolicy, SignatureStatus, TrustStore,
};
use crate::usage;
use crate::verify::Progress;
use crate::writer::{BundleWriter, Received};

/// Directory of partial files inside a bundle.
const PARTIALS: &str = ".partial";

/// What to pull.
#[derive(Debug)]
pub struct PullRequest<'a> {
    /// Address of the manifest. Its signature is looked for beside it.
    pub manifest_url: &'a str,
    /// Headers for the manifest's host, e.g. `Authorization`; not sent to other hosts.
    pub headers: &'a [(String, String)],
    /// Directory of the bundle; created when needed. An existing bundle of the same model is updated.
    pub destination: &'a Path,
    /// Ids of the wanted variants; those that they need come along.
    pub variants: &'a [String],
    /// Keys that may vouch for the manifest.
    pub trust: &'a TrustStore,
    /// What happens without a trusted signature.
    pub policy: SignaturePolicy,
    /// Most bytes that the bundles beside the destination and the destination itself may take; those used least
    /// recently, and not in use, are evicted.
    pub cap_bytes: Option<u64>,
}

/// What came of it.
#[derive(Debug)]
pub struct Pulled {
    /// The bundle.
    pub bundle: Bundle,
    /// What was found about the manifest's signature.
    pub signature: SignatureStatus,
    /// Bytes of the files that were not here before.
    pub fetched_bytes: u64,
    /// Bundles that were evicted.
    pub evicted: Vec<PathBuf>,
}

/// Pulls a bundle. Until everything is verified, the bundle at the destination stays what it was; an interrupted pull
/// continues where it was.
///
/// # Errors
/// [`Error::Signature`] before any file is fetched; [`Error::Manifest`], [`Error::UnknownVariant`],
/// [`Error::OtherModel`], [`Error::Download`], [`Error::StorageCap`], [`Error::DiskSpace`], [`Error::Locked`],
/// [`Error::Cancelled`], [`Error::Io`].
pub fn pull(
    downloader: &Downloader,
    request: &PullRequest<'_>,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Pulled> {
    let Offer { bytes, signature, status, manifest } = offer(downloader, request, progress)?;
    let place = PathBuf::from(address::shown(request.manifest_url));
    let variants = with_needed(&manifest, request.variants, &place)?;

    let writer = BundleWriter::create_or_open(request.destination, manifest.model.clone())?;
    let _guard = match Bundle::is_bundle(request.destination) {
        true => Some(usage::hold(request.destination)?),
        false => None,
    };
    let files: Vec<&FileEntry> =
        variants.iter().flat_map(|variant| &variant.files).filter(|file| !writer.has(file)).collect();
    let partials = request.destination.join(PARTIALS);
    let (jobs, places) = jobs(request, &files, &partials)?;
    let need = jobs.iter().fold(0u64, |sum, job| sum.saturating_add(job.bytes));
    let evicted = make_room(request, need)?;
    if !jobs.is_empty() {
        downloader.fetch(&jobs, &partials, progress)?;
    }
    let ids = variants.iter().map(|variant| variant.id.clone()).collect();
    let received = Received { manifest: manifest.clone(), bytes, signature, files: places, variants: ids };
    let bundle = writer.publish_received(received)?;
    if let Err(error) = fs::remove_dir_all(&partials) {
        tracing::debug!(path = %partials.display(), %error, "no partial files to remove");
    }
    drop(usage::hold(request.destination)?);
    Ok(Pulled { bundle, signature: status, fetched_bytes: need, evicted })
}

/// The manifest at an address and what its signature says, to choose variants by. `request.variants` do not matter.
///
/// # Errors
/// As [`pull`], before any file is fetched.
pub fn look(
    downloader: &Downloader,
    request: &PullRequest<'_>,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<(Manifest, SignatureStatus)> {
    offer(downloader, request, progress).map(|offer| (offer.manifest, offer.status))
}

/// A manifest that the policy lets through.
struct Offer {
    bytes: Vec<u8>,
    signature: Option<Vec<u8>>,
    status: SignatureStatus,
    manifest: Manifest,
}

fn offer(
    downloader: &Downloader,
    request: &PullRequest<'_>,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Offer> {
    let (bytes, signature) = documents(downloader, request, progress)?;
    let place = PathBuf::from(address::shown(request.manifest_url));
    let status = signature::check(&bytes, signature.as_deref(), request.trust);
    let status = signature::enforce(status, request.policy, &place)?;
    let manifest = Manifest::parse(&bytes).map_err(|source| Error::manifest(&place, source))?;
    Ok(Offer { bytes, signature, status, manifest })
}

/// The manifest and its signature.
fn documents(
    downloader: &Downloader,
    request: &PullRequest<'_>,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<(Vec<u8>, Option<Vec<u8>>)> {
    let url = request.manifest_url;
    let failed = |problem| Error::Download { url: address::shown(url), problem };
    let mut proceed =
        || progress(Progress { file: "manifest.json", done_bytes: 0, total_bytes: 0, eta: None });
    let manifest = downloader
        .document(url, request.headers, MAX_MANIFEST_BYTES, &mut proceed)?
        .ok_or_else(|| failed(Problem::of_status(404, None)))?;
    let beside = join(url, SIGNATURE_FILE).map_err(failed)?;
    let signature = downloader.document(&beside, request.headers, MAX_SIGNATURE_BYTES, &mut proceed)?;
    Ok((manifest, signature))
}

/// The variants with these ids and those that they need, in manifest order.
fn with_needed<'a>(manifest: &'a Manifest, ids: &[String], place: &Path) -> Result<Vec<&'a Variant>> {
    let mut wanted: BTreeSet<&str> = BTreeSet::new();
    let mut pending: Vec<&str> = ids.iter().map(String::as_str).collect();
    while let Some(id) = pending.pop() {
        let variant = manifest.variant(id).ok_or_else(|| Error::UnknownVariant {
            path: place.to_path_buf(),
            id: id.to_owned(),
            known: manifest.variants.iter().map(|variant| variant.id.clone()).collect(),
        })?;
        if wanted.insert(&variant.id) {
            pending.extend(variant.needs.variants.iter().map(String::as_str));
        }
    }
    Ok(manifest.variants.iter().filter(|variant| wanted.contains(variant.id.as_str())).collect())
}

/// Verified files with their places in the bundle.
type Places = Vec<(PathBuf, crate::path::RelativePath)>;

/// What is to be fetched into `partials`, each content once, and where it belongs.
fn jobs(request: &PullRequest<'_>, files: &[&FileEntry], partials: &Path) -> Result<(Vec<Job>, Places)> {
    let failed = |problem| Error::Download { url: address::shown(request.manifest_url), problem };
    let origin = Address::parse(request.manifest_url).map_err(failed)?;
    let mut jobs: BTreeMap<Sha256Digest, Job> = BTreeMap::new();
    let mut places = BTreeMap::new();
    for file in files {
        let target = partials.join(format!("{}.ready", file.sha256));
        places.insert(file.path.clone(), target.clone());
        // Under that name there are only verified files, left by an interrupted pull.
        if target.metadata().is_ok_and(|found| found.len() == file.bytes) {
            continue;
        }
        let relative = file.url.clone().unwrap_or_else(|| encode_path(&file.path));
        let url = join(request.manifest_url, &relative).map_err(failed)?;
        let is_same_host = Address::parse(&url).map_err(failed)?.same_origin(&origin);
        let headers = if is_same_host { request.headers.to_vec() } else { Vec::new() };
        let (name, digest) = (file.path.to_string(), Some(file.sha256.into()));
        jobs.insert(file.sha256, Job { url, headers, name, target, bytes: file.bytes, digest });
    }
    let places = places.into_iter().map(|(place, ready)| (ready, place)).collect();
    Ok((jobs.into_values().collect(), places))
}

fn make_room(request: &PullRequest<'_>, need: u64) -> Result<Vec<PathBuf>> {
    let Some(cap_bytes) = request.cap_bytes else { return Ok(Vec::new()) };
    let store = request.destination.parent().filter(|parent| !parent.as_os_str().is_empty());
    let store = store.unwrap_or(Path::new("."));
    let mut entries = usage::marked_directories(store)?;
    if !entries.iter().any(|entry| entry == request.destination) {
        entries.push(request.destination.to_path_buf());
    }
    usage::make_room(store, entries, request.destination, cap_bytes, need)
}
