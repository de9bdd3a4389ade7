//! OpenAI's own clients against the server: their scripts (`scripts/oracles/openai_client.*`) run every route with a real
//! model behind it, whole and streamed; the Python one also holds each answer to `golden/openai.schema.json`; and the chat
//! page in a browser (`chat_page.mjs`).
//! Knows the server's public API.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "tests that print what they compare"
)]

use llama_pajamas::{PlanRequest, PoolSettings, Runtime, RuntimeSettings};
use llama_pajamas_server::{ModelSettings, Models, Settings};
use llama_pajamas_tests::{committed, oracle, repository, run};
use quantizer::recipe::{FileType, Overrides};
use quantizer::source::Checkpoint;
use std::io::BufWriter;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;

const KEY: &str = "a key";
const MODEL: &str = "pajama";

/// A server that lives as long as the process.
fn serve(folder: &Path, api_keys: Vec<String>) -> SocketAddr {
    let checkpoint = Checkpoint::open(&committed("models/pajama-7m")).unwrap();
    let f16 = FileType::ALL.iter().copied().find(|file_type| file_type.name() == "F16").unwrap();
    let job = quantizer::plan_file(&checkpoint, f16, &Overrides::default(), None, false).unwrap();
    let path = folder.join("pajama.gguf");
    let file = BufWriter::new(std::fs::File::create(&path).unwrap());
    quantizer::write_file(&job, &checkpoint, file, 2, &mut |_| ControlFlow::Continue(())).unwrap();
    let runtime = Runtime::open(&path, RuntimeSettings::default()).unwrap();
    let request = PlanRequest { n_threads: Some(1), context_tokens: Some(2048), ..PlanRequest::default() };
    let mut settings = Settings { api_keys, ..Settings::default() };
    settings.address.set_port(0);
    let pool = PoolSettings { speculate: true, ..PoolSettings::default() };
    let models =
        Models::new(vec![ModelSettings { name: MODEL.into(), runtime, request, pool, adapters: Vec::new() }]);
    let (told, address) = channel();
    std::thread::spawn(move || {
        llama_pajamas_server::run(settings, models, |address| told.send(address).unwrap()).unwrap();
    });
    address.recv().unwrap()
}

#[test]
fn the_python_client_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let address = serve(folder.path(), vec![KEY.into()]);
    let told = run(Command::new(oracle("clients/venv/bin/python"))
        .arg(repository().join("scripts/oracles/openai_client.py"))
        .args([&format!("http://{address}/v1"), KEY, MODEL])
        .arg(repository().join("tests/golden/openai.schema.json")));
    println!("{told}");
    assert_eq!(told.lines().filter(|line| line.starts_with("ok ")).count(), 11);
}

#[test]
fn the_page_works_in_a_browser() {
    let folder = tempfile::tempdir().unwrap();
    let address = serve(folder.path(), Vec::new());
    let picture = folder.path().join("page.png");
    let told = run(Command::new("node")
        .arg(repository().join("scripts/oracles/chat_page.mjs"))
        .arg(oracle("clients"))
        .arg(format!("http://{address}/"))
        .arg(&picture));
    println!("{told}");
    assert!(told.starts_with("ok ") && picture.metadata().unwrap().len() > 10_000);
}

#[test]
fn the_javascript_client_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let address = serve(folder.path(), vec![KEY.into()]);
    let told = run(Command::new("node")
        .arg(repository().join("scripts/oracles/openai_client.mjs"))
        .arg(oracle("clients"))
        .args([&format!("http://{address}/v1"), KEY, MODEL]));
    println!("{told}");
    assert_eq!(told.lines().filter(|line| line.starts_with("ok ")).count(), 10);
}
