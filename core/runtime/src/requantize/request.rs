//! What is wished of requantizing and what is told of it. Owns defaults and limits; does nothing.

use super::Result;
use quantizer::recipe::Recipe;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;
use tuner::Cause;

/// What to make, of what, and under which conditions.
#[derive(Debug, Clone)]
pub struct Request {
    /// What to make.
    pub make: Make,
    /// Id of the variant to make it of: F32, BF16, F16 or Q8_0. `None`: the finest of these that is here.
    pub parent: Option<String>,
    /// Id of a variant that goes when the new one has passed, in the same change of the manifest.
    pub replaces: Option<String>,
    /// Importance matrix file.
    pub imatrix: Option<PathBuf>,
    /// Second moments file: blocks are rounded with error feedback.
    pub moments: Option<PathBuf>,
    /// The text on which the new variant is held against its parent; at least one window of [`Request::n_ctx`] tokens.
    pub text: String,
    /// Tokens of a window. Default 512; at least 4.
    pub n_ctx: usize,
    /// Most windows that are read. Default 16.
    pub max_windows: usize,
    /// Greatest mean divergence from the parent, in nats, with which the new variant is published. Default 0.1.
    pub max_kld: f64,
    /// Threads. Default 1.
    pub threads: usize,
    /// Memory that rounding's buffers may take, and that the plans of the comparison may count with. `None`: as much as
    /// threads need, and as the host has.
    pub memory_budget_bytes: Option<u64>,
    /// Time after which the work stops until the next call, pauses included. `None`: as long as it takes.
    pub time_budget: Option<Duration>,
    /// Whether to wait while the device runs on its battery. Default true. Heat, want of memory and a user who saves energy
    /// always make it wait.
    pub wait_for_mains: bool,
    /// Signals have to be better for so long before the work goes on. Default 20 s.
    pub calm_for: Duration,
    /// How often this machine's signals are read. Default 2 s.
    pub look_every: Duration,
    /// The machine whose signals are read, as [`crate::LoadedModel::watch_at`] takes it. `None`: this one, where the runtime's
    /// host is this one.
    pub machine: Option<PathBuf>,
}

/// What to make.
#[derive(Debug, Clone)]
pub enum Make {
    /// A recipe's file.
    Recipe(Recipe),
    /// What a plan file says.
    Plan(PathBuf),
}

impl Request {
    /// Makes `make`, to be judged on `text`, with defaults.
    pub fn new(make: Make, text: impl Into<String>) -> Self {
        Self {
            make,
            parent: None,
            replaces: None,
            imatrix: None,
            moments: None,
            text: text.into(),
            n_ctx: 512,
            max_windows: 16,
            max_kld: 0.1,
            threads: 1,
            memory_budget_bytes: None,
            time_budget: None,
            wait_for_mains: true,
            calm_for: Duration::from_secs(20),
            look_every: Duration::from_secs(2),
            machine: None,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let refused = |what, expected: &str, got: String| -> Result<()> {
            Err(crate::Error::Request { what, expected: expected.into(), got }.into())
        };
        if self.max_kld.is_nan() || self.max_kld <= 0.0 {
            return refused("max_kld", "a divergence above 0", self.max_kld.to_string());
        }
        if self.max_windows == 0 {
            return refused("max_windows", "at least 1", "0".into());
        }
        Ok(())
    }
}

/// What is being done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Reading headers and what lies there already.
    #[default]
    Planning,
    /// Rounding; counted in bytes of the parent.
    Rounding,
    /// The parent reads the text; counted in tokens.
    Reference,
    /// The new variant reads the text; counted in tokens.
    Comparing,
    /// The new variant is put into its place.
    Publishing,
}

/// Where the work stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// Done of it, in the stage's unit.
    pub done: u64,
    /// In all.
    pub total: u64,
    /// Time left of the stage at the rate so far, pauses included, once there is one.
    pub eta: Option<Duration>,
    /// Why the work waits, where it does.
    pub paused: Option<Cause>,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The bundle has the variant.
    Published(Published),
    /// It is further from its parent than allowed; the bundle is as it was, and the work is gone.
    NotGoodEnough {
        /// Id that it would have got.
        id: String,
        /// Mean divergence from the parent, in nats.
        kld_mean: f64,
        /// What was allowed.
        max_kld: f64,
    },
    /// The time is up; the bundle is as it was, and the next call goes on.
    OutOfTime {
        /// What was being done.
        stage: Stage,
        /// Done of it, in the stage's unit.
        done: u64,
        /// In all.
        total: u64,
    },
}

/// What was published.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Published {
    /// Id in the manifest.
    pub id: String,
    /// Length of its file.
    pub file_bytes: u64,
    /// Mean divergence from the parent on the text, in nats.
    pub kld_mean: f64,
    /// Tokens that this is the mean of.
    pub n_tokens: u64,
    /// Tensors that earlier runs had finished.
    pub resumed_tensors: usize,
    /// Whether an earlier run had published it already.
    pub was_there: bool,
}
