//! What a request reads: the model as it is wanted, without the layers and experts that are to go, and what is known of its
//! weights.
//! Knows requests and files; must not know recipes or bundles.

use super::{BuildRequest, open_source};
use crate::source::TensorSource;
use crate::source::padded::PaddedSource;
use crate::source::view::{Moved, View};
use crate::{Error, Importance, Moments, Pruning, Result, Sensitivity, prune_experts};
use std::sync::Arc;

/// Opened files, all in the names of the model as it is wanted.
pub struct Inputs {
    /// The model.
    pub source: Box<dyn TensorSource>,
    /// Importance of the weights, where the request names it.
    pub importance: Option<Arc<Importance>>,
    /// What flows into them, where the request names it.
    pub moments: Option<Arc<Moments>>,
    /// What was measured of the tensors, where the request names it.
    pub sensitivity: Option<Sensitivity>,
    /// Experts that were taken out.
    pub pruning: Option<Pruning>,
}

/// Opens what `request` names. Where layers or experts are to go, all that is known is of those that stay.
///
/// # Errors
/// Files that cannot be read or are something else; layers or experts that cannot be taken out.
pub fn open_inputs(request: &BuildRequest) -> Result<Inputs> {
    let mut source = open_source(&request.model, &request.adapters)?;
    let mut importance = request.imatrix.as_deref().map(Importance::read).transpose()?;
    let mut moments = request.moments.as_deref().map(Moments::open).transpose()?;
    let mut sensitivity = request.sensitivity.as_deref().map(Sensitivity::read).transpose()?;
    if !request.metadata.is_empty() {
        source = Box::new(View::restated(source, &request.metadata)?);
    }
    if request.pad {
        let padded = PaddedSource::new(source)?;
        if padded.is_changed() && (moments.is_some() || sensitivity.is_some()) {
            return Err(Error::Request {
                wish: "pad".into(),
                expected: "nothing that was measured of the model as it was: pad it first (--precision BF16), and measure that"
                    .into(),
                got: "moments or sensitivities".into(),
            });
        }
        if let Some(importance) = &mut importance {
            for (index, tensor) in padded.tensors().iter().enumerate() {
                importance.pad(&tensor.name, padded.columns_before(index) as usize, tensor.dims[0] as usize);
            }
        }
        source = Box::new(padded);
    }
    if !request.prune_layers.is_empty() {
        let moved = Moved::new(source.as_ref(), &request.prune_layers)?;
        source = Box::new(View::without_layers(source, &moved)?);
        if let Some(importance) = &mut importance {
            importance.rename(|name| moved.name(name));
        }
        if let Some(moments) = &mut moments {
            moments.rename(|name| moved.name(name));
        }
        if let Some(sensitivity) = &mut sensitivity {
            sensitivity.rename(|name| moved.name(name));
        }
    }
    let mut pruning = None;
    if request.prune_experts > 0 {
        let (pruned, removed) =
            prune_experts(source, request.prune_experts, importance.as_ref(), moments.as_ref())?;
        for (stack, kept) in pruned.stacks() {
            if let Some(importance) = &mut importance {
                importance.keep(stack, removed.n_experts, kept);
            }
            if let Some(moments) = &mut moments {
                moments.keep(stack, kept);
            }
        }
        (source, pruning) = (Box::new(pruned), Some(removed));
    }
    let (importance, moments) = (importance.map(Arc::new), moments.map(Arc::new));
    Ok(Inputs { source, importance, moments, sensitivity, pruning })
}
