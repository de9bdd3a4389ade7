//! Available memory, asked of macOS: pages that are free or can be dropped.

pub(crate) fn available_bytes() -> Option<u64> {
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    Some(system.available_memory()).filter(|bytes| *bytes > 0)
}
