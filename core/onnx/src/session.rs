//! One graph made ready to compute: tensors in, tensors out. Owns providers asked for and what became of them, threads,
//! optimisation and cancelling. Knows the graph's inputs and outputs; must not know what they mean.

use crate::Error;
use crate::library::Library;
use crate::provider::{Fallback, Provider};
use crate::value::{Value, data_type};
use formats::onnx::DataType;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};
use ort::session::{NoSelectedOutputs, RunOptions, SessionInputValue};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// How far the library may rewrite a graph before it computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Optimization {
    /// Every node as it stands.
    Off,
    /// What keeps each sum as it is: folding, removal of what does nothing.
    Basic,
    /// All the library has.
    #[default]
    Full,
}

/// How a session is made.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What shall compute, in this order; the processor comes last, named or not.
    pub providers: Vec<Provider>,
    /// Threads inside one operator; 0 counts as 1. They wait without spinning.
    pub threads: usize,
    /// How far the graph may be rewritten.
    pub optimization: Optimization,
    /// Where providers keep what they compile.
    pub cache: Option<PathBuf>,
    /// The library's own settings, by key, e.g. `session.disable_quant_qdq`.
    pub settings: Vec<(String, String)>,
    /// Where the library writes the graph as rewritten, to be looked at.
    pub optimized_path: Option<PathBuf>,
}

/// An input or output of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// The type of its elements.
    pub ty: DataType,
    /// Dimensions; -1 where the graph leaves one open.
    pub shape: Vec<i64>,
}

/// A graph that computes.
#[derive(Debug)]
pub struct Session {
    session: ort::session::Session,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    providers: Vec<Provider>,
    fallbacks: Vec<Fallback>,
    cancel: Cancel,
}

/// Ends the computation that a session is at, from any thread, and every later one until [`Cancel::reset`].
#[derive(Clone)]
pub struct Cancel {
    flag: Arc<AtomicBool>,
    options: Arc<RunOptions<NoSelectedOutputs>>,
}

impl std::fmt::Debug for Cancel {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("Cancel").field(&self.is_cancelled()).finish()
    }
}

impl Cancel {
    fn new() -> Result<Self, Error> {
        let options = RunOptions::new().map_err(|error| Error::Run(error.to_string()))?;
        Ok(Self { flag: Arc::default(), options: options.into() })
    }

    /// Ends what runs; it gives [`Error::Cancelled`].
    pub fn cancel(&self) {
        self.flag.store(true, Ordering::SeqCst);
        // Setting a flag; the library has no way to refuse it.
        let _ = self.options.terminate();
    }

    /// Lets the session compute again.
    pub fn reset(&self) {
        self.flag.store(false, Ordering::SeqCst);
        let _ = self.options.unterminate();
    }

    /// Whether [`Cancel::cancel`] was called, and not undone.
    pub fn is_cancelled(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }
}

/// Where a graph comes from.
#[derive(Clone, Copy)]
enum Origin<'a> {
    File(&'a Path),
    Bytes(&'a [u8]),
}

impl Session {
    /// Of a file; data beside it is found by the library.
    ///
    /// # Errors
    /// [`Error::Load`] for what the library refuses with the processor alone: a broken file, an operator it does not know.
    /// Providers that refuse are no error: [`Session::fallbacks`].
    pub fn open(library: &Library, path: &Path, options: &Options) -> Result<Self, Error> {
        Self::make(library, Origin::File(path), options)
    }

    /// Of a model in memory, whose data is all in it.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn of_bytes(library: &Library, model: &[u8], options: &Options) -> Result<Self, Error> {
        Self::make(library, Origin::Bytes(model), options)
    }

    fn make(library: &Library, origin: Origin<'_>, options: &Options) -> Result<Self, Error> {
        let refused = |error: ort::Error| Error::Load {
            version: library.version().to_string(),
            reason: error.to_string(),
        };
        let mut wanted: Vec<Provider> =
            options.providers.iter().copied().filter(|provider| *provider != Provider::Cpu).collect();
        let mut fallbacks = Vec::new();
        let session = loop {
            let mut builder = configured(library, options).map_err(refused)?;
            let mut registered = Vec::new();
            for provider in std::mem::take(&mut wanted) {
                match provider.registration(options.cache.as_ref()).register(&mut builder) {
                    Ok(()) => registered.push(provider),
                    Err(error) => fallbacks.push(Fallback { provider, reason: error.to_string() }),
                }
            }
            Provider::Cpu.registration(None).register(&mut builder).map_err(refused)?;
            let made = match origin {
                Origin::File(path) => builder.commit_from_file(path),
                Origin::Bytes(bytes) => builder.commit_from_memory(bytes),
            };
            match made {
                Ok(session) => {
                    wanted = registered;
                    break session;
                }
                // It may have registered and fail at the graph or the device: the next try goes without the first of them.
                Err(error) if !registered.is_empty() => {
                    let provider = registered.remove(0);
                    fallbacks.push(Fallback { provider, reason: error.to_string() });
                    wanted = registered;
                }
                Err(error) => return Err(refused(error)),
            }
        };
        wanted.push(Provider::Cpu);
        for fallback in &fallbacks {
            tracing::warn!(provider = fallback.provider.name(), "not used: {}", fallback.reason);
        }
        let ports = |outlets: &[ort::value::Outlet]| outlets.iter().map(port).collect();
        Ok(Self {
            inputs: ports(session.inputs()),
            outputs: ports(session.outputs()),
            session,
            providers: wanted,
            fallbacks,
            cancel: Cancel::new()?,
        })
    }

    /// What the graph takes, in its order.
    pub fn inputs(&self) -> &[Port] {
        &self.inputs
    }

    /// What it gives, in its order.
    pub fn outputs(&self) -> &[Port] {
        &self.outputs
    }

    /// What computes, in the order of preference; the processor is last.
    pub fn providers(&self) -> &[Provider] {
        &self.providers
    }

    /// What was asked for and is not used, with reasons.
    pub fn fallbacks(&self) -> &[Fallback] {
        &self.fallbacks
    }

    /// What ends a computation.
    pub fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }

    /// Computes every output, in the graph's order. Inputs are told apart by name; data that came out of a run may go in.
    ///
    /// # Errors
    /// [`Error::Port`] for an unknown or missing input; [`Error::Cancelled`]; else what the library says.
    pub fn run(&mut self, inputs: &[(&str, &Value)]) -> Result<Vec<Value>, Error> {
        if self.cancel.is_cancelled() {
            return Err(Error::Cancelled);
        }
        let known = || self.inputs.iter().map(|port| port.name.clone()).collect();
        let wrong = |name: &str| Error::Port { direction: "input", name: name.into(), known: known() };
        if let Some((name, _)) =
            inputs.iter().find(|(name, _)| self.inputs.iter().all(|port| port.name != *name))
        {
            return Err(wrong(name));
        }
        let missing = self.inputs.iter().find(|port| inputs.iter().all(|(name, _)| *name != port.name));
        if let Some(port) = missing {
            return Err(Error::Port {
                direction: "missing input",
                name: port.name.clone(),
                known: inputs.iter().map(|(name, _)| name.to_string()).collect(),
            });
        }
        let given: Vec<(&str, SessionInputValue<'_>)> =
            inputs.iter().map(|(name, value)| (*name, (&value.0).into())).collect();
        let options = self.cancel.options.clone();
        let outcome = self.session.run_with_options(given, &*options);
        let mut outputs = outcome.map_err(|error| {
            if self.cancel.is_cancelled() { Error::Cancelled } else { Error::Run(error.to_string()) }
        })?;
        let take = |port: &Port| {
            let value = outputs.remove(&port.name);
            value.map(Value).ok_or_else(|| Error::Run(format!("output `{}` did not come", port.name)))
        };
        self.outputs.iter().map(take).collect()
    }
}

fn configured(library: &Library, options: &Options) -> ort::Result<SessionBuilder> {
    let level = match options.optimization {
        Optimization::Off => GraphOptimizationLevel::Disable,
        Optimization::Basic => GraphOptimizationLevel::Level1,
        Optimization::Full => GraphOptimizationLevel::All,
    };
    let mut builder = SessionBuilder::new(&library.environment)?
        .with_optimization_level(level)?
        .with_intra_threads(options.threads.max(1))?
        .with_inter_threads(1)?
        .with_intra_op_spinning(false)?
        .with_inter_op_spinning(false)?
        .with_log_level(ort::logging::LogLevel::Warning)?;
    for (key, value) in &options.settings {
        builder = builder.with_config_entry(key, value)?;
    }
    if let Some(path) = &options.optimized_path {
        builder = builder.with_optimized_model_path(path)?;
    }
    Ok(builder)
}

fn port(outlet: &ort::value::Outlet) -> Port {
    Port {
        name: outlet.name().into(),
        ty: outlet.dtype().tensor_type().map_or(DataType::Undefined, data_type),
        shape: outlet.dtype().tensor_shape().map(|shape| shape.to_vec()).unwrap_or_default(),
    }
}
