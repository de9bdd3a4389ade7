//! Low priority elsewhere: where no safe call sets it for one thread, the count of threads and the pauses alone spare the device.

/// Leaves the thread as it is.
pub(super) fn lower_priority() {
    tracing::debug!("the priority of single threads cannot be lowered here");
}
