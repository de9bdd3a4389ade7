//! The safetensors files of a checkpoint: opened, checked against their index, in the converter's order; and what their
//! types say of the whole. Knows safetensors; must not read weights.

use super::rows::Float;
use crate::{Error, Result};
use bundle::mapped_file::MappedFile;
use families::OutputType;
use formats::safetensors::{Header, Index, TensorInfo};
use std::collections::BTreeMap;
use std::path::Path;

/// Mapped shards, and every tensor with the number of its shard: shards by file name, the tensors of each by name, as
/// llama.cpp's converter goes through them.
pub(super) type Shards = (Vec<MappedFile>, Vec<(usize, TensorInfo)>);

/// Opens the safetensors files in `directory`.
///
/// # Errors
/// No such files, a broken one, a tensor that two files hold or that is not where the index places it.
pub(super) fn open_shards(directory: &Path) -> Result<Shards> {
    let index_path = directory.join("model.safetensors.index.json");
    let single = directory.join("model.safetensors");
    let mut names = Vec::new();
    let mut index = None;
    if index_path.is_file() {
        let bytes = std::fs::read(&index_path).map_err(|source| Error::io(&index_path, source))?;
        let parsed =
            Index::parse(&bytes).map_err(|source| Error::Safetensors { path: index_path.clone(), source })?;
        names.extend(parsed.weight_map.values().cloned());
        names.sort();
        names.dedup();
        index = Some(parsed);
    } else if single.is_file() {
        names.push("model.safetensors".to_string());
    } else {
        let has_bin = directory.join("pytorch_model.bin").is_file()
            || directory.join("pytorch_model.bin.index.json").is_file();
        let problem = if has_bin {
            "has .bin weights, which can run code when read: save the checkpoint as safetensors first"
        } else {
            "expected model.safetensors or model.safetensors.index.json, found neither"
        };
        return Err(Error::checkpoint(directory, problem));
    }
    let mut shards = Vec::new();
    let mut infos = Vec::new();
    let mut holders = BTreeMap::new();
    for name in names {
        let path = directory.join(&name);
        if !path.is_file() {
            return Err(Error::checkpoint(&path, "named by model.safetensors.index.json, but not there"));
        }
        let shard = MappedFile::open(&path)?;
        let mut header = Header::read(&shard[..], shard.len() as u64)
            .map_err(|source| Error::Safetensors { path: path.clone(), source })?;
        header.tensors.sort_by(|a, b| a.name.cmp(&b.name));
        for info in header.tensors {
            if holders.insert(info.name.clone(), name.clone()).is_some() {
                let problem = "stored in two shards".to_string();
                return Err(Error::Tensor { path, tensor: info.name, problem });
            }
            infos.push((shards.len(), info));
        }
        shards.push(shard);
    }
    for (tensor, file) in index.iter().flat_map(|index| &index.weight_map) {
        if holders.get(tensor) != Some(file) {
            let problem = "the index places it here, but it is not in this file".to_string();
            return Err(Error::Tensor { path: directory.join(file), tensor: tensor.clone(), problem });
        }
    }
    Ok((shards, infos))
}

/// The type of most bytes of matrices decides what the checkpoint is.
pub(super) fn precision_of(infos: &[(usize, TensorInfo)]) -> OutputType {
    let bytes_of = |wanted: Float| -> u64 {
        let matching =
            infos.iter().filter(|(_, info)| info.shape.len() >= 2 && Float::of(info.dtype) == Some(wanted));
        matching.map(|(_, info)| info.range.end - info.range.start).sum()
    };
    let (f32, f16, bf16) = (bytes_of(Float::F32), bytes_of(Float::F16), bytes_of(Float::Bf16));
    match () {
        () if bf16 >= f32 && bf16 >= f16 => OutputType::Bf16,
        () if f16 >= f32 => OutputType::F16,
        () => OutputType::F32,
    }
}

/// What llama.cpp's converter chooses by itself: the type of the first matrix in 16 bits, F16 where all are in 32.
pub(super) fn usual_output(infos: &[(usize, TensorInfo)], is_written: impl Fn(&str) -> bool) -> OutputType {
    let written = |info: &&TensorInfo| is_written(&info.name);
    let matrices = infos.iter().map(|(_, info)| info).filter(|info| info.shape.len() >= 2);
    let narrow = |info: &TensorInfo| match Float::of(info.dtype)? {
        Float::Bf16 => Some(OutputType::Bf16),
        Float::F16 => Some(OutputType::F16),
        Float::F32 => None,
    };
    matrices.filter(written).find_map(narrow).unwrap_or(OutputType::F16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use formats::safetensors::Dtype;

    fn info(name: &str, dtype: Dtype, shape: &[u64]) -> (usize, TensorInfo) {
        let bytes = shape.iter().product::<u64>() * Float::of(dtype).expect("a float").bytes() as u64;
        (0, TensorInfo { name: name.into(), dtype, shape: shape.into(), range: 0..bytes })
    }

    #[test]
    fn most_bytes_make_the_precision_and_the_first_narrow_matrix_the_output() {
        let is_written = |name: &str| !name.ends_with(".inv_freq");
        let check = |infos: &[(usize, TensorInfo)], precision, output| {
            assert_eq!((precision_of(infos), usual_output(infos, is_written)), (precision, output));
        };
        let wide = info("model.embed_tokens.weight", Dtype::F32, &[8, 8]);
        let vector = info("model.norm.weight", Dtype::BF16, &[8]);
        let skipped = info("model.layers.0.self_attn.rotary_emb.inv_freq", Dtype::BF16, &[1, 1]);
        let half = info("model.layers.0.mlp.up_proj.weight", Dtype::F16, &[2, 2]);
        let brain = info("model.layers.1.mlp.up_proj.weight", Dtype::BF16, &[8, 8, 8]);
        check(&[wide.clone(), vector, skipped], OutputType::F32, OutputType::F16);
        check(&[wide.clone(), half.clone()], OutputType::F32, OutputType::F16);
        check(&[wide, half.clone(), brain.clone()], OutputType::Bf16, OutputType::F16);
        check(&[brain, half], OutputType::Bf16, OutputType::Bf16);
    }

    #[test]
    fn tensors_come_by_name_within_a_shard_and_shards_by_file_name() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let write = |file: &str, names: [&str; 2]| {
            let entry = |(at, name): (usize, &&str)| {
                let data_offsets = [at * 4, at * 4 + 4];
                (
                    name.to_string(),
                    serde_json::json!({"dtype": "F32", "shape": [1], "data_offsets": data_offsets}),
                )
            };
            let header: serde_json::Map<_, _> = names.iter().enumerate().map(entry).collect();
            let header = serde_json::to_vec(&header).expect("JSON");
            let bytes = [&(header.len() as u64).to_le_bytes()[..], &header, &[0; 8]].concat();
            std::fs::write(directory.path().join(file), bytes).expect("written");
        };
        write("b.safetensors", ["d", "a"]);
        write("a.safetensors", ["z", "m"]);
        let map = serde_json::json!({"weight_map": {"d": "b.safetensors", "a": "b.safetensors",
            "z": "a.safetensors", "m": "a.safetensors"}});
        std::fs::write(directory.path().join("model.safetensors.index.json"), map.to_string())
            .expect("written");
        let (shards, infos) = open_shards(directory.path()).expect("a whole checkpoint");
        let order: Vec<(usize, &str)> =
            infos.iter().map(|(shard, info)| (*shard, info.name.as_str())).collect();
        assert_eq!((shards.len(), order), (2, vec![(0, "m"), (0, "z"), (1, "a"), (1, "d")]));
    }
}
