// A few rows by weights of Q8_0 or Q6_K at once: each block of weights is unpacked once for all of them.
//
// Owns: kernels, whose sums have the terms and the order of ggml's for one row, so that they round alike. May know: ggml's blocks and
// its kernels for one row, beside which it is compiled (arch/x86/quants.c). Must not know: variants. ggml unpacks the weights anew for
// every row below eight rows, and in Q4_K_M files a quarter of the weights is Q6_K.

#pragma once

#include "few_rows.h"

// Where intrinsics are macros they stand for others (avx2_names.h).
#if defined(__AVX2__) && !defined(_mm256_add_epi16)
// Scales of rows that are kept as floats at once.
#define LLAMA_PAJAMAS_SCALES 4096

// Rows that are computed at once, by Q8_0.
#define LLAMA_PAJAMAS_TILE 4

static inline const char * llama_pajamas_row(const struct llama_pajamas_product * p, int64_t row, size_t block_size) {
    return (const char *) p->rows + row * p->rows_stride * (int64_t) block_size;
}

static inline const char * llama_pajamas_weights(const struct llama_pajamas_product * p, int64_t at, size_t block_size) {
    return (const char *) p->weights + at * p->weights_stride * (int64_t) block_size;
}

static void llama_pajamas_few_rows_q8_0(const struct llama_pajamas_product * p) {
    // By tiles, blocks and rows of a tile; rows that are lacking are the last one again.
    const block_q8_0 * rows[LLAMA_PAJAMAS_ROWS_AS_ONE];
    float scales[LLAMA_PAJAMAS_SCALES];
    for (int row = 0; row < LLAMA_PAJAMAS_ROWS_AS_ONE; ++row) {
        rows[row] = (const block_q8_0 *) llama_pajamas_row(p, row < p->n ? row : p->n - 1, sizeof(block_q8_0));
        float * of_row = scales + row / LLAMA_PAJAMAS_TILE * p->k * LLAMA_PAJAMAS_TILE + row % LLAMA_PAJAMAS_TILE;
        for (int64_t block = 0; block < p->k; ++block) {
            of_row[block * LLAMA_PAJAMAS_TILE] = GGML_CPU_FP16_TO_FP32(rows[row][block].d);
        }
    }
    for (int64_t at = p->begin; at < p->end; ++at) {
        const block_q8_0 * x = (const block_q8_0 *) llama_pajamas_weights(p, at, sizeof(block_q8_0));
        for (int first = 0; first < p->n; first += LLAMA_PAJAMAS_TILE) {
            const float * of_tile = scales + first * p->k;
            __m256 sums[LLAMA_PAJAMAS_TILE];
            LLAMA_PAJAMAS_UNROLL
            for (int row = 0; row < LLAMA_PAJAMAS_TILE; ++row) {
                sums[row] = _mm256_setzero_ps();
            }
            for (int64_t block = 0; block < p->k; ++block) {
                const float unit = GGML_CPU_FP16_TO_FP32(x[block].d);
                const __m256i levels = _mm256_loadu_si256((const __m256i *) x[block].qs);
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
                // Levels of rows are made positive by 128 more, which is taken off here.
                const __m256i top = _mm256_set1_epi8((char) 128);
                const __m256i zero = _mm256_setzero_si256();
                const __m256i start = _mm256_sub_epi32(zero, _mm256_dpbusd_epi32(zero, top, levels));
#else
                const __m256i size = _mm256_sign_epi8(levels, levels);
#endif
                LLAMA_PAJAMAS_UNROLL
                for (int row = 0; row < LLAMA_PAJAMAS_TILE; ++row) {
                    const __m256i of_row = _mm256_loadu_si256((const __m256i *) rows[first + row][block].qs);
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
                    const __m256i products = _mm256_dpbusd_epi32(start, _mm256_xor_si256(of_row, top), levels);
#else
                    const __m256i pairs = _mm256_maddubs_epi16(size, _mm256_sign_epi8(of_row, levels));
                    const __m256i products = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
#endif
                    const __m256 scale = _mm256_set1_ps(unit * of_tile[block * LLAMA_PAJAMAS_TILE + row]);
                    sums[row] = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(products), sums[row]);
                }
            }
            LLAMA_PAJAMAS_UNROLL
            for (int row = 0; row < LLAMA_PAJAMAS_TILE; ++row) {
                if (first + row < p->n) {
                    p->result[(first + row) * p->result_stride + at] = hsum_float_8(sums[row]);
                }
            }
        }
    }
}

static void llama_pajamas_few_rows_q6_k(const struct llama_pajamas_product * p) {
    const int n_rows = (int) p->n;
    const block_q8_K * rows[LLAMA_PAJAMAS_ROWS_AS_ONE];
    for (int row = 0; row < n_rows; ++row) {
        rows[row] = (const block_q8_K *) llama_pajamas_row(p, row, sizeof(block_q8_K));
    }
    const __m256i low = _mm256_set1_epi8(15);
    const __m256i high = _mm256_set1_epi8(3 << 4);
    const __m128i pair = _mm_set_epi64x(0x0101010101010101, 0);
    for (int64_t at = p->begin; at < p->end; ++at) {
        const block_q6_K * x = (const block_q6_K *) llama_pajamas_weights(p, at, sizeof(block_q6_K));
        __m256 sums[LLAMA_PAJAMAS_ROWS_AS_ONE];
        for (int row = 0; row < n_rows; ++row) {
            sums[row] = _mm256_setzero_ps();
        }
        for (int64_t block = 0; block < p->k; ++block) {
            const __m128i scales = _mm_loadu_si128((const __m128i *) x[block].scales);
            __m256i products[LLAMA_PAJAMAS_ROWS_AS_ONE];
            // Levels are stored 32 too high.
            const __m256i scales_16 = _mm256_cvtepi8_epi16(scales);
            for (int row = 0; row < n_rows; ++row) {
                const __m256i of_groups = _mm256_loadu_si256((const __m256i *) rows[row][block].bsums);
                products[row] = _mm256_sub_epi32(_mm256_setzero_si256(),
                                                 _mm256_slli_epi32(_mm256_madd_epi16(of_groups, scales_16), 5));
            }
            for (int half = 0; half < 2; ++half) {
                const __m256i low_1 = _mm256_loadu_si256((const __m256i *) (x[block].ql + 64 * half));
                const __m256i low_2 = _mm256_loadu_si256((const __m256i *) (x[block].ql + 64 * half + 32));
                const __m256i highs = _mm256_loadu_si256((const __m256i *) (x[block].qh + 32 * half));
                const __m256i levels[4] = {
                    _mm256_or_si256(_mm256_and_si256(low_1, low), _mm256_and_si256(_mm256_slli_epi16(highs, 4), high)),
                    _mm256_or_si256(_mm256_and_si256(low_2, low), _mm256_and_si256(_mm256_slli_epi16(highs, 2), high)),
                    _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(low_1, 4), low), _mm256_and_si256(highs, high)),
                    _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(low_2, 4), low),
                                    _mm256_and_si256(_mm256_srli_epi16(highs, 2), high)),
                };
                __m256i of_levels[4];
                for (int part = 0; part < 4; ++part) {
                    const __m128i which = _mm_add_epi8(pair, _mm_set1_epi8((char) (8 * half + 2 * part)));
                    of_levels[part] = _mm256_cvtepi8_epi16(_mm_shuffle_epi8(scales, which));
                }
                for (int row = 0; row < n_rows; ++row) {
                    const __m256i * q8 = (const __m256i *) (rows[row][block].qs + 128 * half);
                    __m256i sum = products[row];
                    LLAMA_PAJAMAS_UNROLL
                    for (int part = 0; part < 4; ++part) {
                        const __m256i product = _mm256_maddubs_epi16(levels[part], _mm256_loadu_si256(q8 + part));
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
                        sum = _mm256_dpwssd_epi32(sum, of_levels[part], product);
#else
                        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(of_levels[part], product));
#endif
                    }
                    products[row] = sum;
                }
            }
            const float unit = GGML_CPU_FP16_TO_FP32(x[block].d);
            for (int row = 0; row < n_rows; ++row) {
                const __m256 scale = _mm256_set1_ps(rows[row][block].d * unit);
                sums[row] = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(products[row]), sums[row]);
            }
        }
        for (int row = 0; row < n_rows; ++row) {
            p->result[row * p->result_stride + at] = hsum_float_8(sums[row]);
        }
    }
}

bool llama_pajamas_few_rows(const struct llama_pajamas_product * p) {
    const bool is_q6_k = p->weights_type == GGML_TYPE_Q6_K && p->rows_type == GGML_TYPE_Q8_K;
    const bool is_q8_0 = p->weights_type == GGML_TYPE_Q8_0 && p->rows_type == GGML_TYPE_Q8_0 &&
                         p->k * LLAMA_PAJAMAS_ROWS_AS_ONE <= LLAMA_PAJAMAS_SCALES;
    if (p->n < 2 || p->n > LLAMA_PAJAMAS_ROWS_AS_ONE || !(is_q6_k || is_q8_0)) {
        return false;
    }
    is_q6_k ? llama_pajamas_few_rows_q6_k(p) : llama_pajamas_few_rows_q8_0(p);
    return true;
}
#else
bool llama_pajamas_few_rows(const struct llama_pajamas_product * p) {
    UNUSED(p);
    return false;
}
#endif
