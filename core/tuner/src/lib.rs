//! Settings found by racing them, remembered, and kept right while conditions change.
//!
//! Owns: the paired race and the order of its knobs, the document in which results are kept, the governor and the pace of
//! single steps. Everything is a pure function of what it is handed: measurements, times, signals. Must not know an engine
//! or a model, and touches neither a clock nor a file.

mod arms;
mod bench;
mod cache;
mod governor;
mod pace;
mod race;
mod setting;
mod statistics;
mod tune;

pub use arms::{MAX_ARMS, Topology, batch_arms, placement_arms, thread_arms, ubatch_arms};
pub use bench::{Bench, Halt, Outcome};
pub use cache::{Cache, Conditions, Entry, Heat, Key, Lookup, Miss, Observed, PowerFrom, SCHEMA, Tuned};
pub use governor::{Cause, Governor, GovernorSettings, MemoryLevel, Reaction, Signals, Stance};
pub use pace::{Moved, MovedBecause, Pace, PaceSettings, Step};
pub use race::{ArmReport, Race, RaceReport, RaceSettings, RaceStep, Verdict};
pub use setting::{Exactness, Knob, Setting};
pub use tune::{KnobArms, KnobReport, Skipped, TuneBench, TuneReport, TuneSettings, TuneStep, tune};
