//! Roles: what a tensor does in the model, by its GGUF name (`data/roles.toml`).
//! Shared by planner and quantizer; must not know families: a GGUF name means the same in all of them.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

static TABLE: LazyLock<HashMap<String, Role>> = LazyLock::new(|| {
    let rows: BTreeMap<Role, Vec<String>> = serde_json::from_slice(crate::tables::ROLES.json())
        .expect("the built-in table parses: every test of this file reads it");
    rows.into_iter().flat_map(|(role, names)| names.into_iter().map(move |name| (name, role))).collect()
});

/// What a tensor does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Token embedding; the output as well where embeddings are tied.
    TokenEmbedding,
    /// Learned positions, token types.
    PositionEmbedding,
    /// What attention adds by the distance of two tokens.
    RelativeBias,
    /// Output matrix.
    Output,
    /// Query projection.
    AttentionQ,
    /// Key projection.
    AttentionK,
    /// Value projection.
    AttentionV,
    /// Query, key and value projections in one matrix.
    AttentionQkv,
    /// Attention's output projection.
    AttentionOutput,
    /// Gate on attention's output.
    AttentionGate,
    /// Attention sinks.
    AttentionSinks,
    /// What chooses the tokens that attention sees.
    Indexer,
    /// Latent attention's projections to the latent.
    LatentDown,
    /// Latent attention's projections from the latent.
    LatentUp,
    /// Projections of a decoder's attention to its encoder.
    CrossAttention,
    /// What leads an embedding of each layer's own into the layers.
    PerLayerInput,
    /// What leads between streams that stand beside each other.
    Streams,
    /// A residual of low rank.
    LowRank,
    /// Gate of a dense feed-forward.
    FfnGate,
    /// Up projection of a dense feed-forward (gate and up in one matrix, where stored so).
    FfnUp,
    /// Down projection of a dense feed-forward.
    FfnDown,
    /// Router of experts, its bias and the gate of shared experts.
    Router,
    /// Gates of the routed experts, stacked.
    RoutedGate,
    /// Up projections of the routed experts, stacked (gate and up in one, where stored so).
    RoutedUp,
    /// Down projections of the routed experts, stacked.
    RoutedDown,
    /// Gate of the shared experts.
    SharedGate,
    /// Up projection of the shared experts.
    SharedUp,
    /// Down projection of the shared experts.
    SharedDown,
    /// Input projections of a state-space or linear-attention layer.
    SsmIn,
    /// Output projection of a state-space or linear-attention layer.
    SsmOut,
    /// Convolution kernel.
    Convolution,
    /// State-space parameters: A, D, dt.
    SsmState,
    /// Normalisation weight.
    Norm,
    /// Additive bias.
    Bias,
    /// Scale of a matrix that is stored in blocks, or of what it multiplies.
    Scale,
    /// Embedding of a vision encoder's patches.
    VisionPatch,
    /// Matrices of a vision encoder's layers.
    VisionEncoder,
    /// What leads from a vision encoder into the decoder.
    VisionProjector,
    /// A matrix of an encoder that hears.
    AudioEncoder,
    /// What leads from one into the decoder.
    AudioProjector,
    /// What leads into a layer that predicts tokens beyond the next, and its own embedding and output.
    Prediction,
    /// Factors of rotary frequencies.
    RopeFactors,
    /// A tensor that no rule names.
    Other,
}

impl Role {
    /// Whether only `active of all` experts of this tensor are read per token.
    pub fn is_routed_expert(self) -> bool {
        matches!(self, Self::RoutedGate | Self::RoutedUp | Self::RoutedDown)
    }

    /// Whether the tensor counts as weights of the model: generated rotary factors and scales of blocks do not.
    pub fn is_weight(self) -> bool {
        !matches!(self, Self::RopeFactors | Self::Scale)
    }
}

/// How names end of what stands beside a matrix for its products: scales, and bounds of what goes in and out.
const SCALES: [&str; 6] =
    [".scale", ".input_scale", ".input_max", ".input_min", ".output_max", ".output_min"];

/// What the GGUF tensor `name` does, in any architecture; [`Role::Other`] where no rule names it.
pub fn role_of(name: &str) -> Role {
    let stack = name.strip_prefix("enc.").or_else(|| name.strip_prefix("dec.")).unwrap_or(name);
    let of_vision = |rest| without_number(rest, "blk.").or_else(|| without_number(rest, "deepstack."));
    let vision = stack.strip_prefix("v.").and_then(of_vision).map(|part| format!("v.{part}"));
    let audio = stack.strip_prefix("a.").and_then(|rest| without_number(rest, "blk."));
    let beside = vision.or_else(|| audio.map(|part| format!("a.{part}")));
    let part = beside.as_deref().or_else(|| without_number(stack, "blk.")).unwrap_or(stack);
    if part.ends_with(".bias") {
        // The router's selection bias and dt's are named like a bias and treated like their matrix.
        return match TABLE.get(part.trim_end_matches(".bias")) {
            Some(role @ (Role::Router | Role::SsmState)) => *role,
            _ => Role::Bias,
        };
    }
    if SCALES.iter().any(|end| part.ends_with(end)) {
        return Role::Scale;
    }
    // The second of two patches that follow each other in time.
    let part = part.strip_suffix(".1").unwrap_or(part);
    let part = part.strip_suffix(".weight").unwrap_or(part);
    let is_norm =
        |word: &str| word.contains("norm") || word.ends_with("_ln") || word == "ln1" || word == "ln2";
    if part.split('.').any(is_norm) {
        return Role::Norm;
    }
    TABLE.get(part).copied().unwrap_or(Role::Other)
}

/// What follows `word` and a number in `name`.
fn without_number<'n>(name: &'n str, word: &str) -> Option<&'n str> {
    let (number, part) = name.strip_prefix(word)?.split_once('.')?;
    number.bytes().all(|b| b.is_ascii_digit()).then_some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_kind_have_their_role() {
        for (name, role) in [
            ("token_embd.weight", Role::TokenEmbedding),
            ("output.weight", Role::Output),
            ("output_norm.weight", Role::Norm),
            ("blk.0.attn_q.weight", Role::AttentionQ),
            ("blk.11.attn_q_norm.weight", Role::Norm),
            ("blk.3.attn_k.bias", Role::Bias),
            ("blk.3.ffn_gate_inp.weight", Role::Router),
            ("blk.3.exp_probs_b.bias", Role::Router),
            ("blk.3.ffn_down_exps.weight", Role::RoutedDown),
            ("blk.3.ffn_down_shexp.weight", Role::SharedDown),
            ("blk.3.ffn_down_exps.scale", Role::Scale),
            ("blk.3.attn_q.input_scale", Role::Scale),
            ("blk.3.ssm_a", Role::SsmState),
            ("blk.3.ssm_dt.bias", Role::SsmState),
            ("blk.3.shortconv.conv.weight", Role::Convolution),
            ("dec.blk.1.cross_attn_k.weight", Role::CrossAttention),
            ("enc.blk.1.attn_o.weight", Role::AttentionOutput),
            ("rope_freqs.weight", Role::RopeFactors),
            ("v.blk.0.attn_q.weight", Role::VisionEncoder),
            ("v.blk.10.ffn_down.bias", Role::Bias),
            ("v.blk.0.ln1.weight", Role::Norm),
            ("v.post_ln.weight", Role::Norm),
            ("v.patch_embd.weight", Role::VisionPatch),
            ("v.patch_embd.weight.1", Role::VisionPatch),
            ("v.position_embd.weight", Role::PositionEmbedding),
            ("v.deepstack.8.fc1.weight", Role::VisionProjector),
            ("v.deepstack.8.norm.weight", Role::Norm),
            ("mm.0.weight", Role::VisionProjector),
            ("altup_unembd_proj.weight", Role::Streams),
            ("blk.2.altup_predict_coef.weight", Role::Streams),
            ("blk.2.altup_correct_scale.weight", Role::Scale),
            ("blk.2.laurel_post_norm.weight", Role::Norm),
            ("blk.2.laurel_r.weight", Role::LowRank),
            ("mm.model.mlp.1.weight", Role::VisionProjector),
            ("a.blk.3.attn_k_rel.weight", Role::AudioEncoder),
            ("a.blk.3.attn_q.output_min", Role::Scale),
            ("mm.a.input_projection.weight", Role::AudioProjector),
            ("mm.input_norm.weight", Role::Norm),
            ("v.blk.x.attn_q.weight", Role::Other),
            ("blk.x.attn_q.weight", Role::Other),
            ("blk.3", Role::Other),
            ("", Role::Other),
        ] {
            assert_eq!(role_of(name), role, "{name}");
        }
    }

    #[test]
    fn no_name_stands_twice_in_the_table() {
        let rows: BTreeMap<Role, Vec<String>> = serde_json::from_slice(crate::tables::ROLES.json()).unwrap();
        assert_eq!(rows.values().map(Vec::len).sum::<usize>(), TABLE.len());
    }
}
