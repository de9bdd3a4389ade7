//! The tiny Llama computed the slow, readable way: the specification that engines must equal.
//!
//! Owns: the forward pass. May know: the tiny model. Must not know: engines.

use crate::tiny_model::{
    HEAD_DIM, N_EMBD, N_HEADS, N_KV_HEADS, N_LAYERS, NORM_EPSILON, ROPE_BASE, TinyModel,
};

/// Logits after every token of `tokens`.
pub fn logits(model: &TinyModel, tokens: &[i32]) -> Vec<Vec<f32>> {
    let embedding = model.weights("token_embd.weight");
    let mut stream: Vec<Vec<f32>> =
        tokens.iter().map(|id| embedding[*id as usize * N_EMBD..][..N_EMBD].to_vec()).collect();
    for layer in 0..N_LAYERS {
        let weights = |tensor: &str| model.weights(&format!("blk.{layer}.{tensor}.weight"));
        let attended = attention(&stream, &weights);
        for (x, a) in stream.iter_mut().zip(attended) {
            add(x, &a);
            let normed = norm(x, weights("ffn_norm"));
            let gate = multiply(weights("ffn_gate"), &normed);
            let up = multiply(weights("ffn_up"), &normed);
            let hidden: Vec<f32> = gate.iter().zip(up).map(|(g, u)| g / (1.0 + (-g).exp()) * u).collect();
            add(x, &multiply(weights("ffn_down"), &hidden));
        }
    }
    let last = |x: &Vec<f32>| {
        multiply(model.weights("output.weight"), &norm(x, model.weights("output_norm.weight")))
    };
    stream.iter().map(last).collect()
}

/// Causal attention of a layer, added to nothing yet.
fn attention<'a>(stream: &[Vec<f32>], weights: &impl Fn(&str) -> &'a [f32]) -> Vec<Vec<f32>> {
    let normed: Vec<_> = stream.iter().map(|x| norm(x, weights("attn_norm"))).collect();
    let project = |tensor: &str| normed.iter().map(|x| multiply(weights(tensor), x)).collect::<Vec<_>>();
    let (mut queries, mut keys, values) = (project("attn_q"), project("attn_k"), project("attn_v"));
    for (position, (query, key)) in queries.iter_mut().zip(&mut keys).enumerate() {
        query.chunks_mut(HEAD_DIM).chain(key.chunks_mut(HEAD_DIM)).for_each(|head| rotate(head, position));
    }
    let attend = |position: usize| {
        let mut out = Vec::with_capacity(N_EMBD);
        for head in 0..N_HEADS {
            let shared = head / (N_HEADS / N_KV_HEADS) * HEAD_DIM..;
            let query = &queries[position][head * HEAD_DIM..][..HEAD_DIM];
            let score =
                |key: &Vec<f32>| dot(query, &key[shared.clone()][..HEAD_DIM]) / (HEAD_DIM as f32).sqrt();
            let scores: Vec<f32> = keys[..=position].iter().map(score).collect();
            let probabilities = softmax(&scores);
            for i in 0..HEAD_DIM {
                let weighted =
                    probabilities.iter().zip(&values).map(|(p, value)| p * value[shared.clone()][i]);
                out.push(weighted.sum::<f32>());
            }
        }
        multiply(weights("attn_output"), &out)
    };
    (0..stream.len()).map(attend).collect()
}

/// Rotary position embedding of one head, neighbouring pairs (Llama's GGUF layout).
fn rotate(head: &mut [f32], position: usize) {
    for (pair, values) in head.chunks_mut(2).enumerate() {
        let angle = position as f32 * ROPE_BASE.powf(-2.0 * pair as f32 / HEAD_DIM as f32);
        let (sin, cos) = angle.sin_cos();
        let (a, b) = (values[0], values[1]);
        values[0] = a * cos - b * sin;
        values[1] = a * sin + b * cos;
    }
}

/// Root-mean-square normalisation.
fn norm(x: &[f32], weight: &[f32]) -> Vec<f32> {
    let scale = 1.0 / (dot(x, x) / x.len() as f32 + NORM_EPSILON).sqrt();
    x.iter().zip(weight).map(|(x, w)| x * scale * w).collect()
}

/// A matrix, stored by rows as long as `x`, times `x`.
fn multiply(matrix: &[f32], x: &[f32]) -> Vec<f32> {
    matrix.chunks(x.len()).map(|row| dot(row, x)).collect()
}

fn softmax(scores: &[f32]) -> Vec<f32> {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = scores.iter().map(|score| (score - most).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.iter().map(|power| power / sum).collect()
}

fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
