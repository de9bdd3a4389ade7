// AVX2, FMA and F16C for processors that have only the instructions of the x86-64 baseline: 256-bit vectors as pairs of
// 128-bit ones, lane for lane.
//
// Owns: the intrinsics that ggml's kernels use, under their own names. May know: SSE2. Must not know: ggml.
//
// Compiled before every file of that variant (build/compile.rs), it makes ggml take its kernels for AVX2, so that every
// sum has the same terms in the same order on every processor. A product is added in 64-bit floats, in which it is exact,
// and rounded once more: unlike a fused addition only where the 64-bit sum lies halfway between two 32-bit floats.

#pragma once

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

#define __AVX__ 1
#define __AVX2__ 1
#define __FMA__ 1
#define __F16C__ 1

#define LP static inline __attribute__((always_inline, unused))
// Long ones stand once in each file.
#define LP_CALL static __attribute__((noinline, unused))

typedef struct { __m128 lo, hi; } lp_m256;
typedef struct { __m128i lo, hi; } lp_m256i;
#define __m256 lp_m256
#define __m256i lp_m256i

LP lp_m256 lp_pair(__m128 lo, __m128 hi) { lp_m256 r; r.lo = lo; r.hi = hi; return r; }
LP lp_m256i lp_pair_i(__m128i lo, __m128i hi) { lp_m256i r; r.lo = lo; r.hi = hi; return r; }

// Both halves by one 128-bit function.
#define LP_F2(name, half) LP lp_m256 lp256_##name(lp_m256 a, lp_m256 b) { return lp_pair(half(a.lo, b.lo), half(a.hi, b.hi)); }
#define LP_I2(name, half) LP lp_m256i lp256_##name(lp_m256i a, lp_m256i b) { return lp_pair_i(half(a.lo, b.lo), half(a.hi, b.hi)); }

// ---- what SSSE3 and SSE4.1 have

LP __m128i lp_select(__m128i mask, __m128i a, __m128i b) { return _mm_or_si128(_mm_and_si128(mask, a), _mm_andnot_si128(mask, b)); }

LP __m128i lp_maddubs_epi16(__m128i a, __m128i b) {
    const __m128i even = _mm_mullo_epi16(_mm_and_si128(a, _mm_set1_epi16(0xff)), _mm_srai_epi16(_mm_slli_epi16(b, 8), 8));
    const __m128i odd = _mm_mullo_epi16(_mm_srli_epi16(a, 8), _mm_srai_epi16(b, 8));
    return _mm_adds_epi16(even, odd);
}

LP __m128i lp_sign_epi8(__m128i a, __m128i b) {
    const __m128i negative = _mm_cmpgt_epi8(_mm_setzero_si128(), b);
    const __m128i signed_a = _mm_sub_epi8(_mm_xor_si128(a, negative), negative);
    return _mm_andnot_si128(_mm_cmpeq_epi8(b, _mm_setzero_si128()), signed_a);
}

LP __m128i lp_shuffle_epi8(__m128i a, __m128i index) {
    uint8_t from[16], at[16], to[16];
    _mm_storeu_si128((__m128i *) from, a);
    _mm_storeu_si128((__m128i *) at, index);
    for (int i = 0; i < 16; i++) {
        to[i] = at[i] & 0x80 ? 0 : from[at[i] & 15];
    }
    return _mm_loadu_si128((const __m128i *) to);
}

LP __m128i lp_cvtepi8_epi16(__m128i a) { return _mm_srai_epi16(_mm_unpacklo_epi8(a, a), 8); }
LP __m128i lp_cvtepu8_epi16(__m128i a) { return _mm_unpacklo_epi8(a, _mm_setzero_si128()); }
LP __m128i lp_cvtepi16_epi32(__m128i a) { return _mm_srai_epi32(_mm_unpacklo_epi16(a, a), 16); }
LP __m128i lp_cvtepu16_epi32(__m128i a) { return _mm_unpacklo_epi16(a, _mm_setzero_si128()); }

LP __m128i lp_mullo_epi32(__m128i a, __m128i b) {
    const __m128i even = _mm_mul_epu32(a, b);
    const __m128i odd = _mm_mul_epu32(_mm_srli_epi64(a, 32), _mm_srli_epi64(b, 32));
    return _mm_unpacklo_epi32(_mm_shuffle_epi32(even, 8), _mm_shuffle_epi32(odd, 8));
}

LP __m128 lp_hadd_ps(__m128 a, __m128 b) {
    return _mm_add_ps(_mm_shuffle_ps(a, b, _MM_SHUFFLE(2, 0, 2, 0)), _mm_shuffle_ps(a, b, _MM_SHUFFLE(3, 1, 3, 1)));
}
LP __m128i lp_hadd_epi32(__m128i a, __m128i b) {
    const __m128 x = _mm_castsi128_ps(a), y = _mm_castsi128_ps(b);
    return _mm_add_epi32(_mm_castps_si128(_mm_shuffle_ps(x, y, _MM_SHUFFLE(2, 0, 2, 0))),
                         _mm_castps_si128(_mm_shuffle_ps(x, y, _MM_SHUFFLE(3, 1, 3, 1))));
}
LP __m128i lp_hadd_epi16(__m128i a, __m128i b) {
    const __m128i x = _mm_add_epi16(a, _mm_srli_epi32(a, 16)), y = _mm_add_epi16(b, _mm_srli_epi32(b, 16));
    return _mm_packs_epi32(_mm_srai_epi32(_mm_slli_epi32(x, 16), 16), _mm_srai_epi32(_mm_slli_epi32(y, 16), 16));
}
LP __m128 lp_movehdup_ps(__m128 a) { return _mm_shuffle_ps(a, a, _MM_SHUFFLE(3, 3, 1, 1)); }

// Rounds to nearest, halves to even; numbers of 2^23 and more are whole.
LP __m128 lp_nearest_ps(__m128 a) {
    const __m128 sign = _mm_and_ps(a, _mm_set1_ps(-0.0f));
    const __m128 bias = _mm_or_ps(_mm_set1_ps(8388608.0f), sign);
    const __m128 rounded = _mm_or_ps(_mm_sub_ps(_mm_add_ps(a, bias), bias), sign);
    const __m128 small = _mm_cmplt_ps(_mm_andnot_ps(_mm_set1_ps(-0.0f), a), _mm_set1_ps(8388608.0f));
    return _mm_or_ps(_mm_and_ps(small, rounded), _mm_andnot_ps(small, a));
}

LP __m128i lp_maskload_epi32(const void * p, __m128i mask) {
    int32_t keep[4], values[4] = { 0, 0, 0, 0 };
    _mm_storeu_si128((__m128i *) keep, mask);
    for (int i = 0; i < 4; i++) {
        if (keep[i] < 0) { memcpy(&values[i], (const char *) p + 4 * i, 4); }
    }
    return _mm_loadu_si128((const __m128i *) values);
}
LP __m128 lp_maskload_ps(const float * p, __m128i mask) { return _mm_castsi128_ps(lp_maskload_epi32(p, mask)); }
LP void lp_maskstore_ps(float * p, __m128i mask, __m128 a) {
    int32_t keep[4];
    float values[4];
    _mm_storeu_si128((__m128i *) keep, mask);
    _mm_storeu_ps(values, a);
    for (int i = 0; i < 4; i++) {
        if (keep[i] < 0) { p[i] = values[i]; }
    }
}

#define LP_LANE_MASK(imm) _mm_set_epi32((imm) & 8 ? -1 : 0, (imm) & 4 ? -1 : 0, (imm) & 2 ? -1 : 0, (imm) & 1 ? -1 : 0)
#define LP_WORD_MASK(imm) _mm_set_epi16((imm) & 128 ? -1 : 0, (imm) & 64 ? -1 : 0, (imm) & 32 ? -1 : 0, (imm) & 16 ? -1 : 0, \
                                        (imm) & 8 ? -1 : 0, (imm) & 4 ? -1 : 0, (imm) & 2 ? -1 : 0, (imm) & 1 ? -1 : 0)

// ---- FMA

LP __m128 lp_fmadd_ps(__m128 a, __m128 b, __m128 c) {
    const __m128d lo = _mm_add_pd(_mm_mul_pd(_mm_cvtps_pd(a), _mm_cvtps_pd(b)), _mm_cvtps_pd(c));
    const __m128d hi = _mm_add_pd(_mm_mul_pd(_mm_cvtps_pd(_mm_movehl_ps(a, a)), _mm_cvtps_pd(_mm_movehl_ps(b, b))),
                                  _mm_cvtps_pd(_mm_movehl_ps(c, c)));
    return _mm_movelh_ps(_mm_cvtpd_ps(lo), _mm_cvtpd_ps(hi));
}
LP __m128 lp_fnmadd_ps(__m128 a, __m128 b, __m128 c) { return lp_fmadd_ps(_mm_xor_ps(a, _mm_set1_ps(-0.0f)), b, c); }

// ---- F16C

// The exponent is moved by a product, which also makes denormals whole.
LP __m128 lp_cvtph_ps(__m128i a) {
    const __m128i h = _mm_unpacklo_epi16(a, _mm_setzero_si128());
    const __m128i magnitude = _mm_and_si128(h, _mm_set1_epi32(0x7fff));
    const __m128i sign = _mm_slli_epi32(_mm_and_si128(h, _mm_set1_epi32(0x8000)), 16);
    const __m128 scale = _mm_castsi128_ps(_mm_set1_epi32((254 - 15) << 23));
    const __m128 value = _mm_mul_ps(_mm_castsi128_ps(_mm_slli_epi32(magnitude, 13)), scale);
    const __m128i infinite = _mm_and_si128(_mm_cmpgt_epi32(magnitude, _mm_set1_epi32(0x7bff)), _mm_set1_epi32(0x7f800000));
    return _mm_castsi128_ps(_mm_or_si128(_mm_or_si128(_mm_castps_si128(value), infinite), sign));
}

LP uint16_t lp_half(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) { return (uint16_t) (sign | 0x7e00 | (magnitude >> 13 & 0x3ff)); }
    if (magnitude >= 0x477ff000) { return (uint16_t) (sign | 0x7c00); }
    if (magnitude < 0x38800000) {
        // Adding 1/2 lets the addition round to the last bit of a denormal.
        float m, half = 0.5f;
        memcpy(&m, &magnitude, 4);
        m += half;
        uint32_t sum;
        memcpy(&sum, &m, 4);
        return (uint16_t) (sign | (sum - 0x3f000000));
    }
    return (uint16_t) (sign | ((magnitude - 0x38000000 + 0xfff + (magnitude >> 13 & 1)) >> 13));
}
LP __m128i lp_cvtps_ph(__m128 a) {
    float values[4];
    uint16_t halves[8] = { 0, 0, 0, 0, 0, 0, 0, 0 };
    _mm_storeu_ps(values, a);
    for (int i = 0; i < 4; i++) { halves[i] = lp_half(values[i]); }
    return _mm_loadu_si128((const __m128i *) halves);
}
LP float lp_cvtsh_ss(uint16_t h) { return _mm_cvtss_f32(lp_cvtph_ps(_mm_cvtsi32_si128(h))); }

// ---- 256 bits: making, reading, writing

LP lp_m256 lp256_setzero_ps(void) { return lp_pair(_mm_setzero_ps(), _mm_setzero_ps()); }
LP lp_m256i lp256_setzero_si256(void) { return lp_pair_i(_mm_setzero_si128(), _mm_setzero_si128()); }
LP lp_m256 lp256_set1_ps(float x) { const __m128 v = _mm_set1_ps(x); return lp_pair(v, v); }
LP lp_m256i lp256_set1_epi8(char x) { const __m128i v = _mm_set1_epi8(x); return lp_pair_i(v, v); }
LP lp_m256i lp256_set1_epi16(short x) { const __m128i v = _mm_set1_epi16(x); return lp_pair_i(v, v); }
LP lp_m256i lp256_set1_epi32(int x) { const __m128i v = _mm_set1_epi32(x); return lp_pair_i(v, v); }
LP lp_m256i lp256_set1_epi64x(long long x) { const __m128i v = _mm_set1_epi64x(x); return lp_pair_i(v, v); }
LP lp_m256 lp256_set_ps(float h, float g, float f, float e, float d, float c, float b, float a) {
    return lp_pair(_mm_set_ps(d, c, b, a), _mm_set_ps(h, g, f, e));
}
LP lp_m256i lp256_set_epi32(int h, int g, int f, int e, int d, int c, int b, int a) {
    return lp_pair_i(_mm_set_epi32(d, c, b, a), _mm_set_epi32(h, g, f, e));
}
LP lp_m256i lp256_set_epi64x(long long d, long long c, long long b, long long a) {
    return lp_pair_i(_mm_set_epi64x(b, a), _mm_set_epi64x(d, c));
}
#define lp256_setr_ps(a, b, c, d, e, f, g, h) lp256_set_ps(h, g, f, e, d, c, b, a)
#define lp256_setr_epi32(a, b, c, d, e, f, g, h) lp256_set_epi32(h, g, f, e, d, c, b, a)
#define lp256_set_epi16(p, o, n, m, l, k, j, i, h, g, f, e, d, c, b, a) \
    lp_pair_i(_mm_set_epi16(h, g, f, e, d, c, b, a), _mm_set_epi16(p, o, n, m, l, k, j, i))
#define lp256_setr_epi8(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, \
                        b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, b13, b14, b15) \
    lp_pair_i(_mm_setr_epi8(a0, a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15), \
              _mm_setr_epi8(b0, b1, b2, b3, b4, b5, b6, b7, b8, b9, b10, b11, b12, b13, b14, b15))
LP lp_m256 lp256_set_m128(__m128 hi, __m128 lo) { return lp_pair(lo, hi); }
LP lp_m256i lp256_set_m128i(__m128i hi, __m128i lo) { return lp_pair_i(lo, hi); }

LP lp_m256 lp256_loadu_ps(const float * p) { return lp_pair(_mm_loadu_ps(p), _mm_loadu_ps(p + 4)); }
LP lp_m256i lp256_loadu_si256(const void * p) {
    return lp_pair_i(_mm_loadu_si128((const __m128i *) p), _mm_loadu_si128((const __m128i *) ((const char *) p + 16)));
}
LP void lp256_storeu_ps(float * p, lp_m256 a) { _mm_storeu_ps(p, a.lo); _mm_storeu_ps(p + 4, a.hi); }
LP void lp256_storeu_si256(void * p, lp_m256i a) {
    _mm_storeu_si128((__m128i *) p, a.lo);
    _mm_storeu_si128((__m128i *) ((char *) p + 16), a.hi);
}
LP lp_m256 lp256_broadcast_ss(const float * p) { return lp256_set1_ps(*p); }
LP lp_m256 lp256_maskload_ps(const float * p, lp_m256i mask) {
    return lp_pair(lp_maskload_ps(p, mask.lo), lp_maskload_ps(p + 4, mask.hi));
}
LP void lp256_maskstore_ps(float * p, lp_m256i mask, lp_m256 a) {
    lp_maskstore_ps(p, mask.lo, a.lo);
    lp_maskstore_ps(p + 4, mask.hi, a.hi);
}

LP lp_m256 lp256_castsi256_ps(lp_m256i a) { return lp_pair(_mm_castsi128_ps(a.lo), _mm_castsi128_ps(a.hi)); }
LP lp_m256i lp256_castps_si256(lp_m256 a) { return lp_pair_i(_mm_castps_si128(a.lo), _mm_castps_si128(a.hi)); }
LP lp_m256i lp256_castsi128_si256(__m128i a) { return lp_pair_i(a, _mm_setzero_si128()); }
LP lp_m256 lp256_castps128_ps256(__m128 a) { return lp_pair(a, _mm_setzero_ps()); }
LP __m128i lp256_castsi256_si128(lp_m256i a) { return a.lo; }
LP __m128 lp256_castps256_ps128(lp_m256 a) { return a.lo; }
#define lp256_extractf128_ps(a, at) ((at) ? (a).hi : (a).lo)
#define lp256_extract128(a, at) ((at) ? (a).hi : (a).lo)
LP lp_m256i lp_insert(lp_m256i a, __m128i b, int at) { return at ? lp_pair_i(a.lo, b) : lp_pair_i(b, a.hi); }
LP lp_m256 lp_insert_ps(lp_m256 a, __m128 b, int at) { return at ? lp_pair(a.lo, b) : lp_pair(b, a.hi); }
LP __m128i lp_half_of(lp_m256i a, lp_m256i b, int which) {
    if (which & 8) { return _mm_setzero_si128(); }
    return which & 2 ? (which & 1 ? b.hi : b.lo) : (which & 1 ? a.hi : a.lo);
}
LP lp_m256i lp256_permute2f128_si256(lp_m256i a, lp_m256i b, int which) {
    return lp_pair_i(lp_half_of(a, b, which), lp_half_of(a, b, which >> 4));
}
LP lp_m256 lp256_permute2f128_ps(lp_m256 a, lp_m256 b, int which) {
    return lp256_castsi256_ps(lp256_permute2f128_si256(lp256_castps_si256(a), lp256_castps_si256(b), which));
}

// ---- 256 bits: lane by lane

LP_F2(add_ps, _mm_add_ps) LP_F2(sub_ps, _mm_sub_ps) LP_F2(mul_ps, _mm_mul_ps) LP_F2(div_ps, _mm_div_ps)
LP_F2(max_ps, _mm_max_ps) LP_F2(and_ps, _mm_and_ps) LP_F2(or_ps, _mm_or_ps) LP_F2(andnot_ps, _mm_andnot_ps)
LP_I2(add_epi8, _mm_add_epi8) LP_I2(add_epi16, _mm_add_epi16) LP_I2(add_epi32, _mm_add_epi32)
LP_I2(sub_epi8, _mm_sub_epi8) LP_I2(sub_epi16, _mm_sub_epi16) LP_I2(sub_epi32, _mm_sub_epi32)
LP_I2(subs_epu8, _mm_subs_epu8) LP_I2(avg_epu8, _mm_avg_epu8) LP_I2(mullo_epi16, _mm_mullo_epi16)
LP_I2(mullo_epi32, lp_mullo_epi32) LP_I2(madd_epi16, _mm_madd_epi16) LP_I2(maddubs_epi16, lp_maddubs_epi16)
LP_I2(sign_epi8, lp_sign_epi8) LP_I2(and_si256, _mm_and_si128) LP_I2(or_si256, _mm_or_si128)
LP_I2(xor_si256, _mm_xor_si128) LP_I2(andnot_si256, _mm_andnot_si128) LP_I2(cmpeq_epi8, _mm_cmpeq_epi8)
LP_I2(cmpeq_epi32, _mm_cmpeq_epi32) LP_I2(cmpgt_epi32, _mm_cmpgt_epi32) LP_I2(packs_epi16, _mm_packs_epi16)
LP_I2(packs_epi32, _mm_packs_epi32) LP_I2(unpacklo_epi8, _mm_unpacklo_epi8) LP_I2(mulhi_epu16, _mm_mulhi_epu16)

LP_CALL lp_m256i lp256_shuffle_epi8(lp_m256i a, lp_m256i index) {
    return lp_pair_i(lp_shuffle_epi8(a.lo, index.lo), lp_shuffle_epi8(a.hi, index.hi));
}
LP lp_m256 lp256_fmadd_ps(lp_m256 a, lp_m256 b, lp_m256 c) {
    return lp_pair(lp_fmadd_ps(a.lo, b.lo, c.lo), lp_fmadd_ps(a.hi, b.hi, c.hi));
}
LP lp_m256 lp256_fnmadd_ps(lp_m256 a, lp_m256 b, lp_m256 c) {
    return lp_pair(lp_fnmadd_ps(a.lo, b.lo, c.lo), lp_fnmadd_ps(a.hi, b.hi, c.hi));
}
LP lp_m256 lp256_cvtph_ps(__m128i a) { return lp_pair(lp_cvtph_ps(a), lp_cvtph_ps(_mm_srli_si128(a, 8))); }
LP __m128i lp_halves(lp_m256 a) { return _mm_unpacklo_epi64(lp_cvtps_ph(a.lo), lp_cvtps_ph(a.hi)); }
LP lp_m256 lp256_cvtepi32_ps(lp_m256i a) { return lp_pair(_mm_cvtepi32_ps(a.lo), _mm_cvtepi32_ps(a.hi)); }
LP lp_m256i lp256_cvtps_epi32(lp_m256 a) { return lp_pair_i(_mm_cvtps_epi32(a.lo), _mm_cvtps_epi32(a.hi)); }
LP lp_m256i lp256_cvtepi8_epi16(__m128i a) { return lp_pair_i(lp_cvtepi8_epi16(a), lp_cvtepi8_epi16(_mm_srli_si128(a, 8))); }
LP lp_m256i lp256_cvtepu8_epi16(__m128i a) { return lp_pair_i(lp_cvtepu8_epi16(a), lp_cvtepu8_epi16(_mm_srli_si128(a, 8))); }
LP lp_m256i lp256_cvtepi16_epi32(__m128i a) { return lp_pair_i(lp_cvtepi16_epi32(a), lp_cvtepi16_epi32(_mm_srli_si128(a, 8))); }
LP lp_m256i lp256_cvtepu16_epi32(__m128i a) { return lp_pair_i(lp_cvtepu16_epi32(a), lp_cvtepu16_epi32(_mm_srli_si128(a, 8))); }
LP lp_m256i lp256_cvtepi8_epi32(__m128i a) { return lp256_cvtepi16_epi32(lp_cvtepi8_epi16(a)); }
LP lp_m256i lp256_cvtepi8_epi64(__m128i a) {
    int8_t from[16];
    _mm_storeu_si128((__m128i *) from, a);
    return lp256_set_epi64x(from[3], from[2], from[1], from[0]);
}
LP int lp256_movemask_ps(lp_m256 a) { return _mm_movemask_ps(a.lo) | _mm_movemask_ps(a.hi) << 4; }

LP lp_m256i lp256_slli_epi16(lp_m256i a, int n) { return lp_pair_i(_mm_slli_epi16(a.lo, n), _mm_slli_epi16(a.hi, n)); }
LP lp_m256i lp256_srli_epi16(lp_m256i a, int n) { return lp_pair_i(_mm_srli_epi16(a.lo, n), _mm_srli_epi16(a.hi, n)); }
LP lp_m256i lp256_slli_epi32(lp_m256i a, int n) { return lp_pair_i(_mm_slli_epi32(a.lo, n), _mm_slli_epi32(a.hi, n)); }
LP lp_m256i lp256_srli_epi32(lp_m256i a, int n) { return lp_pair_i(_mm_srli_epi32(a.lo, n), _mm_srli_epi32(a.hi, n)); }
LP lp_m256i lp256_srli_epi64(lp_m256i a, int n) { return lp_pair_i(_mm_srli_epi64(a.lo, n), _mm_srli_epi64(a.hi, n)); }
#define lp256_bsrli_epi128(a, n) lp_pair_i(_mm_srli_si128((a).lo, n), _mm_srli_si128((a).hi, n))
LP lp_m256i lp256_sllv_epi32(lp_m256i a, lp_m256i n) {
    uint32_t values[8], by[8];
    lp256_storeu_si256(values, a);
    lp256_storeu_si256(by, n);
    for (int i = 0; i < 8; i++) { values[i] = by[i] < 32 ? values[i] << by[i] : 0; }
    return lp256_loadu_si256(values);
}
LP lp_m256i lp256_srlv_epi64(lp_m256i a, lp_m256i n) {
    uint64_t values[4], by[4];
    lp256_storeu_si256(values, a);
    lp256_storeu_si256(by, n);
    for (int i = 0; i < 4; i++) { values[i] = by[i] < 64 ? values[i] >> by[i] : 0; }
    return lp256_loadu_si256(values);
}
LP_CALL lp_m256i lp256_permutevar8x32_epi32(lp_m256i a, lp_m256i index) {
    uint32_t from[8], at[8], to[8];
    lp256_storeu_si256(from, a);
    lp256_storeu_si256(at, index);
    for (int i = 0; i < 8; i++) { to[i] = from[at[i] & 7]; }
    return lp256_loadu_si256(to);
}
LP lp_m256 lp256_permutevar8x32_ps(lp_m256 a, lp_m256i index) {
    return lp256_castsi256_ps(lp256_permutevar8x32_epi32(lp256_castps_si256(a), index));
}
#define lp256_shuffle_epi32(a, order) lp_pair_i(_mm_shuffle_epi32((a).lo, order), _mm_shuffle_epi32((a).hi, order))
LP lp_m256 lp_shuffled(__m128 lo, __m128 hi) { return lp_pair(lo, hi); }
#define lp256_shuffle_ps(a, b, order) lp_shuffled(_mm_shuffle_ps((a).lo, (b).lo, order), _mm_shuffle_ps((a).hi, (b).hi, order))
#define lp256_blend_epi32(a, b, which) \
    lp_pair_i(lp_select(LP_LANE_MASK(which), (b).lo, (a).lo), lp_select(LP_LANE_MASK((which) >> 4), (b).hi, (a).hi))
#define lp256_blend_epi16(a, b, which) \
    lp_pair_i(lp_select(LP_WORD_MASK(which), (b).lo, (a).lo), lp_select(LP_WORD_MASK(which), (b).hi, (a).hi))
// Of the comparisons and ways to round, those that ggml asks for.
LP __m128 lp_cmp_ps(__m128 a, __m128 b, int which) {
    return which == _CMP_GT_OS || which == _CMP_GT_OQ ? _mm_cmpgt_ps(a, b)
         : which == _CMP_LT_OS || which == _CMP_LT_OQ ? _mm_cmplt_ps(a, b)
         : which == _CMP_LE_OS || which == _CMP_LE_OQ ? _mm_cmple_ps(a, b)
         : which == _CMP_GE_OS || which == _CMP_GE_OQ ? _mm_cmpge_ps(a, b)
                                                      : _mm_cmpeq_ps(a, b);
}
LP lp_m256 lp256_cmp_ps(lp_m256 a, lp_m256 b, int which) {
    return lp_pair(lp_cmp_ps(a.lo, b.lo, which), lp_cmp_ps(a.hi, b.hi, which));
}
#define lp256_round_ps(a, to_nearest) lp_pair(lp_nearest_ps((a).lo), lp_nearest_ps((a).hi))
