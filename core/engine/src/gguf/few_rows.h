// A few rows by weights of Q6_K at once: each block of weights is unpacked once for all of them.
//
// Owns: the kernel, whose sums have the terms and the order of ggml's for one row (ggml_vec_dot_q6_K_q8_K, arch/x86/quants.c), so that
// they round alike. May know: ggml's blocks, and the function for products of matrices that asks it first (llamafile/sgemm.cpp).
// Must not know: variants. ggml unpacks the weights anew for every row below eight rows, and in Q4_K_M files a quarter of the
// weights is of this type.

#pragma once

// Where intrinsics are macros they stand for others (avx2_names.h).
#if defined(__AVX2__) && !defined(_mm256_add_epi16)
static float llama_pajamas_sum(__m256 values) {
    __m128 sum = _mm_add_ps(_mm256_extractf128_ps(values, 1), _mm256_castps256_ps128(values));
    sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    return _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)));
}

// `m` rows of weights of `k` blocks by `n` rows of as many blocks of Q8_K; false where it is for others.
static bool llama_pajamas_few_rows(const ggml_compute_params * params, int64_t m, int64_t n, int64_t k, const void * weights,
                                   int64_t weights_stride, const void * rows, int64_t rows_stride, float * result,
                                   int64_t result_stride, int weights_type, int rows_type) {
    if (weights_type != GGML_TYPE_Q6_K || rows_type != GGML_TYPE_Q8_K || n < 2 || n > LLAMA_PAJAMAS_ROWS_AS_ONE) {
        return false;
    }
    const __m256i low = _mm256_set1_epi8(15);
    const __m256i high = _mm256_set1_epi8(3 << 4);
    const __m128i pair = _mm_set_epi64x(0x0101010101010101, 0);
    const int64_t begin = m * params->ith / params->nth;
    const int64_t end = m * (params->ith + 1) / params->nth;
    for (int64_t at = begin; at < end; ++at) {
        const block_q6_K * x = (const block_q6_K *) weights + at * weights_stride;
        const block_q8_K * y = (const block_q8_K *) rows;
        __m256 sums[LLAMA_PAJAMAS_ROWS_AS_ONE];
        for (int64_t row = 0; row < n; ++row) {
            sums[row] = _mm256_setzero_ps();
        }
        for (int64_t block = 0; block < k; ++block) {
            const __m128i scales = _mm_loadu_si128((const __m128i *) x[block].scales);
            __m256i products[LLAMA_PAJAMAS_ROWS_AS_ONE];
            // Levels are stored 32 too high.
            const __m256i scales_16 = _mm256_cvtepi8_epi16(scales);
            for (int64_t row = 0; row < n; ++row) {
                const __m256i of_groups = _mm256_loadu_si256((const __m256i *) y[row * rows_stride + block].bsums);
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
                for (int64_t row = 0; row < n; ++row) {
                    const __m256i * q8 = (const __m256i *) (y[row * rows_stride + block].qs + 128 * half);
                    __m256i sum = products[row];
                    for (int part = 0; part < 4; ++part) {
                        const __m256i product = _mm256_maddubs_epi16(levels[part], _mm256_loadu_si256(q8 + part));
                        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(of_levels[part], product));
                    }
                    products[row] = sum;
                }
            }
            const float unit = GGML_CPU_FP16_TO_FP32(x[block].d);
            for (int64_t row = 0; row < n; ++row) {
                const __m256 scale = _mm256_set1_ps(y[row * rows_stride + block].d * unit);
                sums[row] = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(products[row]), sums[row]);
            }
        }
        for (int64_t row = 0; row < n; ++row) {
            result[row * result_stride + at] = llama_pajamas_sum(sums[row]);
        }
    }
    return true;
}
#else
static bool llama_pajamas_few_rows(const ggml_compute_params *, int64_t, int64_t, int64_t, const void *, int64_t, const void *,
                                   int64_t, float *, int64_t, int, int) {
    return false;
}
#endif
