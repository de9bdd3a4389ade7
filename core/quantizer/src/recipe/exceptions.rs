//! What llama.cpp's recipe does differently for some architectures, as a table.
//! Source: the architecture's name in `src/llama-quant.cpp`, and `LLM_TYPE_70B` in `src/models/*.cpp`.

/// One architecture's exceptions; the default has none.
#[derive(Debug, Default)]
pub(crate) struct Exceptions {
    /// `general.architecture`.
    architecture: &'static str,
    /// Further parts of names that are never quantized.
    pub(super) never: &'static [&'static str],
    /// Parts of names that are quantized to Q8_0 and no further.
    pub(super) q8_0: &'static [&'static str],
    /// Fewer and smaller steps up for down projections and attention outputs, Q8_0 for the output.
    pub(super) small_steps: bool,
    /// There are stacks that are no experts: MXFP4_MOE goes by role as well.
    pub(super) other_stacks: bool,
    /// The number of layers at which the model counts as a 70B one, whose value projections are small.
    layers_of_70b: Option<u64>,
    /// It does so only where key-value heads are shared.
    grouped_70b: bool,
}

const NONE: Exceptions = Exceptions {
    architecture: "",
    never: &[],
    q8_0: &[],
    small_steps: false,
    other_stacks: false,
    layers_of_70b: None,
    grouped_70b: false,
};

static TABLE: [Exceptions; 9] = [
    Exceptions { architecture: "llama", layers_of_70b: Some(80), grouped_70b: true, ..NONE },
    Exceptions { architecture: "llama-embed", layers_of_70b: Some(80), grouped_70b: true, ..NONE },
    Exceptions { architecture: "qwen2", layers_of_70b: Some(80), ..NONE },
    Exceptions { architecture: "deci", layers_of_70b: Some(80), ..NONE },
    Exceptions { architecture: "olmo", layers_of_70b: Some(80), ..NONE },
    Exceptions { architecture: "jais2", layers_of_70b: Some(68), ..NONE },
    Exceptions { architecture: "falcon", small_steps: true, ..NONE },
    Exceptions { architecture: "bailingmoe3", other_stacks: true, ..NONE },
    Exceptions {
        architecture: "glm5-next",
        never: &[
            "hc_",
            "indexer.attn_q_b",
            "indexer.attn_k",
            "indexer.proj",
            "indexer_compressor_gate",
            "indexer_compressor_ape",
            "ssm_f_a.weight",
            "ssm_f_b.weight",
            "ssm_g_a.weight",
            "ssm_g_b.weight",
            "ssm_beta.weight",
            "attn_kv_a_mqa.weight",
            "attn_k_b.weight",
            "attn_v_b.weight",
        ],
        q8_0: &["attn_q_a", "attn_q_b", "nextn.eh_proj"],
        ..NONE
    },
];

impl Exceptions {
    /// Those of `architecture`.
    pub(super) fn of(architecture: &str) -> &'static Self {
        static DEFAULT: Exceptions = NONE;
        TABLE.iter().find(|entry| entry.architecture == architecture).unwrap_or(&DEFAULT)
    }

    /// Whether llama.cpp calls such a model a 70B one.
    pub(super) fn is_70b(&self, n_layers: u64, n_experts: u64, shares_heads: bool) -> bool {
        // With eight experts the sizes are those of Mixtral models.
        self.layers_of_70b == Some(n_layers) && (!self.grouped_70b || (shares_heads && n_experts != 8))
    }
}
