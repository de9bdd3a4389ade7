//! `requantize`, killed at random moments: the bundle always verifies and still answers, and what is made over many runs is
//! byte for byte what one run makes.
//! Knows the command and the bundle; must not know how the work is kept.

#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::print_stderr)]

use llama_pajamas::bundle::Bundle;
use llama_pajamas::{
    CancelToken, Event, GenerateSettings, PlanRequest, Runtime, RuntimeSettings, Sampling, SessionSettings,
};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const MADE: &str = "gguf/Q4_K_M";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().into()
}

fn command(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llama-pajamas"));
    command.args(words).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Makes the variant; on a machine on which nothing is amiss, whatever this one suffers from.
fn requantize(bundle: &Path) -> Child {
    let (text, machine) = (
        repository().join("docs/speed.md"),
        repository().join("core/hardware/fixtures/nothing-readable.host"),
    );
    let path = |path: &Path| path.to_str().unwrap().to_string();
    let mut command = command(&["requantize", &path(bundle), "--precision", "Q4_K_M", "--threads", "1"]);
    command.args(["--context", "64", "--windows", "6", "--max-kld", "2", "--replace", "gguf/Q8_0"]);
    command.args(["--text", &path(&text), "--machine", &path(&machine)]).spawn().unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

/// Every listed file is whole, and a variant is: before the new one is there the old one, afterwards the new one alone.
fn check(root: &Path, moment: &str) -> bool {
    let bundle = Bundle::open(root).unwrap_or_else(|error| panic!("{moment}: {error}"));
    let report = bundle.verify(&mut |_| ControlFlow::Continue(())).unwrap();
    assert!(report.is_intact(), "{moment}: {report:?}");
    let has = |id: &str| bundle.variants().iter().any(|variant| variant.id == id);
    assert!(has("gguf/BF16") && has("gguf/Q8_0") != has(MADE), "{moment}");
    has(MADE)
}

/// A few tokens of the variant.
fn answer(root: &Path, variant: &str) -> String {
    let runtime = Runtime::open(root, RuntimeSettings::default()).unwrap();
    let request = PlanRequest {
        variant: Some(variant.into()),
        context_tokens: Some(64),
        n_threads: Some(1),
        ..PlanRequest::default()
    };
    let (_, model) = runtime.plan_and_load(&request, &mut |_| {}, &CancelToken::new()).unwrap();
    let sampling = Sampling { temperature: 0.0, ..Sampling::default() };
    let settings = GenerateSettings { sampling, max_tokens: 4, ..GenerateSettings::default() };
    let mut session = model.session(&SessionSettings::default()).unwrap();
    let mut said = String::new();
    let mut listen = |event: Event<'_>| {
        if let Event::Text(text) = event {
            said.push_str(text);
        }
        ControlFlow::Continue(())
    };
    session.generate("Once upon a time", &settings, &CancelToken::new(), &mut listen).unwrap();
    said
}

/// Kills the command at `kills` random moments.
fn kill(kills: usize, seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let (fresh, whole, root) =
        (folder.path().join("fresh"), folder.path().join("whole"), folder.path().join("bundle"));
    let model = repository().join("models/pajama-stories-4m");
    let words = ["quantize", model.to_str().unwrap(), "--precision", "BF16,Q8_0", "--output"];
    assert!(command(&words).arg(&fresh).status().unwrap().success());
    let old = answer(&fresh, "gguf/Q8_0");
    copy(&fresh, &whole);
    let start = Instant::now();
    assert!(requantize(&whole).wait().unwrap().success());
    let took = start.elapsed();
    assert!(check(&whole, "uninterrupted"));
    let (expected, new) = (std::fs::read(whole.join(MADE).join("model.gguf")).unwrap(), answer(&whole, MADE));
    copy(&fresh, &root);
    let (mut killed, mut finished, mut random) = (0, 0, seed);
    while killed < kills || finished == 0 {
        // Xorshift: any spread will do.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let share = (random % 1000) as f64 / 1000.0;
        let mut child = requantize(&root);
        // Once enough were killed, the last one is let finish.
        let status = match killed < kills {
            true => {
                let until = Instant::now() + took.mul_f64(share);
                loop {
                    if let Some(status) = child.try_wait().unwrap() {
                        break Some(status);
                    }
                    if Instant::now() >= until {
                        child.kill().unwrap();
                        child.wait().unwrap();
                        break None;
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
            false => Some(child.wait().unwrap()),
        };
        killed += usize::from(status.is_none());
        let moment = format!("kill {killed} at {share} of {took:?}, seed {seed}");
        assert!(status.is_none_or(|status| status.success()), "{moment}: {status:?}");
        let is_made = check(&root, &moment);
        assert!(is_made || status.is_none(), "{moment}");
        let (variant, said) = if is_made { (MADE, &new) } else { ("gguf/Q8_0", &old) };
        assert_eq!(answer(&root, variant), *said, "{moment}");
        if is_made {
            finished += 1;
            assert!(std::fs::read(root.join(MADE).join("model.gguf")).unwrap() == expected, "{moment}");
            std::fs::remove_dir_all(&root).unwrap();
            copy(&fresh, &root);
        }
    }
    eprintln!("{killed} killed, {finished} finished with the same bytes; one run takes {took:?}");
}

#[test]
fn killed_at_random_moments_it_goes_on() {
    kill(5, 0x9e37_79b9_7f4a_7c15);
}

/// `cargo test -p llama-pajamas-cli --test requantize -- --ignored`
#[test]
#[ignore = "takes minutes: the same with 30 kills"]
fn killed_at_thirty_random_moments_it_goes_on() {
    kill(30, 0x2545_f491_4f6c_dd1d);
}
