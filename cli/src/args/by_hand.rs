//! Grammar of what users decide by hand where a recipe or a fitted plan would.

use clap::Args;

/// What is made otherwise than a recipe has it.
#[derive(Debug, Args)]
#[command(next_help_heading = "By hand")]
pub(crate) struct ByHand {
    /// One type for every quantized tensor
    #[arg(long)]
    pub(crate) pure: bool,
    /// Leave the output tensor as it is
    #[arg(long)]
    pub(crate) leave_output_tensor: bool,
    /// Type of the token embedding
    #[arg(long, value_name = "TYPE")]
    pub(crate) token_embedding_type: Option<String>,
    /// Type of the output tensor
    #[arg(long, value_name = "TYPE")]
    pub(crate) output_tensor_type: Option<String>,
    /// Bits of the token embedding and the output in every format: 2, 3, 4, 5, 6 or 8
    #[arg(long, value_name = "BITS", conflicts_with_all = ["token_embedding_type", "output_tensor_type", "copy"])]
    pub(crate) embedding_bits: Option<u32>,
    /// Type of every tensor whose name matches, first match wins; repeatable
    #[arg(long, value_name = "REGEX=TYPE")]
    pub(crate) tensor_type: Vec<String>,
    /// For MLX: weights that share a scale, 32, 64 or 128
    #[arg(long, value_name = "WEIGHTS")]
    pub(crate) group_size: Option<u32>,
    /// Leave experts that were trained in MXFP4 (gpt-oss) as they are, whatever the precision
    #[arg(long)]
    pub(crate) keep_mxfp4: bool,
    /// Pad widths with zeros to multiples of 256, so that every type can be used (gpt-oss: 2,880 to 3,072): the model computes the
    /// same
    #[arg(long, conflicts_with = "copy")]
    pub(crate) pad: bool,
    /// Take these layers out first, by their numbers from 0, e.g. 21,22; those behind them move up. With --text it says what
    /// that costs
    #[arg(long, value_name = "LAYERS", value_delimiter = ',', conflicts_with = "copy")]
    pub(crate) prune_layers: Vec<u64>,
    /// Metadata to state instead of the model's own, with int, float, bool or str for TYPE; repeatable
    #[arg(long, value_name = "KEY=TYPE:VALUE")]
    pub(crate) override_kv: Vec<String>,
}
