//! One run over calibration text for each part of the model that memory holds at a time.
//! Knows the engine and the writer of the file; must not know texts: it is handed tokens.

use super::gather::Gatherer;
use super::{KIND, Layout};
use crate::progress::Meter;
use crate::{Error, Result, Watch};
use engine::gguf::{EngineOptions, GgufContext, GgufEngine, GgufModel};
use engine::{CancelToken, Context as _, ContextSettings, LoadSettings, Logits, Token};
use formats::gguf::{Array, GgmlType, Metadata, TensorSpec, Value, Writer};
use rayon::ThreadPool;
use std::io::Write;
use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;

/// One chunk in so many is held out.
const HELD_OUT_EVERY: usize = 8;

/// A model, what it is to read, and how.
#[derive(Debug, Clone)]
pub struct Calibration<'a> {
    /// The model as a GGUF file, in the precision that it is to be quantized from.
    pub model: &'a Path,
    /// Texts, each read from an empty context; one in eight is held out.
    pub chunks: &'a [Vec<Token>],
    /// What the texts are called.
    pub dataset: &'a str,
    /// Most columns whose products are kept with each other's; a multiple of 256.
    pub block: usize,
    /// Memory for sums: where all of them take more, the texts are read several times.
    pub memory_bytes: u64,
    /// Workers, 0 for all cores.
    pub threads: usize,
}

/// Reads the texts and writes the moments of what flows into `weights` to `out`. Weights that nothing flows into are left
/// out.
///
/// # Errors
/// A model that cannot be loaded, whatever `out` reports, or [`Error::Cancelled`].
pub fn collect_moments(
    calibration: &Calibration<'_>,
    weights: impl IntoIterator<Item = String>,
    out: impl Write,
    watch: &mut Watch<'_>,
) -> Result<()> {
    let request = |expected: &str, got: usize| Error::Request {
        wish: "calibration".into(),
        expected: expected.into(),
        got: got.to_string(),
    };
    if calibration.chunks.len() < HELD_OUT_EVERY {
        return Err(request("at least 8 chunks of text", calibration.chunks.len()));
    }
    if calibration.block == 0 || !calibration.block.is_multiple_of(256) {
        return Err(request("blocks of a multiple of 256 columns", calibration.block));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(calibration.threads).build();
    let pool = pool.map_err(|error| request(&format!("threads ({error})"), calibration.threads))?;
    let mut reading = Reading::start(calibration, weights, pool)?;
    reading.read(&calibration.chunks[..1], &mut |_| Ok(()))?;
    let passes = reading.passes(calibration.memory_bytes);
    let n_tokens: usize = calibration.chunks.iter().map(Vec::len).sum();
    let mut meter = Meter::new(watch, "moments", (passes.len() * n_tokens) as u64);
    let (metadata, specs) = reading.tables(calibration);
    let gguf = |source| Error::Gguf { path: "moments".into(), source };
    let mut writer = Writer::new(out, &metadata, &specs).map_err(gguf)?;
    for pass in passes {
        pass.clone().for_each(|input| reading.gatherer.lock().open(input));
        reading.read_all(calibration.chunks, &mut meter)?;
        for input in pass {
            let mut gathered = reading.gatherer.lock();
            let products = gathered.close(input);
            let counts = &gathered.inputs[input].counts;
            writer.write(bytes(&products).as_slice()).map_err(gguf)?;
            writer.write(bytes(counts).as_slice()).map_err(gguf)?;
        }
    }
    writer.finish().map_err(gguf)?;
    Ok(())
}

struct Reading {
    gatherer: Gatherer,
    context: GgufContext,
}

impl Reading {
    fn start(
        calibration: &Calibration<'_>,
        weights: impl IntoIterator<Item = String>,
        pool: ThreadPool,
    ) -> Result<Self> {
        let model = load(calibration.model, false)?;
        let longest = calibration.chunks.iter().map(Vec::len).max().unwrap_or(1);
        let settings = reading_settings(longest, pool.current_num_threads());
        let gatherer = Gatherer::new(weights, calibration.block, pool);
        let context =
            model.open_watched_context(&settings, Box::new(gatherer.clone())).map_err(engine_error)?;
        Ok(Self { gatherer, context })
    }

    fn read_all(&mut self, chunks: &[Vec<Token>], meter: &mut Meter<'_, '_>) -> Result<()> {
        for (index, chunk) in chunks.iter().enumerate() {
            self.gatherer.lock().part = Some(usize::from(index % HELD_OUT_EVERY == HELD_OUT_EVERY - 1));
            self.read(std::slice::from_ref(chunk), &mut |n_tokens| meter.add(n_tokens as u64))?;
        }
        Ok(())
    }

    fn read(&mut self, chunks: &[Vec<Token>], done: &mut dyn FnMut(usize) -> Result<()>) -> Result<()> {
        for chunk in chunks {
            self.context.truncate(0).map_err(engine_error)?;
            self.context.decode(chunk, Logits::All, &CancelToken::new()).map_err(engine_error)?;
            done(chunk.len())?;
        }
        Ok(())
    }

    /// Runs of inputs whose sums fit into memory, one at least.
    fn passes(&self, memory_bytes: u64) -> Vec<Range<usize>> {
        let gathered = self.gatherer.lock();
        let mut passes: Vec<Range<usize>> = Vec::new();
        let mut taken = 0;
        for (at, input) in gathered.inputs.iter().enumerate() {
            let bytes = (8 * input.layout.n_matrices * input.layout.n_values()) as u64;
            match passes.last_mut() {
                Some(pass) if taken + bytes <= memory_bytes => pass.end = at + 1,
                _ => {
                    passes.push(at..at + 1);
                    taken = 0;
                }
            }
            taken += bytes;
        }
        passes
    }

    fn tables(&self, calibration: &Calibration<'_>) -> (Metadata, Vec<TensorSpec>) {
        let gathered = self.gatherer.lock();
        let names = |of: &dyn Fn(&str, usize) -> String| {
            let names = gathered.input_of.iter().map(|(weight, input)| of(weight, *input));
            Value::Array(Array::String(names.collect()))
        };
        let text = |text: &str| Value::String(text.into());
        let mut metadata = Metadata::from_iter([
            ("general.type".to_string(), text(KIND)),
            ("moments.datasets".to_string(), Value::Array(Array::String(vec![calibration.dataset.into()]))),
            ("moments.chunk_count".to_string(), Value::U32(calibration.chunks.len() as u32)),
            ("moments.chunk_size".to_string(), Value::U32(calibration.chunks[0].len() as u32)),
            ("moments.block".to_string(), Value::U32(calibration.block as u32)),
            ("moments.weights".to_string(), names(&|weight, _| weight.into())),
            ("moments.inputs".to_string(), names(&|_, input| gathered.inputs[input].name.clone())),
        ]);
        let mut specs = Vec::new();
        for input in &gathered.inputs {
            let Layout { n_columns, n_matrices, .. } = input.layout;
            metadata.insert(format!("moments.columns.{}", input.name), Value::U32(n_columns as u32));
            let n_values = input.layout.n_values() as u64;
            let spec = |kind: &str, dims: Vec<u64>| TensorSpec {
                name: format!("{}.{kind}", input.name),
                dims,
                ty: GgmlType::F32,
            };
            specs.push(spec("products", vec![n_values, n_matrices as u64, 2]));
            specs.push(spec("counts", vec![n_matrices as u64, 2]));
        }
        (metadata, specs)
    }
}

/// Loads a model for reading; `changes` where its file is going to be written to.
pub(crate) fn load(model: &Path, changes: bool) -> Result<Arc<GgufModel>> {
    let engine = GgufEngine::start(EngineOptions::default()).map_err(engine_error)?;
    // Mapped weights would change with the file.
    let settings = LoadSettings { mmap: !changes, repack: false, ..LoadSettings::default() };
    engine.load_model(model, &settings, &mut |_| ControlFlow::Continue(())).map_err(engine_error)
}

/// A context that reads up to `n_tokens` at once and tells all logits.
pub(crate) fn reading_settings(n_tokens: usize, threads: usize) -> ContextSettings {
    let (n_tokens, threads) = (n_tokens as u32, threads.max(1) as u32);
    ContextSettings {
        n_ctx: n_tokens,
        n_batch: n_tokens,
        n_ubatch: n_tokens,
        n_outputs_max: n_tokens,
        n_threads: threads,
        n_threads_batch: threads,
        poll_percent: 0,
        ..ContextSettings::default()
    }
}

pub(crate) fn engine_error(source: engine::Error) -> Error {
    match source {
        engine::Error::Cancelled => Error::Cancelled,
        source => Error::Reading { source },
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
