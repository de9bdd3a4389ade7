//! An outside program that stays and does one job after the other.
//! Owns: [`Outside`]. Knows processes; must not know what jobs are.

use crate::{oracle, repository};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

/// A program that answers each line of JSON with one; ended when this is dropped. What else it prints goes to its standard error.
pub struct Outside(Child);

impl Outside {
    /// Starts a program.
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Starts a script of `scripts/oracles` with the outside tools' Python.
    pub fn python(script: &str) -> Self {
        let script = repository().join("scripts/oracles").join(script);
        Self::start(Command::new(oracle("venv/bin/python")).arg(script))
    }

    /// Has it do a job.
    pub fn job(&mut self, job: &Value) -> Value {
        writeln!(self.0.stdin.as_mut().expect("piped"), "{job}")
            .unwrap_or_else(|error| panic!("{job}: {error}"));
        let mut line = String::new();
        let answer = BufReader::with_capacity(1, self.0.stdout.as_mut().expect("piped")).read_line(&mut line);
        answer.unwrap_or_else(|error| panic!("{job}: {error}"));
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{job}: {error}"))
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
