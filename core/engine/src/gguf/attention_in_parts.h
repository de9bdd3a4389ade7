// Attention over many positions in parts of a fixed length, so that its rounding follows neither the count of threads nor that
// of the tokens computed together.
//
// Owns: which attention is computed so, how it is cut, and how the parts come together (after Dao and others 2023, Flash-Decoding).
// May know: ggml's operation and its kernel for one row of queries, in whose file (ops.cpp) it is compiled, and the working memory
// that ggml-cpu.c sets aside. Must not know: models, variants.
//
// ggml cuts the positions into as many parts as there are threads, and only for a single token: another count of threads, or
// a token computed with its neighbours, rounds otherwise.

#pragma once

#include "attention_parts.h"

// Computes the attention of `dst` if it is one that is cut; false leaves it to ggml.
static bool llama_pajamas_attention_in_parts(const ggml_compute_params * params, ggml_tensor * dst) {
    const ggml_tensor * q = dst->src[0];
    const ggml_tensor * k = dst->src[1];
    const ggml_tensor * v = dst->src[2];

    const bool is_float = (k->type == GGML_TYPE_F32 || k->type == GGML_TYPE_F16) && k->type == v->type;
    const int64_t n_parts = llama_pajamas_attention_parts(dst);
    if (params->use_ref || !is_float || q->type != GGML_TYPE_F32 || n_parts < 2) {
        return false;
    }

    const int64_t n_positions = k->ne[1];
    const int64_t n_tokens = q->ne[1];
    const int64_t n_heads = q->ne[2];
    const int64_t n_rows = n_tokens * n_heads * q->ne[3];
    const int64_t n_scratch = k->ne[0] + 2 * v->ne[0] + CACHE_LINE_SIZE_F32;
    const int64_t n_values = v->ne[0];

    // [row][part][maximum, sum, values]
    const int64_t part_size = 2 + n_values;
    float * parts = (float *) params->wdata + params->nth * n_scratch;

    if (params->ith == 0) {
        ggml_threadpool_chunk_set(params->threadpool, params->nth);
    }
    ggml_barrier(params->threadpool);

    // A unit is one head over one part; neighbours share what they read.
    const int64_t n_groups = n_rows / n_tokens;
    for (int64_t unit = params->ith; unit < n_groups * n_parts; unit = ggml_threadpool_chunk_add(params->threadpool, 1)) {
        const int64_t part = unit / n_groups;
        const int64_t row = unit % n_groups * n_tokens;
        const int64_t begin = part * LLAMA_PAJAMAS_ATTENTION_PART;
        const int64_t end = std::min<int64_t>(begin + LLAMA_PAJAMAS_ATTENTION_PART, n_positions);
        ggml_compute_forward_flash_attn_ext_f16_one_chunk(params, dst, row, row + n_tokens, begin, end,
                                                          parts + part * part_size, n_parts * part_size);
    }
    ggml_barrier(params->threadpool);

    float * sums = (float *) params->wdata + params->ith * n_scratch;
    for (int64_t row = params->ith; row < n_rows; row += params->nth) {
        float maximum = -INFINITY;
        float sum = 0.0f;
        memset(sums, 0, n_values * sizeof(float));
        for (int64_t part = 0; part < n_parts; ++part) {
            const float * found = parts + (row * n_parts + part) * part_size;
            // Where all positions are masked there is nothing to add.
            if (found[1] == 0.0f) {
                continue;
            }
            const float larger = fmaxf(maximum, found[0]);
            const float scale_old = expf(maximum - larger);
            const float scale_new = expf(found[0] - larger);
            for (int64_t at = 0; at < n_values; ++at) {
                sums[at] = sums[at] * scale_old + found[2 + at] * scale_new;
            }
            sum = sum * scale_old + found[1] * scale_new;
            maximum = larger;
        }
        ggml_vec_scale_f32(n_values, sums, sum == 0.0f ? 0.0f : 1.0f / sum);
        const int64_t token = row % n_tokens;
        const int64_t head = row / n_tokens % n_heads;
        const int64_t stream = row / (n_tokens * n_heads);
        memcpy((char *) dst->data + ((stream * n_tokens + token) * n_heads + head) * dst->nb[1], sums, dst->nb[1]);
    }
    return true;
}
