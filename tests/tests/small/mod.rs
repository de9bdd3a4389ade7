//! A bundle of the smallest model that comes with the repository, in types that need no importance matrix.
//! Owns: the list of them. Knows the quantizer; must not know what is compared.

use llama_pajamas_tests::committed;
use quantizer::recipe::FileType;
use quantizer::{BuildRequest, ProjectorWish, build_bundle};
use std::ops::ControlFlow;
use std::path::Path;

/// Floats, and the types that need no importance matrix.
pub(crate) const PRECISIONS: [FileType; 12] = [
    FileType::BF16,
    FileType::F16,
    FileType::Q8_0,
    FileType::Q5_0,
    FileType::Q4_1,
    FileType::Q4_0,
    FileType::Q6_K,
    FileType::Q5_K_M,
    FileType::Q4_K_M,
    FileType::Q3_K_M,
    FileType::Q2_K,
    FileType::IQ4_XS,
];

/// Makes the bundle.
pub(crate) fn small_bundle(precisions: &[FileType], output: &Path) {
    let request = BuildRequest {
        model: committed("models/pajama-stories-4m"),
        model_id: "stories".into(),
        output: output.to_owned(),
        precisions: precisions.iter().copied().map(Into::into).collect(),
        projector: ProjectorWish::None,
        threads: 2,
        ..BuildRequest::default()
    };
    build_bundle(&request, &mut |_| {}, &mut |_| ControlFlow::Continue(()))
        .expect("the small model can be quantized");
}
