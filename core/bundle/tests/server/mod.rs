//! An HTTP server on the loopback interface that misbehaves on demand.
//!
//! Owns just enough HTTP/1.1 for GET with one range. Must not listen anywhere else.

#![allow(dead_code, clippy::unwrap_used)] // Each test uses a part; a panic is how a test fails.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What goes wrong with one answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    None,
    /// The connection ends after this many bytes of the body.
    Cut(usize),
    /// This byte of the file is changed, when it is in the answer.
    Corrupt(usize),
    /// Nothing more comes after this many bytes of the body.
    Stall(usize, Duration),
    /// A status, with `Retry-After` in seconds.
    Status(u16, Option<u32>),
    /// `Content-Length` is this much off.
    WrongLength(i64),
    /// The whole file is sent though a part was asked for.
    IgnoreRange,
    /// From now on the file has another ETag.
    NewVersion,
    /// The connection is closed without an answer.
    Hangup,
}

/// A request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) path: String,
    /// Start, and end excluded.
    pub(crate) range: Option<(u64, u64)>,
    pub(crate) headers: HashMap<String, String>,
    /// How many requests came before.
    pub(crate) number: u64,
}

/// A file, or a redirect to an address.
#[derive(Debug, Clone)]
enum Resource {
    File { content: Arc<Vec<u8>>, tag: String, version: u64 },
    Redirect(String),
}

type Script = dyn Fn(&Seen) -> Fault + Send + Sync;

struct State {
    resources: Mutex<HashMap<String, Resource>>,
    script: Mutex<Arc<Script>>,
    seen: Mutex<Vec<Seen>>,
    sent_bytes: AtomicU64,
    stalls_ended: AtomicU64,
    is_closed: AtomicBool,
}

pub(crate) struct Server {
    pub(crate) port: u16,
    state: Arc<State>,
}

impl Server {
    pub(crate) fn start() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            resources: Mutex::default(),
            script: Mutex::new(Arc::new(|_: &Seen| Fault::None)),
            seen: Mutex::default(),
            sent_bytes: AtomicU64::new(0),
            stalls_ended: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
        });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.is_closed.load(Ordering::Relaxed) {
                    return;
                }
                let shared = Arc::clone(&shared);
                // A client that goes away in the middle is part of the game.
                thread::spawn(move || stream.map(|stream| serve(&shared, stream)));
            }
        });
        Server { port, state }
    }

    /// The address of `path`, which starts with `/`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    pub(crate) fn put(&self, path: &str, content: impl Into<Vec<u8>>) {
        self.put_tagged(path, content, "v");
    }

    /// A file whose ETag is `tag`, and from the second version on `tag` with a number.
    pub(crate) fn put_tagged(&self, path: &str, content: impl Into<Vec<u8>>, tag: &str) {
        let (content, tag) = (Arc::new(content.into()), tag.to_owned());
        let resource = Resource::File { content, tag, version: 1 };
        self.state.resources.lock().unwrap().insert(path.to_owned(), resource);
    }

    pub(crate) fn redirect(&self, path: &str, to: &str) {
        self.state.resources.lock().unwrap().insert(path.to_owned(), Resource::Redirect(to.to_owned()));
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state.resources.lock().unwrap().remove(path);
    }

    pub(crate) fn misbehave(&self, script: impl Fn(&Seen) -> Fault + Send + Sync + 'static) {
        *self.state.script.lock().unwrap() = Arc::new(script);
    }

    /// The requests so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Stalls that are over.
    pub(crate) fn stalls_ended(&self) -> u64 {
        self.state.stalls_ended.load(Ordering::Relaxed)
    }

    /// Bytes of bodies sent so far.
    pub(crate) fn sent_bytes(&self) -> u64 {
        self.state.sent_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.state.is_closed.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn serve(state: &State, stream: TcpStream) -> std::io::Result<()> {
    let Some(seen) = read_request(state, &stream)? else { return Ok(()) };
    state.seen.lock().unwrap().push(seen.clone());
    let script = Arc::clone(&state.script.lock().unwrap());
    let fault = script(&seen);
    if fault == Fault::NewVersion
        && let Some(Resource::File { version, .. }) = state.resources.lock().unwrap().get_mut(&seen.path)
    {
        *version += 1;
    }
    let resource = state.resources.lock().unwrap().get(&seen.path).cloned();
    let mut stream = stream;
    match (&fault, resource) {
        (Fault::Hangup, _) => Ok(()),
        (Fault::Status(status, after), _) => {
            let after = after.map(|s| format!("Retry-After: {s}\r\n")).unwrap_or_default();
            write!(stream, "HTTP/1.1 {status} X\r\n{after}Content-Length: 0\r\nConnection: close\r\n\r\n")
        }
        (_, None) => write!(stream, "HTTP/1.1 404 X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
        (_, Some(Resource::Redirect(to))) => write!(
            stream,
            "HTTP/1.1 302 X\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        ),
        (_, Some(Resource::File { content, tag, version })) => {
            let number = if version == 1 { String::new() } else { version.to_string() };
            answer(state, &mut stream, &seen, &fault, &content, &format!("\"{tag}{number}\""))
        }
    }
}

fn answer(
    state: &State,
    stream: &mut TcpStream,
    seen: &Seen,
    fault: &Fault,
    content: &[u8],
    etag: &str,
) -> std::io::Result<()> {
    let is_current = seen.headers.get("if-range").is_none_or(|known| known == etag);
    let range = seen.range.filter(|_| is_current && *fault != Fault::IgnoreRange);
    let total = content.len();
    if range.is_some_and(|(start, _)| start as usize >= total) {
        return write!(
            stream,
            "HTTP/1.1 416 X\r\nContent-Range: bytes */{total}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
    }
    let (start, end) = range.map_or((0, total), |(start, end)| (start as usize, (end as usize).min(total)));
    let mut body = content[start..end].to_vec();
    if let Fault::Corrupt(at) = fault
        && (start..end).contains(at)
    {
        body[at - start] ^= 0x40;
    }
    let length = match fault {
        Fault::WrongLength(off) => (body.len() as i64 + off).max(0),
        _ => body.len() as i64,
    };
    let head = match range {
        Some(_) => format!("HTTP/1.1 206 X\r\nContent-Range: bytes {start}-{}/{total}\r\n", end - 1),
        None => "HTTP/1.1 200 X\r\n".to_owned(),
    };
    write!(stream, "{head}ETag: {etag}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")?;
    let (limit, pause) = match fault {
        Fault::Cut(n) => (*n, None),
        Fault::Stall(n, time) => (*n, Some(*time)),
        _ => (body.len(), None),
    };
    for block in body[..limit.min(body.len())].chunks(16 << 10) {
        // Counted before the client can see it.
        let bytes = block.len() as u64;
        state.sent_bytes.fetch_add(bytes, Ordering::Relaxed);
        if let Err(error) = stream.write_all(block) {
            state.sent_bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(error);
        }
    }
    stream.flush()?;
    if let Some(time) = pause {
        let until = Instant::now() + time;
        while Instant::now() < until && !state.is_closed.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(10));
        }
        state.stalls_ended.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn read_request(state: &State, stream: &TcpStream) -> std::io::Result<Option<Seen>> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let Some(path) = line.split(' ').nth(1).map(str::to_owned) else { return Ok(None) };
    let mut headers = HashMap::new();
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let range = headers.get("range").and_then(|text| {
        let (first, last) = text.strip_prefix("bytes=")?.split_once('-')?;
        Some((first.parse().ok()?, last.parse::<u64>().ok()? + 1))
    });
    let number = state.seen.lock().unwrap().len() as u64;
    Ok(Some(Seen { path, range, headers, number }))
}
