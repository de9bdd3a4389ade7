//! The ONNX Runtime library: found in folders or named, loaded once per process. A [`Library`] is the proof that it is there.
//! Knows file names and the least version; must not read the environment: folders are handed in.

use crate::Error;
use crate::provider::Provider;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The least minor version: 1.22 has what sessions ask for.
pub const MIN_MINOR_VERSION: u32 = ort::MINOR_VERSION;

/// The loaded library. Clones share it; it stays until the process ends.
#[derive(Clone, Debug)]
pub struct Library {
    pub(crate) environment: ort::environment::Environment,
    path: Arc<Path>,
    version: Arc<str>,
}

/// One per process: the runtime's own state is global.
static LOADED: Mutex<Option<Library>> = Mutex::new(None);

impl Library {
    /// Loads the library at a path, or gives the one that was loaded from there before.
    ///
    /// # Errors
    /// [`Error::LibraryMissing`] where no file is; [`Error::LibraryBroken`] for one that is no such library or older than
    /// 1.22; [`Error::LibraryAlready`] where the process has another.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let missing = || Error::LibraryMissing { folders: vec![path.into()], needed: MIN_MINOR_VERSION };
        let path = std::path::absolute(path).map_err(|_| missing())?;
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(library) = &*loaded {
            return if *library.path == *path {
                Ok(library.clone())
            } else {
                Err(Error::LibraryAlready { asked: path, loaded: library.path.to_path_buf() })
            };
        }
        if !path.is_file() {
            return Err(missing());
        }
        let broken = |reason: String| Error::LibraryBroken { path: path.clone(), reason };
        let builder = ort::init_from(&path).map_err(|error| broken(error.to_string()))?;
        let environment = builder
            .with_name("llama-pajamas")
            .with_telemetry(false)
            .with_logger(Arc::new(report))
            .build()
            .map_err(|error| broken(error.to_string()))?;
        environment.set_log_level(ort::logging::LogLevel::Warning);
        let library = Self { environment, version: version(&path).into(), path: path.clone().into() };
        *loaded = Some(library.clone());
        Ok(library)
    }

    /// The library in the first of the folders that has one; among several versions in a folder the newest.
    ///
    /// # Errors
    /// [`Error::LibraryMissing`], with the folders.
    pub fn find(folders: &[PathBuf]) -> Result<PathBuf, Error> {
        folders
            .iter()
            .find_map(|folder| find_in(folder))
            .ok_or_else(|| Error::LibraryMissing { folders: folders.to_vec(), needed: MIN_MINOR_VERSION })
    }

    /// Where it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// As in its file name or what it says of its build, e.g. `1.32.0`; `unknown` where neither says.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Providers that were compiled into the library. Whether one works on this machine only a session can tell.
    pub fn compiled_providers(&self) -> Vec<Provider> {
        Provider::ALL.into_iter().filter(|provider| provider.is_compiled_in()).collect()
    }

    /// Hardware that the library's providers say they found, as `provider: vendor kind`.
    pub fn devices(&self) -> Vec<String> {
        let devices = self.environment.devices();
        let described = devices.map(|device| {
            let hardware = device.hardware_device();
            let vendor = hardware.vendor().unwrap_or("unknown");
            format!("{}: {vendor} {:?}", device.ep().unwrap_or("unknown"), hardware.ty())
        });
        described.collect()
    }
}

fn find_in(folder: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut found: Vec<(Vec<u32>, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| Some((version_of_name(entry.file_name().to_str()?)?, entry.path())))
        .collect();
    found.sort();
    found.pop().map(|(_, path)| path)
}

/// The numbers of `libonnxruntime.so.1.32.0`, `libonnxruntime.1.32.0.dylib`, none for the plain names; not for other files.
fn version_of_name(name: &str) -> Option<Vec<u32>> {
    if matches!(name, "onnxruntime.dll" | "libonnxruntime.so" | "libonnxruntime.dylib") {
        return Some(Vec::new());
    }
    let rest = name.strip_prefix("libonnxruntime.")?;
    let numbers = rest.strip_prefix("so.").or_else(|| rest.strip_suffix(".dylib"))?;
    numbers.split('.').map(|number| number.parse().ok()).collect()
}

fn version(path: &Path) -> String {
    let name = path.file_name().and_then(|name| name.to_str()).and_then(version_of_name).unwrap_or_default();
    if !name.is_empty() {
        return name.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
    }
    let branch = ort::info().split(['=', ',', ' ']).find(|part| part.starts_with("rel-"));
    branch.map_or_else(|| "unknown".into(), |branch| branch.trim_start_matches("rel-").to_string())
}

fn report(level: ort::logging::LogLevel, _category: &str, _id: &str, place: &str, message: &str) {
    use ort::logging::LogLevel;
    match level {
        LogLevel::Error | LogLevel::Fatal => tracing::error!(place, "onnxruntime: {message}"),
        LogLevel::Warning => tracing::warn!(place, "onnxruntime: {message}"),
        _ => tracing::trace!(place, "onnxruntime: {message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_says_where_it_was_looked_for() {
        let folder = PathBuf::from("/nowhere");
        let error = Library::find(std::slice::from_ref(&folder)).unwrap_err().to_string();
        assert!(error.contains("1.22") && error.contains("/nowhere"), "{error}");
        assert!(
            Library::open(Path::new("/nowhere/libonnxruntime.so"))
                .unwrap_err()
                .to_string()
                .contains("/nowhere")
        );
    }

    #[test]
    fn a_file_that_is_no_library_is_an_error() {
        let path = std::env::temp_dir().join(format!("not-a-library-{}.so", std::process::id()));
        std::fs::write(&path, b"no library").unwrap();
        let error = Library::open(&path).unwrap_err().to_string();
        std::fs::remove_file(&path).unwrap();
        assert!(error.contains("not a usable ONNX Runtime library"), "{error}");
    }

    #[test]
    fn the_newest_name_wins() {
        assert_eq!(version_of_name("libonnxruntime.so.1.32.0"), Some(vec![1, 32, 0]));
        assert_eq!(version_of_name("libonnxruntime.1.31.0.dylib"), Some(vec![1, 31, 0]));
        assert_eq!(version_of_name("libonnxruntime_providers_shared.so"), None);
        assert!(version_of_name("libonnxruntime.so.1.9.0") < version_of_name("libonnxruntime.so.1.32.0"));
    }
}
