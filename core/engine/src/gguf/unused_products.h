// Products of matrices that no layout of weights leads to on x86-64: 160 KB of kernels.
//
// Owns: the precisions whose weights ggml rearranges when it loads them, and multiplies by kernels of their own, named where
// `llamafile_sgemm` (llamafile/sgemm.cpp) has a case for each. The case declines, and what follows it cannot be reached.
// Weights that stay as they are, on request, are multiplied row by row. May know: the compiler's target. Must not know:
// variants.

#pragma once

#if defined(__x86_64__)
#include "ggml-cpu-impl.h"
#include "ggml-impl.h"
#include "ggml-quants.h"
#include "llamafile/sgemm.h"
#include "simd-mappings.h"

#define GGML_TYPE_Q4_0 GGML_TYPE_Q4_0: return false; unused_q4_0
#define GGML_TYPE_IQ4_NL GGML_TYPE_IQ4_NL: return false; unused_iq4_nl
#endif
