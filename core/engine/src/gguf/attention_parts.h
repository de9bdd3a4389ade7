// How attention is cut (attention_by_blocks.h), for whoever computes it and whoever sets memory aside for it.
//
// Owns: the length of a part and of a block, how many rows share what is read, and who is left to ggml's tiles. May know: the
// shapes of ggml's operation. Must not know: kernels.

#pragma once

#include "ggml.h"

// Positions of a part.
#define LLAMA_PAJAMAS_ATTENTION_PART 512
// Positions that are read together, of which a part has a whole number.
#define LLAMA_PAJAMAS_ATTENTION_BLOCK 32
// Rows of queries, one for each token and head, that a thread computes together.
#define LLAMA_PAJAMAS_ATTENTION_ROWS 16
// Tokens from which on ggml computes by tiles, where it can.
#define LLAMA_PAJAMAS_ATTENTION_TILE 64

// Whether ggml's tiles compute the attention `op`.
static inline bool llama_pajamas_attention_is_tiled(const struct ggml_tensor * op) {
    const struct ggml_tensor * q = op->src[0];
    const struct ggml_tensor * k = op->src[1];
    const struct ggml_tensor * v = op->src[2];
    const bool is_float = k->type == GGML_TYPE_F32 || k->type == GGML_TYPE_F16;
    return q->ne[1] >= LLAMA_PAJAMAS_ATTENTION_TILE && is_float && k->type == v->type && v->ne[0] % 16 == 0;
}

// Parts of the attention `op`: 1 where it is left whole, as it is for more tokens than round as one (build/changes.rs).
static inline int64_t llama_pajamas_attention_parts(const struct ggml_tensor * op) {
    const int64_t n_tokens = op->src[0]->ne[1] * op->src[0]->ne[3];
    const int64_t n_positions = op->src[1]->ne[1];
    return n_tokens > LLAMA_PAJAMAS_ROWS_AS_ONE ? 1 : (n_positions + LLAMA_PAJAMAS_ATTENTION_PART - 1) / LLAMA_PAJAMAS_ATTENTION_PART;
}

// Floating-point numbers that one thread needs: a block of keys or values, and of each row its query, weights, mask and values.
static inline int64_t llama_pajamas_attention_scratch(const struct ggml_tensor * op) {
    const int64_t n_key = op->src[0]->ne[0];
    const int64_t n_values = op->src[2]->ne[0];
    const int64_t widest = n_key > n_values ? n_key : n_values;
    return LLAMA_PAJAMAS_ATTENTION_BLOCK * widest +
           LLAMA_PAJAMAS_ATTENTION_ROWS * (n_key + 2 + n_values + 2 * LLAMA_PAJAMAS_ATTENTION_BLOCK);
}

// Floating-point numbers that all threads and the parts take.
static inline size_t llama_pajamas_attention_floats(const struct ggml_tensor * op, int64_t n_threads) {
    if (llama_pajamas_attention_is_tiled(op)) {
        return 0;
    }
    const struct ggml_tensor * q = op->src[0];
    const int64_t n_parts = llama_pajamas_attention_parts(op);
    const int64_t of_parts = n_parts < 2 ? 0 : q->ne[1] * q->ne[2] * q->ne[3] * n_parts * (2 + op->src[2]->ne[0]);
    return (size_t) (of_parts + n_threads * llama_pajamas_attention_scratch(op));
}
