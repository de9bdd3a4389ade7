//! Importance matrices: what is read, what llama-quantize would make of it, what is refused.

use super::*;
use crate::gguf::{Array, GgmlType, Metadata, TensorSpec, Value, Writer};
use proptest::prelude::*;

fn legacy() -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in [1i32, 1] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(b"w");
    for value in [2i32, 2] {
        bytes.extend(value.to_le_bytes());
    }
    for value in [4f32, 6.0] {
        bytes.extend(value.to_le_bytes());
    }
    bytes
}

fn metadata() -> Metadata {
    Metadata::from_iter([
        ("general.type", Value::String("imatrix".into())),
        ("imatrix.datasets", Value::Array(Array::String(vec!["text".into()]))),
        ("imatrix.chunk_count", Value::U32(3)),
        ("imatrix.chunk_size", Value::U32(512)),
    ])
}

fn gguf_file(metadata: &Metadata, tensors: &[(&str, &[u64], &[f32])]) -> Vec<u8> {
    let specs: Vec<_> = tensors
        .iter()
        .map(|(name, dims, _)| TensorSpec { name: (*name).into(), dims: dims.to_vec(), ty: GgmlType::F32 })
        .collect();
    let mut writer = Writer::new(Vec::new(), metadata, &specs).unwrap();
    for (_, _, values) in tensors {
        writer.write(&values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>()).unwrap();
    }
    writer.finish().unwrap()
}

fn stack() -> Imatrix {
    let entry = Entry {
        n_columns: 2,
        n_matrices: 2,
        sums: vec![8.0, 4.0, 0.0, 0.0],
        counts: vec![4.0, 0.0],
        legacy: false,
    };
    let entries = BTreeMap::from([("w".to_string(), entry)]);
    Imatrix { entries, datasets: vec!["text".into()], chunk_count: 3, chunk_size: 512 }
}

#[test]
fn legacy_values_are_divided_by_calls() {
    assert_eq!(read(&legacy()).unwrap().entries["w"].importance(), [2.0, 3.0]);
}

#[test]
fn legacy_values_without_calls_stay_as_they_are() {
    for calls in [0i32, -1] {
        let mut bytes = legacy();
        bytes[9..13].copy_from_slice(&calls.to_le_bytes());
        assert_eq!(read(&bytes).unwrap().entries["w"].importance(), [4.0, 6.0]);
    }
}

#[test]
fn the_end_of_a_legacy_file_is_optional() {
    let mut bytes = legacy();
    bytes.extend(7i32.to_le_bytes());
    assert_eq!(read(&bytes).unwrap().chunk_count, 7);
    bytes.extend(4i32.to_le_bytes());
    assert!(read(&bytes).is_err());
    bytes.extend(b"text");
    assert_eq!(read(&bytes).unwrap().datasets, ["text"]);
}

#[test]
fn a_matrix_that_saw_nothing_counts_every_column_alike() {
    assert_eq!(stack().entries["w"].importance(), [2.0, 1.0, 1.0, 1.0]);
}

#[test]
fn counts_are_rounded_to_whole_numbers() {
    let mut entry = stack().entries["w"].clone();
    entry.counts = vec![2.5, 0.4];
    assert_eq!(entry.importance(), [8.0 / 3.0, 4.0 / 3.0, 1.0, 1.0]);
}

#[test]
fn what_is_written_is_read() {
    let bytes = write_gguf(Vec::new(), &stack()).unwrap();
    assert_eq!(read(&bytes).unwrap(), stack());
}

#[test]
fn what_cannot_be_held_is_not_written() {
    let refused = |change: &dyn Fn(&mut Entry)| {
        let mut imatrix = stack();
        change(imatrix.entries.get_mut("w").unwrap());
        write_gguf(Vec::new(), &imatrix).unwrap_err().to_string()
    };
    assert!(refused(&|entry| entry.legacy = true).contains("legacy"));
    assert!(refused(&|entry| entry.n_columns = usize::MAX).contains("4 sums and 2 counts"));
    assert!(refused(&|entry| entry.sums[1] = f32::NAN).contains("NaN at 1"));
}

#[test]
fn files_that_do_not_fit_the_form_are_refused_by_name() {
    let sums = ("w.in_sum2", &[2u64, 1][..], &[1f32, 1.0][..]);
    let counts = ("w.counts", &[1u64, 1][..], &[1f32][..]);
    let without = |key: &str| {
        let mut metadata = metadata();
        metadata.remove(key);
        gguf_file(&metadata, &[sums, counts])
    };
    let with = |tensors: &[(&str, &[u64], &[f32])]| gguf_file(&metadata(), tensors);
    for (bytes, word) in [
        (without("general.type"), "expected \"imatrix\""),
        (without("imatrix.datasets"), "imatrix.datasets: expected an array of strings, got nothing"),
        (without("imatrix.chunk_count"), "imatrix.chunk_count"),
        (without("imatrix.chunk_size"), "imatrix.chunk_size"),
        (with(&[]), "at least one entry"),
        (with(&[sums]), "entry `w`: counts"),
        (with(&[counts]), "entry `w`: in_sum2"),
        (with(&[sums, ("w.counts", &[2, 2], &[1.0; 4])]), "multiple of 4 counts, got 2"),
        (with(&[sums, counts, ("w.in_sum", &[1], &[1.0])]), "in_sum: expected 2 values, got 1"),
        (with(&[("w.in_sum2", &[1], &[f32::INFINITY]), counts]), "finite"),
        (with(&[sums, ("w.counts", &[1], &[f32::NAN])]), "counts: expected finite numbers, got NaN at 0"),
    ] {
        let message = read(&bytes).unwrap_err().to_string();
        assert!(message.contains(word), "{word}: {message}");
    }
    assert!(read(&with(&[sums, counts, ("w.in_sum", &[2], &[1.0; 2])])).is_ok());
}

#[test]
fn every_truncation_is_an_error() {
    for bytes in [legacy(), write_gguf(Vec::new(), &stack()).unwrap()] {
        let padding = if bytes.starts_with(&gguf::MAGIC) { 24 } else { 0 };
        for length in 0..bytes.len() - padding {
            assert!(read(&bytes[..length]).is_err(), "{length}");
        }
    }
}

#[test]
fn legacy_lengths_that_cannot_be_are_refused() {
    for (at, value, word) in [
        (0, 0i32, "number of entries: expected a number from 1, got 0"),
        (0, -1, "number of entries"),
        (0, i32::MAX, "inside name length"),
        (4, 0, "name length"),
        (4, i32::MAX, "byte 8 inside name"),
        (13, 0, "number of values"),
        (13, i32::MAX, "byte 17 inside values"),
    ] {
        let mut bytes = legacy();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let message = read(&bytes).unwrap_err().to_string();
        assert!(message.contains(word), "{word}: {message}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_answered_without_panic(bytes in proptest::collection::vec(0u8.., 0..200)) {
        let _ = read_legacy(&bytes);
        let mut file = gguf::MAGIC.to_vec();
        file.extend(bytes);
        let _ = read(&file);
    }

    #[test]
    fn any_change_of_a_file_is_answered_without_panic(at in 0usize.., byte in 0u8.., cut in 0usize..) {
        for mut bytes in [legacy(), write_gguf(Vec::new(), &stack()).unwrap()] {
            let length = bytes.len();
            bytes[at % length] = byte;
            let _ = read(&bytes);
            let _ = read(&bytes[..cut % length]);
        }
    }
}
