// A few rows by weights of Q8_0, Q6_K or Q4_K at once, where a variant has kernels for it.
//
// Owns: which variants have (few_rows_avx2.h, few_rows_q4_k.h). May know: the functions for products of matrices, which ask here first
// (llamafile/sgemm.cpp, repack.cpp). Must not know: kernels.

#pragma once

#include <stdbool.h>
#include <stdint.h>

// Short loops of kernels, whose sums then stay in registers.
#if defined(__clang__)
#define LLAMA_PAJAMAS_UNROLL _Pragma("unroll")
#else
#define LLAMA_PAJAMAS_UNROLL _Pragma("GCC unroll 8")
#endif

#ifdef __cplusplus
extern "C" {
#endif

// Weights in rows, of `k` blocks each, by `n` rows of as many blocks; strides are in blocks, of `result` in floats.
struct llama_pajamas_product {
    int64_t begin, end, k, n;
    const void * weights;
    int64_t weights_stride;
    const void * rows;
    int64_t rows_stride;
    float * result;
    int64_t result_stride;
    int weights_type, rows_type;
};

#if defined(__x86_64__)
// The rows of weights from `begin` to `end`; false where it is for others, and nothing is computed.
bool llama_pajamas_few_rows(const struct llama_pajamas_product * product);
// Two rows to `LLAMA_PAJAMAS_ROWS_AS_ONE` by weights of Q4_K that lie eight rows side by side, whose stride is that of eight; false where
// there is no kernel.
bool llama_pajamas_few_rows_q4_k(const struct llama_pajamas_product * product);
#else
static inline bool llama_pajamas_few_rows(const struct llama_pajamas_product * product) {
    (void) product;
    return false;
}
static inline bool llama_pajamas_few_rows_q4_k(const struct llama_pajamas_product * product) {
    (void) product;
    return false;
}
#endif

#ifdef __cplusplus
}
#endif
