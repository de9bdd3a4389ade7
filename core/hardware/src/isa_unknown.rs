//! Instruction sets of a processor that nothing is known of: none.

pub(crate) fn detected() -> Vec<String> {
    Vec::new()
}
