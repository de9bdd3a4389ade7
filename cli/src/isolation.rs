//! Generated programs, run where they can do no harm: in a child process without network, with nothing to write to but a folder
//! in memory, under limits of processor time, memory and time. Owns the child; must not know what its outcome is worth.
//!
//! Linux alone has what this needs without a privileged user: namespaces, through the commands `unshare`, `setpriv` and `prlimit`
//! of util-linux. Elsewhere, and where they are missing or forbidden, nothing is run.

use anyhow::{Context, Result, bail};
use llama_pajamas::CancelToken;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What the child does before it becomes the program.
const SCRIPT: &str = include_str!("isolation.sh");
const NAMESPACES: [&str; 10] = [
    "--user",
    "--map-root-user",
    "--net",
    "--ipc",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount",
    "--propagation=private",
    "--mount-proc",
];
/// Whom the privileged user, for whom the count of processes has no limit, becomes first: nobody.
const NOBODY: [&str; 3] = ["--reuid=65534", "--regid=65534", "--clear-groups"];
/// Tried first: a network would show the loopback device as up, and more than the allowed processes would start.
const TRIAL: &str = "
import os, socket, time
try:
    socket.create_connection(('127.0.0.1', 9), 1)
except OSError as error:
    assert error.errno in (99, 101), error
def is_limited():
    for _ in range(100):
        try:
            child = os.fork()
        except OSError:
            return True
        if child == 0:
            time.sleep(60)
            os._exit(0)
    return False
assert is_limited()
";
/// Exit code of a child that could not be isolated.
const NOT_ISOLATED: i32 = 125;

/// Limits of one program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Processor time in seconds.
    pub(crate) processor_s: u64,
    /// Address space in bytes.
    pub(crate) memory_bytes: u64,
    /// Time in all.
    pub(crate) time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { processor_s: 10, memory_bytes: 1 << 30, time: Duration::from_secs(30) }
    }
}

/// Most bytes of a file that a program writes, and of what it prints.
const FILE_BYTES: u64 = 1 << 20;
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Holding it proves that programs are isolated here.
#[derive(Debug)]
pub(crate) struct Isolation {
    limits: Limits,
}

impl Isolation {
    /// Tries what isolation needs with a program of its own.
    ///
    /// # Errors
    /// Another system than Linux, a missing command, namespaces that this user may not make, no Python.
    pub(crate) fn open(limits: Limits) -> Result<Self> {
        if !cfg!(target_os = "linux") {
            bail!("--allow-code: generated code is run on Linux only, where it can be isolated");
        }
        let isolation = Self { limits };
        let expected = "--allow-code: expected unshare, setpriv and prlimit (util-linux), python3, and leave to make user \
                        namespaces, so that generated code runs without network";
        match isolation.passes(TRIAL, &CancelToken::new()) {
            Ok(true) => Ok(isolation),
            Ok(false) => bail!("{expected}; a program of our own did not end well"),
            Err(error) => Err(error.context(expected)),
        }
    }

    /// Whether the Python `program` runs to its end without an error and within its limits.
    ///
    /// # Errors
    /// A child that cannot be started or isolated, `cancel`.
    pub(crate) fn passes(&self, program: &str, cancel: &CancelToken) -> Result<bool> {
        // Only what comes to the end says this: code that leaves early has not passed.
        let last_words = format!("passed {}", nonce());
        let mut input = tempfile::tempfile().context("a temporary file for a program")?;
        write!(input, "{program}\nprint({last_words:?})\n").context("writing a program")?;
        input.seek(SeekFrom::Start(0)).context("writing a program")?;
        let files = || tempfile::tempfile().context("a temporary file for a program's output");
        let (output, errors) = (files()?, files()?);
        let code = self.run(input, &output, &errors, cancel)?;
        if code == Some(NOT_ISOLATED) || code == Some(127) {
            bail!("{}", said(errors)?.trim());
        }
        Ok(code == Some(0) && said(output)?.lines().next_back() == Some(last_words.as_str()))
    }

    fn run(&self, input: File, output: &File, errors: &File, cancel: &CancelToken) -> Result<Option<i32>> {
        let limits = [self.limits.processor_s, self.limits.memory_bytes, FILE_BYTES];
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/sbin:/usr/bin:/sbin:/bin".into());
        let copy = |file: &File| file.try_clone().context("a program's output");
        let mut command = match is_privileged() {
            true => {
                let mut command = Command::new("setpriv");
                command.args(NOBODY).arg("unshare");
                command
            }
            false => Command::new("unshare"),
        };
        let mut child = command
            .args(NAMESPACES)
            .args(["sh", "-c", SCRIPT, "isolation"])
            .args(limits.map(|limit| limit.to_string()))
            .env_clear()
            .env("PATH", path)
            .stdin(input)
            .stdout(Stdio::from(copy(output)?))
            .stderr(Stdio::from(copy(errors)?))
            .spawn()
            .context("unshare, setpriv")?;
        let start = Instant::now();
        loop {
            if let Some(status) = child.try_wait().context("waiting for a program")? {
                return Ok(status.code());
            }
            if start.elapsed() > self.limits.time || cancel.is_cancelled() {
                // Whatever it started is gone with the first process of its namespace.
                child.kill().context("ending a program")?;
                child.wait().context("ending a program")?;
                match cancel.is_cancelled() {
                    true => bail!("cancelled"),
                    false => return Ok(None),
                }
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Whether this process has the rights of user 0.
fn is_privileged() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let users = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    users.is_some_and(|users| users.split_whitespace().nth(1) == Some("0"))
}

fn said(mut file: File) -> Result<String> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0)).context("reading a program's output")?;
    file.take(FILE_BYTES).read_to_end(&mut bytes).context("reading a program's output")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A number that no program was written for.
fn nonce() -> u128 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_nanos()) ^ u128::from(std::process::id()) << 96
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn isolation(time_s: u64) -> Option<Isolation> {
        let time = Duration::from_secs(time_s);
        let limits = Limits { processor_s: 2, time, ..Limits::default() };
        match Isolation::open(limits) {
            Ok(isolation) => Some(isolation),
            // Where isolation is not to be had, that is what is to be said.
            Err(error) => {
                assert!(error.to_string().starts_with("--allow-code: "), "{error:#}");
                None
            }
        }
    }

    #[test]
    fn programs_pass_that_come_to_their_end() {
        let Some(isolation) = isolation(60) else { return };
        let passes = |program: &str| isolation.passes(program, &CancelToken::new()).unwrap();
        assert!(passes("def f(x):\n    return x + 1\nassert f(1) == 2"));
        assert!(passes("open('note', 'w').write('x')\nassert open('note').read() == 'x'"));
        for failing in
            ["assert False", "def f(:", "exit(0)", "import os\nos._exit(0)", "print('passed 0')\nexit(0)"]
        {
            assert!(!passes(failing), "{failing}");
        }
    }

    #[test]
    fn nothing_outside_is_reached_and_nothing_lasts() {
        let Some(mut isolation) = isolation(60) else { return };
        isolation.limits.time = Duration::from_secs(4);
        let folder = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "before").unwrap();
        let attempts = [
            format!("open({file:?}, 'w').write('after')"),
            format!("import os\nos.remove({file:?})"),
            "open('/var/tmp/llama-pajamas-was-here', 'w')".into(),
            "import socket\nsocket.create_connection(('127.0.0.1', 22), 2)".into(),
            "import socket\nsocket.create_connection(('192.0.2.1', 80), 2)".into(),
            "x = bytearray(2 << 30)".into(),
            "open('big', 'wb').write(bytes(2 << 20))".into(),
            "while True:\n    pass".into(),
            "import os\nfor _ in range(100):\n    os.fork() or __import__('time').sleep(60)".into(),
            "import os\nos.setuid(0)\nos.chroot('/tmp')".into(),
            "import os\nassert os.environ.get('HOME')".into(),
        ];
        for attempt in attempts {
            assert!(!isolation.passes(&attempt, &CancelToken::new()).unwrap(), "{attempt}");
        }
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "before");
        assert!(!std::path::Path::new("/var/tmp/llama-pajamas-was-here").exists());
        let cancel = CancelToken::new();
        cancel.cancel();
        assert!(isolation.passes("import time\ntime.sleep(5)", &cancel).is_err());
    }
}
