//! The files that the table of scenarios is about, made of the small model that comes with the repository.
//!
//! Owns: the bundle, its damaged copies, an adapter and a file that is none. May know: the quantizer. Must not know: scenarios.

use std::fs;
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use formats::gguf::{GgmlType, Metadata, TensorSpec, Value, Writer};
use llama_pajamas::formats;
use llama_pajamas::quantizer::recipe::{FileType, Recipe};
use llama_pajamas::quantizer::{BuildRequest, build_bundle};

const HIDDEN: u64 = 256;
const RANK: u64 = 2;

/// Makes all of them in `folder`.
pub(crate) fn make(folder: &Path) {
    let bundle = folder.join("bundle");
    let request = BuildRequest {
        model: Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/pajama-stories-4m"),
        model_id: "pajama-stories-4m".into(),
        output: bundle.clone(),
        precisions: vec![Recipe::Stock(FileType::BF16), Recipe::Stock(FileType::Q8_0)],
        threads: 1,
        ..BuildRequest::default()
    };
    build_bundle(&request, &mut |_| {}, &mut |_| ControlFlow::Continue(())).expect("a bundle");
    copy(&request.model, &folder.join("checkpoint"));
    fs::copy(bundle.join("gguf/Q8_0/model.gguf"), folder.join("model.gguf")).expect("a copy");
    fs::write(folder.join("garbage.gguf"), b"GGUF, or rather not").expect("writable");
    copy(&bundle, &folder.join("damaged"));
    change(&folder.join("damaged/gguf/Q8_0/model.gguf"), |bytes| {
        let last = bytes.len() - 100;
        bytes[last] ^= 0x40;
    });
    copy(&bundle, &folder.join("short"));
    change(&folder.join("short/gguf/Q8_0/model.gguf"), |bytes| bytes.truncate(1000));
    adapter(&folder.join("adapter.gguf"));
}

/// Copies a folder with what is in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder") {
        let path = entry.expect("an entry").path();
        let target: PathBuf = to.join(path.file_name().expect("a name"));
        if path.is_dir() { copy(&path, &target) } else { fs::copy(&path, &target).map(drop).expect("a copy") }
    }
}

fn change(path: &Path, how: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).expect("a file");
    how(&mut bytes);
    fs::write(path, bytes).expect("writable");
}

/// Low-rank factors beside one matrix, large enough to change answers.
fn adapter(path: &Path) {
    let mut metadata = Metadata::default();
    for (key, text) in
        [("general.type", "adapter"), ("general.architecture", "qwen3"), ("adapter.type", "lora")]
    {
        metadata.insert(key, Value::String(text.into()));
    }
    metadata.insert("adapter.lora.alpha", Value::F32(8.0));
    let factor = |suffix: &str, dims: [u64; 2]| TensorSpec {
        name: format!("blk.1.attn_output.weight.{suffix}"),
        dims: dims.to_vec(),
        ty: GgmlType::F32,
    };
    let tensors = [factor("lora_a", [HIDDEN, RANK]), factor("lora_b", [RANK, HIDDEN])];
    let file = BufWriter::new(fs::File::create(path).expect("writable"));
    let mut writer = Writer::new(file, &metadata, &tensors).expect("a header");
    let mut state = 1u32;
    for _ in 0..2 * HIDDEN * RANK {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let value = (state >> 8) as f32 / 8_388_608.0 - 1.0;
        writer.write(&(0.5 * value).to_le_bytes()).expect("writable");
    }
    drop(writer.finish().expect("writable"));
}
