//! A graph made plain before it is quantized: one after the other, each leaving what the graph computes as it was.
//! Owns their order; each pass has a room of its own.

mod batch_norm;
mod branches;
mod duplicates;
mod folding;
mod layer_norm;
mod names;
mod operators;
mod reshapes;
mod skip_norm;
mod transposes;

use crate::Error;
use crate::quantize::Request;
use crate::quantize::evaluate::{Evaluator, Feed};
use crate::quantize::graph::{drop_unused, graph, graph_mut, opset, sort};
use crate::quantize::progress::{Progress, Step};
use formats::onnx::ModelProto;

/// What the passes did.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Cleaning {
    /// Nodes as they were, graphs below included.
    pub n_nodes_before: usize,
    /// Nodes as they are.
    pub n_nodes: usize,
    /// Branches taken for good.
    pub n_branches: usize,
    /// Nodes whose result is a constant now.
    pub n_folded: usize,
    /// Normalisations that became part of a weight.
    pub n_normalisations: usize,
    /// Norms of vectors that were spelled out and are one operator now.
    pub n_norms: usize,
    /// Sums that went into the norm behind them.
    pub n_skip_norms: usize,
    /// Changes of layout that cancelled or went into others.
    pub n_transposes: usize,
    /// Reshapes that went into those behind them.
    pub n_reshapes: usize,
    /// Constants that were the same as others.
    pub n_shared: usize,
    /// Version of operators, before and after.
    pub opset: (i64, i64),
}

/// The least version of operators with quantization by channel.
pub(crate) const OPSET: i64 = 13;

/// Runs them all. `feed` is one good set of inputs: shapes become what it has, unless the request keeps open what the model
/// leaves open, its fixed inputs become constants (they stay inputs that nothing reads), and branches are taken as it takes them.
///
/// # Errors
/// What the library refuses, an operator older than the oldest that can be rewritten, a graph that contradicts itself.
pub(crate) fn clean(
    model: &mut ModelProto,
    evaluator: &Evaluator<'_>,
    feed: &Feed,
    request: &Request,
    progress: &mut Progress<'_>,
) -> Result<Cleaning, Error> {
    let open = request.open_shapes;
    let before = opset(model);
    let mut done = Cleaning { n_nodes_before: branches::count(graph(model)?), ..Cleaning::default() };
    names::tidy(graph_mut(model)?)?;
    names::fix_inputs(graph_mut(model)?, feed, &request.fixed, open)?;
    done.n_branches = branches::take(model, evaluator, feed)?;
    progress.report(Step::Cleaning, 1, 3)?;
    done.n_folded = folding::fold(model, evaluator, feed, open)?;
    progress.report(Step::Cleaning, 2, 3)?;
    operators::raise(model, OPSET, evaluator, feed)?;
    done.n_transposes = transposes::cancel(graph_mut(model)?)?;
    done.n_normalisations = batch_norm::fold(graph_mut(model)?)?;
    if opset(model) >= layer_norm::FIRST {
        done.n_norms = layer_norm::fuse(graph_mut(model)?)?;
    }
    if request.target.skip_norms {
        done.n_skip_norms = skip_norm::fuse(model, evaluator, feed)?;
    }
    done.n_shared = duplicates::join(model)?;
    let graph = graph_mut(model)?;
    folding::skip_identities(graph);
    drop_unused(graph);
    sort(graph)?;
    done.n_reshapes = reshapes::join(graph)?;
    graph.value_info.clear();
    done.n_nodes = graph.node.len();
    done.opset = (before, opset(model));
    progress.report(Step::Cleaning, 3, 3)?;
    Ok(done)
}
