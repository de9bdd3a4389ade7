//! What the plainest variant computes for all of them.
//!
//! Owns: the list of such operations and their names across variants. May know: ggml's operations. Must not know: how
//! anything is compiled.
//!
//! A variant is a whole CPU backend, but few operations gain from its instructions. Those below are training steps,
//! parts of other networks, or single library calls per number: one copy saves 0.3 MB. Their functions take all state
//! through their arguments, but for the tables that the owner's initialiser fills (`src/gguf/cpu.rs` calls it).

/// The file whose operations are all shared.
pub(crate) const FILE: &str = "unary-ops.cpp";

const PREFIX: &str = "ggml_compute_forward_";

/// Operations of [`FILE`].
const OF_FILE: &[&str] = &[
    "abs",
    "sgn",
    "neg",
    "step",
    "tanh",
    "elu",
    "relu",
    "sigmoid",
    "hardsigmoid",
    "exp",
    "hardswish",
    "sqr",
    "sqrt",
    "sin",
    "cos",
    "log",
    "expm1",
    "softplus",
    "floor",
    "ceil",
    "round",
    "trunc",
    "xielu",
];

/// Operations of `ops.cpp`, whose others stay with each variant.
const OF_OPS: &[&str] = &[
    // Training.
    "add1",
    "acc",
    "count_equal",
    "repeat_back",
    "silu_back",
    "rms_norm_back",
    "out_prod",
    "get_rows_back",
    "soft_max_ext_back",
    "im2col_back_f32",
    "pool_2d_back",
    "flash_attn_back",
    "cross_entropy_loss",
    "cross_entropy_loss_back",
    "opt_step_adamw",
    "opt_step_sgd",
    // Copies, whose time is the memory's.
    "dup",
    "cpy",
    "cont",
    "concat",
    "repeat",
    // Networks over images and sound beyond transformers.
    "im2col",
    "conv_2d",
    "group_norm",
    "pad",
    "im2col_3d",
    "col2im_1d",
    "conv_3d",
    "conv_transpose_1d",
    "conv_transpose_2d",
    "conv_2d_dw",
    "pool_1d",
    "pool_2d",
    "upscale",
    "pad_reflect_1d",
    "roll",
    "timestep_embedding",
    "win_part",
    "win_unpart",
    "get_rel_pos",
    "add_rel_pos",
    // RWKV and gated linear attention, and what no model here uses.
    "rwkv_wkv6",
    "rwkv_wkv7",
    "gla",
    "set",
    "diag",
    "diag_mask_inf",
    "diag_mask_zero",
    "arange",
    "leaky_relu",
    "clamp",
    "map_custom1",
    "map_custom2",
    "map_custom3",
    "custom",
];

/// An operation under ggml's name and under the one that variants share.
pub(crate) struct Renamed {
    pub(crate) from: String,
    pub(crate) to: String,
}

fn renamed(names: &'static [&'static str]) -> impl Iterator<Item = Renamed> {
    names.iter().map(|name| Renamed {
        from: format!("{PREFIX}{name}"),
        to: format!("llama_pajamas_cpu_shared_{name}"),
    })
}

/// What the owner shows to the others, whose C files call it.
pub(crate) fn all() -> impl Iterator<Item = Renamed> {
    renamed(OF_FILE).chain(renamed(OF_OPS))
}

/// What the C++ files of another variant call under the shared name; they define the rest.
pub(crate) fn of_file() -> impl Iterator<Item = Renamed> {
    renamed(OF_FILE)
}
