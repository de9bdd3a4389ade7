//! What a bundle states of its model: licence, description, provenance.
//! Knows sources and manifests; must not know recipes.

use super::BuildRequest;
use crate::source::{TensorSource, describe as describe_source};
use crate::{Error, Result};
use bundle::{Architecture, Bundle, BundleWriter, Licence, Provenance};
use formats::gguf::Metadata;
use std::path::Path;

/// The licence as the model card names it, with its address where that is one.
pub(super) fn licence_of(metadata: &Metadata) -> Option<Licence> {
    let id = match (metadata.str("general.license")?, metadata.str("general.license.name")) {
        ("other", Some(name)) => name,
        (id, _) => id,
    };
    let link = metadata.str("general.license.link").filter(|link| link.starts_with("https://"));
    Some(Licence { id: id.into(), url: link.map(str::to_string), file: None, other: Default::default() })
}

/// Refuses to put a model with fewer layers or experts beside the whole one: variants of a bundle have one description.
pub(super) fn ensure_same_model(source: &dyn TensorSource, request: &BuildRequest) -> Result<()> {
    if !Bundle::is_bundle(&request.output) {
        return Ok(());
    }
    let bundle = Bundle::open(&request.output)?;
    let there = bundle.manifest().architecture.as_ref();
    let described = there.and_then(|stated| stated.description.as_ref());
    let experts_there = described.and_then(|stated| stated.pointer("/moe/n_experts")?.as_u64());
    let here = describe_source(source)?;
    let experts_here = here.moe.map(|moe| u64::from(moe.n_experts));
    let layers_there = there.and_then(|stated| stated.n_layers).map(u64::from);
    for (what, there, here) in
        [("layers", layers_there, Some(u64::from(here.n_layers))), ("experts", experts_there, experts_here)]
    {
        if let (Some(there), Some(here)) = (there, here)
            && there != here
        {
            return Err(Error::Request {
                wish: format!("prune {what}"),
                expected: "a bundle of its own".into(),
                got: format!("{}, whose model has {there} {what} and not {here}", request.output.display()),
            });
        }
    }
    Ok(())
}

/// Writes what the model is and where it comes from into the manifest.
pub(super) fn describe_model(
    source: &dyn TensorSource,
    request: &BuildRequest,
    writer: &mut BundleWriter,
) -> Result<()> {
    let description = describe_source(source)?;
    let manifest = writer.manifest_mut();
    manifest.architecture = Some(Architecture {
        family: description.family.clone(),
        model_type: description.model_type.clone(),
        name: description.architecture.clone(),
        parameters_total: Some(description.parameters.total),
        parameters_active: Some(description.parameters.active),
        n_layers: Some(description.n_layers),
        max_context_tokens: Some(description.max_context),
        description: serde_json::to_value(&description).ok(),
        other: Default::default(),
    });
    let version = format!("llama-pajamas {}", env!("CARGO_PKG_VERSION"));
    manifest.provenance = Provenance {
        source: request.model_id.clone(),
        revision: request.revision.clone(),
        adapters: request.adapters.iter().map(|path| name_of(path)).collect(),
        converter: Some(version.clone()),
        quantizer: Some(version),
        created: None,
        other: Default::default(),
    };
    Ok(())
}

/// The last part of an adapter's path, which alone means something elsewhere.
fn name_of(adapter: &Path) -> String {
    let whole = std::fs::canonicalize(adapter).unwrap_or_else(|_| adapter.to_path_buf());
    whole.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
