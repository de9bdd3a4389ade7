//! Plain conversion: a checkpoint's weights in F32, F16 or BF16, everything in the source's order.

use crate::execute::{Summary, write_file};
use crate::plan::{Job, TensorPlan};
use crate::source::TensorSource;
use crate::{Result, Watch};
use families::OutputType;
use formats::gguf::Value;
use std::io::Write;

/// Writes `source` as a GGUF file of `output` type; `threads` workers, 0 for all cores.
///
/// # Errors
/// A weight that is not finite, a full disk, or [`crate::Error::Cancelled`].
pub fn convert(
    source: &dyn TensorSource,
    output: OutputType,
    out: impl Write,
    threads: usize,
    watch: &mut Watch<'_>,
) -> Result<Summary> {
    write_file(&conversion_job(source, output), source, out, threads, watch)
}

pub(crate) fn conversion_job(source: &dyn TensorSource, output: OutputType) -> Job {
    let mut metadata = source.metadata().clone();
    metadata.insert("general.file_type", Value::U32(output.file_type()));
    let plan = source.tensors().iter().enumerate().map(|(index, tensor)| TensorPlan {
        index,
        name: tensor.name.clone(),
        dims: tensor.dims.clone(),
        from: tensor.ty,
        to: output.of_tensor(&tensor.name, tensor.dims.len()),
        reason: "conversion",
        instead_of: None,
    });
    Job {
        label: output.ggml_type().name().into(),
        metadata,
        tensors: plan.collect(),
        importance: None,
        warnings: Vec::new(),
    }
}
