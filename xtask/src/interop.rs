//! The interoperability suite, test by test, within a bound of time where one is given.
//!
//! Owns the order of its tests and what is left out. May know cargo's messages and the table of times. Must not know what
//! a test compares, nor prepare what it compares with.

use anyhow::{Context, Result, anyhow, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Seconds that each test took, `FILE::TEST` and a number a line: what is tried first, and what is not begun.
const TIMES: &str = "tests/interop.tsv";
const PACKAGE: &str = "llama-pajamas-tests";
/// How often a running test is looked at.
const POLL: Duration = Duration::from_millis(100);

/// What is to be run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Request {
    /// All time there is, compiling included; none is without bound.
    minutes: Option<u64>,
    /// Only tests whose `FILE::TEST` has one of these parts; empty for all.
    only: Vec<String>,
}

impl Request {
    pub(crate) fn parse(words: &[&str]) -> Result<Self> {
        let mut request = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--minutes" => {
                    let minutes = words.next().and_then(|word| word.parse().ok());
                    request.minutes = Some(minutes.context("--minutes: expected a whole number")?);
                }
                word if word.starts_with('-') => {
                    bail!("{word}: expected --minutes N or parts of names of tests")
                }
                word => request.only.push(word.to_string()),
            }
        }
        Ok(request)
    }

    fn wants(&self, test: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| test.contains(part.as_str()))
    }
}

/// One test, and the program that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Test {
    /// `FILE::TEST`.
    name: String,
    program: PathBuf,
    /// What it took when the table was written.
    stated_s: Option<u64>,
}

enum Outcome {
    Passed,
    Failed,
    /// The time was spent before its end.
    Cut,
}

/// Runs the suite and prints what was run, how long it took and what was left out.
///
/// # Errors
/// A test that fails, a table that names no test.
pub(crate) fn run(root: &Path, request: &Request) -> Result<()> {
    let end = request.minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let left = || end.map(|end| end.saturating_duration_since(Instant::now()));
    let times = read_times(&std::fs::read_to_string(root.join(TIMES)).context(TIMES)?)?;
    let tests = compiled(root, &times, left)?;
    let Some(mut tests) = tests else {
        println!("interoperability: compiling took all of the time; nothing was run");
        return Ok(());
    };
    tests.retain(|test| request.wants(&test.name));
    if request.minutes.is_some() {
        tests.sort_by_key(|test| test.stated_s.unwrap_or(u64::MAX));
    }
    let (mut table, mut failed, mut skipped) = (Vec::new(), 0, Vec::new());
    for test in &tests {
        let stated = Duration::from_secs(test.stated_s.unwrap_or(0));
        if let Some(left) = left().filter(|left| left.is_zero() || stated > *left) {
            let stated = test.stated_s.map_or("an unknown time".into(), |seconds| format!("{seconds} s"));
            skipped.push(format!("{}: takes {stated}, {} s are left", test.name, left.as_secs()));
            continue;
        }
        println!("\n== {}", test.name);
        let start = Instant::now();
        let outcome = run_one(root, test, end)?;
        let seconds = start.elapsed().as_secs();
        match outcome {
            Outcome::Passed => table.push(format!("{}\t{seconds}", test.name)),
            Outcome::Failed => {
                failed += 1;
                println!("FAILED after {seconds} s: {}", test.name);
            }
            Outcome::Cut => {
                skipped.push(format!("{}: ended after {seconds} s, the time was spent", test.name))
            }
        }
    }
    println!("\n== passed, with seconds (the lines of {TIMES})");
    table.iter().for_each(|line| println!("{line}"));
    if !skipped.is_empty() {
        println!("\n== skipped: ./scripts/test --interop runs them all");
        skipped.iter().for_each(|line| println!("{line}"));
    }
    println!(
        "\ninteroperability: {} passed, {failed} failed, {} skipped of {}",
        table.len(),
        skipped.len(),
        tests.len()
    );
    if failed > 0 { Err(anyhow!("{failed} tests failed")) } else { Ok(()) }
}

fn read_times(text: &str) -> Result<BTreeMap<String, u64>> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let parse = |line: &str| {
        let (name, seconds) = line.split_once('\t')?;
        Some((name.to_string(), seconds.parse().ok()?))
    };
    lines
        .map(|line| {
            parse(line).ok_or_else(|| anyhow!("{TIMES}: expected a test, a tab and seconds, got `{line}`"))
        })
        .collect()
}

/// Compiles the suite and lists its tests, in the order of files and names; `None` where the time was spent before.
fn compiled(
    root: &Path,
    times: &BTreeMap<String, u64>,
    left: impl Fn() -> Option<Duration>,
) -> Result<Option<Vec<Test>>> {
    let mut cargo = Command::new("cargo");
    cargo.args(["test", "--package", PACKAGE, "--features", "interop", "--no-run"]);
    cargo.args(["--message-format", "json-render-diagnostics"]).current_dir(root);
    let messages = tempfile_in(root)?;
    cargo.stdout(std::fs::File::create(&messages).context("a file for cargo's messages")?);
    let mut child = spawn_group(&mut cargo)?;
    let outcome = wait(&mut child, left().map(|left| Instant::now() + left))?;
    let text = std::fs::read_to_string(&messages).context("cargo's messages")?;
    std::fs::remove_file(&messages).context("cargo's messages")?;
    match outcome {
        Outcome::Passed => {}
        Outcome::Failed => bail!("the suite does not compile"),
        Outcome::Cut => return Ok(None),
    }
    let mut tests = Vec::new();
    for (file, program) in programs(&text) {
        let listed = Command::new(&program).args(["--list", "--format", "terse"]).output()?;
        let listed = String::from_utf8_lossy(&listed.stdout);
        for name in listed.lines().filter_map(|line| line.strip_suffix(": test")) {
            let name = format!("{file}::{name}");
            let stated_s = times.get(&name).copied();
            tests.push(Test { name, program: program.clone(), stated_s });
        }
    }
    tests.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(unknown) = times.keys().find(|name| tests.iter().all(|test| test.name != **name)) {
        bail!("{TIMES} names {unknown}, which is no test");
    }
    Ok(Some(tests))
}

fn tempfile_in(root: &Path) -> Result<PathBuf> {
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    std::fs::create_dir_all(&folder).context("the target folder")?;
    Ok(folder.join(format!("interop-messages-{}.json", std::process::id())))
}

/// Names and paths of the test programs in cargo's messages.
fn programs(messages: &str) -> Vec<(String, PathBuf)> {
    let message = |line: &str| {
        let json: serde_json::Value = serde_json::from_str(line).ok()?;
        let is_test = json["target"]["kind"] == serde_json::json!(["test"]);
        let program = json["executable"].as_str().filter(|_| is_test)?;
        Some((json["target"]["name"].as_str()?.to_string(), PathBuf::from(program)))
    };
    messages.lines().filter_map(message).collect()
}

fn run_one(root: &Path, test: &Test, end: Option<Instant>) -> Result<Outcome> {
    let (_, name) = test.name.split_once("::").context("a test has a file")?;
    let mut command = Command::new(&test.program);
    command.args(["--exact", name, "--nocapture", "--test-threads", "1"]);
    command.current_dir(root.join("tests"));
    wait(&mut spawn_group(&mut command)?, end)
}

/// Starts a program as the head of a group of its own, which can be ended as a whole.
fn spawn_group(command: &mut Command) -> Result<Child> {
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(command, 0);
    command.stdin(Stdio::null()).spawn().with_context(|| format!("cannot start {command:?}"))
}

/// Waits for the end of a program, or ends its group at `end`.
fn wait(child: &mut Child, end: Option<Instant>) -> Result<Outcome> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(if status.success() { Outcome::Passed } else { Outcome::Failed });
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            let group = format!("-{}", child.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
            child.wait()?;
            return Ok(Outcome::Cut);
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    #[test]
    fn words_make_a_request() {
        let words = |text: &'static str| text.split(' ').collect::<Vec<_>>();
        let request = Request::parse(&words("--minutes 7 interop_cpu")).expect("a request");
        assert_eq!(request, Request { minutes: Some(7), only: vec!["interop_cpu".into()] });
        assert!(request.wants("interop_cpu::x") && !request.wants("interop_lora::x"));
        assert!(Request::default().wants("anything"));
        for wrong in ["--minutes", "--minutes x", "--fast"] {
            assert!(Request::parse(&words(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_table_is_read_line_by_line() {
        let times = read_times("# measured\n\nf::a\t3\nf::b\t70\n").expect("a table");
        assert_eq!(times, BTreeMap::from([("f::a".into(), 3), ("f::b".into(), 70)]));
        assert!(read_times("f::a 3").is_err_and(|error| error.to_string().contains("f::a 3")));
    }

    #[test]
    fn programs_are_those_of_tests() {
        let line =
            |kind: &str| format!(r#"{{"target":{{"kind":["{kind}"],"name":"n"}},"executable":"/t/{kind}"}}"#);
        let messages = format!("{}\nno JSON\n{}\n", line("lib"), line("test"));
        assert_eq!(programs(&messages), [("n".to_string(), PathBuf::from("/t/test"))]);
    }

    #[test]
    #[cfg(unix)]
    fn what_takes_too_long_is_ended_with_its_children() {
        let mut command = Command::new("sh");
        let command = command.args(["-c", "sleep 600 & echo begun; sleep 600"]).stdout(Stdio::piped());
        let mut child = spawn_group(command).expect("a shell");
        let mut said = BufReader::new(child.stdout.take().expect("a pipe"));
        said.read_line(&mut String::new()).expect("a line");
        let outcome = wait(&mut child, Some(Instant::now())).expect("it is ended");
        assert!(matches!(outcome, Outcome::Cut));
        // The pipe closes when the last of them has ended.
        assert_eq!(said.read_line(&mut String::new()).expect("an end"), 0);
        let mut quick = spawn_group(&mut Command::new("true")).expect("a program");
        assert!(matches!(wait(&mut quick, None).expect("it ends"), Outcome::Passed));
    }
}
