//! A model file with random weights in the shape and types of a real one: for speed and memory only.
//!
//! Owns: weights that mean nothing. May know: recipes, the GGUF writer. Must not know: what is measured with them.
//!
//!     cargo run --release -p llama-pajamas-quantizer --example shaped_model -- CONFIG.json RECIPE FILE.gguf
//!
//! makes what a quantization of a model with this configuration has, the vocabulary left out: engines take tokens by
//! number. Of every type and width a thousand rows are quantized and written again and again, shifted; vectors, routers
//! among them, have numbers of their own. The same file comes out every time.

#![allow(clippy::print_stdout, reason = "progress goes to standard output")]

use std::collections::HashMap;
use std::error::Error;
use std::fs::File;
use std::io::BufWriter;

use engine::gguf::quantize::{init, quantize_rows};
use families::{Family, OutputType, detect_config};
use formats::gguf::{GgmlType, TensorSpec, Value, Writer};
use llama_pajamas_quantizer as quantizer;
use quantizer::recipe::Recipe;

/// Rows that are quantized of each type and width.
const N_ROWS: usize = 1024;
/// Types whose every number is written anew.
const PLAIN: [GgmlType; 3] = [GgmlType::F32, GgmlType::F16, GgmlType::BF16];

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [config, recipe, out] = &words[..] else {
        return Err("usage: shaped_model CONFIG.json RECIPE FILE.gguf".into());
    };
    let config: serde_json::Value = serde_json::from_reader(File::open(config)?)?;
    let recipe = Recipe::from_name(recipe).ok_or_else(|| format!("no recipe {recipe}"))?;
    let description = detect_config(&config)?;
    let family =
        Family::for_architecture(&description.architecture).ok_or("no family of this architecture")?;
    let estimate = quantizer::estimate(&description, recipe).ok_or("no family file gives its tensors")?;
    let mut metadata = family.metadata(&config, OutputType::F16)?;
    let architecture = &description.architecture;
    metadata.insert("general.architecture", Value::String(architecture.clone()));
    metadata.insert(format!("{architecture}.vocab_size"), Value::U32(u32::try_from(description.vocab_size)?));
    let mut writer = Writer::new(BufWriter::new(File::create(out)?), &metadata, &estimate.tensors)?;
    let mut random = Random(88_172_645_463_325_252);
    let mut blocks = HashMap::new();
    let mut written = 0_u64;
    for tensor in &estimate.tensors {
        let width = usize::try_from(tensor.dims[0])?;
        let n_rows: u64 = tensor.dims[1..].iter().product();
        if PLAIN.contains(&tensor.ty) {
            written += write_plain(&mut writer, tensor, &mut random)?;
            continue;
        }
        let rows = match blocks.entry((tensor.ty, width)) {
            std::collections::hash_map::Entry::Occupied(known) => known.into_mut(),
            std::collections::hash_map::Entry::Vacant(new) => {
                new.insert(rows(tensor.ty, width, &mut random)?)
            }
        };
        let row_bytes = rows.len() / N_ROWS;
        let mut left = n_rows;
        while left > 0 {
            let first = random.next() as usize % N_ROWS;
            let count = (N_ROWS - first).min(usize::try_from(left)?);
            writer.write(&rows[first * row_bytes..][..count * row_bytes])?;
            written += (count * row_bytes) as u64;
            left -= count as u64;
        }
    }
    writer.finish()?;
    println!(
        "{out}: {written} bytes of {} weights, {:.2} bits each",
        estimate.tensors.len(),
        estimate.bits_per_weight
    );
    Ok(())
}

/// Rows of numbers that keep the size of what they multiply.
fn rows(ty: GgmlType, width: usize, random: &mut Random) -> Result<Vec<u8>, Box<dyn Error>> {
    init(ty);
    let spread = (1.0 / width as f32).sqrt();
    let numbers: Vec<f32> = (0..N_ROWS * width).map(|_| random.normal() * spread).collect();
    let row_bytes = ty.row_bytes(width as u64).ok_or("no such row")?;
    let mut bytes = vec![0; usize::try_from(row_bytes)? * N_ROWS];
    let importance = vec![1.0; width];
    quantize_rows(ty, &numbers, &mut bytes, width, Some(&importance))?;
    Ok(bytes)
}

/// Norms are ones, biases small, matrices as [`rows`].
fn write_plain(
    writer: &mut Writer<BufWriter<File>>,
    tensor: &TensorSpec,
    random: &mut Random,
) -> Result<u64, Box<dyn Error>> {
    let is_norm = tensor.name.ends_with("norm.weight");
    let spread = (1.0 / tensor.dims[0] as f32).sqrt();
    let mut number = || if is_norm { 1.0 } else { random.normal() * spread };
    let mut written = 0;
    for _ in 0..tensor.dims[1..].iter().product::<u64>() {
        let row = (0..tensor.dims[0]).map(|_| number());
        let bytes: Vec<u8> = match tensor.ty {
            GgmlType::F32 => row.flat_map(f32::to_le_bytes).collect(),
            GgmlType::F16 => row.flat_map(|number| half::f16::from_f32(number).to_le_bytes()).collect(),
            _ => row.flat_map(|number| half::bf16::from_f32(number).to_le_bytes()).collect(),
        };
        writer.write(&bytes)?;
        written += bytes.len() as u64;
    }
    Ok(written)
}

/// Xorshift.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// About normal: the sum of four even ones.
    fn normal(&mut self) -> f32 {
        let even = |bits: u64| (bits & 0xffff) as f32 / 65536.0 - 0.5;
        let bits = self.next();
        (even(bits) + even(bits >> 16) + even(bits >> 32) + even(bits >> 48)) * 1.732
    }
}
