//! Each way in which a transfer goes wrong, and what comes of it.
//!
//! Owns one scenario per fault. Traffic stays on the loopback interface.

#![allow(clippy::unwrap_used)] // A panic is how a test fails.

mod server;

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use llama_pajamas_bundle::download::{Downloader, Job, Options, Problem};
use llama_pajamas_bundle::http_transport::{HttpOptions, HttpTransport};
use llama_pajamas_bundle::{Error, Sha256Digest};
use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};
use server::{Fault, Server};

fn options() -> Options {
    Options {
        max_connections: 4,
        part_bytes: 64 << 10,
        stall_timeout: Duration::from_secs(30),
        max_failures: 6,
        backoff_base: Duration::from_millis(4),
        backoff_limit: Duration::from_millis(30),
        max_retry_after: Duration::from_secs(5),
    }
}

/// Options that give up on a connection soon.
fn impatient() -> Options {
    Options { stall_timeout: Duration::from_millis(200), ..options() }
}

fn downloader(options: Options) -> Downloader {
    let http = HttpOptions { stall_timeout: Duration::from_secs(2), ..HttpOptions::default() };
    Downloader::new(Arc::new(HttpTransport::new(&http).unwrap()), options)
}

fn content(seed: u64, bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    StdRng::seed_from_u64(seed).fill_bytes(&mut content);
    content
}

fn job(server: &Server, directory: &Path, name: &str, content: &[u8]) -> Job {
    Job {
        url: server.url(&format!("/{name}")),
        headers: Vec::new(),
        name: name.to_owned(),
        target: directory.join(name),
        bytes: content.len() as u64,
        digest: Some(Sha256Digest::of(content).into()),
    }
}

/// A server with one file, and a directory for it.
struct Fixture {
    server: Server,
    directory: tempfile::TempDir,
    content: Vec<u8>,
}

impl Fixture {
    fn new(bytes: usize) -> Fixture {
        let (server, directory) = (Server::start(), tempfile::tempdir().unwrap());
        let content = content(bytes as u64, bytes);
        server.put("/file", content.clone());
        Fixture { server, directory, content }
    }

    fn job(&self) -> Job {
        job(&self.server, self.directory.path(), "file", &self.content)
    }

    fn fetch(&self, job: Job) -> Result<(), Error> {
        self.fetch_with(options(), job)
    }

    fn fetch_with(&self, options: Options, job: Job) -> Result<(), Error> {
        let partials = self.directory.path().join("partial");
        downloader(options).fetch(&[job], &partials, &mut |_| ControlFlow::Continue(()))
    }

    fn is_fetched(&self) -> bool {
        let names: Vec<_> =
            fs::read_dir(self.directory.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names == ["file"] && fs::read(self.directory.path().join("file")).unwrap() == self.content
    }

    /// The fetch fails for good: nothing under the final name. Returns the problem.
    fn refused(&self, job: Job) -> Problem {
        let error = self.fetch(job).unwrap_err();
        assert!(!self.directory.path().join("file").exists());
        match error {
            Error::Download { url, problem } => {
                assert!(url.starts_with("http://127.0.0.1"), "{url}");
                problem
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_large_file_comes_in_parts_over_several_connections() {
    let fixture = Fixture::new(1 << 20);
    fixture.fetch(fixture.job()).unwrap();
    assert!(fixture.is_fetched());
    let seen = fixture.server.seen();
    assert_eq!(seen.len(), 16);
    assert!(seen.iter().all(|request| request.range.is_some_and(|(start, end)| end - start == 64 << 10)));
    assert!(seen[1..].iter().all(|request| request.headers["if-range"] == "\"v\""));
    assert_eq!(fixture.server.sent_bytes(), 1 << 20);
}

#[test]
fn an_interrupted_transfer_continues_where_it_was() {
    let fixture = Fixture::new(600_000);
    // The fifth answer never comes.
    fixture.server.misbehave(|seen| if seen.number >= 4 { Fault::Status(500, None) } else { Fault::None });
    // One connection, so that none is cut off by the failure of another.
    let single = Options { max_connections: 1, ..options() };
    let message = fixture.fetch_with(single.clone(), fixture.job()).unwrap_err().to_string();
    assert!(
        message.ends_with("server answered 500 and asks to wait for a time it does not state"),
        "{message}"
    );
    assert!(!fixture.directory.path().join("file").exists());
    let before = fixture.server.sent_bytes();
    assert!(before > 0);
    fixture.server.misbehave(|_| Fault::None);
    fixture.fetch_with(single, fixture.job()).unwrap();
    assert!(fixture.is_fetched());
    assert_eq!(fixture.server.sent_bytes(), 600_000, "no byte came twice");
}

#[test]
fn a_new_version_on_the_server_is_noticed_before_it_is_mixed_with_the_old() {
    let fixture = Fixture::new(300_000);
    let old = content(7, 300_000);
    fixture.server.put("/file", old.clone());
    fixture.server.misbehave(|seen| if seen.number >= 2 { Fault::Status(500, None) } else { Fault::None });
    fixture.refused(fixture.job());
    // Now the content that the digest belongs to, with another ETag.
    fixture.server.put("/file", fixture.content.clone());
    fixture.server.misbehave(|seen| if seen.number == 9 { Fault::NewVersion } else { Fault::None });
    fixture.fetch(fixture.job()).unwrap();
    assert!(fixture.is_fetched());
}

#[test]
fn a_wrong_digest_is_never_published() {
    let fixture = Fixture::new(100_000);
    fixture.server.misbehave(|_| Fault::Corrupt(50_000));
    let problem = fixture.refused(fixture.job());
    assert!(matches!(problem, Problem::WrongDigest { .. }), "{problem}");
    assert_eq!(fixture.server.sent_bytes(), 200_000, "fetched once more from the start");
    assert_eq!(fs::read_dir(fixture.directory.path()).unwrap().count(), 0, "nothing is left");

    let count = Mutex::new(0);
    fixture.server.misbehave(move |_| {
        *count.lock().unwrap() += 1;
        if *count.lock().unwrap() <= 2 { Fault::Corrupt(50_000) } else { Fault::None }
    });
    fixture.fetch(fixture.job()).unwrap();
    assert!(fixture.is_fetched());
}

#[test]
fn a_server_that_ignores_ranges_still_serves() {
    for cut in [None, Some(150_000)] {
        let fixture = Fixture::new(300_000);
        fixture.server.misbehave(move |seen| match cut {
            Some(n) if seen.number == 0 => Fault::Cut(n),
            _ => Fault::IgnoreRange,
        });
        fixture.fetch(fixture.job()).unwrap();
        assert!(fixture.is_fetched());
    }
}

#[test]
fn busy_servers_are_given_the_time_they_ask_for() {
    let fixture = Fixture::new(1000);
    fixture.server.misbehave(|seen| if seen.number == 0 { Fault::Status(429, Some(1)) } else { Fault::None });
    let started = Instant::now();
    fixture.fetch(fixture.job()).unwrap();
    assert!(started.elapsed() >= Duration::from_secs(1));
    assert!(fixture.is_fetched());

    let fixture = Fixture::new(1000);
    fixture.server.misbehave(|_| Fault::Status(503, Some(3600)));
    assert_eq!(fixture.refused(fixture.job()).to_string(), "server answered 503 and asks to wait 3600 s");
    assert_eq!(fixture.server.seen().len(), 1);
}

#[test]
fn refusals_are_final_and_say_what_to_do() {
    for (status, words) in [(401, "token"), (403, "token"), (404, "no such file"), (410, "answered 410")] {
        let fixture = Fixture::new(1000);
        fixture.server.misbehave(move |_| Fault::Status(status, None));
        let message = fixture.refused(fixture.job()).to_string();
        assert!(message.contains(words), "{message}");
        assert_eq!(fixture.server.seen().len(), 1);
        assert_eq!(fs::read_dir(fixture.directory.path()).unwrap().count(), 0, "nothing is left");
    }
}

#[test]
fn a_file_of_another_length_is_refused() {
    for bytes in [999, 1001, 0] {
        let fixture = Fixture::new(1000);
        let problem = fixture.refused(Job { bytes, ..fixture.job() });
        let is_expected = match bytes {
            // An empty file needs no connection; its digest tells.
            0 => matches!(problem, Problem::WrongDigest { .. }),
            _ => problem == Problem::WrongLength { expected: bytes, got: 1000 },
        };
        assert!(is_expected, "{bytes}: {problem}");
    }
}

#[test]
fn a_stalled_connection_is_replaced() {
    let fixture = Fixture::new(1000);
    fixture.server.misbehave(|seen| match seen.number {
        0 => Fault::Stall(0, Duration::from_secs(5)),
        1 => Fault::Stall(500, Duration::from_secs(5)),
        _ => Fault::None,
    });
    fixture.fetch_with(impatient(), fixture.job()).unwrap();
    assert!(fixture.is_fetched());
    assert_eq!(fixture.server.seen()[2].range, Some((500, 1000)), "what came before the stall is kept");

    let fixture = Fixture::new(1000);
    fixture.server.misbehave(|_| Fault::Stall(0, Duration::from_secs(5)));
    let once = Options { max_failures: 1, ..impatient() };
    let message = fixture.fetch_with(once, fixture.job()).unwrap_err().to_string();
    assert!(message.contains("nothing arrived for 0.2 s"), "{message}");
}

#[test]
fn cancelling_does_not_wait_for_the_network() {
    let fixture = Fixture::new(1000);
    fixture.server.misbehave(|_| Fault::Stall(10, Duration::from_secs(60)));
    let partials = fixture.directory.path().join("partial");
    let mut calls = 0;
    let result = downloader(options()).fetch(&[fixture.job()], &partials, &mut |_| {
        calls += 1;
        if calls == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(matches!(result, Err(Error::Cancelled)));
    assert_eq!(fixture.server.stalls_ended(), 0, "the server still holds the connection");
    assert!(!fixture.directory.path().join("file").exists());
}

#[test]
fn a_token_is_not_forwarded_to_another_host() {
    let (fixture, other) = (Fixture::new(200_000), Server::start());
    other.put("/stored", fixture.content.clone());
    fixture.server.redirect("/file", &other.url("/stored"));
    let headers = vec![("Authorization".to_owned(), "Bearer secret".to_owned())];
    fixture.fetch(Job { headers, ..fixture.job() }).unwrap();
    assert!(fixture.is_fetched());
    assert!(fixture.server.seen().iter().all(|seen| seen.headers["authorization"] == "Bearer secret"));
    assert!(!other.seen().is_empty());
    assert!(other.seen().iter().all(|seen| !seen.headers.contains_key("authorization")));
}

#[test]
fn files_with_the_same_content_do_not_meet() {
    let fixture = Fixture::new(200_000);
    fixture.server.put("/twin", fixture.content.clone());
    let twin = job(&fixture.server, fixture.directory.path(), "twin", &fixture.content);
    let partials = fixture.directory.path().join("partial");
    let jobs = [fixture.job(), twin];
    downloader(options()).fetch(&jobs, &partials, &mut |_| ControlFlow::Continue(())).unwrap();
    for job in jobs {
        assert!(fs::read(job.target).unwrap() == fixture.content);
    }
    assert!(!partials.exists());
}

#[test]
fn two_processes_do_not_fetch_into_the_same_place() {
    let fixture = Fixture::new(1000);
    let partials = fixture.directory.path().join("partial");
    let mut inner = None;
    downloader(options())
        .fetch(&[fixture.job()], &partials, &mut |_| {
            inner.get_or_insert_with(|| fixture.fetch(fixture.job()));
            ControlFlow::Continue(())
        })
        .unwrap();
    assert!(matches!(inner, Some(Err(Error::Locked { .. }))));
    assert!(fixture.is_fetched());
}

#[test]
fn too_little_disk_space_is_said_before_the_first_byte() {
    let fixture = Fixture::new(1000);
    let error = fixture.fetch(Job { bytes: 1 << 60, ..fixture.job() }).unwrap_err();
    assert!(matches!(error, Error::DiskSpace { need_bytes, .. } if need_bytes == 1 << 60), "{error}");
    assert!(fixture.server.seen().is_empty());
    assert_eq!(fs::read_dir(fixture.directory.path()).unwrap().count(), 0);
}

#[test]
fn documents_are_retried_limited_and_may_be_absent() {
    let server = Server::start();
    server.put("/document", "text");
    let get = |path: &str, limit| {
        downloader(impatient()).document(&server.url(path), &[], limit, &mut || ControlFlow::Continue(()))
    };
    server.misbehave(|seen| match seen.number {
        0 => Fault::Cut(2),
        1 => Fault::Status(502, None),
        2 => Fault::Stall(1, Duration::from_secs(5)),
        _ => Fault::None,
    });
    assert_eq!(get("/document", 4).unwrap().unwrap(), b"text");
    assert_eq!(get("/missing", 4).unwrap(), None);
    let message = get("/document", 3).unwrap_err().to_string();
    assert!(message.contains("longer than 3 bytes"), "{message}");
}

#[test]
fn nobody_listening_is_one_clear_error() {
    let fixture = Fixture::new(1000);
    let unused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{unused}/file?token=secret");
    let message = fixture.fetch(Job { url, ..fixture.job() }).unwrap_err().to_string();
    assert!(
        message.starts_with("cannot download http://127.0.0.1") && !message.contains("secret"),
        "{message}"
    );
}
