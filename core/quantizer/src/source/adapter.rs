//! Low-rank adapters as `peft` writes them, merged into the tensors of a checkpoint: `W + scale * B A`, computed where rows
//! are read. Knows adapter_config.json and the names of its tensors; must not know families' rules.

mod config;
mod low_rank;

pub(super) use low_rank::LowRank;

use super::rows::Float;
use super::stored::StoredTensor;
use crate::{Error, Result};
use bundle::mapped_file::MappedFile;
use config::Config;
use formats::safetensors::{Header, TensorInfo};
use low_rank::{Factor, Layout};
use std::collections::BTreeMap;
use std::path::Path;

/// What `peft` puts in front of the base model's names.
const PREFIX: &str = "base_model.model.";
/// What it puts into the names of modules that are stored whole, the longest first.
const OF_WHOLE_MODULES: [&str; 4] =
    [".modules_to_save.default", ".original_module", ".modules_to_save", ".base_layer"];

/// The parts of one module's adapter.
#[derive(Default)]
struct Parts {
    a: Option<TensorInfo>,
    b: Option<TensorInfo>,
    embeds: bool,
}

/// Merges the adapter in `directory` into `tensors`; its file becomes one more shard. `tied`: the output shares the
/// embedding. `plain` takes away what may stand around a name.
///
/// # Errors
/// A missing or broken file, an adapter of another kind, a tensor without counterpart or of another shape.
pub(super) fn merge(
    directory: &Path,
    tied: bool,
    plain: impl Fn(&str) -> String,
    shards: &mut Vec<MappedFile>,
    tensors: &mut [StoredTensor],
) -> Result<()> {
    let config = Config::read(&directory.join("adapter_config.json"))?;
    let path = directory.join("adapter_model.safetensors");
    if !path.is_file() {
        let problem = match directory.join("adapter_model.bin").is_file() {
            true => "has .bin weights, which can run code when read: save the adapter as safetensors first",
            false => "expected adapter_model.safetensors, found nothing",
        };
        return Err(Error::checkpoint(directory, problem));
    }
    let file = MappedFile::open(&path)?;
    let header = Header::read(&file[..], file.len() as u64)
        .map_err(|source| Error::Safetensors { path: path.clone(), source })?;
    let shard = shards.len();
    let (low_rank, whole) = sorted(&path, header.tensors)?;
    if low_rank.is_empty() && whole.is_empty() {
        return Err(Error::checkpoint(&path, "expected tensors of an adapter, found none"));
    }
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for (at, tensor) in tensors.iter().enumerate() {
        places.insert(plain(&tensor.name), at);
        places.insert(tensor.name.clone(), at);
    }
    let place = |adapter: &str, name: &str| {
        let found = places.get(name).or_else(|| places.get(&plain(name))).copied();
        found.ok_or_else(|| {
            refuse(&path, adapter, format!("the checkpoint has no tensor `{name}` that it could change"))
        })
    };
    let is_output = |name: &str| name.ends_with("lm_head.weight");
    for (name, info) in whole {
        if tied && (is_output(&name) || name.ends_with("embed_tokens.weight")) {
            let problem = "the checkpoint's output shares the embedding, which a merge would part: \
                           save the merged model with untied embeddings instead";
            return Err(refuse(&path, &info.name, problem.into()));
        }
        let old = &mut tensors[place(&info.name, &name)?];
        if old.shape != info.shape {
            return Err(refuse(
                &path,
                &info.name,
                format!("shape: expected {:?}, got {:?}", old.shape, info.shape),
            ));
        }
        *old = StoredTensor { name: old.name.clone(), ..StoredTensor::plain(shard, &file, info)? };
    }
    for (module, Parts { a, b, embeds }) in low_rank {
        let (a, b) = match (a, b) {
            (Some(a), Some(b)) => (a, b),
            (Some(only), None) | (None, Some(only)) => {
                return Err(refuse(
                    &path,
                    &only.name,
                    "expected both lora_A and lora_B, got one of them".into(),
                ));
            }
            (None, None) => continue,
        };
        let tensor = &mut tensors[place(&a.name, &format!("{module}.weight"))?];
        let transposed = embeds || config.fan_in_fan_out;
        let addition = low_rank_of(&path, &config, &module, shard, [a, b], &tensor.shape, transposed)?;
        tensor.additions.push(addition);
    }
    shards.push(file);
    Ok(())
}

/// The tensors of an adapter: the parts of each module, and those that are stored whole, by the base model's name.
type Sorted = (BTreeMap<String, Parts>, Vec<(String, TensorInfo)>);

fn sorted(path: &Path, infos: Vec<TensorInfo>) -> Result<Sorted> {
    let mut modules: BTreeMap<String, Parts> = BTreeMap::new();
    let mut whole = Vec::new();
    for info in infos {
        let name = info.name.strip_prefix(PREFIX).unwrap_or(&info.name).to_string();
        let part = |end: &str| name.strip_suffix(end);
        if let Some(module) = part(".lora_A.weight") {
            modules.entry(module.into()).or_default().a = Some(info);
        } else if let Some(module) = part(".lora_B.weight") {
            modules.entry(module.into()).or_default().b = Some(info);
        } else if let Some(module) = part(".lora_embedding_A") {
            let parts = modules.entry(module.into()).or_default();
            (parts.a, parts.embeds) = (Some(info), true);
        } else if let Some(module) = part(".lora_embedding_B") {
            let parts = modules.entry(module.into()).or_default();
            (parts.b, parts.embeds) = (Some(info), true);
        } else if name.contains("lora_") || name.contains("token_adapter") {
            let problem = match name.contains("lora_magnitude_vector") {
                true => "belongs to DoRA, which is not merged: merge it with peft and convert the result",
                false => "expected lora_A, lora_B, lora_embedding_A, lora_embedding_B or a whole module",
            };
            return Err(refuse(path, &info.name, problem.into()));
        } else {
            let name = OF_WHOLE_MODULES.iter().fold(name, |name, part| name.replace(part, ""));
            whole.push((name, info));
        }
    }
    Ok((modules, whole))
}

fn low_rank_of(
    path: &Path,
    config: &Config,
    module: &str,
    shard: usize,
    [a, b]: [TensorInfo; 2],
    shape: &[u64],
    transposed: bool,
) -> Result<LowRank> {
    let factor = |info: &TensorInfo| {
        let float = Float::of(info.dtype);
        let float =
            float.ok_or_else(|| format!("dtype: expected F32, F16 or BF16, got {}", info.dtype.name()));
        float
            .map(|float| Factor::new(shard, info.range.clone(), float))
            .map_err(|p| refuse(path, &info.name, p))
    };
    let wrong = |info: &TensorInfo, expected: String| {
        refuse(path, &info.name, format!("shape: expected {expected}, got {:?}", info.shape))
    };
    let &[rows, columns] = shape else {
        return Err(refuse(
            path,
            &a.name,
            format!("expected a matrix to change, the checkpoint's is {shape:?}"),
        ));
    };
    let (inner, outer) = if transposed { (rows, columns) } else { (columns, rows) };
    let rank = config.rank_of(module);
    if a.shape != [rank, inner] {
        return Err(wrong(&a, format!("[{rank}, {inner}] (rank and input of `{module}`)")));
    }
    if b.shape != [outer, rank] {
        return Err(wrong(&b, format!("[{outer}, {rank}] (output and rank of `{module}`)")));
    }
    let layout = if transposed { Layout::Transposed } else { Layout::Straight };
    Ok(LowRank {
        names: [a.name.clone(), b.name.clone()],
        factors: [factor(&a)?, factor(&b)?],
        rank,
        inner,
        scale: config.scale_of(module) as f32,
        layout,
    })
}

fn refuse(path: &Path, tensor: &str, problem: String) -> Error {
    Error::Tensor { path: path.into(), tensor: tensor.into(), problem }
}

#[cfg(test)]
mod tests;
