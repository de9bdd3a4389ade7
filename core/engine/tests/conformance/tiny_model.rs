//! A tiny random Llama, written as GGUF in milliseconds.
//!
//! Owns: its shape, its weights (the same every time) and its metadata. May know: the GGUF writer.
//! Must not know: engines.

use std::path::{Path, PathBuf};

use formats::gguf::{Array, GgmlType, Metadata, TensorSpec, Value, Writer};

pub const N_VOCAB: usize = 259;
pub const N_LAYERS: usize = 2;
pub const N_EMBD: usize = 64;
pub const N_HEADS: usize = 4;
pub const N_KV_HEADS: usize = 2;
pub const HEAD_DIM: usize = N_EMBD / N_HEADS;
pub const N_FF: usize = 128;
pub const N_CTX_TRAIN: usize = 512;
pub const NORM_EPSILON: f32 = 1e-5;
pub const ROPE_BASE: f32 = 10_000.0;

/// The model before it is written: tests change it to make bad files.
#[derive(Clone)]
pub struct TinyModel {
    pub metadata: Metadata,
    pub tensors: Vec<(TensorSpec, Vec<f32>)>,
}

impl TinyModel {
    pub fn new() -> Self {
        let mut model = Self { metadata: metadata(), tensors: Vec::new() };
        model.add("token_embd.weight", &[N_EMBD, N_VOCAB], 1.0);
        model.add_norm("output_norm.weight");
        model.add("output.weight", &[N_EMBD, N_VOCAB], 1.0);
        for layer in 0..N_LAYERS {
            let name = |tensor: &str| format!("blk.{layer}.{tensor}.weight");
            model.add_norm(&name("attn_norm"));
            model.add(&name("attn_q"), &[N_EMBD, N_EMBD], 1.0);
            model.add(&name("attn_k"), &[N_EMBD, N_KV_HEADS * HEAD_DIM], 1.0);
            model.add(&name("attn_v"), &[N_EMBD, N_KV_HEADS * HEAD_DIM], 1.0);
            model.add(&name("attn_output"), &[N_EMBD, N_EMBD], 1.0);
            model.add_norm(&name("ffn_norm"));
            model.add(&name("ffn_gate"), &[N_EMBD, N_FF], 1.0);
            model.add(&name("ffn_up"), &[N_EMBD, N_FF], 1.0);
            model.add(&name("ffn_down"), &[N_FF, N_EMBD], 1.0);
        }
        model
    }

    /// The model with so many experts in each layer, of which a token's router chooses some.
    pub fn with_experts(n_experts: usize, n_chosen: usize) -> Self {
        let mut model = Self::new();
        model.metadata.insert("llama.expert_count", Value::U32(n_experts as u32));
        model.metadata.insert("llama.expert_used_count", Value::U32(n_chosen as u32));
        let is_dense = |name: &str| ["ffn_gate", "ffn_up", "ffn_down"].iter().any(|part| name.contains(part));
        model.tensors.retain(|(spec, _)| !is_dense(&spec.name));
        for layer in 0..N_LAYERS {
            let name = |tensor: &str| format!("blk.{layer}.{tensor}.weight");
            model.add(&name("ffn_gate_inp"), &[N_EMBD, n_experts], 1.0);
            model.add(&name("ffn_gate_exps"), &[N_EMBD, N_FF, n_experts], 1.0);
            model.add(&name("ffn_up_exps"), &[N_EMBD, N_FF, n_experts], 1.0);
            model.add(&name("ffn_down_exps"), &[N_FF, N_EMBD, n_experts], 1.0);
        }
        model
    }

    /// A model of one layer and one prediction layer, neither of which adds anything: the token behind depends on the last one
    /// alone. What is expected behind a token is what the model says behind it, or, `by_state`, behind the one before it.
    #[allow(dead_code, reason = "for builds with prediction layers")]
    pub fn with_predictions(by_state: bool) -> Self {
        const N_EXPERTS: usize = 2;
        let mut model = Self { metadata: Metadata::new(), tensors: Vec::new() };
        for (key, value) in metadata().iter() {
            model.metadata.insert(key.replace("llama.", "glm4moe."), value.clone());
        }
        model.metadata.insert("general.architecture", Value::String("glm4moe".to_owned()));
        let mut number = |key: &str, value: usize| {
            model.metadata.insert(format!("glm4moe.{key}"), Value::U32(value as u32));
        };
        number("nextn_predict_layers", 1);
        number("expert_count", N_EXPERTS);
        number("expert_used_count", 1);
        number("expert_shared_count", 1);
        number("expert_feed_forward_length", N_FF);
        number("leading_dense_block_count", 0);
        model.add("token_embd.weight", &[N_EMBD, N_VOCAB], 1.0);
        model.add_norm("output_norm.weight");
        model.add("output.weight", &[N_EMBD, N_VOCAB], 4.0);
        for layer in 0..N_LAYERS {
            let name = |tensor: &str| format!("blk.{layer}.{tensor}.weight");
            model.add_norm(&name("attn_norm"));
            model.add_norm(&name("post_attention_norm"));
            model.add(&name("attn_q"), &[N_EMBD, N_EMBD], 1.0);
            model.add(&name("attn_k"), &[N_EMBD, N_KV_HEADS * HEAD_DIM], 1.0);
            model.add(&name("attn_v"), &[N_EMBD, N_KV_HEADS * HEAD_DIM], 1.0);
            model.add(&name("attn_output"), &[N_EMBD, N_EMBD], 0.0);
            model.add(&name("ffn_gate_inp"), &[N_EMBD, N_EXPERTS], 1.0);
            model.push(&format!("blk.{layer}.exp_probs_b.bias"), &[N_EXPERTS], vec![0.0; N_EXPERTS]);
            for (part, n) in [("exps", N_EXPERTS), ("shexp", 1)] {
                let dims = |rows: usize, columns: usize| {
                    if n > 1 { vec![rows, columns, n] } else { vec![rows, columns] }
                };
                model.add(&name(&format!("ffn_gate_{part}")), &dims(N_EMBD, N_FF), 1.0);
                model.add(&name(&format!("ffn_up_{part}")), &dims(N_EMBD, N_FF), 1.0);
                model.add(&name(&format!("ffn_down_{part}")), &dims(N_FF, N_EMBD), 0.0);
            }
        }
        let name = |tensor: &str| format!("blk.{}.nextn.{tensor}.weight", N_LAYERS - 1);
        model.add_norm(&name("enorm"));
        model.add_norm(&name("hnorm"));
        let taken = if by_state { N_EMBD } else { 0 };
        let projection = (0..N_EMBD * 2 * N_EMBD).map(|at| {
            let (row, column) = (at / (2 * N_EMBD), at % (2 * N_EMBD));
            if column == taken + row { 1.0 } else { 0.0 }
        });
        model.push(&name("eh_proj"), &[2 * N_EMBD, N_EMBD], projection.collect());
        model
    }

    /// Weights of a tensor, row-major with the contiguous dimension first.
    pub fn weights(&self, name: &str) -> &[f32] {
        let tensor = self.tensors.iter().find(|(spec, _)| spec.name == name);
        &tensor.unwrap_or_else(|| panic!("no tensor {name}")).1
    }

    /// The model as one file.
    pub fn bytes(&self) -> Vec<u8> {
        file(&self.metadata, &self.tensors)
    }

    /// Writes the model into `dir` and returns the path.
    pub fn write(&self, dir: &Path) -> PathBuf {
        let path = dir.join("tiny.gguf");
        std::fs::write(&path, self.bytes()).expect("the directory is writable");
        path
    }

    /// Writes the model into `dir` in two parts and returns their paths.
    pub fn write_split(&self, dir: &Path) -> [PathBuf; 2] {
        let (first, second) = self.tensors.split_at(self.tensors.len() / 2);
        let split = |number: u16, mut metadata: Metadata| {
            metadata.insert("split.no", Value::U16(number));
            metadata.insert("split.count", Value::U16(2));
            metadata.insert("split.tensors.count", Value::I32(self.tensors.len() as i32));
            metadata
        };
        let parts = [(split(0, self.metadata.clone()), first), (split(1, Metadata::new()), second)];
        [0, 1].map(|index| {
            let path = dir.join(format!("tiny-{:05}-of-00002.gguf", index + 1));
            let (metadata, tensors) = &parts[index];
            std::fs::write(&path, file(metadata, tensors)).expect("the directory is writable");
            path
        })
    }

    fn add(&mut self, name: &str, dims: &[usize], gain: f32) {
        let count = dims.iter().product();
        // Random rows of length n with this spread keep the size of what they multiply.
        let spread = gain * (3.0 / dims[0] as f32).sqrt();
        let mut random =
            Random(name.bytes().fold(17, |seed: u64, byte| seed.wrapping_mul(31) ^ u64::from(byte)));
        let weights = (0..count).map(|_| random.next() * spread).collect();
        self.push(name, dims, weights);
    }

    fn add_norm(&mut self, name: &str) {
        self.push(name, &[N_EMBD], vec![1.0; N_EMBD]);
    }

    fn push(&mut self, name: &str, dims: &[usize], weights: Vec<f32>) {
        let dims = dims.iter().map(|dim| *dim as u64).collect();
        self.tensors.push((TensorSpec { name: name.to_owned(), dims, ty: GgmlType::F32 }, weights));
    }
}

fn file(metadata: &Metadata, tensors: &[(TensorSpec, Vec<f32>)]) -> Vec<u8> {
    let specs: Vec<TensorSpec> = tensors.iter().map(|(spec, _)| spec.clone()).collect();
    let mut writer = Writer::new(Vec::new(), metadata, &specs).expect("a sound header");
    for (_, weights) in tensors {
        let bytes: Vec<u8> = weights.iter().flat_map(|weight| weight.to_le_bytes()).collect();
        writer.write(&bytes).expect("as long as the tensor");
    }
    writer.finish().expect("all tensors are there")
}

fn metadata() -> Metadata {
    let mut metadata = Metadata::new();
    metadata.insert("general.architecture", Value::String("llama".to_owned()));
    let mut number = |key: &str, value: usize| {
        metadata.insert(format!("llama.{key}"), Value::U32(value as u32));
    };
    number("context_length", N_CTX_TRAIN);
    number("embedding_length", N_EMBD);
    number("block_count", N_LAYERS);
    number("feed_forward_length", N_FF);
    number("rope.dimension_count", HEAD_DIM);
    number("attention.head_count", N_HEADS);
    number("attention.head_count_kv", N_KV_HEADS);
    number("vocab_size", N_VOCAB);
    metadata.insert("llama.attention.layer_norm_rms_epsilon", Value::F32(NORM_EPSILON));
    metadata.insert("llama.rope.freq_base", Value::F32(ROPE_BASE));
    add_tokenizer(&mut metadata);
    metadata
}

/// Three special tokens and one for each byte, in the manner of SentencePiece.
fn add_tokenizer(metadata: &mut Metadata) {
    const UNKNOWN: i32 = 2;
    const CONTROL: i32 = 3;
    const BYTE: i32 = 6;
    let special = ["<unk>", "<s>", "</s>"].map(String::from);
    let tokens = special.into_iter().chain((0..=255).map(|byte| format!("<0x{byte:02X}>"))).collect();
    let types = [UNKNOWN, CONTROL, CONTROL].into_iter().chain([BYTE; 256]).collect();
    metadata.insert("tokenizer.ggml.model", Value::String("llama".to_owned()));
    metadata.insert("tokenizer.ggml.tokens", Value::Array(Array::String(tokens)));
    metadata.insert("tokenizer.ggml.scores", Value::Array(Array::F32(vec![0.0; N_VOCAB])));
    metadata.insert("tokenizer.ggml.token_type", Value::Array(Array::I32(types)));
    metadata.insert("tokenizer.ggml.bos_token_id", Value::U32(1));
    metadata.insert("tokenizer.ggml.eos_token_id", Value::U32(2));
}

/// Numbers in -1 .. 1, evenly spread.
struct Random(u64);

impl Random {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}
