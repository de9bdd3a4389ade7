//! What is changed in ggml's files before they are compiled: data.
//!
//! Owns: the places and what stands there instead. May know: the source tree. Must not know: variants, compilers.
//!
//! ggml computes one token by other kernels than a few together, and these round otherwise. An answer would depend on what is
//! computed beside it: a guess that is checked, another answer, the number of threads. With these changes the logits of up to
//! [`ROWS_AS_ONE`] tokens computed together are those of each by itself, bit by bit (`tests/rows_as_one.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Tokens computed together that round as one by one. The engine's API has the number from here.
pub(crate) const ROWS_AS_ONE: u32 = 8;
/// Its name for compilers.
pub(crate) const ROWS_AS_ONE_NAME: &str = "LLAMA_PAJAMAS_ROWS_AS_ONE";

/// One place in a file of the CPU backend, which is there exactly once.
#[derive(Clone, Copy)]
struct Change {
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

const CHANGES: &[Change] = &[
    // Rearranged weights: four rows together take other steps than one, but for Q4_0, IQ4_NL and MXFP4 on x86-64.
    Change {
        file: "repack.cpp",
        from: "#include \"repack.h\"\n",
        to: "#include \"repack.h\"
#include \"few_rows.h\"
#if defined(__x86_64__)
#define LLAMA_PAJAMAS_ROWS_BY_ROW \\
    (std::is_same_v<BLOC_TYPE, block_q2_K> || std::is_same_v<BLOC_TYPE, block_q4_K> ? LLAMA_PAJAMAS_ROWS_AS_ONE : 3)
#else
#define LLAMA_PAJAMAS_ROWS_BY_ROW LLAMA_PAJAMAS_ROWS_AS_ONE
#endif
",
    },
    Change { file: "repack.cpp", from: "if (nrows > 3) {", to: "if (nrows > LLAMA_PAJAMAS_ROWS_BY_ROW) {" },
    Change {
        file: "repack.cpp",
        from: "for (int iter = nrows - (nrows % 4); iter < nrows; iter++) {",
        to: "for (int iter = nrows > LLAMA_PAJAMAS_ROWS_BY_ROW ? nrows - (nrows % 4) : 0; iter < nrows; iter++) {",
    },
    Change {
        file: "repack.cpp",
        from: "for (int64_t i11 = ith * 4; i11 < ne11 - ne11 % 4; i11 += nth * 4) {",
        to: "const int64_t n_fours = ne11 > LLAMA_PAJAMAS_ROWS_BY_ROW ? ne11 - ne11 % 4 : 0;
            for (int64_t i11 = ith * 4; i11 < n_fours; i11 += nth * 4) {",
    },
    Change {
        file: "repack.cpp",
        from: "const int64_t i11_processed = ne11 - ne11 % 4;",
        to: "const int64_t i11_processed = n_fours;",
    },
    Change {
        file: "repack.cpp",
        from: "        // If there are more than three rows in src1, use gemm; otherwise, use gemv.\n",
        to: "        if constexpr (std::is_same_v<BLOC_TYPE, block_q4_K> && INTER_SIZE == 8 && NB_COLS == 8) {
            const int64_t n_blocks = ne00 / QK_K;
            const llama_pajamas_product product = { 0, ncols, n_blocks, nrows, src0_ptr + src0_start * nb01, n_blocks, src1_ptr, n_blocks,
                                                    (float *) dst_ptr + src0_start, (int64_t) (nb1 / nb0), GGML_TYPE_Q4_K, GGML_TYPE_Q8_K };
            if (nrows > 1 && nrows <= LLAMA_PAJAMAS_ROWS_AS_ONE && llama_pajamas_few_rows_q4_k(&product)) {
                return;
            }
        }
",
    },
    Change {
        file: "arch/x86/repack.cpp",
        from: "void ggml_gemv_q4_K_8x8_q8_K(int n",
        to: "#include \"few_rows_q4_k.h\"\n\nvoid ggml_gemv_q4_K_8x8_q8_K(int n",
    },
    // Products of floats: tiles are summed in another order than rows.
    Change {
        file: "llamafile/sgemm.cpp",
        from: "    if (n < 2)\n        return false;\n",
        to: "    if (Ctype == GGML_TYPE_F32) {
        const struct llama_pajamas_product product = { m * params->ith / params->nth, m * (params->ith + 1) / params->nth, k, n,
                                                       A, lda, B, ldb, (float *)C, ldc, Atype, Btype };
        if (llama_pajamas_few_rows(&product))
            return true;
    }
    if (n < 2 || (n <= LLAMA_PAJAMAS_ROWS_AS_ONE && !ggml_is_quantized((enum ggml_type) Atype)))\n        return false;\n",
    },
    Change {
        file: "llamafile/sgemm.cpp",
        from: "#include \"simd-mappings.h\"\n",
        to: "#include \"simd-mappings.h\"\n#include \"few_rows.h\"\n",
    },
    Change {
        file: "arch/x86/quants.c",
        from: "void ggml_vec_dot_q8_0_q8_0(int n",
        to: "#include \"few_rows_avx2.h\"\n\nvoid ggml_vec_dot_q8_0_q8_0(int n",
    },
    Change {
        file: "arch/x86/quants.c",
        from: "void quantize_row_q8_K(const float",
        to: "#include \"rows_to_q8_k.h\"\n\nvoid quantize_row_q8_K(const float",
    },
    Change {
        file: "arch/x86/quants.c",
        from: "    quantize_row_q8_K_ref(x, y, k);",
        to: "    llama_pajamas_row_to_q8_k(x, y, k);",
    },
    // Blocks of integers, by tiles.
    Change { file: "tiled/tiled.cpp", from: "return rows >= 8 || ", to: "return rows > LLAMA_PAJAMAS_ROWS_AS_ONE || " },
    // Two rows by two, on processors with instructions for products of small matrices.
    Change {
        file: "ggml-cpu.c",
        from: "if ((nr0 % 2 != 0) || (ne11 % 2 != 0) || ",
        to: "if (ne11 <= LLAMA_PAJAMAS_ROWS_AS_ONE || (nr0 % 2 != 0) || (ne11 % 2 != 0) || ",
    },
    // Attention of a few tokens, and the memory for it.
    Change {
        file: "ops.cpp",
        from: "static void ggml_compute_forward_flash_attn_ext_f16(\n",
        to: "#include \"attention_by_blocks.h\"\n\nstatic void ggml_compute_forward_flash_attn_ext_f16(\n",
    },
    Change {
        file: "ops.cpp",
        from: "    const bool use_split_kv_path = !use_ref && ",
        to: "    if (llama_pajamas_attention_by_blocks(params, dst)) {
        return;
    }
    const bool use_split_kv_path = false && ",
    },
    Change { file: "ops.cpp", from: "            if (use_tiled) {", to: "            if (true) {" },
    Change {
        file: "ggml-cpu.c",
        from: "size_t n_chunks = n_tasks;\n",
        to: "\n",
    },
    Change {
        file: "ggml-cpu.c",
        from: "sizeof(float)*(neq2*n_chunks*(2+DV) + n_tasks*(DK + 2*DV));",
        to: "sizeof(float)*llama_pajamas_attention_floats(node, n_tasks);",
    },
    Change {
        file: "ggml-cpu.c",
        from: "#include \"ops.h\"\n",
        to: "#include \"ops.h\"\n#include \"attention_parts.h\"\n",
    },
];

/// What only training computes is left out: nothing here asks for it.
const TRAINING: [&str; 6] = [
    "ggml_compute_forward_add1(params, tensor);",
    "ggml_compute_forward_out_prod(params, tensor);",
    "ggml_compute_forward_flash_attn_back(params, masked, tensor);",
    "ggml_compute_forward_cross_entropy_loss(params, tensor);",
    "ggml_compute_forward_cross_entropy_loss_back(params, tensor);",
    "ggml_compute_forward_opt_step_adamw(params, tensor);",
];

fn changes() -> impl Iterator<Item = Change> {
    let left_out =
        |from| Change { file: "ggml-cpu.c", from, to: "GGML_ABORT(\"an operation for training\");" };
    CHANGES.iter().copied().chain(TRAINING.map(left_out))
}

/// The folders of files that are changed, relative to the CPU backend's: what these include from beside them is found there.
pub(crate) fn folders() -> BTreeSet<&'static Path> {
    changes().filter_map(|change| Path::new(change.file).parent()).collect()
}

/// Writes the files of the CPU backend in `original` that are changed into `changed`, and nothing else is left there.
pub(crate) fn write(original: &Path, changed: &Path) {
    let mut texts = BTreeMap::new();
    for Change { file, from, to } in changes() {
        let path = original.join(file);
        let text = texts.entry(file).or_insert_with(|| {
            std::fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
        });
        let found = text.matches(from).count();
        assert!(
            found == 1,
            "{}: {found} times {from:?} instead of once: the list in build/changes.rs is for another llama.cpp",
            path.display()
        );
        *text = text.replacen(from, to, 1);
    }
    // What an earlier list changed must not stay.
    let _ = std::fs::remove_dir_all(changed);
    for (file, text) in texts {
        let path = changed.join(file);
        let folder = path.parent().expect("a file lies in a folder");
        std::fs::create_dir_all(folder).expect("OUT_DIR is writable");
        std::fs::write(&path, text).expect("OUT_DIR is writable");
    }
}
