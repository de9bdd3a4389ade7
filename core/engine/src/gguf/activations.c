// Rounding activations to 8 bits as ggml's kernels with AVX do, for the x86-64 baseline.
//
// Owns: two functions that stand in for ggml's reference ones in that variant (build/compile.rs). May know: ggml's
// block layouts. Must not know: how models are stored; the quantizer's reference functions stay as they are.
//
// ggml has two formulas: with AVX a value is multiplied by 127/max and halves go to even; the reference multiplies by
// 1/(max/127) and rounds halves away from zero. Near a tie between two tokens that is enough to part two processors.

#include <emmintrin.h>
#include <stdint.h>

#define GGML_COMMON_DECL_C
#include "ggml-common.h"
#include "ggml.h"

#define BLOCK 32

// Rounds one block and returns the sum of what it wrote.
static int32_t round_block(const float * x, int8_t * quants, float * scale) {
    const __m128 sign = _mm_set1_ps(-0.0f);
    __m128 largest = _mm_setzero_ps();
    for (int i = 0; i < BLOCK; i += 4) {
        largest = _mm_max_ps(largest, _mm_andnot_ps(sign, _mm_loadu_ps(x + i)));
    }
    largest = _mm_max_ps(largest, _mm_movehl_ps(largest, largest));
    largest = _mm_max_ss(largest, _mm_shuffle_ps(largest, largest, 1));
    const float max = _mm_cvtss_f32(largest);
    *scale = max / 127.0f;
    const __m128 factor = _mm_set1_ps(max != 0.0f ? 127.0f / max : 0.0f);

    __m128i sums = _mm_setzero_si128();
    for (int i = 0; i < BLOCK; i += 16) {
        // The conversion rounds to nearest, halves to even.
        const __m128i a = _mm_cvtps_epi32(_mm_mul_ps(_mm_loadu_ps(x + i), factor));
        const __m128i b = _mm_cvtps_epi32(_mm_mul_ps(_mm_loadu_ps(x + i + 4), factor));
        const __m128i c = _mm_cvtps_epi32(_mm_mul_ps(_mm_loadu_ps(x + i + 8), factor));
        const __m128i d = _mm_cvtps_epi32(_mm_mul_ps(_mm_loadu_ps(x + i + 12), factor));
        sums = _mm_add_epi32(sums, _mm_add_epi32(_mm_add_epi32(a, b), _mm_add_epi32(c, d)));
        const __m128i bytes = _mm_packs_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d));
        _mm_storeu_si128((__m128i *) (quants + i), bytes);
    }
    sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, _MM_SHUFFLE(1, 0, 3, 2)));
    sums = _mm_add_epi32(sums, _mm_shuffle_epi32(sums, _MM_SHUFFLE(2, 3, 0, 1)));
    return _mm_cvtsi128_si32(sums);
}

void lp_activations_q8_0(const float * x, block_q8_0 * blocks, int64_t n) {
    for (int64_t i = 0; i < n / BLOCK; i++) {
        float scale;
        round_block(x + i * BLOCK, blocks[i].qs, &scale);
        blocks[i].d = ggml_fp32_to_fp16(scale);
    }
}

void lp_activations_q8_1(const float * x, block_q8_1 * blocks, int64_t n) {
    for (int64_t i = 0; i < n / BLOCK; i++) {
        float scale;
        const int32_t sum = round_block(x + i * BLOCK, blocks[i].qs, &scale);
        blocks[i].d = ggml_fp32_to_fp16(scale);
        blocks[i].s = ggml_fp32_to_fp16(scale * (float) sum);
    }
}
