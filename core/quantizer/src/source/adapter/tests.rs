//! Tests of merging: the sums, the names, and what is refused.

use super::*;
use crate::source::stored::Pieces;
use families::{ValueChange, View};
use formats::safetensors::Dtype;
use serde_json::{Value, json};
use std::sync::Arc;

/// Name, shape, values.
type Row<'a> = (&'a str, &'a [u64], Vec<f32>);

fn write(path: &Path, rows: &[Row<'_>]) -> Vec<TensorInfo> {
    let (mut header, mut data, mut infos) = (serde_json::Map::new(), Vec::new(), Vec::new());
    for (name, shape, values) in rows {
        let range = data.len() as u64..data.len() as u64 + values.len() as u64 * 4;
        data.extend(values.iter().flat_map(|value| value.to_le_bytes()));
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [range.start, range.end]});
        header.insert((*name).into(), entry);
        infos.push(((*name).to_string(), shape.to_vec(), range));
    }
    let header = serde_json::to_vec(&header).expect("JSON");
    let start = 8 + header.len() as u64;
    std::fs::write(path, [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat())
        .expect("written");
    let info = |(name, shape, range): (String, Vec<u64>, std::ops::Range<u64>)| TensorInfo {
        name,
        dtype: Dtype::F32,
        shape,
        range: start + range.start..start + range.end,
    };
    infos.into_iter().map(info).collect()
}

fn config() -> Value {
    json!({"peft_type": "LORA", "r": 1, "lora_alpha": 2})
}

/// A base of a 2 × 3 projection, a 2 × 3 embedding and a norm, changed by adapters of `rows`; what the first holds then.
fn merged(config: &Value, adapters: &[&[Row<'_>]]) -> Result<[Vec<f32>; 3]> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let base = directory.path().join("base.safetensors");
    let numbers = |n: u8| (0..n).map(f32::from).collect::<Vec<_>>();
    let infos = write(
        &base,
        &[
            ("model.language_model.q.weight", &[2, 3], numbers(6)),
            ("model.embed_tokens.weight", &[2, 3], numbers(6)),
            ("model.norm.weight", &[3], numbers(3)),
        ],
    );
    let mut shards = vec![MappedFile::open(&base).expect("mapped")];
    let plain = |info: TensorInfo| StoredTensor::plain(0, &shards[0], info).expect("floats");
    let mut tensors: Vec<StoredTensor> = infos.into_iter().map(plain).collect();
    for (at, rows) in adapters.iter().enumerate() {
        let folder = directory.path().join(at.to_string());
        std::fs::create_dir(&folder).expect("made");
        std::fs::write(folder.join("adapter_config.json"), config.to_string()).expect("written");
        write(&folder.join("adapter_model.safetensors"), rows);
        let plain = |name: &str| name.replace("language_model.", "").replace("model.", "");
        merge(&folder, false, plain, &mut shards, &mut tensors)?;
    }
    let read = |tensor: StoredTensor| {
        let n: u64 = tensor.shape.iter().product();
        let mut out = vec![0.0; n as usize];
        Pieces::new([(Arc::new(tensor), View::whole(n))], ValueChange::None).read(&shards, 0, &mut out)?;
        Ok(out)
    };
    let values = tensors.into_iter().map(read).collect::<Result<Vec<_>>>()?;
    Ok(values.try_into().expect("three tensors"))
}

const A: &str = "base_model.model.model.q.lora_A.weight";
const B: &str = "base_model.model.model.q.lora_B.weight";

#[test]
fn products_are_added_and_modules_replaced() {
    let first: &[Row<'_>] = &[
        (A, &[1, 3], vec![1.0, 2.0, 3.0]),
        (B, &[2, 1], vec![10.0, 100.0]),
        ("base_model.model.model.norm.modules_to_save.default.weight", &[3], vec![7.0, 8.0, 9.0]),
    ];
    let second: &[Row<'_>] = &[
        ("base_model.model.model.embed_tokens.lora_embedding_A", &[1, 2], vec![1.0, 2.0]),
        ("base_model.model.model.embed_tokens.lora_embedding_B", &[3, 1], vec![1.0, 10.0, 100.0]),
        (A, &[1, 3], vec![1.0, 0.0, 0.0]),
        (B, &[2, 1], vec![0.0, 1.0]),
    ];
    let [q, embedding, norm] = merged(&config(), &[first, second]).expect("sound");
    assert_eq!(q, [20.0, 41.0, 62.0, 205.0, 404.0, 605.0]);
    assert_eq!(embedding, [2.0, 21.0, 202.0, 7.0, 44.0, 405.0]);
    assert_eq!(norm, [7.0, 8.0, 9.0]);
    let mut swapped = config();
    swapped["fan_in_fan_out"] = json!(true);
    let rows: &[Row<'_>] = &[(A, &[1, 2], vec![1.0, 2.0]), (B, &[3, 1], vec![1.0, 10.0, 100.0])];
    assert_eq!(merged(&swapped, &[rows]).expect("sound")[0], [2.0, 21.0, 202.0, 7.0, 44.0, 405.0]);
}

#[test]
fn what_does_not_fit_is_named() {
    let a = |shape: &'static [u64], n: usize| -> Row<'static> { (A, shape, vec![1.0; n]) };
    let b = |shape: &'static [u64], n: usize| -> Row<'static> { (B, shape, vec![1.0; n]) };
    let stranger = "base_model.model.model.x.lora_A.weight";
    for (rows, says) in [
        (vec![a(&[1, 3], 3)], "expected both lora_A and lora_B"),
        (
            vec![a(&[2, 3], 6), b(&[2, 2], 4)],
            "`base_model.model.model.q.lora_A.weight`: shape: expected [1, 3]",
        ),
        (vec![a(&[1, 3], 3), b(&[3, 1], 3)], "lora_B.weight`: shape: expected [2, 1]"),
        (vec![a(&[1, 3], 3), (B, &[2, 1], vec![1.0, f32::NAN])], "lora_B.weight`: expected finite numbers"),
        (
            vec![
                (stranger, &[1, 3], vec![1.0; 3]),
                ("base_model.model.model.x.lora_B.weight", &[2, 1], vec![1.0; 2]),
            ],
            "no tensor `model.x.weight`",
        ),
        (vec![("base_model.model.model.q.lora_magnitude_vector", &[2], vec![1.0; 2])], "DoRA"),
        (vec![("base_model.model.model.norm.weight", &[4], vec![1.0; 4])], "shape: expected [3], got [4]"),
        (vec![], "found none"),
    ] {
        let error = merged(&config(), &[&rows]).expect_err(says).to_string();
        assert!(error.contains(says) && error.contains("adapter_model.safetensors"), "{error}");
    }
}
