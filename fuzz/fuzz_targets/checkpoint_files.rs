//! Any bytes as the files of a checkpoint with an adapter, parts between runs of `\n~\n`: an error that names a file, or
//! tensors whose rows are finite numbers or an error that names one. Of the weights the tables are the input's; the values
//! are one byte over and over. Knows the public API alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use quantizer::source::{Checkpoint, TensorSource};
use std::path::Path;

/// The files below the checkpoint; what ends in `.safetensors` gets a length in front and values behind.
const FILES: [&str; 11] = [
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "adapter/adapter_config.json",
    "adapter/adapter_model.safetensors",
    "modules.json",
    "1_Pooling/config.json",
    "preprocessor_config.json",
    "generation_config.json",
    "README.md",
];
/// Files of more bytes of values are not written.
const MAX_DATA_BYTES: u64 = 1 << 20;
/// Rows of more numbers are not read.
const MAX_ROW: u64 = 1 << 16;

/// The end of the last range that a table of tensors states.
fn data_bytes(table: &[u8]) -> u64 {
    let Ok(serde_json::Value::Object(tensors)) = serde_json::from_slice(table) else { return 0 };
    tensors.values().filter_map(|tensor| tensor["data_offsets"][1].as_u64()).max().unwrap_or(0)
}

fn write(path: &Path, part: &[u8], fill: u8) {
    if path.extension().is_none_or(|kind| kind != "safetensors") {
        return std::fs::write(path, part).expect("room");
    }
    let n_bytes = data_bytes(part);
    if n_bytes <= MAX_DATA_BYTES {
        let data = vec![fill; n_bytes as usize];
        std::fs::write(path, [&(part.len() as u64).to_le_bytes()[..], part, &data].concat()).expect("room");
    }
}

/// Reads the first and the last row of every tensor.
fn read(source: &Checkpoint) {
    for (index, tensor) in source.tensors().iter().enumerate() {
        let (width, n_rows) = (tensor.dims[0], tensor.n_rows());
        if width > MAX_ROW || n_rows == 0 || width == 0 {
            continue;
        }
        let mut row = vec![0.0; width as usize];
        for at in [0, n_rows - 1] {
            if let Err(error) = source.read_rows(index, at, &mut row) {
                assert!(!error.to_string().is_empty());
                break;
            }
            assert!(row.iter().all(|value| value.is_finite()), "{}", tensor.name);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let Some((fill, mut rest)) = bytes.split_first() else { return };
    let place = tempfile::tempdir().expect("a place for temporary files");
    for folder in ["adapter", "1_Pooling"] {
        std::fs::create_dir(place.path().join(folder)).expect("room");
    }
    for file in FILES {
        let end = rest.windows(3).position(|mark| mark == b"\n~\n").unwrap_or(rest.len());
        if end > 0 {
            write(&place.path().join(file), &rest[..end], *fill);
        }
        rest = rest.get(end + 3..).unwrap_or_default();
    }
    let names_a_file = |error: quantizer::Error| {
        assert!(error.to_string().contains(&*place.path().to_string_lossy()), "{error}");
    };
    let adapter = place.path().join("adapter");
    let adapters = if adapter.join("adapter_config.json").is_file() { vec![adapter] } else { Vec::new() };
    match Checkpoint::open_with(place.path(), &adapters) {
        Ok(source) => read(&source),
        Err(error) => names_a_file(error),
    }
    match Checkpoint::open_projector(place.path()) {
        Ok(source) => source.iter().for_each(read),
        Err(error) => names_a_file(error),
    }
});
