//! Any bytes as a hub's answer: an error, or files with plain relative paths inside the cache. What stands behind the
//! first NUL are the headers of the answers about single files, a line each. Knows the public API alone.
#![no_main]

use bundle::download::{Downloader, Options};
use bundle::hub::{Hub, HubOptions};
use bundle::transport::{Headers, Request, Response, Transport, TransportError};
use libfuzzer_sys::fuzz_target;
use std::ops::ControlFlow;
use std::path::Component;
use std::sync::Arc;
use std::time::Duration;

/// A server with one index and empty files.
struct Server {
    index: Vec<u8>,
    headers: Headers,
}

impl Transport for Server {
    fn get(&self, request: &Request) -> Result<Response, TransportError> {
        if request.url.contains("/api/models/") {
            let body = Box::new(std::io::Cursor::new(self.index.clone()));
            return Ok(Response { status: 200, headers: Headers::default(), body });
        }
        Ok(Response { status: 206, headers: self.headers.clone(), body: Box::new(std::io::empty()) })
    }
}

fuzz_target!(|bytes: &[u8]| {
    let (index, headers) = match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], String::from_utf8_lossy(&bytes[at + 1..]).into_owned()),
        None => (bytes, String::new()),
    };
    let headers = headers.lines().filter_map(|line| line.split_once(": ")).collect();
    let transport = Arc::new(Server { index: index.to_vec(), headers });
    let times = Options {
        max_failures: 1,
        backoff_base: Duration::ZERO,
        backoff_limit: Duration::ZERO,
        max_retry_after: Duration::ZERO,
        ..Options::default()
    };
    let place = tempfile::tempdir().expect("a place for temporary files");
    let cache = place.path().join("cache");
    let hub = Hub::new(HubOptions::new(&cache), Some(Downloader::new(transport, times)));
    let id = "organisation/name".parse().expect("an id");
    let snapshot = hub.get(&id, &mut |_| ControlFlow::Continue(()));
    if let Ok(snapshot) = &snapshot {
        assert!(snapshot.directory.starts_with(&cache));
        for file in &snapshot.files {
            let path = std::path::Path::new(file.as_str());
            assert!(path.components().all(|component| matches!(component, Component::Normal(_))));
            assert!(snapshot.directory.join(path).is_file());
        }
    }
    // Nothing appears beside the cache.
    let names: Vec<_> =
        std::fs::read_dir(&place).expect("it is there").flatten().map(|e| e.file_name()).collect();
    assert!(names.iter().all(|name| name == "cache"), "{names:?}");
});
