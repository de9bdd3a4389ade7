//! Candidates of a model of which there is a description alone: "would it run here, and in which precision?"
//! Knows recipes' arithmetic (feature `quantize`); must not read files or choose.

use crate::open::unread_bytes;
use families::{Description, Role};
use formats::gguf::GgmlType;
use planner::speed::Work;
use planner::{Candidate, QualityEstimate};
use quantizer::recipe::Recipe;

/// Precisions that are worth planning for where none is named, the largest first. Larger ones answer no better but more
/// slowly, smaller ones badly.
pub const SENSIBLE_PRECISIONS: [&str; 10] =
    ["Q8_0", "Q6_K", "Q5_K_M", "MXFP4_MOE", "Q4_K_M", "IQ4_XS", "Q3_K_M", "IQ3_XXS", "Q2_K", "IQ2_XXS"];

/// One candidate per recipe, with the exact bytes of its tensors; `None` where no family file gives the model's
/// tensors. A file's metadata and vocabulary come on top: some megabytes.
pub fn described_candidates(description: &Description, recipes: &[Recipe]) -> Option<Vec<Candidate>> {
    recipes.iter().map(|recipe| candidate(description, *recipe)).collect()
}

fn candidate(description: &Description, recipe: Recipe) -> Option<Candidate> {
    let estimate = quantizer::estimate(description, recipe)?;
    let of = |wanted: fn(Role) -> bool| -> u64 {
        estimate.roles.iter().filter(|(role, _)| wanted(**role)).map(|(_, part)| part.bytes).sum()
    };
    // A token reads one row of the embedding, unless that is the output too.
    let looked_up = if description.tied_embeddings { 0 } else { of(|role| role == Role::TokenEmbedding) };
    let unread = unread_bytes(description, of(Role::is_routed_expert)).saturating_add(looked_up);
    let tensors = estimate.tensors.iter().map(|spec| (spec.name.as_str(), &spec.dims[..], spec.ty));
    Some(Candidate {
        id: estimate.precision.clone(),
        precision: estimate.precision.clone(),
        description: description.clone(),
        weights_bytes: estimate.tensor_bytes,
        tensors: estimate.tensors.clone(),
        active_weights_bytes: estimate.tensor_bytes.saturating_sub(unread),
        work: Some(Work::of_tensors(description, tensors)),
        quality: kept(description, &estimate),
        compatible_backends: ["cpu", "vulkan", "cuda", "metal"].map(String::from).to_vec(),
        present: false,
        projector: None,
        cache: None,
        blocked: None,
    })
}

/// Where the experts stay in the type in which the model was released, what is lost is lost by the other tensors alone:
/// the prior of their type. `None` elsewhere.
fn kept(description: &Description, estimate: &quantizer::Estimate) -> Option<QualityEstimate> {
    let native = description.native_quantization.as_ref().filter(|native| native.method == "mxfp4")?;
    let is_native = |ty: &str| ty.eq_ignore_ascii_case(&native.method) && ty == GgmlType::MXFP4.name();
    let mut experts = estimate.roles.iter().filter(|(role, _)| role.is_routed_expert()).peekable();
    experts.peek()?;
    let all_kept = experts.all(|(_, part)| is_native(part.ty));
    let others = estimate.roles.iter().filter(|(role, _)| !role.is_routed_expert());
    let (_, largest) = others.max_by_key(|(_, part)| part.bytes)?;
    all_kept.then(|| QualityEstimate::guess(largest.ty))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn candidates(config: &serde_json::Value, names: &[&str]) -> Vec<Candidate> {
        let description = families::detect_config(config).expect("a whole configuration");
        let recipes: Vec<Recipe> = names.iter().filter_map(|name| Recipe::from_name(name)).collect();
        described_candidates(&description, &recipes).expect("a family")
    }

    #[test]
    fn a_token_reads_its_experts_and_no_embedding() {
        let config = json!({"model_type": "qwen3_moe", "norm_topk_prob": true, "hidden_size": 2048,
            "intermediate_size": 6144, "num_hidden_layers": 48, "num_attention_heads": 32, "num_key_value_heads": 4,
            "head_dim": 128, "vocab_size": 151936, "max_position_embeddings": 40960, "num_experts": 128,
            "num_experts_per_tok": 8, "moe_intermediate_size": 768});
        let f16 = &candidates(&config, &["F16"])[0];
        let active = f16.description.parameters.active * 2;
        let embedding = 151_936 * 2048 * 2;
        // Routers and norms are wider than 16 bits.
        let routers = 48 * 2048 * 128 * 2;
        assert!(f16.active_weights_bytes.abs_diff(active - embedding + routers) < active / 500, "{f16:?}");
        assert!(f16.quality.is_none() && f16.weights_bytes > 60_000_000_000);
    }

    #[test]
    fn experts_in_their_native_type_lose_nothing() {
        let mut config = json!({"model_type": "gpt_oss", "hidden_size": 2880, "intermediate_size": 2880,
            "num_hidden_layers": 24, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64,
            "num_local_experts": 32, "num_experts_per_tok": 4, "vocab_size": 201088, "attention_bias": true,
            "max_position_embeddings": 131072, "sliding_window": 128});
        assert!(candidates(&config, &["MXFP4_MOE"])[0].quality.is_none());
        config["quantization_config"] = json!({"quant_method": "mxfp4"});
        let native = candidates(&config, &["MXFP4_MOE", "Q2_K"]);
        assert_eq!(native[0].quality, Some(QualityEstimate::guess("Q8_0")));
        assert!(native[1].quality.is_none());
    }
}
