//! Fifty transfers from a server that cuts, corrupts, stalls and refuses at random.
//!
//! Owns the random faults and the count of them. Traffic stays on the loopback interface.

#![allow(clippy::unwrap_used)] // A panic is how a test fails.

mod server;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use llama_pajamas_bundle::download::{Downloader, Job, Options};
use llama_pajamas_bundle::http_transport::{HttpOptions, HttpTransport};
use llama_pajamas_bundle::{Error, Sha256Digest};
use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};
use server::{Fault, Seen, Server};

const STALL: Duration = Duration::from_millis(200);

fn downloader() -> Downloader {
    let options = Options {
        max_connections: 4,
        part_bytes: 64 << 10,
        stall_timeout: STALL,
        max_failures: 20,
        backoff_base: Duration::from_millis(4),
        backoff_limit: Duration::from_millis(30),
        max_retry_after: Duration::from_secs(5),
    };
    let http = HttpOptions { stall_timeout: Duration::from_secs(2), ..HttpOptions::default() };
    Downloader::new(Arc::new(HttpTransport::new(&http).unwrap()), options)
}

fn content(seed: u64, bytes: usize) -> Vec<u8> {
    let mut content = vec![0; bytes];
    StdRng::seed_from_u64(seed).fill_bytes(&mut content);
    content
}

/// Random faults, at most five in a row without a good answer, at most one corruption per file.
struct Chaos {
    random: StdRng,
    per_file: HashMap<String, (u32, bool)>,
    counts: BTreeMap<&'static str, u32>,
}

impl Chaos {
    fn next(&mut self, seen: &Seen, bytes: usize) -> Fault {
        let random = &mut self.random;
        let (in_a_row, corrupted) = self.per_file.entry(seen.path.clone()).or_default();
        let (start, end) = seen.range.map_or((0, bytes), |(start, end)| (start as usize, end as usize));
        let some = random.random_range(0..(end - start).max(1));
        let fault = match random.random_range(0..22) {
            _ if *in_a_row >= 4 => Fault::None,
            0 | 1 => Fault::Cut(some),
            2 if !*corrupted => Fault::Corrupt(start + some),
            3 => Fault::Stall(some, 3 * STALL),
            4 => Fault::Status(429, Some(u32::from(random.random_bool(0.1)))),
            5 => Fault::Status([500, 502, 503][random.random_range(0..3)], None),
            6 => Fault::WrongLength(random.random_range(1..100)),
            7 => Fault::WrongLength(-random.random_range(1..100)),
            8 | 9 => Fault::IgnoreRange,
            10 if random.random_bool(0.3) => Fault::NewVersion,
            11 => Fault::Hangup,
            _ => Fault::None,
        };
        let name = match &fault {
            Fault::None => "none",
            Fault::Cut(_) => "cut",
            Fault::Corrupt(_) => "corrupt",
            Fault::Stall(..) => "stall",
            Fault::Status(429, _) => "429",
            Fault::Status(..) => "5xx",
            Fault::WrongLength(_) => "wrong length",
            Fault::IgnoreRange => "ignore range",
            Fault::NewVersion => "new version",
            Fault::Hangup => "hangup",
        };
        *self.counts.entry(name).or_default() += 1;
        *corrupted |= name == "corrupt";
        *in_a_row = if name == "none" { 0 } else { *in_a_row + 1 };
        fault
    }
}

#[test]
fn fifty_transfers_through_faults_end_byte_identical() {
    let started = Instant::now();
    let mut random = StdRng::seed_from_u64(20);
    let server = Server::start();
    let directory = tempfile::tempdir().unwrap();
    let chaos = Arc::new(Mutex::new(Chaos {
        random: StdRng::seed_from_u64(21),
        per_file: HashMap::new(),
        counts: BTreeMap::new(),
    }));
    let mut files: HashMap<String, Vec<u8>> = HashMap::new();
    for i in 0..50 {
        let bytes = [0, 1, 1000, 64 << 10, 70_000, 200_000, 400_000][random.random_range(0..7)];
        let bytes = if i == 0 { 0 } else { bytes + random.random_range(0..3) };
        let name = format!("file-{i}");
        files.insert(name.clone(), content(i, bytes));
        server.put(&format!("/{name}"), files[&name].clone());
    }
    let sizes: HashMap<String, usize> = files.iter().map(|(name, c)| (format!("/{name}"), c.len())).collect();
    let shared = Arc::clone(&chaos);
    server.misbehave(move |seen| shared.lock().unwrap().next(seen, sizes[&seen.path]));

    let partials = directory.path().join("partial");
    let (mut n_fetches, mut n_cancelled, mut first) = (0, 0, 0);
    while first < 50 {
        let last = (first + random.random_range(1..=5)).min(50);
        let names: Vec<String> = (first..last).map(|i| format!("file-{i}")).collect();
        let job = |name: &String| Job {
            url: server.url(&format!("/{name}")),
            headers: Vec::new(),
            name: name.clone(),
            target: directory.path().join(name),
            bytes: files[name].len() as u64,
            digest: Some(Sha256Digest::of(&files[name]).into()),
        };
        let jobs: Vec<Job> = names.iter().map(job).collect();
        // Every third fetch is cancelled once, somewhere, and continued.
        let mut calls_left = if n_fetches % 3 == 0 { random.random_range(1..4) } else { u32::MAX };
        loop {
            n_fetches += 1;
            let result = downloader().fetch(&jobs, &partials, &mut |progress| {
                assert!(progress.done_bytes <= progress.total_bytes);
                // What is visible is right, at every moment.
                for job in &jobs {
                    if let Ok(found) = fs::read(&job.target) {
                        assert_eq!(job.digest, Some(Sha256Digest::of(&found).into()), "{}", job.name);
                    }
                }
                calls_left -= 1;
                if calls_left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            match result {
                Ok(()) => break,
                Err(Error::Cancelled) => {
                    n_cancelled += 1;
                    calls_left = u32::MAX;
                }
                Err(error) => panic!("{names:?}: {error}"),
            }
        }
        first = last;
    }
    for (name, content) in &files {
        assert!(fs::read(directory.path().join(name)).unwrap() == *content, "{name} differs");
    }
    assert!(!partials.exists(), "nothing is left of partial files");
    let total: usize = files.values().map(Vec::len).sum();
    let counts = chaos.lock().unwrap().counts.clone();
    println!(
        "50 transfers, {total} bytes, {n_fetches} fetches, {n_cancelled} cancelled and continued, {} requests, \
         {} bytes sent, {:.1} s; answers: {counts:?}",
        server.seen().len(),
        server.sent_bytes(),
        started.elapsed().as_secs_f64(),
    );
    assert!(counts.len() >= 10, "every fault came up: {counts:?}");
}
