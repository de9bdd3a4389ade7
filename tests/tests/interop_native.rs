//! Checkpoints that are quantized already: 8-bit floats against what transformers makes of them, and gpt-oss's 4-bit floats
//! bit by bit against what is stored.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that prints its table")]

use families::OutputType;
use formats::gguf::GgmlType;
use formats::safetensors::Header;
use llama_pajamas_tests::{GgufFile, oracle, repository, run, tiny_model};
use quantizer::source::Checkpoint;
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;

fn converted(model: &Path, path: &Path) -> GgufFile {
    let checkpoint = Checkpoint::open(model).unwrap_or_else(|error| panic!("{error}"));
    let out = BufWriter::new(std::fs::File::create(path).unwrap());
    quantizer::convert(&checkpoint, OutputType::F32, out, 2, &mut |_| ControlFlow::Continue(())).unwrap();
    GgufFile::read(path)
}

#[test]
fn floats_of_8_bits_in_blocks_become_what_transformers_makes_of_them() {
    let work = tempfile::tempdir().unwrap();
    for name in ["quantized-fp8", "quantized-fp8-moe"] {
        let model = tiny_model(work.path(), name);
        let plain = work.path().join(format!("{name}.plain"));
        let script = repository().join("scripts/oracles/dequantized.py");
        run(Command::new(oracle("venv/bin/python")).arg(script).arg(&model).arg(&plain));
        let ours = converted(&model, &work.path().join("ours.gguf"));
        let theirs = converted(&plain, &work.path().join("theirs.gguf"));
        assert_eq!(ours.header.tensors.len(), theirs.header.tensors.len());
        for tensor in &theirs.header.tensors {
            assert_eq!(tensor.ty, GgmlType::F32);
            assert!(ours.data(&tensor.name) == theirs.data(&tensor.name), "{name}: {} differs", tensor.name);
        }
        println!("{name}: {} tensors have the same bytes", theirs.header.tensors.len());
    }
}

/// A stored tensor's bytes.
fn stored<'b>(bytes: &'b [u8], header: &Header, name: &str) -> &'b [u8] {
    let info = header.tensors.iter().find(|info| info.name == name).unwrap_or_else(|| panic!("{name}"));
    &bytes[info.range.start as usize..info.range.end as usize]
}

/// A block of GGUF's, an exponent before codes whose halves are 16 apart, as gpt-oss stores it: neighbours in a byte.
fn as_stored(block: &[u8]) -> (u8, [u8; 16]) {
    let code = |element: usize| match element < 16 {
        true => block[1 + element] & 15,
        false => block[1 + element - 16] >> 4,
    };
    (block[0], std::array::from_fn(|byte| code(2 * byte) | code(2 * byte + 1) << 4))
}

#[test]
fn floats_of_4_bits_are_repacked_bit_by_bit() {
    let work = tempfile::tempdir().unwrap();
    let model = tiny_model(work.path(), "gpt-oss-mxfp4");
    let ours = converted(&model, &work.path().join("ours.gguf"));
    let bytes = std::fs::read(model.join("model.safetensors")).unwrap();
    let header = Header::read(bytes.as_slice(), bytes.len() as u64).unwrap();
    let mut n_blocks = 0;
    for tensor in ours.header.tensors.iter().filter(|tensor| tensor.ty == GgmlType::MXFP4) {
        let layer = tensor.name.split('.').nth(1).unwrap();
        // Gate and up rows alternate in one stored matrix.
        let (from, every, offset) = match tensor.name.split('.').nth(2).unwrap() {
            "ffn_gate_exps" => ("gate_up_proj", 2, 0),
            "ffn_up_exps" => ("gate_up_proj", 2, 1),
            "ffn_down_exps" => ("down_proj", 1, 0),
            other => panic!("{other}"),
        };
        let name = format!("model.layers.{layer}.mlp.experts.{from}");
        let codes = stored(&bytes, &header, &format!("{name}_blocks"));
        let exponents = stored(&bytes, &header, &format!("{name}_scales"));
        let per_row = tensor.dims[0] as usize / 32;
        let rows = ours.data(&tensor.name).unwrap().chunks_exact(17 * per_row);
        for (row, blocks) in rows.enumerate() {
            let first = (row * every + offset) * per_row;
            for (at, block) in blocks.chunks_exact(17).enumerate() {
                let place = first + at;
                let expected: [u8; 16] = codes[place * 16..][..16].try_into().unwrap();
                assert_eq!(
                    as_stored(block),
                    (exponents[place], expected),
                    "{}: row {row}, block {at}",
                    tensor.name
                );
                n_blocks += 1;
            }
        }
    }
    let n_stored: u64 = header
        .tensors
        .iter()
        .filter(|info| info.name.ends_with("_scales"))
        .map(|info| info.shape.iter().product::<u64>())
        .sum();
    println!("{n_blocks} of {n_stored} blocks are what is stored");
    assert_eq!(n_blocks, n_stored);
}
