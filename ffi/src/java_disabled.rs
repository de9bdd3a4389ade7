//! Without the feature `jni` no app tells of its device beforehand.

use llama_pajamas::hardware::Supplied;

/// What the app knows of its device: nothing.
pub(crate) fn supplied() -> Supplied {
    Supplied::default()
}
