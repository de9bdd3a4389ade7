//! Bundles from elsewhere: downloads over HTTP, and who signed them.
//!
//! Owns: the translation of options. May know: the bundle crate. Must not know: what is fetched.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use llama_pajamas::bundle::download::{Downloader, Options};
use llama_pajamas::bundle::http_transport::{HttpOptions, HttpTransport};
use llama_pajamas::bundle::pull::{self, PullRequest};
use llama_pajamas::bundle::{Bundle, Format, Progress, SignaturePolicy, TrustStore, Variant};
use serde_json::{Value, json};

use super::lp_pull_options;
use crate::arguments::{items, optional_text, text};
use crate::error::Failure;

/// What the signature of `bundle` is, where keys are given; refused where none of them signed it.
pub(super) fn signature(bundle: &Bundle, folder: Option<&str>) -> Result<Option<String>, Failure> {
    let Some(folder) = folder else { return Ok(None) };
    let trust = TrustStore::read(Path::new(folder))?;
    Ok(Some(bundle.verify_signature(&trust, SignaturePolicy::Require)?.to_string()))
}

/// # Safety
/// The options' texts are null or end in NUL, and its arrays are as long as they say.
pub(super) unsafe fn pull(
    url: &str,
    destination: &str,
    options: &lp_pull_options,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Value, Failure> {
    // SAFETY: by this function's contract.
    let [proxy, trust_folder, authorization] = unsafe {
        [
            optional_text(options.proxy, "proxy")?,
            optional_text(options.trust_folder, "trust_folder")?,
            optional_text(options.authorization, "authorization")?,
        ]
    };
    // SAFETY: by this function's contract.
    let wanted = unsafe { items(options.variants, options.n_variants, "variants") }?;
    // SAFETY: by this function's contract.
    let wanted = wanted.iter().map(|id| unsafe { text(*id, "a variant") }.map(str::to_owned));
    let variants = wanted.collect::<Result<Vec<_>, Failure>>()?;
    fetch(
        url,
        destination,
        Wanted { variants, trust_folder, authorization, proxy, cap_bytes: options.cap_bytes },
        progress,
    )
}

/// What to fetch and by whom it must be signed.
pub(crate) struct Wanted<'a> {
    /// Ids; none: all that are GGUF files.
    pub(crate) variants: Vec<String>,
    pub(crate) trust_folder: Option<&'a str>,
    pub(crate) authorization: Option<&'a str>,
    pub(crate) proxy: Option<&'a str>,
    /// 0: no cap.
    pub(crate) cap_bytes: u64,
}

/// Fetches what is wanted; what was done.
pub(crate) fn fetch(
    url: &str,
    destination: &str,
    wanted: Wanted<'_>,
    progress: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Value, Failure> {
    let Wanted { mut variants, trust_folder, authorization, proxy, cap_bytes } = wanted;
    let http = HttpOptions { proxy: proxy.map(str::to_owned), ..HttpOptions::default() };
    let transport = HttpTransport::new(&http).map_err(|error| Failure::invalid(error.to_string()))?;
    let downloader = Downloader::new(Arc::new(transport), Options::default());
    let (trust, policy) = match trust_folder {
        Some(folder) => (TrustStore::read(Path::new(folder))?, SignaturePolicy::Require),
        None => (TrustStore::new(), SignaturePolicy::Report),
    };
    let header = authorization.map(|value| ("Authorization".to_owned(), value.to_owned()));
    let headers: Vec<_> = header.into_iter().collect();
    let request = PullRequest {
        manifest_url: url,
        headers: &headers,
        destination: Path::new(destination),
        variants: &[],
        trust: &trust,
        policy,
        cap_bytes: (cap_bytes != 0).then_some(cap_bytes),
    };
    if variants.is_empty() {
        let (manifest, _) = pull::look(&downloader, &request, progress)?;
        let gguf = |variant: &&Variant| variant.format == Format::Gguf;
        variants.extend(manifest.variants.iter().filter(gguf).map(|variant| variant.id.clone()));
    }
    let request = PullRequest { variants: &variants, ..request };
    let pulled = pull::pull(&downloader, &request, progress)?;
    let evicted: Vec<_> = pulled.evicted.iter().map(|path| path.to_string_lossy()).collect();
    Ok(json!({
        "variants": variants, "fetched_bytes": pulled.fetched_bytes,
        "signature": pulled.signature.to_string(), "evicted": evicted,
    }))
}
