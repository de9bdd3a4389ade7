//! The server over real sockets, before an engine without a model: statuses, limits, streams, ends.
//! Knows HTTP and the public API; must not know the server's inside.

#![allow(missing_docs, clippy::unwrap_used, reason = "tests")]

mod abuse;
mod answers;
#[allow(dead_code, unreachable_pub, reason = "the runtime's tests use the rest")]
#[path = "../../../core/runtime/tests/session/fake_engine.rs"]
mod fake_engine;
#[allow(dead_code, unreachable_pub, reason = "the runtime's tests use the rest")]
#[path = "../../../core/runtime/tests/session/stage.rs"]
mod stage;

use fake_engine::Fake;
use llama_pajamas::{PlanRequest, PoolSettings, Runtime, RuntimeSettings};
use llama_pajamas_server::{AdapterSettings, ModelSettings, Models, Settings};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

/// A text that is recited behind every prompt.
pub(crate) const TEXT: &str = "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqrstuvwxyz";

/// A server on a thread of its own; dropping it asks it to end and waits.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    end: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

/// What a server answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The events of a stream.
    pub(crate) fn events(&self) -> Vec<String> {
        let data = |line: &str| line.strip_prefix("data: ").map(str::to_owned);
        self.body.lines().filter_map(data).collect()
    }
}

/// What the engine without a model takes for adapters: two files' names.
fn adapters() -> Vec<AdapterSettings> {
    let of = |name: &str, scale| AdapterSettings { path: name.into(), scale };
    vec![of("loud.gguf", 0.0), of("quiet.gguf", 0.0)]
}

impl Server {
    pub(crate) fn start(fake: &Fake, change: impl FnOnce(&mut Settings, &mut PoolSettings)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bytes.gguf");
        std::fs::write(&path, stage::model_file()).unwrap();
        let engine = RuntimeSettings { engine: Some(Arc::new(fake.clone())), ..RuntimeSettings::default() };
        let runtime = Runtime::open(&path, engine).unwrap();
        let mut settings = Settings { patience: Duration::from_secs(5), ..Settings::default() };
        settings.address.set_port(0);
        let mut pool = PoolSettings { n_sequences: 2, ..PoolSettings::default() };
        change(&mut settings, &mut pool);
        let request = PlanRequest { context_tokens: Some(256), ..PlanRequest::default() };
        let models = Models::new(vec![ModelSettings {
            name: "bytes".into(),
            runtime,
            request,
            pool,
            adapters: adapters(),
        }]);
        let (told, address) = channel();
        let (end, ended) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            runtime.unwrap().block_on(async {
                let bound = llama_pajamas_server::bind(settings, models).await.unwrap();
                told.send(bound.address()).unwrap();
                bound.serve(async { drop(ended.await) }).await;
            });
        });
        Self { address: address.recv().unwrap(), end: Some(end), thread: Some(thread), _folder: folder }
    }

    pub(crate) fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream
    }

    /// Sends bytes and reads until the server closes.
    pub(crate) fn raw(&self, request: &[u8]) -> Answer {
        let mut stream = self.connect();
        // A server that refuses a body may close before it has read it.
        let _ = stream.write_all(request);
        read(&mut stream)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.raw(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes())
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_with(path, "", &body.to_string())
    }

    pub(crate) fn post_with(&self, path: &str, headers: &str, body: &str) -> Answer {
        self.raw(post(path, headers, body).as_bytes())
    }

    pub(crate) fn end(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    /// A count of `/metrics`.
    pub(crate) fn count(&self, name: &str) -> f64 {
        let page = self.get("/metrics").body;
        let line =
            page.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {page}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Waits until no answer is being written.
    pub(crate) fn wait_idle(&self) {
        for _ in 0..500 {
            if self.count("llama_pajamas_sequences_busy") == 0.0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("still busy");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

pub(crate) fn post(path: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n{body}"
    )
}

/// An answer to its end; chunks are joined.
pub(crate) fn read(stream: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes); // a connection that is reset has told what it had to tell
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, rest) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let mut body = String::new();
    if head.to_lowercase().contains("transfer-encoding: chunked") {
        let mut rest = rest;
        while let Some((length, after)) = rest.split_once("\r\n") {
            let length = usize::from_str_radix(length, 16).unwrap_or(0);
            if length == 0 || after.len() < length {
                break;
            }
            body.push_str(&after[..length]);
            rest = &after[length + 2..];
        }
    } else {
        body = rest.to_owned();
    }
    Answer { status, head: head.to_lowercase(), body }
}
