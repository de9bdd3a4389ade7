// A few rows by weights of Q4_K in ggml's layout of eight rows side by side: each block of weights is unpacked once for all of them.
//
// Owns: the kernel, whose sums have the terms and the order of ggml's for one row (ggml_gemv_q4_K_8x8_q8_K), so that they round alike. May
// know: ggml's blocks and its kernel for one row, beside which it is compiled (arch/x86/repack.cpp). Must not know: variants. ggml's for four
// rows rounds after each quarter of a block, and takes as long as four single ones less a fifth.

#pragma once

#include "few_rows.h"

// Where intrinsics are macros they stand for others (avx2_names.h).
#if defined(__AVX2__) && !defined(_mm256_add_epi16)

// 32 columns of eight rows of weights: levels, four columns at a time, and scales and minima (the latter in the upper half).
struct llama_pajamas_part_q4_k {
    __m256i levels[8];
    __m128i scales_and_minima;

    // `packed` has the levels of two parts; those of this one are some bits up.
    inline __attribute__((always_inline)) void unpack(const uint8_t * packed, const uint8_t * scales, int bits_up) {
        const __m128i shift = _mm_cvtsi32_si128(bits_up);
        const __m256i low = _mm256_set1_epi8(15);
        LLAMA_PAJAMAS_UNROLL
        for (int at = 0; at < 4; ++at) {
            const __m256i of_0123 = _mm256_loadu_si256((const __m256i *) (packed + 64 * at));
            const __m256i of_4567 = _mm256_loadu_si256((const __m256i *) (packed + 64 * at + 32));
            const __m256i a = _mm256_and_si256(_mm256_srl_epi16(of_0123, shift), low);
            const __m256i b = _mm256_and_si256(_mm256_srl_epi16(of_4567, shift), low);
            levels[2 * at] = _mm256_blend_epi32(a, _mm256_shuffle_epi32(b, 177), 170);
            levels[2 * at + 1] = _mm256_blend_epi32(_mm256_shuffle_epi32(a, 177), b, 170);
        }
        uint32_t bits[3];
        memcpy(bits, scales, sizeof(bits));
        scales_and_minima = _mm_set_epi32(((bits[2] >> 4) & 0x0f0f0f0f) | (((bits[1] >> 6) & 0x03030303) << 4), bits[1] & 0x3f3f3f3f,
                                          (bits[2] & 0x0f0f0f0f) | (((bits[0] >> 6) & 0x03030303) << 4), bits[0] & 0x3f3f3f3f);
    }

    // The sum over the columns, times the scales.
    inline __attribute__((always_inline)) __m256i by(const int8_t * row) const {
        const __m128i order = _mm_set_epi8(7, 7, 3, 3, 6, 6, 2, 2, 5, 5, 1, 1, 4, 4, 0, 0);
        const __m256i scales = _mm256_cvtepu8_epi16(_mm_shuffle_epi8(scales_and_minima, order));
        __m256i sum = _mm256_setzero_si256();
        LLAMA_PAJAMAS_UNROLL
        for (int at = 0; at < 8; ++at) {
            int32_t four;
            memcpy(&four, row + 4 * at, sizeof(four));
#if defined(__AVX512VNNI__) && defined(__AVX512VL__)
            sum = _mm256_dpbusd_epi32(sum, levels[at], _mm256_set1_epi32(four));
        }
        // Scales stand twice: their upper copies are taken away.
        return _mm256_mullo_epi32(sum, _mm256_srli_epi32(scales, 16));
#else
            sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(levels[at], _mm256_set1_epi32(four)));
        }
        return _mm256_madd_epi16(sum, scales);
#endif
    }
};

bool llama_pajamas_few_rows_q4_k(const struct llama_pajamas_product * p) {
    const int n = (int) p->n;
    const block_q8_K * rows[LLAMA_PAJAMAS_ROWS_AS_ONE];
    for (int row = 0; row < n; ++row) {
        rows[row] = (const block_q8_K *) p->rows + row * p->rows_stride;
    }
    const __m128i order = _mm_set_epi8(15, 14, 7, 6, 13, 12, 5, 4, 11, 10, 3, 2, 9, 8, 1, 0);
    const __m256i back = _mm256_set_epi32(7, 5, 3, 1, 6, 4, 2, 0);
    for (int64_t at = p->begin; at < p->end; at += 8) {
        const block_q4_Kx8 * x = (const block_q4_Kx8 *) p->weights + at / 8 * p->weights_stride;
        __m256 sums[LLAMA_PAJAMAS_ROWS_AS_ONE], minima[LLAMA_PAJAMAS_ROWS_AS_ONE];
        for (int row = 0; row < n; ++row) {
            sums[row] = minima[row] = _mm256_setzero_ps();
        }
        for (int64_t block = 0; block < p->k; ++block) {
            __m256i products[LLAMA_PAJAMAS_ROWS_AS_ONE], least[LLAMA_PAJAMAS_ROWS_AS_ONE];
            int32_t of_columns[LLAMA_PAJAMAS_ROWS_AS_ONE][4];
            __m128i of_minima[8];
            for (int row = 0; row < n; ++row) {
                const __m128i * of_16 = (const __m128i *) rows[row][block].bsums;
                _mm_storeu_si128((__m128i *) of_columns[row], _mm_hadd_epi16(_mm_loadu_si128(of_16), _mm_loadu_si128(of_16 + 1)));
                products[row] = least[row] = _mm256_setzero_si256();
            }
            for (int eighth = 0; eighth < 8; ++eighth) {
                llama_pajamas_part_q4_k part;
                part.unpack(x[block].qs + 256 * (eighth / 2), x[block].scales + 12 * eighth, 4 * (eighth % 2));
                of_minima[eighth] = _mm_cvtepu8_epi16(_mm_shuffle_epi32(part.scales_and_minima, 78));
                for (int row = 0; row < n; ++row) {
                    const __m256i sum = part.by(rows[row][block].qs + 32 * eighth);
                    products[row] = _mm256_add_epi32(products[row], sum);
                }
            }
            // Minima of two parts at a time, times what the row has there.
            for (int pair = 0; pair < 4; ++pair) {
                const __m128i a = of_minima[2 * pair];
                const __m128i b = of_minima[2 * pair + 1];
                const __m256i both = _mm256_set_m128i(_mm_unpackhi_epi16(a, b), _mm_unpacklo_epi16(a, b));
                for (int row = 0; row < n; ++row) {
                    least[row] = _mm256_add_epi32(least[row], _mm256_madd_epi16(both, _mm256_set1_epi32(of_columns[row][pair])));
                }
            }
            const __m256 units = GGML_F32Cx8_REARRANGE_LOAD(x[block].d, order);
            const __m256 units_of_minima = GGML_F32Cx8_LOAD(x[block].dmin);
            for (int row = 0; row < n; ++row) {
                const __m256 unit = _mm256_set1_ps(rows[row][block].d);
                sums[row] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(products[row]), _mm256_mul_ps(units, unit), sums[row]);
                minima[row] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(least[row]), _mm256_mul_ps(units_of_minima, unit), minima[row]);
            }
        }
        for (int row = 0; row < n; ++row) {
            const __m256 sum = _mm256_permutevar8x32_ps(sums[row], back);
            _mm256_storeu_ps(p->result + row * p->result_stride + at, _mm256_sub_ps(sum, minima[row]));
        }
    }
    return true;
}
#else
bool llama_pajamas_few_rows_q4_k(const struct llama_pajamas_product *) {
    return false;
}
#endif
