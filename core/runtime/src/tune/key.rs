//! For what a measurement holds: machine, engine, file, context, start. Owns how each becomes a text that changes exactly
//! when a measurement is void.

use bundle::Sha256Digest;
use engine::Engine;
use hardware::Host;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use tuner::{Key, Setting};

/// Bytes of the file's beginning and end that stand for all of it: the names and numbers of the header, and weights.
const SAMPLE_BYTES: u64 = 128 << 10;

pub(super) fn of(
    host: &Host,
    engine: &dyn Engine,
    path: &Path,
    context: u32,
    start: Setting,
) -> io::Result<Key> {
    Ok(Key {
        topology: topology(host),
        quota: quota(host),
        devices: devices(host),
        power_mode: host.power.mode.clone().or_else(|| host.power.governor.clone()).unwrap_or_default(),
        engine: engine.build(),
        model: digest(path)?,
        context_bucket: context.checked_next_power_of_two().unwrap_or(u32::MAX),
        start,
    })
}

/// For what a speed of any model holds.
pub(super) fn machine(host: &Host, engine: &dyn Engine) -> String {
    let mode = host.power.mode.clone().or_else(|| host.power.governor.clone()).unwrap_or_default();
    [topology(host), quota(host), devices(host), mode, engine.build()].join("\n")
}

fn topology(host: &Host) -> String {
    let cpu = &host.cpu;
    let classes = cpu.core_classes.iter().map(|class| format!("{}x{}", class.n_cores, class.speed));
    format!(
        "{} {} [{}] {} cores {} cpus: {}",
        host.arch,
        cpu.brand,
        cpu.signatures.join(" "),
        cpu.physical_cores,
        cpu.logical_cpus,
        classes.collect::<Vec<_>>().join(" ")
    )
}

fn quota(host: &Host) -> String {
    let cpu = &host.cpu;
    let classes = cpu.core_classes.iter().map(|class| class.n_usable_cpus.to_string());
    let quota = cpu.quota_cpus.map_or_else(|| "all".to_owned(), |quota| format!("{quota:.2}"));
    format!("{} of {quota}: {}", cpu.usable_cpus, classes.collect::<Vec<_>>().join(" "))
}

fn devices(host: &Host) -> String {
    let device = |gpu: &hardware::Gpu| {
        let driver = gpu.driver.as_deref().unwrap_or_default();
        format!("{} {driver} {}", gpu.name, gpu.memory_bytes.unwrap_or(0))
    };
    host.gpus.iter().map(device).collect::<Vec<_>>().join("; ")
}

/// The digest of a file's length, beginning and end: gigabytes are not hashed to look up a few numbers.
fn digest(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let bytes = file.metadata()?.len();
    let mut sample = bytes.to_le_bytes().to_vec();
    (&mut file).take(SAMPLE_BYTES).read_to_end(&mut sample)?;
    file.seek(SeekFrom::Start(bytes.saturating_sub(SAMPLE_BYTES)))?;
    file.take(SAMPLE_BYTES).read_to_end(&mut sample)?;
    Ok(Sha256Digest::of(&sample).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_length_beginning_and_end() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join("file");
        let digest_of = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("writable");
            digest(&path).expect("readable")
        };
        let mut bytes = vec![7; 3 * SAMPLE_BYTES as usize];
        let whole = digest_of(&bytes);
        assert_eq!(digest_of(&bytes), whole);
        *bytes.last_mut().expect("not empty") = 8;
        assert_ne!(digest_of(&bytes), whole);
        assert_ne!(digest_of(&[7; 100]), digest_of(&[7; 99]));
    }

    #[test]
    fn a_quota_changes_the_key() {
        let mut host = Host::default();
        let before = quota(&host);
        host.cpu.quota_cpus = Some(1.5);
        assert_ne!(quota(&host), before);
    }
}
