//! Any bytes as the files that describe a machine, parts between NULs, in the order of the library's own list of files;
//! or, where they open with `#!`, as the text that replays one. A host whose budget no limit denies comes of any of it.
//! Knows the public API alone.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let host = match bytes.strip_prefix(b"#!") {
        Some(text) => {
            let file = tempfile::NamedTempFile::new().expect("a place for temporary files");
            std::fs::write(file.path(), text).expect("room");
            match hardware::detect_at(file.path()) {
                Ok(host) => host,
                Err(error) => {
                    assert!(error.to_string().contains("line "), "{error}");
                    return;
                }
            }
        }
        None => {
            let parts = hardware::FILES.iter().copied().zip(bytes.split(|byte| *byte == 0));
            hardware::detect_in(parts.filter(|(_, part)| !part.is_empty()))
        }
    };
    let limits = &host.memory.limits;
    assert!(limits.iter().all(|limit| host.memory.budget_bytes <= limit.headroom_bytes));
    assert!(host.cpu.usable_cpus >= 1 && host.cpu.usable_cpus <= host.cpu.logical_cpus);
    assert!(host.cpu.fast_cores >= 1 && host.cpu.usable_cores >= 1 && host.cpu.physical_cores >= 1);
    assert!(host.memory.budget_bytes == 0 || !limits.is_empty());
    assert!(serde_json::to_string(&host).is_ok());
});
