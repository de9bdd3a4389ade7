//! From what shards hold to the tensors of a model: codes put together with their scales, by the names and types that
//! libraries store them under. Owns those names; must not know families.

mod layouts;

use super::coded::Part;
use super::rows::Float;
use super::stored::StoredTensor;
use crate::{Error, Result};
use bundle::mapped_file::MappedFile;
use families::NativeQuantization;
use formats::safetensors::{Dtype, TensorInfo};
use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

/// Ends of the names of what only matters to activations and caches.
const OF_ACTIVATIONS: [&str; 10] = [
    ".input_scale",
    ".input_zero_point",
    ".input_global_scale",
    ".output_scale",
    ".activation_scale",
    "_activation_scale",
    ".qscale_act",
    ".k_scale",
    ".v_scale",
    ".q_scale",
];
/// Parts of names that bitsandbytes alone writes.
const OF_BITSANDBYTES: [&str; 3] = [".quant_state.bitsandbytes", ".SCB", ".absmax"];

/// The tensors of a checkpoint.
#[derive(Debug, Default)]
pub(super) struct Assembled {
    /// Plain and scaled floats in the order of the shards, then those that were unpacked.
    pub(super) tensors: Vec<StoredTensor>,
    /// Scales of activations by the name of the weight they go with, each one number.
    pub(super) input_scales: HashMap<String, f32>,
    /// Things to know.
    pub(super) warnings: Vec<String>,
}

/// Puts together what `infos` list.
///
/// # Errors
/// A format that is not read, codes without scales, shapes that do not fit each other.
pub(super) fn assemble(
    native: Option<&NativeQuantization>,
    shards: &[MappedFile],
    infos: Vec<(usize, TensorInfo)>,
) -> Result<Assembled> {
    let names = infos.iter().enumerate().map(|(at, (_, info))| (info.name.as_str(), at)).collect();
    let store = Store { native, shards, infos: &infos, names };
    let (mut plain, mut unpacked) = (Vec::new(), Vec::new());
    let mut used = BTreeSet::new();
    let mut bits = BTreeSet::new();
    for (shard, info) in &infos {
        if let Some(word) = OF_BITSANDBYTES.iter().find(|word| info.name.contains(*word)) {
            let advice = format!(
                "`{word}` belongs to bitsandbytes, whose layout only its own library reads: \
                 take the float checkpoint that this one was made from"
            );
            return Err(store.refuse(*shard, &info.name, advice));
        }
        if let Some(found) = store.find(*shard, info)? {
            used.extend(found.parts);
            match found.lost {
                None => plain.push(found.tensor),
                Some(lost) => {
                    bits.insert(lost);
                    unpacked.push(found.tensor);
                }
            }
        }
    }
    let is_coded = !used.is_empty();
    let mut assembled = Assembled::default();
    for (shard, info) in &infos {
        if used.contains(&info.name) {
            continue;
        }
        let base =
            is_coded.then(|| OF_ACTIVATIONS.iter().find_map(|end| info.name.strip_suffix(end))).flatten();
        match base {
            Some(base) => {
                if let Some(scale) = store.input_scale(*shard, info) {
                    assembled.input_scales.insert(format!("{base}.weight"), scale);
                }
            }
            None => {
                if let Some(native) = native.filter(|_| Float::of(info.dtype).is_none()) {
                    let (dtype, method) = (info.dtype.name(), &native.method);
                    let problem =
                        format!("dtype: expected floats, got {dtype}: this layout of {method} is not read");
                    return Err(store.refuse(*shard, &info.name, problem));
                }
                plain.push(StoredTensor::plain(*shard, &shards[*shard], info.clone())?);
            }
        }
    }
    // Both were collected apart: back to the order of the shards.
    plain.sort_by_key(|tensor| store.place(&tensor.name));
    assembled.tensors = plain;
    assembled.tensors.extend(unpacked);
    assembled.warnings.extend(bits.iter().map(|bits| {
        format!("the checkpoint was quantized to integers of {bits} bits before: what that lost does not come back")
    }));
    Ok(assembled)
}

/// A tensor put together.
struct Found {
    tensor: StoredTensor,
    /// Names of what it was put together from.
    parts: Vec<String>,
    /// Bits of the integers that it was rounded to.
    lost: Option<u32>,
}

/// What there is to put together.
struct Store<'a> {
    native: Option<&'a NativeQuantization>,
    shards: &'a [MappedFile],
    infos: &'a [(usize, TensorInfo)],
    names: HashMap<&'a str, usize>,
}

impl Store<'_> {
    fn refuse(&self, shard: usize, tensor: &str, problem: String) -> Error {
        Error::Tensor { path: PathBuf::from(self.shards[shard].path()), tensor: tensor.into(), problem }
    }

    fn get(&self, name: &str) -> Option<&(usize, TensorInfo)> {
        self.names.get(name).map(|&at| &self.infos[at])
    }

    /// The place of a tensor among the infos, by its own name or that of its codes.
    fn place(&self, name: &str) -> usize {
        let spellings = [name.to_string(), format!("{name}_packed"), format!("{name}_blocks")];
        spellings.iter().find_map(|name| self.names.get(name.as_str()).copied()).unwrap_or(usize::MAX)
    }

    fn part(&self, (shard, info): &(usize, TensorInfo)) -> Part {
        Part { shard: *shard, range: info.range.clone() }
    }

    /// A scale of activations; those of several numbers are passed over.
    fn input_scale(&self, shard: usize, info: &TensorInfo) -> Option<f32> {
        let float = Float::of(info.dtype).filter(|_| info.shape.iter().product::<u64>() == 1)?;
        let mut value = [0.0];
        float.widen(Part { shard, range: info.range.clone() }.bytes(self.shards), &mut value);
        match info.name.ends_with("_global_scale") {
            true => Some(1.0 / value[0]),
            false if info.name.ends_with(".input_scale") => Some(value[0]),
            false => None,
        }
    }

    /// The tensor whose codes `info` are, where they are codes.
    fn find(&self, shard: usize, info: &TensorInfo) -> Result<Option<Found>> {
        let name = info.name.as_str();
        let found = match info.dtype {
            Dtype::F8_E4M3 | Dtype::F8_E5M2 | Dtype::I8 if self.scale_of(name).is_some() => {
                Some(self.scaled(shard, info)?)
            }
            Dtype::U8 | Dtype::I32 if name.ends_with("_packed") => Some(self.packed(shard, info)?),
            Dtype::U8 if name.ends_with("_blocks") => Some(self.blocks(shard, info)?),
            Dtype::U8 if self.get(&format!("{name}_scale")).is_some() => Some(self.fp4(shard, info, name)?),
            Dtype::I32 if name.ends_with(".qweight") => Some(self.words(shard, info)?),
            _ => None,
        };
        Ok(found)
    }

    fn scale_of(&self, name: &str) -> Option<&(usize, TensorInfo)> {
        let mistral = name.strip_suffix("weight").map(|base| format!("{base}qscale_weight"));
        let spellings = [Some(format!("{name}_scale_inv")), Some(format!("{name}_scale")), mistral];
        spellings.into_iter().flatten().find_map(|name| self.get(&name))
    }

    /// Rows and columns of matrices, and how many there are.
    fn matrices(&self, shard: usize, info: &TensorInfo) -> Result<(u64, [u64; 2])> {
        match info.shape.as_slice() {
            [matrices @ .., rows, columns] if !info.shape.contains(&0) => {
                Ok((matrices.iter().product(), [*rows, *columns]))
            }
            shape => Err(self.refuse(
                shard,
                &info.name,
                format!("shape: expected matrices of codes, got {shape:?}"),
            )),
        }
    }
}

#[cfg(test)]
mod tests;
