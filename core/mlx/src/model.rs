//! What a directory holds: the model by its configuration, and each tensor by what it does.
//! Owns the checks that all is there and of the right shape; reads no weight.

use crate::files::{Files, Stored, read};
use crate::grid::{Grid, Grids};
use crate::network::Network;
use crate::{Error, Mode};
use families::mlx::Layout;
use families::{Attention, Description, Family, FeedForward, Form, Mixer, OutputType, Reach, ValueChange};
use formats::gguf::Metadata;
use formats::safetensors::Dtype;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Largest configuration that is read.
const MAX_CONFIG_BYTES: u64 = 16 << 20;
const CONFIG: &str = "config.json";
/// What is computed beside weights and caches: a part of a prompt between layers.
const BESIDE_BYTES: u64 = 32 << 20;

/// A matrix or a list of numbers, by what it does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Held {
    /// The names of its numbers or codes, and of what belongs to codes.
    pub(crate) name: String,
    pub(crate) scales: Option<String>,
    pub(crate) biases: Option<String>,
    /// How it is packed.
    pub(crate) grid: Option<Grid>,
    /// Of what the codes stand for, slowest dimension first.
    pub(crate) shape: Vec<u64>,
    /// Whether each number is stored as the difference from one.
    pub(crate) adds_one: bool,
    /// Its floats, or its scales'.
    pub(crate) dtype: Dtype,
}

/// A model in MLX's format, whose files were read as far as their headers.
#[derive(Debug, Clone)]
pub struct Model {
    folder: PathBuf,
    /// What it is.
    pub description: Description,
    pub(crate) network: &'static Network,
    /// Numbers of the configuration, by GGUF's keys.
    metadata: Metadata,
    /// By GGUF's name.
    pub(crate) held: BTreeMap<String, Held>,
    pub(crate) files: Files,
    /// `rope_scaling` or `rope_parameters`.
    pub(crate) rope: Value,
}

impl Model {
    /// Reads what `folder` holds.
    ///
    /// # Errors
    /// A configuration or a file of weights that is missing or broken; a model that is not computed here, by the field that
    /// says so; a tensor that is missing, unknown or of another shape.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let path = folder.join(CONFIG);
        let config = families::parse_config(&read(&path, MAX_CONFIG_BYTES)?)
            .map_err(|error| Error::invalid(&path, error.to_string()))?;
        let of_family = |source| Error::Family { path: path.clone(), source };
        Network::check(&path, config.get("model_type").and_then(Value::as_str).unwrap_or_default())?;
        let description = families::detect_config(&config).map_err(of_family)?;
        let network = Network::of(&path, &description)?;
        let layout = Layout::of(&config).map_err(of_family)?;
        let family = Family::for_architecture(&description.architecture)
            .expect("the table of networks names families alone: a test of it says so");
        let metadata = family.metadata(&config, OutputType::Bf16).map_err(of_family)?;
        check_layers(&path, &description)?;
        let files = Files::of(folder)?;
        let grids = Grids::of(&path, &config)?;
        let mut held: BTreeMap<String, Held> = BTreeMap::new();
        for (name, stored) in &files.tensors {
            let Some(one) = hold(&path, &files, grids.as_ref(), name, stored)? else { continue };
            let names = layout.gguf_names(&config, family, &description, name);
            let names =
                names.map_err(|source| Error::Family { path: files.paths[stored.file].clone(), source })?;
            let [named] = &names[..] else {
                if names.is_empty() {
                    continue;
                }
                let reason =
                    format!("tensor `{name}`: expected one that GGUF has as one, not as {}", names.len());
                return Err(Error::invalid(&files.paths[stored.file], reason));
            };
            let adds_one = match named.value {
                ValueChange::None => false,
                ValueChange::AddOne => true,
                other => {
                    let reason = format!("tensor `{name}`: expected numbers as they are, not {other:?}");
                    return Err(Error::invalid(&files.paths[stored.file], reason));
                }
            };
            held.insert(named.name.clone(), Held { adds_one, ..one });
        }
        let rope = ["rope_scaling", "rope_parameters"].iter().find_map(|field| config.get(*field));
        let rope = rope.filter(|rope| rope.is_object()).cloned().unwrap_or(Value::Null);
        let folder = folder.to_owned();
        let model = Self { folder, description, network, metadata, held, files, rope };
        model.check_tensors()?;
        Ok(model)
    }

    /// The directory.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Number of token ids.
    #[must_use]
    pub fn n_vocab(&self) -> usize {
        self.description.vocab_size as usize
    }

    /// Bytes of all tensors.
    #[must_use]
    pub fn weights_bytes(&self) -> u64 {
        self.files.tensors.values().map(|tensor| tensor.bytes).sum()
    }

    /// Bytes that caches of `n_ctx` tokens take at most, computed in parts of `n_part`; with `keeps_all`, windows keep all.
    #[must_use]
    pub fn cache_bytes(&self, n_ctx: u64, n_part: u64, keeps_all: bool) -> u64 {
        let of_layer = |layer: &families::Layer| {
            let (keys, values) = layer.cache_row();
            let bound =
                layer.attention().and_then(|attention| attention.reach.bound()).filter(|_| !keeps_all);
            let rows = bound.map_or(n_ctx, |window| n_ctx.min(window + slack(n_part)));
            (keys + values)
                .saturating_mul(rows.next_multiple_of(CACHE_STEP))
                .saturating_mul(self.float_bytes())
        };
        self.description.layers.iter().map(of_layer).fold(0, u64::saturating_add)
    }

    /// Bytes that computing `n_part` tokens takes at most, with logits of `n_rows` of them.
    #[must_use]
    pub fn compute_bytes(&self, n_ctx: u64, n_part: u64, n_rows: u64) -> u64 {
        let description = &self.description;
        let widest = description.ffn_size.max(description.hidden_size).saturating_mul(4);
        let scores = u64::from(description.n_heads).saturating_mul(n_ctx);
        let per_token = widest.saturating_add(scores).saturating_mul(4);
        let logits = n_rows.saturating_mul(description.vocab_size).saturating_mul(8);
        per_token.saturating_mul(n_part).saturating_add(logits).saturating_add(BESIDE_BYTES)
    }

    /// Bytes of a number that is computed with.
    fn float_bytes(&self) -> u64 {
        let of = |held: &Held| match held.dtype {
            Dtype::F32 => 4,
            _ => 2,
        };
        self.held.get("token_embd.weight").map_or(2, of)
    }

    /// A number of the configuration by what GGUF calls it behind the architecture.
    pub(crate) fn number(&self, key: &str) -> Option<f64> {
        self.metadata.f64(&format!("{}.{key}", self.description.architecture))
    }

    /// What is added to the mean square in norms.
    pub(crate) fn epsilon(&self) -> f32 {
        self.number("attention.layer_norm_rms_epsilon").unwrap_or(1e-6) as f32
    }

    /// Checks that every tensor that the model has is there, in the shape that its configuration says.
    fn check_tensors(&self) -> Result<(), Error> {
        let weights = self.files.paths.first().map_or(self.folder.as_path(), PathBuf::as_path);
        let is_generated = |role| role == families::Role::RopeFactors;
        let shapes = self.description.tensor_shapes();
        for shape in shapes.iter().filter(|shape| !is_generated(shape.role)) {
            let expected: Vec<u64> = shape.dims.iter().rev().copied().collect();
            let Some(held) = self.held.get(&shape.name) else {
                let reason = format!("expected a tensor for `{}` {expected:?}, found none", shape.name);
                return Err(Error::invalid(weights, reason));
            };
            if held.shape != expected {
                let reason = format!("tensor `{}`: expected {expected:?}, got {:?}", held.name, held.shape);
                return Err(Error::invalid(weights, reason));
            }
        }
        // What may be there as well: biases, as long as their matrix has rows, and what one number of each head is.
        for (name, held) in &self.held {
            let known = shapes.iter().any(|shape| shape.name == *name);
            let module =
                name.strip_suffix(".bias").and_then(|module| self.held.get(&format!("{module}.weight")));
            let rows = module.map(|weight| &weight.shape[..weight.shape.len() - 1]);
            if !known && rows.is_some_and(|rows| rows != held.shape) {
                let reason = format!("tensor `{}`: expected {rows:?}, got {:?}", held.name, held.shape);
                return Err(Error::invalid(weights, reason));
            }
        }
        Ok(())
    }
}

/// Rows by which caches grow.
pub(crate) const CACHE_STEP: u64 = 256;

/// Rows of a window's cache behind the window itself: parts of prompts, and how far a sequence can go back.
pub(crate) fn slack(n_part: u64) -> u64 {
    n_part.saturating_add(CACHE_STEP)
}

/// The tensor `name` with what belongs to it; `None` for what belongs to another.
fn hold(
    config_path: &Path,
    files: &Files,
    grids: Option<&Grids>,
    name: &str,
    stored: &Stored,
) -> Result<Option<Held>, Error> {
    let path = &files.paths[stored.file];
    let (module, part) = name.rsplit_once('.').unwrap_or(("", name));
    let beside = |part: &str| {
        let name = format!("{module}.{part}");
        files.tensors.get(&name).map(|stored| (name, stored))
    };
    if matches!(part, "scales" | "biases") && beside("weight").is_some() {
        return Ok(None);
    }
    let float = |name: &str, stored: &Stored| match stored.dtype {
        Dtype::F32 | Dtype::F16 | Dtype::BF16 => Ok(()),
        other => {
            let reason = format!("tensor `{name}`: expected F32, F16 or BF16, got {}", other.name());
            Err(Error::invalid(path, reason))
        }
    };
    let Some((scales, of_scales)) = beside("scales").filter(|_| part == "weight") else {
        float(name, stored)?;
        return Ok(Some(Held {
            name: name.into(),
            scales: None,
            biases: None,
            grid: None,
            shape: stored.shape.clone(),
            adds_one: false,
            dtype: stored.dtype,
        }));
    };
    let Some(grids) = grids else {
        return Err(Error::field(config_path, "quantization", "the grid of stored codes", "none"));
    };
    let grid = grids.of_module(config_path, module)?;
    let wrong = |reason: String| Error::invalid(path, format!("tensor `{name}`: {reason}"));
    if stored.dtype != Dtype::U32 {
        return Err(wrong(format!("expected codes in U32, got {}", stored.dtype.name())));
    }
    let mut shape = stored.shape.clone();
    let columns = shape.last().and_then(|words| grid.columns(*words));
    let (Some(columns), Some(last)) = (columns.filter(|columns| *columns > 0), shape.last_mut()) else {
        return Err(wrong(format!("expected whole groups of {grid:?}, got {:?}", stored.shape)));
    };
    *last = columns;
    let mut groups = shape.clone();
    if let Some(last) = groups.last_mut() {
        *last /= u64::from(grid.group);
    }
    let biases = beside("biases");
    if biases.is_some() != grid.has_biases() {
        return Err(wrong(format!(
            "expected {} beside scales",
            if grid.has_biases() { "biases" } else { "no biases" }
        )));
    }
    let all = [Some((&scales, of_scales)), biases.as_ref().map(|(name, stored)| (name, *stored))];
    for (name, stored) in all.into_iter().flatten() {
        match grid.mode {
            Mode::Affine => float(name, stored)?,
            _ if stored.dtype == Dtype::U8 => {}
            _ => return Err(wrong(format!("expected scales in U8, got {}", stored.dtype.name()))),
        }
        if stored.shape != groups {
            return Err(wrong(format!("expected `{name}` to be {groups:?}, got {:?}", stored.shape)));
        }
    }
    let dtype = if grid.mode == Mode::Affine { of_scales.dtype } else { Dtype::BF16 };
    let biases = biases.map(|(name, _)| name);
    Ok(Some(Held {
        name: name.into(),
        scales: Some(scales),
        biases,
        grid: Some(grid),
        shape,
        adds_one: false,
        dtype,
    }))
}

/// Checks that every layer is one that is computed here.
fn check_layers(path: &Path, description: &Description) -> Result<(), Error> {
    let refuse = |what: &str, expected: &str| {
        Err(Error::field(
            path,
            "model_type",
            format!("{what}: {expected}"),
            format!("`{}`", description.model_type),
        ))
    };
    if description.form != Form::Decoder {
        return refuse("what it makes of tokens", "a decoder");
    }
    for layer in &description.layers {
        let Mixer::Attention(Attention { reach, key_dim, value_dim, shares_cache, .. }) = layer.mixer else {
            return refuse("layers", "attention in each");
        };
        if matches!(reach, Reach::Chunked { .. }) || shares_cache || key_dim != value_dim {
            return refuse("attention", "caches of its own without chunks, values as wide as keys");
        }
        if layer.feed_forward == FeedForward::None {
            return refuse("layers", "a feed-forward in each");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
