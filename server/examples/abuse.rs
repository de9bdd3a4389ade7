//! What no client should do, against a server that is running: `abuse ADDRESS [--pid PID] [--connections 1000]`.
//!
//! Bodies that are too large, broken JSON, keys that are wrong where one is needed, connections that send half a body, and
//! idle ones beyond the limit. Each must get its status, others are answered meanwhile, and the memory of process PID must
//! not be more after the third round than after the second by a fiftieth. Fails where one of these does not hold. The
//! server's limits should be its defaults.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const CHAT: &str = "/v1/chat/completions";

fn connect(address: &str) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.set_write_timeout(Some(Duration::from_secs(60)))?;
    Ok(stream)
}

fn head(path: &str, headers: &str, length: usize) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    )
}

/// The status of what a server answers until it closes; 0 where it closes without an answer.
fn status(mut stream: TcpStream) -> u16 {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes); // a connection that is reset has told what it had to tell
    let text = String::from_utf8_lossy(&bytes);
    text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

fn asked(address: &str, path: &str, headers: &str, body: &[u8]) -> Result<u16, Failure> {
    let mut stream = connect(address)?;
    stream.write_all(head(path, headers, body.len()).as_bytes())?;
    // A server that refuses a body may close before it has read it.
    let _ = stream.write_all(body);
    Ok(status(stream))
}

/// How often each status came.
fn counts(statuses: impl IntoIterator<Item = u16>) -> BTreeMap<u16, usize> {
    let mut counts = BTreeMap::new();
    statuses.into_iter().for_each(|status| *counts.entry(status).or_default() += 1);
    counts
}

fn health(address: &str) -> Result<u16, Failure> {
    let mut stream = connect(address)?;
    stream.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")?;
    Ok(status(stream))
}

fn expect(what: &str, got: &BTreeMap<u16, usize>, allowed: &[u16]) -> Result<(), Failure> {
    println!("{what}: {got:?}");
    match got.keys().find(|status| !allowed.contains(status)) {
        None => Ok(()),
        Some(other) => Err(format!("{what}: expected {allowed:?}, got {other}").into()),
    }
}

fn round(address: &str, n_connections: usize) -> Result<(), Failure> {
    let large = vec![b'x'; 10 << 20];
    let got = (0..100).map(|_| asked(address, CHAT, "", &large)).collect::<Result<Vec<_>, _>>()?;
    expect("100 bodies of 10 MiB", &counts(got), &[413])?;
    let deep = "[".repeat(100_000);
    let broken = [
        "",
        "{",
        "[1]",
        "{\"messages\": 7}",
        "\u{0}",
        "{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"max_tokens\":\"y\"}",
        &deep,
    ];
    let got = broken.iter().cycle().take(700).map(|body| asked(address, CHAT, "", body.as_bytes()));
    expect("700 broken bodies", &counts(got.collect::<Result<Vec<_>, _>>()?), &[400])?;
    let keys = (0..200).map(|n| {
        asked(address, "/tokenize", &format!("authorization: Bearer {n}\r\n"), b"{\"content\":\"x\"}")
    });
    // Where no key is needed none is wrong.
    expect("200 keys that are made up", &counts(keys.collect::<Result<Vec<_>, _>>()?), &[401, 200])?;

    let begin = Instant::now();
    let mut halves = Vec::new();
    for _ in 0..n_connections {
        let mut stream = connect(address)?;
        stream.write_all(head(CHAT, "", 100).as_bytes())?;
        stream.write_all(b"{\"messages\": [")?;
        halves.push(stream);
    }
    let meanwhile = health(address)?;
    let got = counts(halves.into_iter().map(status));
    expect(
        &format!("{n_connections} connections with half a body ({:.0} s)", begin.elapsed().as_secs_f64()),
        &got,
        &[408],
    )?;
    expect("asked meanwhile", &counts([meanwhile]), &[200])?;

    let idle = (0..n_connections * 3 / 2).map(|_| connect(address)).collect::<Result<Vec<_>, _>>()?;
    let beyond = health(address)?;
    expect(&format!("asked beside {} idle connections", idle.len()), &counts([beyond]), &[200, 503])?;
    drop(idle);
    for _ in 0..200 {
        if health(address)? == 200 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err("not answered again after all of that".into())
}

fn resident_kib(pid: &str) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (address, options) = arguments.split_first().ok_or("expected an address")?;
    let options: BTreeMap<&str, &str> =
        options.chunks_exact(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
    let n_connections = options.get("--connections").map_or(Ok(1000), |text| text.parse())?;
    let memory = || options.get("--pid").copied().map(resident_kib).transpose();
    let mut seen = vec![memory()?];
    for _ in 0..3 {
        round(address, n_connections)?;
        seen.push(memory()?);
    }
    if let [Some(before), Some(first), Some(second), Some(third)] = seen[..] {
        println!("memory: {before} KiB before, {first}, {second} and {third} KiB after the rounds");
        if third > second + second / 50 {
            return Err(format!("memory grows: {second} KiB, then {third} KiB").into());
        }
    }
    println!("ok");
    Ok(())
}
