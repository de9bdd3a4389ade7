// The intrinsics of AVX2, FMA and F16C under their own names, for ggml's kernels. Owns the list; knows avx2_in_pairs.h.

#pragma once

#include "avx2_in_pairs.h"

#undef _mm_blend_epi32
#undef _mm_extract_epi32
#define _mm_extract_epi32(a, at) _mm_cvtsi128_si32(_mm_shuffle_epi32(a, at))
#define _cvtsh_ss lp_cvtsh_ss
#define _cvtss_sh(a, to_nearest) lp_half(a)
#define _mm256_add_epi16 lp256_add_epi16
#define _mm256_add_epi32 lp256_add_epi32
#define _mm256_add_epi8 lp256_add_epi8
#define _mm256_add_ps lp256_add_ps
#define _mm256_and_ps lp256_and_ps
#define _mm256_and_si256 lp256_and_si256
#define _mm256_andnot_ps lp256_andnot_ps
#define _mm256_andnot_si256 lp256_andnot_si256
#define _mm256_avg_epu8 lp256_avg_epu8
#define _mm256_blend_epi16 lp256_blend_epi16
#define _mm256_blend_epi32 lp256_blend_epi32
#define _mm256_broadcast_ss lp256_broadcast_ss
#define _mm256_bsrli_epi128 lp256_bsrli_epi128
#define _mm256_castps128_ps256 lp256_castps128_ps256
#define _mm256_castps256_ps128 lp256_castps256_ps128
#define _mm256_castps_si256 lp256_castps_si256
#define _mm256_castsi128_si256 lp256_castsi128_si256
#define _mm256_castsi256_ps lp256_castsi256_ps
#define _mm256_castsi256_si128 lp256_castsi256_si128
#define _mm256_cmp_ps lp256_cmp_ps
#define _mm256_cmpeq_epi32 lp256_cmpeq_epi32
#define _mm256_cmpeq_epi8 lp256_cmpeq_epi8
#define _mm256_cmpgt_epi32 lp256_cmpgt_epi32
#define _mm256_cvtepi16_epi32 lp256_cvtepi16_epi32
#define _mm256_cvtepi32_ps lp256_cvtepi32_ps
#define _mm256_cvtepi8_epi16 lp256_cvtepi8_epi16
#define _mm256_cvtepi8_epi32 lp256_cvtepi8_epi32
#define _mm256_cvtepi8_epi64 lp256_cvtepi8_epi64
#define _mm256_cvtepu16_epi32 lp256_cvtepu16_epi32
#define _mm256_cvtepu8_epi16 lp256_cvtepu8_epi16
#define _mm256_cvtph_ps lp256_cvtph_ps
#define _mm256_cvtps_epi32 lp256_cvtps_epi32
#define _mm256_cvtps_ph(a, to_nearest) lp_halves(a)
#define _mm256_div_ps lp256_div_ps
#define _mm256_extractf128_ps lp256_extractf128_ps
#define _mm256_extractf128_si256 lp256_extract128
#define _mm256_extracti128_si256 lp256_extract128
#define _mm256_fmadd_ps lp256_fmadd_ps
#define _mm256_fnmadd_ps lp256_fnmadd_ps
#define _mm256_insertf128_ps lp_insert_ps
#define _mm256_insertf128_si256 lp_insert
#define _mm256_inserti128_si256 lp_insert
#define _mm256_load_ps lp256_loadu_ps
#define _mm256_load_si256 lp256_loadu_si256
#define _mm256_loadu_ps lp256_loadu_ps
#define _mm256_loadu_si256 lp256_loadu_si256
#define _mm256_madd_epi16 lp256_madd_epi16
#define _mm256_maddubs_epi16 lp256_maddubs_epi16
#define _mm256_maskload_ps lp256_maskload_ps
#define _mm256_maskstore_ps lp256_maskstore_ps
#define _mm256_max_ps lp256_max_ps
#define _mm256_movemask_ps lp256_movemask_ps
#define _mm256_mul_ps lp256_mul_ps
#define _mm256_mulhi_epu16 lp256_mulhi_epu16
#define _mm256_mullo_epi16 lp256_mullo_epi16
#define _mm256_mullo_epi32 lp256_mullo_epi32
#define _mm256_or_ps lp256_or_ps
#define _mm256_or_si256 lp256_or_si256
#define _mm256_packs_epi16 lp256_packs_epi16
#define _mm256_packs_epi32 lp256_packs_epi32
#define _mm256_permute2f128_ps lp256_permute2f128_ps
#define _mm256_permute2f128_si256 lp256_permute2f128_si256
#define _mm256_permute2x128_si256 lp256_permute2f128_si256
#define _mm256_permutevar8x32_epi32 lp256_permutevar8x32_epi32
#define _mm256_permutevar8x32_ps lp256_permutevar8x32_ps
#define _mm256_round_ps lp256_round_ps
#define _mm256_set1_epi16 lp256_set1_epi16
#define _mm256_set1_epi32 lp256_set1_epi32
#define _mm256_set1_epi64x lp256_set1_epi64x
#define _mm256_set1_epi8 lp256_set1_epi8
#define _mm256_set1_ps lp256_set1_ps
#define _mm256_set_epi16 lp256_set_epi16
#define _mm256_set_epi32 lp256_set_epi32
#define _mm256_set_epi64x lp256_set_epi64x
#define _mm256_set_m128 lp256_set_m128
#define _mm256_set_m128i lp256_set_m128i
#define _mm256_set_ps lp256_set_ps
#define _mm256_setr_epi32 lp256_setr_epi32
#define _mm256_setr_epi8 lp256_setr_epi8
#define _mm256_setr_ps lp256_setr_ps
#define _mm256_setzero_ps lp256_setzero_ps
#define _mm256_setzero_si256 lp256_setzero_si256
#define _mm256_shuffle_epi32 lp256_shuffle_epi32
#define _mm256_shuffle_epi8 lp256_shuffle_epi8
#define _mm256_shuffle_ps lp256_shuffle_ps
#define _mm256_sign_epi8 lp256_sign_epi8
#define _mm256_slli_epi16 lp256_slli_epi16
#define _mm256_slli_epi32 lp256_slli_epi32
#define _mm256_sllv_epi32 lp256_sllv_epi32
#define _mm256_srli_epi16 lp256_srli_epi16
#define _mm256_srli_epi32 lp256_srli_epi32
#define _mm256_srli_epi64 lp256_srli_epi64
#define _mm256_srlv_epi64 lp256_srlv_epi64
#define _mm256_storeu_ps lp256_storeu_ps
#define _mm256_storeu_si256 lp256_storeu_si256
#define _mm256_sub_epi16 lp256_sub_epi16
#define _mm256_sub_epi32 lp256_sub_epi32
#define _mm256_sub_epi8 lp256_sub_epi8
#define _mm256_sub_ps lp256_sub_ps
#define _mm256_subs_epu8 lp256_subs_epu8
#define _mm256_unpacklo_epi8 lp256_unpacklo_epi8
#define _mm256_xor_si256 lp256_xor_si256
#define _mm_blend_epi32(a, b, which) lp_select(LP_LANE_MASK(which), b, a)
#define _mm_cvtepi16_epi32 lp_cvtepi16_epi32
#define _mm_cvtepi8_epi16 lp_cvtepi8_epi16
#define _mm_cvtepu8_epi16 lp_cvtepu8_epi16
#define _mm_cvtph_ps lp_cvtph_ps
#define _mm_cvtps_ph(a, to_nearest) lp_cvtps_ph(a)
#define _mm_fmadd_ps lp_fmadd_ps
#define _mm_fnmadd_ps lp_fnmadd_ps
#define _mm_hadd_epi16 lp_hadd_epi16
#define _mm_hadd_epi32 lp_hadd_epi32
#define _mm_hadd_ps lp_hadd_ps
#define _mm_maddubs_epi16 lp_maddubs_epi16
#define _mm_maskload_epi32 lp_maskload_epi32
#define _mm_maskload_ps lp_maskload_ps
#define _mm_movehdup_ps lp_movehdup_ps
#define _mm_shuffle_epi8 lp_shuffle_epi8
#define _mm_sign_epi8 lp_sign_epi8
