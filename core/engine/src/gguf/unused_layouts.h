// Layouts of weights that ggml never chooses on x86-64: half a megabyte of kernels that only its list of layouts keeps.
//
// Owns: their names in `ggml_repack_get_optimal_repack_type` (repack.cpp), where each names a static object. As a pointer
// to nothing it needs no class, and were it ever chosen, it would mean that the weights stay as they are. May know: the
// compiler's target. Must not know: variants.

#pragma once

#if defined(__x86_64__)
#define q1_0_4x4_q8_0 *lp_q1_0_4x4_q8_0
#define q1_0_4x8_q8_0 *lp_q1_0_4x8_q8_0
#define q4_0_4x4_q8_0 *lp_q4_0_4x4_q8_0
#define q4_0_4x8_q8_0 *lp_q4_0_4x8_q8_0
#define q4_K_8x4_q8_K *lp_q4_K_8x4_q8_K
#define q5_K_8x4_q8_K *lp_q5_K_8x4_q8_K
#define q5_K_8x8_q8_K *lp_q5_K_8x8_q8_K
#define q6_K_8x4_q8_K *lp_q6_K_8x4_q8_K
#define q6_K_8x8_q8_K *lp_q6_K_8x8_q8_K
#define iq4_nl_4x4_q8_0 *lp_iq4_nl_4x4_q8_0
#define mxfp4_4x4_q8_0 *lp_mxfp4_4x4_q8_0
#define q8_0_4x4_q8_0 *lp_q8_0_4x4_q8_0
#define q8_0_4x8_q8_0 *lp_q8_0_4x8_q8_0
#ifndef __AVX512F__
#define q2_K_8x8_q8_K *lp_q2_K_8x8_q8_K
#endif
#endif
