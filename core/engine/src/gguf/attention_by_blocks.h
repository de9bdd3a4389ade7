// Attention of a few tokens: positions in blocks that all heads and tokens share which read them, and many positions in parts of a
// fixed length, so that its rounding follows neither the count of threads nor that of the tokens computed together.
//
// Owns: the kernel, which adds in 32-bit floats, and how parts come together (after Dao and others 2023, Flash-Decoding).
// May know: ggml's operation and its functions for rows, in whose file (ops.cpp) it is compiled, and the working memory that
// ggml-cpu.c sets aside. Must not know: models, variants.
//
// ggml goes through the positions row by row, adds values in 16-bit floats, and cuts the positions into as many parts as there are
// threads, and only for a single token: another count of threads, or a token computed with its neighbours, rounds otherwise.

#pragma once

#include "attention_parts.h"

// What one operation computes, and from what.
struct llama_pajamas_attention_of {
    const ggml_tensor * q;
    const ggml_tensor * k;
    const ggml_tensor * v;
    const ggml_tensor * mask;
    const ggml_tensor * sinks;
    float scale, softcap;
    // Slopes of heads (ALiBi): of the first so many powers of one number, of the others of another.
    float max_bias, slope_low, slope_high;
    int64_t n_heads_low;
};

// A row while it is computed.
struct llama_pajamas_attention_row {
    int64_t token, head;
    const void * query;
    const ggml_fp16_t * mask;
    float slope;
    // Maximum, sum, and values.
    float * result;
    // Of a block: weights of its positions, what the mask adds, those that are seen, and what the sums so far are scaled by.
    float * weights;
    float * masks;
    int64_t first, last;
    float scale;
};

// sums = sums * scale + weights · values, `n` rows of `n_values`, `stride` apart.
static void llama_pajamas_add_values(float * sums, float scale, const float * weights, const float * values, int64_t n, int64_t stride,
                                     int64_t n_values) {
    int64_t at = 0;
#if defined(GGML_SIMD) && !defined(__ARM_FEATURE_SVE) && !defined(__riscv_v_intrinsic)
    const GGML_F32_VEC scales = GGML_F32_VEC_SET1(scale);
    for (; at + 4 * GGML_F32_EPR <= n_values; at += 4 * GGML_F32_EPR) {
        GGML_F32_VEC sum0 = GGML_F32_VEC_MUL(GGML_F32_VEC_LOAD(sums + at), scales);
        GGML_F32_VEC sum1 = GGML_F32_VEC_MUL(GGML_F32_VEC_LOAD(sums + at + GGML_F32_EPR), scales);
        GGML_F32_VEC sum2 = GGML_F32_VEC_MUL(GGML_F32_VEC_LOAD(sums + at + 2 * GGML_F32_EPR), scales);
        GGML_F32_VEC sum3 = GGML_F32_VEC_MUL(GGML_F32_VEC_LOAD(sums + at + 3 * GGML_F32_EPR), scales);
        for (int64_t row = 0; row < n; ++row) {
            const float * value = values + row * stride + at;
            const GGML_F32_VEC weight = GGML_F32_VEC_SET1(weights[row]);
            sum0 = GGML_F32_VEC_FMA(sum0, GGML_F32_VEC_LOAD(value), weight);
            sum1 = GGML_F32_VEC_FMA(sum1, GGML_F32_VEC_LOAD(value + GGML_F32_EPR), weight);
            sum2 = GGML_F32_VEC_FMA(sum2, GGML_F32_VEC_LOAD(value + 2 * GGML_F32_EPR), weight);
            sum3 = GGML_F32_VEC_FMA(sum3, GGML_F32_VEC_LOAD(value + 3 * GGML_F32_EPR), weight);
        }
        GGML_F32_VEC_STORE(sums + at, sum0);
        GGML_F32_VEC_STORE(sums + at + GGML_F32_EPR, sum1);
        GGML_F32_VEC_STORE(sums + at + 2 * GGML_F32_EPR, sum2);
        GGML_F32_VEC_STORE(sums + at + 3 * GGML_F32_EPR, sum3);
    }
#endif
    for (; at < n_values; ++at) {
        float sum = sums[at] * scale;
        for (int64_t row = 0; row < n; ++row) {
            sum += values[row * stride + at] * weights[row];
        }
        sums[at] = sum;
    }
}

// Makes `n` halves floats. ggml's function goes one by one on 64-bit ARM.
static void llama_pajamas_halves_to_floats(const ggml_fp16_t * halves, float * floats, int64_t n) {
    int64_t at = 0;
#if defined(__ARM_NEON) && defined(__aarch64__)
    for (; at + 8 <= n; at += 8) {
        const float16x8_t eight = vld1q_f16((const __fp16 *) halves + at);
        vst1q_f32(floats + at, vcvt_f32_f16(vget_low_f16(eight)));
        vst1q_f32(floats + at + 4, vcvt_high_f32_f16(eight));
    }
#endif
    ggml_cpu_fp16_to_fp32(halves + at, floats + at, n - at);
}

// Rows of keys or values, `stride` bytes apart.
struct llama_pajamas_read_rows {
    const char * data;
    size_t stride;
};

// `n` rows of `tensor` from `position` on: where they lie if they are of `type`, else made floats in `buffer`.
static llama_pajamas_read_rows llama_pajamas_read(const ggml_tensor * tensor, ggml_type type, int64_t position, int64_t n, int64_t head,
                                                  int64_t stream, float * buffer) {
    const char * data = (const char *) tensor->data + position * tensor->nb[1] + head * tensor->nb[2] + stream * tensor->nb[3];
    if (tensor->type == type) {
        return { data, tensor->nb[1] };
    }
    const int64_t width = tensor->ne[0];
    for (int64_t row = 0; row < n; ++row, data += tensor->nb[1]) {
        if (tensor->type == GGML_TYPE_F16) {
            llama_pajamas_halves_to_floats((const ggml_fp16_t *) data, buffer + row * width, width);
        } else {
            ggml_get_type_traits(tensor->type)->to_float(data, buffer + row * width, width);
        }
    }
    return { (const char *) buffer, width * sizeof(float) };
}

// Which of the `n` positions from `position` on a row sees, from the first to the last.
static void llama_pajamas_look_through_mask(llama_pajamas_attention_row & row, int64_t position, int64_t n) {
    row.first = 0;
    row.last = n;
    if (row.mask) {
        llama_pajamas_halves_to_floats(row.mask + position, row.masks, n);
        while (row.last > 0 && row.masks[row.last - 1] == -INFINITY) {
            --row.last;
        }
        while (row.first < row.last && row.masks[row.first] == -INFINITY) {
            ++row.first;
        }
    }
}

// Turns products with keys into the weights of values.
static void llama_pajamas_weigh(const llama_pajamas_attention_of & op, llama_pajamas_attention_row & row) {
    float largest = row.result[0];
    for (int64_t at = 0; at < LLAMA_PAJAMAS_ATTENTION_BLOCK; ++at) {
        // All lanes of vectors are computed, seen or not.
        float weight = -INFINITY;
        if (at >= row.first && at < row.last) {
            weight = row.weights[at] * op.scale;
            if (op.softcap != 0.0f) {
                weight = op.softcap * tanhf(weight);
            }
            if (row.mask) {
                weight += row.slope * row.masks[at];
            }
        }
        row.weights[at] = weight;
        largest = std::max(largest, weight);
    }
    row.scale = 1.0f;
    if (largest > row.result[0]) {
        row.scale = expf(row.result[0] - largest);
        row.result[0] = largest;
    }
    const float sum = ggml_vec_soft_max_f32(LLAMA_PAJAMAS_ATTENTION_BLOCK, row.weights, row.weights, largest);
    row.result[1] = row.result[1] * row.scale + sum;
}

// The positions from `begin` to `end` for rows of the head `kv_head` of keys and values of a stream: adds to what rows hold.
static void llama_pajamas_attend(const llama_pajamas_attention_of & op, llama_pajamas_attention_row * rows, int64_t n_rows, int64_t kv_head,
                                 int64_t stream, int64_t begin, int64_t end, float * buffer) {
    const ggml_type key_type = op.k->type == GGML_TYPE_F16 ? GGML_TYPE_F32 : op.k->type;
    const ggml_vec_dot_t dot = ggml_get_type_traits_cpu(key_type)->vec_dot;
    for (int64_t position = begin; position < end; position += LLAMA_PAJAMAS_ATTENTION_BLOCK) {
        const int64_t n = std::min<int64_t>(LLAMA_PAJAMAS_ATTENTION_BLOCK, end - position);
        int64_t first = n, last = 0;
        for (int64_t at = 0; at < n_rows; ++at) {
            llama_pajamas_look_through_mask(rows[at], position, n);
            if (rows[at].first < rows[at].last) {
                first = std::min(first, rows[at].first);
                last = std::max(last, rows[at].last);
            }
        }
        if (first >= last) {
            continue;
        }

        llama_pajamas_read_rows keys = llama_pajamas_read(op.k, key_type, position + first, last - first, kv_head, stream, buffer);
        for (int64_t at = 0; at < n_rows; ++at) {
            llama_pajamas_attention_row & row = rows[at];
            for (int64_t seen = row.first; seen < row.last; ++seen) {
                dot(op.k->ne[0], row.weights + seen, 0, keys.data + (seen - first) * keys.stride, 0, row.query, 0, 1);
            }
            if (row.first < row.last) {
                llama_pajamas_weigh(op, row);
            }
        }

        llama_pajamas_read_rows values = llama_pajamas_read(op.v, GGML_TYPE_F32, position + first, last - first, kv_head, stream, buffer);
        for (int64_t at = 0; at < n_rows; ++at) {
            const llama_pajamas_attention_row & row = rows[at];
            if (row.first < row.last) {
                llama_pajamas_add_values(row.result + 2, row.scale, row.weights + row.first,
                                         (const float *) (values.data + (row.first - first) * values.stride), row.last - row.first,
                                         values.stride / sizeof(float), op.v->ne[0]);
            }
        }
    }
}

// What is computed, as ggml's operation says it.
static llama_pajamas_attention_of llama_pajamas_attention_of_op(const ggml_tensor * dst) {
    llama_pajamas_attention_of op = { dst->src[0], dst->src[1], dst->src[2], dst->src[3], dst->src[4], 1.0f, 0.0f, 0.0f, 1.0f, 1.0f, 0 };
    memcpy(&op.scale, (const float *) dst->op_params + 0, sizeof(float));
    memcpy(&op.max_bias, (const float *) dst->op_params + 1, sizeof(float));
    memcpy(&op.softcap, (const float *) dst->op_params + 2, sizeof(float));
    if (op.softcap != 0.0f) {
        op.scale /= op.softcap;
    }
    op.n_heads_low = 1;
    while (op.n_heads_low * 2 <= op.q->ne[2]) {
        op.n_heads_low *= 2;
    }
    op.slope_low = powf(2.0f, -op.max_bias / op.n_heads_low);
    op.slope_high = powf(2.0f, -op.max_bias / 2.0f / op.n_heads_low);
    return op;
}

// Prepares row `index` of the rows that read `kv_head`; `scratch` is its own.
static llama_pajamas_attention_row llama_pajamas_begin_row(const llama_pajamas_attention_of & op, int64_t stream, int64_t kv_head,
                                                           int64_t index, bool has_sink, float * result, float * scratch) {
    const int64_t n_shared = op.q->ne[2] / op.k->ne[2];
    llama_pajamas_attention_row row = {};
    row.token = index / n_shared;
    row.head = kv_head * n_shared + index % n_shared;
    row.result = result;
    row.weights = scratch;
    row.masks = row.weights + LLAMA_PAJAMAS_ATTENTION_BLOCK;
    const char * query = (const char *) op.q->data + row.token * op.q->nb[1] + row.head * op.q->nb[2] + stream * op.q->nb[3];
    row.query = query;
    if (op.k->type != GGML_TYPE_F16 && op.k->type != GGML_TYPE_F32) {
        float * converted = row.masks + LLAMA_PAJAMAS_ATTENTION_BLOCK;
        const ggml_type type = ggml_get_type_traits_cpu(op.k->type)->vec_dot_type;
        ggml_get_type_traits_cpu(type)->from_float((const float *) query, converted, op.k->ne[0]);
        row.query = converted;
    }
    if (op.mask) {
        row.mask = (const ggml_fp16_t *) ((const char *) op.mask->data + row.token * op.mask->nb[1] + row.head % op.mask->ne[2] * op.mask->nb[2] +
                                          stream % op.mask->ne[3] * op.mask->nb[3]);
    }
    row.slope = op.max_bias <= 0.0f           ? 1.0f
                : row.head < op.n_heads_low ? powf(op.slope_low, row.head + 1)
                                            : powf(op.slope_high, 2 * (row.head - op.n_heads_low) + 1);
    // A sink is a position without values.
    result[0] = has_sink ? ((const float *) op.sinks->data)[row.head] : -INFINITY;
    result[1] = has_sink ? 1.0f : 0.0f;
    memset(result + 2, 0, op.v->ne[0] * sizeof(float));
    return row;
}

// The row's values over the sum of their weights, where `dst` has them.
static void llama_pajamas_finish_row(ggml_tensor * dst, int64_t stream, int64_t token, int64_t head, float sum, const float * values) {
    float * to = (float *) ((char *) dst->data + ((stream * dst->ne[2] + token) * dst->ne[1] + head) * dst->nb[1]);
    const float scale = sum == 0.0f ? 0.0f : 1.0f / sum;
    for (int64_t at = 0; at < dst->ne[0]; ++at) {
        to[at] = values[at] * scale;
    }
}

// Brings the `n_parts` of a row together, `part_size` floats apart, in the first of them.
static void llama_pajamas_join_parts(float * parts, int64_t n_parts, int64_t part_size) {
    for (int64_t part = 1; part < n_parts; ++part) {
        const float * found = parts + part * part_size;
        // Where all positions are masked there is nothing to add.
        if (found[1] == 0.0f) {
            continue;
        }
        const float larger = std::max(parts[0], found[0]);
        const float scale_old = expf(parts[0] - larger);
        const float scale_new = expf(found[0] - larger);
        for (int64_t at = 1; at < part_size; ++at) {
            parts[at] = parts[at] * scale_old + found[at] * scale_new;
        }
        parts[0] = larger;
    }
}

// Computes the attention of `dst`; false leaves it to ggml's tiles.
static bool llama_pajamas_attention_by_blocks(const ggml_compute_params * params, ggml_tensor * dst) {
    if (llama_pajamas_attention_is_tiled(dst)) {
        return false;
    }
    const llama_pajamas_attention_of op = llama_pajamas_attention_of_op(dst);
    GGML_ASSERT(op.q->type == GGML_TYPE_F32 && op.q->ne[0] == op.k->ne[0] && dst->ne[0] == op.v->ne[0]);
    GGML_ASSERT(op.k->ne[2] == op.v->ne[2] && op.k->ne[3] == op.v->ne[3]);

    const int64_t n_positions = op.k->ne[1];
    const int64_t n_parts = llama_pajamas_attention_parts(dst);
    const int64_t n_kv_heads = op.k->ne[2];
    const int64_t n_tokens = op.q->ne[1];
    const int64_t n_heads = op.q->ne[2];
    const int64_t n_streams = op.q->ne[3];
    // Rows that read the same head of keys, in slices; smaller ones where threads would have nothing to do.
    const int64_t n_alike = n_heads / n_kv_heads * n_tokens;
    const int64_t n_groups = n_kv_heads * n_streams * n_parts;
    int64_t slice = std::min<int64_t>(n_alike, LLAMA_PAJAMAS_ATTENTION_ROWS);
    while (slice > 1 && (n_alike + slice - 1) / slice * n_groups < params->nth) {
        slice = (slice + 1) / 2;
    }
    const int64_t n_slices = (n_alike + slice - 1) / slice;

    // [row][part][maximum, sum, values], or of one slice of rows, for each thread.
    const int64_t part_size = 2 + op.v->ne[0];
    float * scratch = (float *) params->wdata + params->ith * llama_pajamas_attention_scratch(dst);
    float * parts = (float *) params->wdata + params->nth * llama_pajamas_attention_scratch(dst);
    float * of_slice = scratch + LLAMA_PAJAMAS_ATTENTION_BLOCK * std::max(op.k->ne[0], op.v->ne[0]);
    float * of_rows = of_slice + LLAMA_PAJAMAS_ATTENTION_ROWS * part_size;

    if (params->ith == 0) {
        ggml_threadpool_chunk_set(params->threadpool, params->nth);
    }
    ggml_barrier(params->threadpool);

    for (int64_t unit = params->ith; unit < n_slices * n_groups; unit = ggml_threadpool_chunk_add(params->threadpool, 1)) {
        const int64_t first = unit % n_slices * slice;
        const int64_t kv_head = unit / n_slices % n_kv_heads;
        const int64_t part = unit / n_slices / n_kv_heads % n_parts;
        const int64_t stream = unit / n_slices / n_kv_heads / n_parts;
        const int64_t n_rows = std::min(slice, n_alike - first);
        const int64_t begin = part * LLAMA_PAJAMAS_ATTENTION_PART;
        const int64_t end = n_parts > 1 ? std::min<int64_t>(begin + LLAMA_PAJAMAS_ATTENTION_PART, n_positions) : n_positions;
        llama_pajamas_attention_row rows[LLAMA_PAJAMAS_ATTENTION_ROWS];
        for (int64_t at = 0; at < n_rows; ++at) {
            const int64_t alike = (stream * n_kv_heads + kv_head) * n_alike + first + at;
            float * result = n_parts > 1 ? parts + (alike * n_parts + part) * part_size : of_slice + at * part_size;
            rows[at] = llama_pajamas_begin_row(op, stream, kv_head, first + at, op.sinks && part == 0, result,
                                               of_rows + at * (2 * LLAMA_PAJAMAS_ATTENTION_BLOCK + op.k->ne[0]));
        }
        llama_pajamas_attend(op, rows, n_rows, kv_head, stream / (n_streams / op.k->ne[3]), begin, end, scratch);
        for (int64_t at = 0; n_parts == 1 && at < n_rows; ++at) {
            llama_pajamas_finish_row(dst, stream, rows[at].token, rows[at].head, rows[at].result[1], rows[at].result + 2);
        }
    }
    if (n_parts == 1) {
        return true;
    }
    ggml_barrier(params->threadpool);

    for (int64_t alike = params->ith; alike < n_heads * n_tokens * n_streams; alike += params->nth) {
        float * row = parts + alike * n_parts * part_size;
        llama_pajamas_join_parts(row, n_parts, part_size);
        const int64_t n_shared = n_heads / n_kv_heads;
        const int64_t kv_head = alike / n_alike % n_kv_heads;
        const int64_t token = alike % n_alike / n_shared;
        llama_pajamas_finish_row(dst, alike / n_alike / n_kv_heads, token, kv_head * n_shared + alike % n_shared, row[1], row + 2);
    }
    return true;
}
