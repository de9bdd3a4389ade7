//! Low priority on Linux and Android, where a thread has its own and hands it on to those it starts.

/// Priority of the calling thread: the lowest that the scheduler shares time by.
const NICE: i32 = 19;

/// Lets everything else on the machine go first.
pub(super) fn lower_priority() {
    // Without a process id the kernel takes the calling thread.
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "cannot lower the priority of requantizing");
    }
}
