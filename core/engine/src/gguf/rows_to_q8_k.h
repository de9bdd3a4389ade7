// Rows of floats to blocks of Q8_K, which products with K-quants take: ggml has a loop over numbers for it, built without AVX2.
//
// Owns: the same rounding by vectors, with the same bytes. May know: ggml's blocks, and the file that it is compiled in
// (arch/x86/quants.c). Must not know: variants. It was a fifth of the time of eight tokens together.

#pragma once

// Where intrinsics are macros they stand for others (avx2_names.h).
#if defined(__AVX2__) && !defined(_mm256_add_epi16)
static void llama_pajamas_row_to_q8_k(const float * x, block_q8_K * y, int64_t k) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    for (int64_t block = 0; block < k / QK_K; ++block, x += QK_K, ++y) {
        __m256 largest = _mm256_setzero_ps();
        for (int at = 0; at < QK_K; at += 8) {
            // Where one is not a number the other is taken.
            largest = _mm256_max_ps(_mm256_andnot_ps(sign, _mm256_loadu_ps(x + at)), largest);
        }
        __m128 four = _mm_max_ps(_mm256_castps256_ps128(largest), _mm256_extractf128_ps(largest, 1));
        four = _mm_max_ps(four, _mm_movehl_ps(four, four));
        const float size = _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
        if (size == 0.0f) {
            quantize_row_q8_K_ref(x, y, QK_K);
            continue;
        }
        // The first of this size tells the sign.
        int first = 0, found = 0;
        while (found == 0) {
            const __m256 sizes = _mm256_andnot_ps(sign, _mm256_loadu_ps(x + first));
            found = _mm256_movemask_ps(_mm256_cmp_ps(sizes, _mm256_set1_ps(size), _CMP_EQ_OQ));
            first += found == 0 ? 8 : __builtin_ctz(found);
        }
        const float scale = -127.0f / x[first];
        const __m256 scales = _mm256_set1_ps(scale);
        const __m256i order = _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0);
        for (int at = 0; at < QK_K; at += 32) {
            __m256i rounded[4];
            for (int part = 0; part < 4; ++part) {
                rounded[part] = _mm256_cvtps_epi32(_mm256_mul_ps(scales, _mm256_loadu_ps(x + at + 8 * part)));
            }
            const __m256i packed = _mm256_packs_epi16(_mm256_packs_epi32(rounded[0], rounded[1]), _mm256_packs_epi32(rounded[2], rounded[3]));
            const __m256i levels = _mm256_permutevar8x32_epi32(packed, order);
            _mm256_storeu_si256((__m256i *) (y->qs + at), levels);
            const __m256i pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), levels);
            __m256i sums = _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
            sums = _mm256_hadd_epi32(sums, sums);
            sums = _mm256_hadd_epi32(sums, sums);
            y->bsums[at / 16] = (int16_t) _mm_cvtsi128_si32(_mm256_castsi256_si128(sums));
            y->bsums[at / 16 + 1] = (int16_t) _mm_cvtsi128_si32(_mm256_extracti128_si256(sums, 1));
        }
        y->d = 1 / scale;
    }
}
#else
static void llama_pajamas_row_to_q8_k(const float * x, block_q8_K * y, int64_t k) {
    quantize_row_q8_K_ref(x, y, k);
}
#endif
