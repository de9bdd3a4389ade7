//! What a request reads: the model, without the experts that are to go, and what is known of its weights.
//! Knows requests and files; must not know recipes or bundles.

use super::{BuildRequest, open_source};
use crate::source::TensorSource;
use crate::{Importance, Moments, Pruning, Result, prune_experts};
use std::sync::Arc;

/// Opened files.
pub struct Inputs {
    /// The model.
    pub source: Box<dyn TensorSource>,
    /// Importance of the weights, where the request names it.
    pub importance: Option<Arc<Importance>>,
    /// What flows into them, where the request names it.
    pub moments: Option<Arc<Moments>>,
    /// What was taken out.
    pub pruning: Option<Pruning>,
}

/// Opens what `request` names. Where experts are to go, importance and moments are those of the experts that stay.
///
/// # Errors
/// Files that cannot be read or are something else; experts that cannot be taken out.
pub fn open_inputs(request: &BuildRequest) -> Result<Inputs> {
    let source = open_source(&request.model, &request.adapters)?;
    let mut importance = request.imatrix.as_deref().map(Importance::read).transpose()?;
    let mut moments = request.moments.as_deref().map(Moments::open).transpose()?;
    let (source, pruning) = match request.prune_experts {
        0 => (source, None),
        n => {
            let (pruned, pruning) = prune_experts(source, n, importance.as_ref(), moments.as_ref())?;
            for (stack, kept) in pruned.stacks() {
                if let Some(importance) = &mut importance {
                    importance.keep(stack, pruning.n_experts, kept);
                }
                if let Some(moments) = &mut moments {
                    moments.keep(stack, kept);
                }
            }
            (Box::new(pruned) as Box<dyn TensorSource>, Some(pruning))
        }
    };
    Ok(Inputs { source, importance: importance.map(Arc::new), moments: moments.map(Arc::new), pruning })
}
