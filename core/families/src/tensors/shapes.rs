//! Shapes of a model's tensors, computed from its description and its family's rules.
//! Owns the meaning of the names in `dims`; must not know types or bytes.

use crate::tensors::rule::{Condition, Presence, TensorRule, Tower};
use crate::{
    Attention, Description, Error, Family, FeedForward, Layer, Mixer, Parameters, Reach, Role, role_of,
};

/// One tensor as GGUF would hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorShape {
    /// Name in GGUF.
    pub name: String,
    /// What it does.
    pub role: Role,
    /// Extents, contiguous dimension first.
    pub dims: Vec<u64>,
}

impl TensorShape {
    /// Number of weights.
    pub fn n_elements(&self) -> u64 {
        self.dims.iter().fold(1, |product: u64, &dim| product.saturating_mul(dim))
    }
}

impl Description {
    /// Every tensor of the model: those outside layers first, then rule by rule, layer by layer. Generated rotary
    /// factors are among them. Empty where no family file gives rules ([`Family::for_architecture`]).
    pub fn tensor_shapes(&self) -> Vec<TensorShape> {
        let mut shapes = Vec::new();
        let Some(family) = Family::for_architecture(&self.architecture) else { return shapes };
        for (name, factors) in family.rope_factors(self) {
            let dims = vec![factors.len() as u64];
            shapes.push(TensorShape { name: name.into(), role: Role::RopeFactors, dims });
        }
        self.each_tensor(family, |rule, layer, dims| {
            let name = match layer {
                Some(layer) => rule.to.replace("{layer}", &layer.to_string()),
                None => rule.to.clone(),
            };
            shapes.push(TensorShape { name, role: rule.role, dims });
        });
        shapes
    }

    /// Calls `visit` with every rule of `family` that has a tensor, the layer and its extents; of rules for one tensor,
    /// with the first.
    pub(crate) fn each_tensor<'f>(
        &self,
        family: &'f Family,
        mut visit: impl FnMut(&'f TensorRule, Option<u32>, Vec<u64>),
    ) {
        let outside = self.outside_layers();
        for (at, rule) in family.tensors.iter().enumerate() {
            if rule.presence == Presence::Optional {
                continue;
            }
            let in_layers = rule.tower != Tower::Outside;
            let layers = if in_layers { self.tower(rule.tower) } else { std::slice::from_ref(&outside) };
            let earlier: Vec<&TensorRule> =
                family.tensors[..at].iter().filter(|other| other.to == rule.to).collect();
            for (index, layer) in layers.iter().enumerate() {
                if self.has(&rule.when, layer)
                    && !earlier.iter().any(|other| self.has(&other.when, layer))
                    && let Ok(dims) = self.dims(rule, layer)
                {
                    visit(rule, in_layers.then_some(index as u32), dims);
                }
            }
        }
    }

    /// The extents that `rule` gives a tensor of `layer`.
    ///
    /// # Errors
    /// A name without a number, or a number beyond 2^64.
    pub(crate) fn dims(&self, rule: &TensorRule, layer: &Layer) -> Result<Vec<u64>, Error> {
        rule.extents(|name| self.extent(name, layer))
    }

    /// Checks that every tensor of `family` in this model has extents.
    ///
    /// # Errors
    /// The first quantity that the model lacks.
    pub(crate) fn check_extents(&self, family: &Family) -> Result<(), Error> {
        let outside = self.outside_layers();
        for rule in &family.tensors {
            let layers = match rule.tower {
                Tower::Outside => std::slice::from_ref(&outside),
                tower => self.tower(tower),
            };
            for layer in layers.iter().filter(|layer| self.has(&rule.when, layer)) {
                self.dims(rule, layer)?;
            }
        }
        Ok(())
    }

    /// The layers of a tower; none outside of them.
    pub(crate) fn tower(&self, tower: Tower) -> &[Layer] {
        match tower {
            Tower::Outside => &[],
            Tower::Layers => &self.layers,
            Tower::Encoder => &self.encoder_layers,
        }
    }

    /// Whether a tensor under these conditions is in `layer`.
    pub(crate) fn has(&self, conditions: &[Condition], layer: &Layer) -> bool {
        conditions.iter().all(|condition| self.holds(condition, layer))
    }

    /// Whether `condition` holds in `layer`.
    pub(crate) fn holds(&self, condition: &Condition, layer: &Layer) -> bool {
        match condition {
            Condition::Untied => !self.tied_embeddings,
            Condition::FeedForward => layer.feed_forward != FeedForward::None,
            Condition::Dense => matches!(layer.feed_forward, FeedForward::Dense { .. }),
            Condition::Routed => layer.is_routed(),
            Condition::Attention => layer.attention().is_some(),
            Condition::Sliding => layer.attention().is_some_and(|attention| attention.reach != Reach::Full),
            Condition::Normed => layer.attention().is_none_or(|attention| !attention.without_norm),
            Condition::OwnCache => layer.attention().is_some_and(|attention| !attention.shares_cache),
            Condition::OwnValues => layer
                .attention()
                .is_some_and(|attention| !attention.shares_cache && !attention.keys_as_values),
            Condition::OwnBias => layer.attention().is_some_and(|attention| attention.own_bias),
            Condition::Latent => matches!(layer.mixer, Mixer::Latent(_)),
            Condition::Indexed => matches!(layer.mixer, Mixer::Latent(latent) if latent.indexer_dim > 0),
            Condition::Predicts => layer.predicts,
            Condition::Recurrence(kind) => layer.recurrent().is_some_and(|recurrent| recurrent.kind == *kind),
            Condition::Quantity(name) => self.quantities.contains_key(name),
            Condition::Flag(flag) => self.flags.contains(flag),
            Condition::Not(other) => !self.holds(other, layer),
        }
    }

    /// What the names in `dims` stand for: those of the layer, of the model, or a quantity.
    pub(crate) fn extent(&self, name: &str, layer: &Layer) -> Result<u64, Error> {
        let attention = layer.attention().copied().unwrap_or_else(|| self.widest_attention());
        let experts = self.moe.map(|moe| (moe.n_experts.into(), moe.expert_ffn_size, moe.shared_ffn_size));
        let found = match name {
            "layers" => Some(self.n_layers.into()),
            "hidden" => Some(self.hidden_size),
            "vocab" => Some(self.vocab_size),
            "context" => Some(self.max_context),
            "heads" => Some(attention.n_heads.into()),
            "kv_heads" => Some(attention.n_kv_heads.into()),
            "head_dim" => Some(attention.key_dim.into()),
            "slides" => Some((attention.reach != Reach::Full).into()),
            "widest_head" => Some(self.head_dim.into()),
            "value_dim" => Some(attention.value_dim.into()),
            "ffn" => Some(match layer.feed_forward {
                FeedForward::Dense { width } => width,
                FeedForward::Routed | FeedForward::None => self.ffn_size,
            }),
            "experts" => experts.map(|(n_experts, ..)| n_experts),
            "expert_ffn" => experts.map(|(_, width, _)| width),
            "shared_ffn" => experts.map(|(.., width)| width),
            quantity => self.quantities.get(quantity).copied(),
        };
        found.ok_or_else(|| Error::Missing { field: name.into() })
    }

    /// The same for a number that this layer itself has: of attention only where it has one, of a feed-forward likewise.
    pub(crate) fn extent_in(&self, name: &str, layer: &Layer) -> Result<u64, Error> {
        let has = match name {
            "heads" | "kv_heads" | "head_dim" | "value_dim" | "slides" => layer.attention().is_some(),
            "ffn" => matches!(layer.feed_forward, FeedForward::Dense { .. }),
            "experts" | "expert_ffn" | "shared_ffn" => layer.is_routed(),
            _ => true,
        };
        if has { self.extent(name, layer) } else { Err(Error::Missing { field: name.into() }) }
    }

    fn widest_attention(&self) -> Attention {
        let (n_heads, n_kv_heads) = (self.n_heads, self.n_kv_heads);
        Attention {
            reach: Reach::Full,
            n_heads,
            n_kv_heads,
            key_dim: self.head_dim,
            value_dim: self.head_dim,
            own_bias: false,
            without_norm: false,
            keys_as_values: false,
            shares_cache: false,
        }
    }

    /// The facts of tensors outside layers.
    pub(crate) fn outside_layers(&self) -> Layer {
        let feed_forward = FeedForward::Dense { width: self.ffn_size };
        Layer { mixer: Mixer::Attention(self.widest_attention()), feed_forward, predicts: false }
    }

    /// Weights in all, and those that one token touches.
    pub(crate) fn count_parameters(&self) -> Parameters {
        let shapes = self.tensor_shapes();
        self.count(shapes.iter().map(|shape| (shape.name.as_str(), shape.n_elements())))
    }

    /// The same from tensors at hand, by name.
    pub(crate) fn count<'n>(&self, tensors: impl Iterator<Item = (&'n str, u64)>) -> Parameters {
        let mut parameters = Parameters::default();
        let blocks =
            Family::for_architecture(&self.architecture).map_or("blk.", |family| family.block_prefixes().0);
        let counts = |name: &str| role_of(name).is_weight() && !self.is_unused(blocks, name);
        for (name, n_elements) in tensors.filter(|(name, _)| counts(name)) {
            // Biases of experts as their matrices.
            let matrix = role_of(name.strip_suffix(".bias").unwrap_or(name));
            let active = match &self.moe {
                Some(moe) if matrix.is_routed_expert() => {
                    n_elements / u64::from(moe.n_experts.max(1)) * u64::from(moe.n_active)
                }
                _ => n_elements,
            };
            parameters.total = parameters.total.saturating_add(n_elements);
            parameters.active = parameters.active.saturating_add(active);
        }
        parameters
    }

    /// Whether the tensor `name` is of keys or values in a layer that sees those of an earlier one; `blocks` stands before
    /// the numbers of layers.
    fn is_unused(&self, blocks: &str, name: &str) -> bool {
        let place = name.strip_prefix(blocks).and_then(|rest| rest.split_once('.'));
        place.is_some_and(|(layer, part)| {
            let layer = layer.parse().ok().and_then(|layer: usize| self.layers.get(layer));
            let shares = layer.and_then(Layer::attention).is_some_and(|attention| attention.shares_cache);
            shares && (part.starts_with("attn_k") || part.starts_with("attn_v"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_name_in_the_tables_stands_for_something() {
        let config = json!({"model_type": "qwen3_moe", "norm_topk_prob": true, "hidden_size": 8, "intermediate_size": 16,
            "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 4,
            "vocab_size": 10, "max_position_embeddings": 16, "num_experts": 2, "num_experts_per_tok": 1,
            "moe_intermediate_size": 4});
        let description = crate::detect_config(&config).expect("a whole configuration");
        for family in Family::all() {
            let dims = family.tensors.iter().flat_map(|rule| &rule.dims).flat_map(|dims| dims.names());
            let views = family.tensors.iter().flat_map(|rule| &rule.views).flat_map(|view| view.names());
            for name in dims.chain(views) {
                let known = crate::detect::quantities::quantities().contains_key(name);
                assert!(known || description.extent(name, &description.layers[0]).is_ok(), "{name}");
            }
        }
    }

    #[test]
    fn shapes_are_contiguous_dimension_first() {
        let config = json!({"model_type": "llama", "hidden_size": 8, "intermediate_size": 16, "mlp_bias": true,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 10,
            "max_position_embeddings": 16, "tie_word_embeddings": true});
        let shapes = crate::detect_config(&config).expect("a whole configuration").tensor_shapes();
        let dims =
            |name: &str| shapes.iter().find(|shape| shape.name == name).map(|shape| shape.dims.clone());
        assert_eq!(dims("token_embd.weight"), Some(vec![8, 10]));
        assert_eq!(dims("output.weight"), None);
        assert_eq!(dims("blk.1.attn_k.weight"), Some(vec![8, 4]));
        assert_eq!(dims("blk.1.ffn_down.weight"), Some(vec![16, 8]));
        assert_eq!(dims("blk.0.ffn_up.bias"), Some(vec![16]));
        assert_eq!(dims("blk.0.attn_q.bias"), None);
        assert_eq!(dims("blk.0.ffn_up_exps.weight"), None);
        assert_eq!(shapes.len(), 2 + 2 * 12);
    }
}
