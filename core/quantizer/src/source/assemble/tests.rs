//! Unit tests of putting together: every format by its names, blocks bit by bit, and what does not fit.

use super::*;
use crate::source::stored::{Encoding, Pieces};
use engine::gguf::quantize::dequantize_rows;
use families::{ValueChange, View};
use std::sync::Arc;

/// Name, type, shape and bytes.
type Row<'a> = (&'a str, Dtype, &'a [u64], Vec<u8>);

fn shard(directory: &std::path::Path, rows: &[Row<'_>]) -> (Vec<MappedFile>, Vec<(usize, TensorInfo)>) {
    let path = directory.join("shard");
    let bytes: Vec<u8> = rows.iter().flat_map(|(.., bytes)| bytes.clone()).collect();
    std::fs::write(&path, bytes).expect("written");
    let mut at = 0;
    let infos = rows.iter().map(|(name, dtype, shape, bytes)| {
        let range = at..at + bytes.len() as u64;
        at = range.end;
        (0, TensorInfo { name: (*name).into(), dtype: *dtype, shape: shape.to_vec(), range })
    });
    let infos = infos.collect();
    (vec![MappedFile::open(&path).expect("mapped")], infos)
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn words(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn native(method: &str, format: Option<&str>, block: Option<[u64; 2]>) -> NativeQuantization {
    let format = format.map(str::to_string);
    NativeQuantization { method: method.into(), format, bits: None, group_size: None, block }
}

/// The only tensor of `rows`, read whole.
fn read(native: Option<&NativeQuantization>, rows: &[Row<'_>]) -> (String, Vec<u64>, Vec<f32>) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (shards, infos) = shard(directory.path(), rows);
    let mut assembled = assemble(native, &shards, infos).expect("fits");
    assert_eq!(assembled.tensors.len(), 1);
    let tensor = assembled.tensors.remove(0);
    let n: u64 = tensor.shape.iter().product();
    let (name, shape) = (tensor.name.clone(), tensor.shape.clone());
    let mut out = vec![0.0; n as usize];
    Pieces::new([(Arc::new(tensor), View::whole(n))], ValueChange::None)
        .read(&shards, 0, &mut out)
        .expect("finite");
    (name, shape, out)
}

fn refused(native: Option<&NativeQuantization>, rows: &[Row<'_>]) -> String {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (shards, infos) = shard(directory.path(), rows);
    assemble(native, &shards, infos).expect_err("refused").to_string()
}

#[test]
fn scales_of_blocks_rows_and_all_are_found() {
    // 1.0 everywhere, so that the values are the scales.
    let codes = |n| vec![0x38u8; n];
    let weight = |shape: &'static [u64], n| ("w", Dtype::F8_E4M3, shape, codes(n));
    let scale = |name, shape: &'static [u64], values: &[f32]| (name, Dtype::F32, shape, f32s(values));
    let fp8 = native("fp8", None, Some([2, 3]));
    let odd = [weight(&[3, 4], 12), scale("w_scale_inv", &[2, 2], &[1.0, 2.0, 3.0, 4.0])];
    let (name, _, values) = read(Some(&fp8), &odd);
    assert_eq!(
        (name.as_str(), values),
        ("w", [[1.0, 1.0, 1.0, 2.0].repeat(2), vec![3.0, 3.0, 3.0, 4.0]].concat())
    );
    let rows = [weight(&[2, 2], 4), scale("w_scale", &[2, 1], &[1.0, 2.0])];
    assert_eq!(read(None, &rows).2, [1.0, 1.0, 2.0, 2.0]);
    let flat = [weight(&[2, 2], 4), scale("w_scale", &[2], &[1.0, 2.0])];
    assert_eq!(read(None, &flat).2, [1.0, 1.0, 2.0, 2.0]);
    let one = [weight(&[2, 2], 4), scale("w_scale", &[], &[3.0])];
    assert_eq!(read(None, &one).2, [3.0; 4]);
    let stack = [weight(&[2, 2, 2], 8), scale("w_scale_inv", &[2, 1, 2], &[1.0, 2.0, 3.0, 4.0])];
    assert_eq!(read(None, &stack).2, [1.0, 2.0, 1.0, 2.0, 3.0, 4.0, 3.0, 4.0]);
    assert!(refused(None, &odd).contains("scales of 1 × [3, 4] weights, got [2, 2]"));
    assert!(refused(None, &odd[..1]).contains("got F8_E4M3"));
}

#[test]
fn zeros_of_gptq_s_first_format_are_one_more() {
    let rows: [Row<'_>; 4] = [
        ("m.qweight", Dtype::I32, &[1, 8], words(&[0x9999_9999; 8])),
        ("m.qzeros", Dtype::I32, &[1, 1], words(&[0x7777_7777])),
        ("m.scales", Dtype::F32, &[1, 8], f32s(&[0.5; 8])),
        ("m.g_idx", Dtype::I32, &[8], words(&[0; 8])),
    ];
    assert_eq!(read(None, &rows), ("m.weight".into(), vec![8, 8], vec![0.5; 64]));
    assert_eq!(read(Some(&native("gptq", Some("gptq_v2"), None)), &rows).2, [1.0; 64]);
    let mut beyond = rows.clone();
    beyond[3].3 = words(&[1; 8]);
    assert!(refused(None, &beyond).contains("groups below 1, got 1"));
    assert!(refused(None, &rows[..2]).contains("`m.scales`"));
}

#[test]
fn blocks_are_moved_bit_by_bit_and_mean_what_is_read() {
    let codes: Vec<u8> = (0..128u32).map(|n| (n * 37 % 256) as u8).collect();
    let exponents: Vec<u8> = (120..128).collect();
    let small: Vec<u8> = (0x30..0x40).collect();
    let cases: [(&[Row<'_>], usize); 3] = [
        (
            &[
                ("e_blocks", Dtype::U8, &[2, 2, 2, 16], codes.clone()),
                ("e_scales", Dtype::U8, &[2, 2, 2], exponents.clone()),
            ],
            17,
        ),
        (&[("w_packed", Dtype::U8, &[4, 32], codes.clone()), ("w_scale", Dtype::U8, &[4, 2], exponents)], 17),
        (&[("w", Dtype::U8, &[4, 32], codes), ("w_scale", Dtype::F8_E4M3, &[4, 4], small)], 36),
    ];
    for (rows, block_bytes) in cases {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let (shards, infos) = shard(directory.path(), rows);
        let tensor = assemble(None, &shards, infos).expect("fits").tensors.remove(0);
        // Rows of codes: those of transposed matrices are their columns.
        let view = match &tensor.encoding {
            Encoding::Coded(coded) if coded.is_transposed => View::transposed(2, 64, 2),
            _ => View::whole(256),
        };
        let mut pieces = Pieces::new([(Arc::new(tensor), view)], ValueChange::None);
        let block = pieces.block(64).expect("whole blocks");
        assert_eq!(pieces.block(32).is_some(), block_bytes == 17);
        pieces.keep(block);
        let ty = block.ggml_type();
        let mut blocks = vec![0; (256 / ty.block_len() * ty.block_bytes()) as usize];
        assert_eq!(ty.block_bytes() as usize, block_bytes);
        pieces.copy(&shards, 0, &mut blocks);
        let (mut meant, mut read) = (vec![0.0; 256], vec![0.0; 256]);
        dequantize_rows(ty, &blocks, &mut meant).expect("a type with blocks");
        pieces.read(&shards, 0, &mut read).expect("finite");
        assert_eq!(meant, read);
        let mut last = vec![0; blocks.len() / 4];
        pieces.copy(&shards, 192, &mut last);
        assert_eq!(last, blocks[blocks.len() / 4 * 3..]);
    }
}

#[test]
fn foreign_layouts_are_refused_with_advice() {
    let bytes: [Row<'_>; 2] =
        [("m.weight", Dtype::U8, &[8, 1], vec![0; 8]), ("m.weight.absmax", Dtype::F32, &[1], f32s(&[1.0]))];
    let error = refused(Some(&native("bitsandbytes", None, None)), &bytes);
    assert!(error.contains("bitsandbytes") && error.contains("float checkpoint"), "{error}");
    let error = refused(Some(&native("aqlm", None, None)), &bytes[..1]);
    assert!(error.contains("got U8: this layout of aqlm is not read"), "{error}");
}

#[test]
fn what_only_activations_need_is_left_out_and_the_order_kept() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (shards, infos) = shard(
        directory.path(),
        &[
            ("a.weight", Dtype::F32, &[1], f32s(&[1.0])),
            ("b.input_scale", Dtype::F32, &[], f32s(&[0.5])),
            ("b.weight", Dtype::F8_E4M3, &[1, 1], vec![0x38]),
            ("b.weight_scale", Dtype::F32, &[], f32s(&[1.0])),
            ("c.weight", Dtype::F32, &[1], f32s(&[1.0])),
        ],
    );
    let assembled = assemble(None, &shards, infos).expect("fits");
    let names: Vec<&str> = assembled.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["a.weight", "b.weight", "c.weight"]);
    assert_eq!(assembled.input_scales, HashMap::from([("b.weight".to_string(), 0.5)]));
}
