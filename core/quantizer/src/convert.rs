//! Plain conversion: a checkpoint's weights in F32, F16 or BF16, everything in the source's order.

use crate::execute::{Summary, write_file};
use crate::plan::{Job, TensorPlan};
use crate::recipe::FileType;
use crate::source::TensorSource;
use crate::{Result, Watch};
use families::OutputType;
use formats::gguf::{GgmlType, Value};
use std::io::Write;

/// `general.file_type` of a file with blocks that only checkpoints bring along (`LLAMA_FTYPE_MOSTLY_NVFP4`).
const MOSTLY_NVFP4: u32 = 39;

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
    let plan = source.tensors().iter().enumerate().map(|(index, tensor)| {
        // Blocks that the checkpoint ships in stay what they are.
        let (to, reason) = match source.is_stored(index) && tensor.ty.is_quantized() {
            true => (tensor.ty, "stored so"),
            false => (source.float_type(index, output), "conversion"),
        };
        let (name, dims) = (tensor.name.clone(), tensor.dims.clone());
        TensorPlan { index, name, dims, from: tensor.ty, to, reason, instead_of: None }
    });
    let plan: Vec<TensorPlan> = plan.collect();
    let file_type = match plan.iter().map(|plan| plan.to).find(|ty| ty.is_quantized()) {
        Some(GgmlType::MXFP4) => FileType::MXFP4_MOE.id(),
        Some(GgmlType::NVFP4) => MOSTLY_NVFP4,
        _ => output.file_type(),
    };
    metadata.insert("general.file_type", Value::U32(file_type));
    Job {
        label: output.ggml_type().name().into(),
        metadata,
        tensors: plan,
        importance: None,
        moments: None,
        warnings: source.warnings().to_vec(),
    }
}
