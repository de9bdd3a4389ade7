// How many parts attention is cut into (attention_in_parts.h), for whoever computes it and whoever sets memory aside for it.
//
// Owns: the length of a part, and how few tokens are cut at all. May know: the shapes of ggml's operation. Must not know: kernels.

#pragma once

#include "ggml.h"

// Positions of a part.
#define LLAMA_PAJAMAS_ATTENTION_PART 512

// Parts of the attention `op`: 1 where it is left whole, as it is for more tokens than round as one (build/changes.rs).
static inline int64_t llama_pajamas_attention_parts(const struct ggml_tensor * op) {
    const int64_t n_tokens = op->src[0]->ne[1] * op->src[0]->ne[3];
    const int64_t n_positions = op->src[1]->ne[1];
    return n_tokens > LLAMA_PAJAMAS_ROWS_AS_ONE ? 1 : (n_positions + LLAMA_PAJAMAS_ATTENTION_PART - 1) / LLAMA_PAJAMAS_ATTENTION_PART;
}

// Floating-point numbers that the parts take.
static inline size_t llama_pajamas_attention_floats(const struct ggml_tensor * op) {
    const struct ggml_tensor * q = op->src[0];
    const int64_t n_parts = llama_pajamas_attention_parts(op);
    return n_parts < 2 ? 0 : (size_t) (q->ne[1] * q->ne[2] * q->ne[3] * n_parts * (2 + op->src[2]->ne[0]));
}
