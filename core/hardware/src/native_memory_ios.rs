//! Available memory on iOS: only the app can ask what the system still grants it (`os_proc_available_memory`), and hands
//! it over as [`crate::Supplied::available_memory_bytes`].

pub(crate) fn available_bytes() -> Option<u64> {
    None
}
