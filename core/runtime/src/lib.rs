//! The on-device model runtime: open a bundle, plan, load, generate, embed.
//!
//! Owns what users of the library touch: [`Runtime`], [`LoadedModel`], [`Session`], [`Embedder`], [`Ranker`], tokenizer, sampling, stop rules and
//! chat templates, which stand above every engine. Must not print, read the environment or reach the network.

mod answer;
mod chat;
mod code;
mod constrain;
#[cfg(feature = "quantize")]
mod described;
mod embed;
mod error;
mod events;
#[cfg(feature = "quantize")]
mod fit;
mod govern;
mod load;
#[cfg(feature = "quantize")]
pub mod measured;
mod media;
mod model;
mod open;
mod planned;
mod pool;
#[cfg(feature = "quantize")]
pub mod requantize;
mod sampler;
mod sampling;
mod session;
mod speculate;
mod stop;
mod stream;
mod template;
pub mod tokenizer;
#[cfg(feature = "onnx")]
pub mod transcribe;
mod tune;

pub use answer::{GenerateSettings, MAX_TOP_LOGPROBS};
pub use chat::{ChatPiece, ChatPrompt, ChatReader, ChatRequest, ToolCall, ToolChoice};
pub use code::ErrorCode;
pub use constrain::Constraint;
#[cfg(feature = "quantize")]
pub use described::{SENSIBLE_PRECISIONS, described_candidates};
pub use embed::{EmbedSettings, Embedder, Embedding, Ranker};
pub use error::{Error, Result};
pub use events::{Event, Logprob, StopReason, Timings, TokenLogprobs, Usage};
#[cfg(feature = "quantize")]
pub use fit::{DeviceFit, FitRequest, fit_device};
pub use govern::{Change, SettingFrom, Watch};
pub use media::{MEDIA_MARK, PromptMedia};
pub use model::{LoadedModel, SessionSettings};
pub use open::{PlanRequest, Runtime, RuntimeSettings, backend_devices, candidates_at, supplied_devices};
pub use pool::{Done, Listener, Occupation, Pool, PoolSettings, Request};
pub use sampler::Sampler;
pub use sampling::{Dry, Mirostat, MirostatVersion, Sampling, Step};
pub use session::{Ask, Session, WhenFull};
pub use stream::{Prompt, Stream, StreamEvent, TimedOut};
pub use template::{Message, Template, TemplateInput};
pub use tokenizer::Tokenizer;
pub use tune::{CompareSettings, CompareStep, Comparison, Recall, TUNING_FILE, Unmeasured};

pub use bundle;
pub use engine::{self, Adapter, AdapterKind, Applied, CancelToken, Token};
#[cfg(feature = "quantize")]
pub use evaluator;
pub use families;
pub use formats;
pub use hardware;
#[cfg(feature = "onnx")]
pub use onnx;
pub use planner::{self, Plan};
#[cfg(feature = "quantize")]
pub use quantizer;
pub use tuner::{self, Reaction, Setting, Signals, Stance, TuneReport, TuneSettings, TuneStep};

/// The README's examples compile.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;
