//! A child process and the conversation with it.
//!
//! Owns: starting, asking, waiting with an eye on the cancel flag, and noticing the end. May know: the wire. Must not know: what
//! is asked.

use std::io::{BufReader, BufWriter};
use std::ops::ControlFlow;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::start::Launch;
use super::wire::{Answer, Ask, Frame, receive, send};
use crate::{CancelToken, Error};

/// Between two looks at the cancel flag.
const LOOK_EVERY: Duration = Duration::from_millis(5);

pub(super) struct Process {
    child: Mutex<Child>,
    /// Asks take turns.
    turn: Mutex<Turn>,
    ended: AtomicBool,
}

struct Turn {
    input: Option<BufWriter<ChildStdin>>,
    answers: Receiver<Frame<Answer>>,
    number: u64,
}

impl Process {
    pub(super) fn start(launch: &Launch) -> Result<Self, Error> {
        let failed = |reason: std::io::Error| Error::Process {
            reason: format!("{} cannot be started: {reason}", launch.program.display()),
        };
        let mut child = Command::new(&launch.program)
            .args(&launch.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let input = child.stdin.take().map(BufWriter::new);
        let output = child.stdout.take();
        let (tell, answers) = channel();
        let read = move || {
            let Some(mut output) = output.map(BufReader::new) else { return };
            // What cannot be read is an end: the channel closes.
            while let Ok(Some(frame)) = receive::<Answer>(&mut output) {
                if tell.send(frame).is_err() {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("llama-pajamas-isolate".into()).spawn(read).map_err(failed)?;
        let turn = Mutex::new(Turn { input, answers, number: 0 });
        Ok(Self { child: Mutex::new(child), turn, ended: AtomicBool::new(false) })
    }

    /// Whether it has ended, asked or not.
    pub(super) fn has_ended(&self) -> bool {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // What cannot be told is found out by the next ask.
        let exited = matches!(child.try_wait(), Ok(Some(_)));
        exited || self.ended.load(Ordering::Acquire)
    }

    /// Its number in the system.
    pub(super) fn id(&self) -> u32 {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).id()
    }

    /// Asks and waits. `cancel` and a `Break` of `progress` stop what is asked, which then answers with an error.
    pub(super) fn ask(
        &self,
        ask: &Ask,
        raw: &[u8],
        cancel: Option<&CancelToken>,
        progress: &mut dyn FnMut(f32) -> ControlFlow<()>,
    ) -> Result<Frame<Answer>, Error> {
        // As an engine in this process: what is cancelled beforehand is not begun.
        if cancel.is_some_and(CancelToken::is_cancelled) {
            return Err(Error::Cancelled);
        }
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        turn.number += 1;
        let number = turn.number;
        if !turn.send(ask, raw) {
            return Err(self.end(&mut turn));
        }
        let mut told = false;
        let mut stop = false;
        loop {
            stop |= cancel.is_some_and(CancelToken::is_cancelled);
            if stop && !told {
                told = true;
                if !turn.send(&Ask::Cancel { number }, &[]) {
                    return Err(self.end(&mut turn));
                }
            }
            match turn.answers.recv_timeout(LOOK_EVERY) {
                Ok((Answer::Progress(share), _)) => stop |= progress(share).is_break(),
                Ok(frame) => return Ok(frame),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(self.end(&mut turn)),
            }
        }
    }

    /// What became of a process that answers no more.
    fn end(&self, turn: &mut Turn) -> Error {
        turn.input = None;
        self.ended.store(true, Ordering::Release);
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        // One that only closed its output is of no more use.
        let _ = child.kill();
        let how = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
        Error::Process { reason: format!("it ended: {how}") }
    }
}

impl Turn {
    fn send(&mut self, ask: &Ask, raw: &[u8]) -> bool {
        self.input.as_mut().is_some_and(|input| send(input, ask, raw).is_ok())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The end of its input ends the child; one that is busy is not waited for.
        self.turn.get_mut().unwrap_or_else(PoisonError::into_inner).input = None;
        let child = self.child.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = child.kill();
        let _ = child.wait();
    }
}
