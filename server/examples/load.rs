//! Clients that stream at once, against any server with OpenAI's interface:
//! `load ADDRESS [--clients 32] [--seconds 120] [--tokens 128] [--leave 0.1] [--pid PID]`.
//!
//! Each client asks for one answer after the other; a share of the answers is left in the middle. Prints tokens per second,
//! the slowest client's share of the fastest one's tokens, times to the first token, errors, and the memory of process PID
//! at the beginning (after a tenth of the time) and at the end. A token is counted for every event with text.

#![allow(clippy::print_stdout, reason = "what it prints is what it is for")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[derive(Default)]
struct Told {
    n_tokens: u64,
    n_answers: u64,
    n_left: u64,
    errors: Vec<String>,
    first_s: Vec<f64>,
}

struct Plan {
    address: String,
    n_tokens: u64,
    leave: f64,
    end: Instant,
}

fn random(state: &mut u64) -> f64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    (*state >> 11) as f64 / (1_u64 << 53) as f64
}

/// One answer; tokens that came, the time to the first, and whether it was left.
fn ask(plan: &Plan, state: &mut u64, told: &mut Told) -> Result<(), Failure> {
    let topic = ["a llama", "the sea", "an old king", "two friends", "a garden", "snow"]
        [(random(state) * 6.0) as usize];
    let body = serde_json::json!({
        "messages": [{ "role": "user", "content": format!("Tell me a story about {topic} and the number {}.", (random(state) * 1e6) as u64) }],
        "stream": true, "max_tokens": plan.n_tokens, "temperature": 0.8, "ignore_eos": true,
    })
    .to_string();
    let mut stream = TcpStream::connect(&plan.address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.set_nodelay(true)?;
    let begin = Instant::now();
    let length = body.len();
    write!(
        stream,
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )?;
    let leaves_after =
        (random(state) < plan.leave).then(|| 1 + (random(state) * plan.n_tokens as f64) as u64);
    let mut lines = BufReader::new(stream);
    let mut line = String::new();
    lines.read_line(&mut line)?;
    if !line.contains(" 200 ") {
        return Err(line.trim().to_owned().into());
    }
    let mut n = 0;
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Err("the stream ended early".into());
        }
        if line.contains("[DONE]") {
            told.n_answers += 1;
            return Ok(());
        }
        if line.starts_with("data: {\"error\"") {
            return Err(line.trim().to_owned().into());
        }
        if line.contains("\"content\":\"") && !line.contains("\"content\":\"\"") {
            n += 1;
            told.n_tokens += 1;
            if n == 1 {
                told.first_s.push(begin.elapsed().as_secs_f64());
            }
            if leaves_after == Some(n) {
                told.n_left += 1;
                return Ok(());
            }
        }
    }
}

fn resident_kib(pid: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (address, options) = arguments.split_first().ok_or("expected an address")?;
    let options: BTreeMap<&str, &str> =
        options.chunks_exact(2).map(|pair| (pair[0].as_str(), pair[1].as_str())).collect();
    let number = |name: &str, default: f64| options.get(name).map_or(Ok(default), |text| text.parse::<f64>());
    let (n_clients, seconds) = (number("--clients", 32.0)? as u64, number("--seconds", 120.0)?);
    let begin = Instant::now();
    let plan = Plan {
        address: address.clone(),
        n_tokens: number("--tokens", 128.0)? as u64,
        leave: number("--leave", 0.1)?,
        end: begin + Duration::from_secs_f64(seconds),
    };
    let pid = options.get("--pid").copied();
    let (all, memory) = std::thread::scope(|scope| {
        let plan = &plan;
        let clients: Vec<_> = (0..n_clients)
            .map(|client| {
                scope.spawn(move || {
                    let mut told = Told::default();
                    let mut state = 0x9e37_79b9_7f4a_7c15 ^ (client + 1).wrapping_mul(0x2545_f491_4f6c_dd1d);
                    while Instant::now() < plan.end {
                        if let Err(error) = ask(plan, &mut state, &mut told) {
                            told.errors.push(error.to_string());
                        }
                    }
                    told
                })
            })
            .collect();
        std::thread::sleep(Duration::from_secs_f64(seconds / 10.0));
        let early = pid.and_then(resident_kib);
        std::thread::sleep((plan.end - Instant::now()).saturating_sub(Duration::from_millis(500)));
        let late = pid.and_then(resident_kib);
        let all: Vec<Told> = clients.into_iter().filter_map(|client| client.join().ok()).collect();
        (all, early.zip(late))
    });
    let elapsed = begin.elapsed().as_secs_f64();
    let sum = |of: fn(&Told) -> u64| all.iter().map(of).sum::<u64>();
    let mut first: Vec<f64> = all.iter().flat_map(|told| told.first_s.iter().copied()).collect();
    first.sort_by(f64::total_cmp);
    let at = |share: f64| {
        first
            .get(((first.len() as f64 * share) as usize).min(first.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0.0)
            * 1e3
    };
    let (slowest, fastest) = (all.iter().map(|t| t.n_tokens).min(), all.iter().map(|t| t.n_tokens).max());
    println!(
        "{n_clients} clients, {elapsed:.1} s: {} tokens, {:.0} tokens/s",
        sum(|t| t.n_tokens),
        sum(|t| t.n_tokens) as f64 / elapsed
    );
    println!(
        "{} answers, {} left in the middle, {} errors",
        sum(|t| t.n_answers),
        sum(|t| t.n_left),
        sum(|t| t.errors.len() as u64)
    );
    if let (Some(slowest), Some(fastest)) = (slowest, fastest) {
        println!(
            "slowest client has {:.2} of the fastest one's tokens ({slowest} of {fastest})",
            slowest as f64 / fastest.max(1) as f64
        );
    }
    println!("first token: median {:.0} ms, 95th percentile {:.0} ms", at(0.5), at(0.95));
    if let Some((early, late)) = memory {
        println!(
            "memory: {early} KiB, then {late} KiB ({:+.2} %)",
            (late as f64 / early as f64 - 1.0) * 100.0
        );
    }
    for error in all.iter().flat_map(|told| &told.errors).take(5) {
        println!("error: {error}");
    }
    Ok(())
}
