//! What is told while a model is quantized: which step, and how far it is.

use crate::Error;
use std::ops::ControlFlow;

/// A step of the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Step {
    /// The graph is made plain.
    Cleaning,
    /// Samples run through the float model.
    Recording,
    /// Nodes are tried one by one.
    Trying,
    /// The result is compared with the float model.
    Verifying,
    /// Both are timed.
    Timing,
}

/// Hands what is told to whoever listens, who may end the work.
pub(crate) struct Progress<'a>(pub(crate) &'a mut dyn FnMut(Step, usize, usize) -> ControlFlow<()>);

impl Progress<'_> {
    pub(crate) fn report(&mut self, step: Step, n_done: usize, n_steps: usize) -> Result<(), Error> {
        match (self.0)(step, n_done, n_steps) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::Cancelled),
        }
    }
}
