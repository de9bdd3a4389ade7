//! Shapes of a model's tensors, computed from its description and its family's rules.

use crate::family::{Condition, Extent};
use crate::{Description, Family, Parameters, Role};

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

impl Description {
    /// Every tensor of the model, layer by layer.
    pub fn tensor_shapes(&self) -> Vec<TensorShape> {
        let Some(family) = Family::for_model_type(&self.model_type)
            .or_else(|| Family::for_architecture(&self.architecture, self.moe.is_some()))
        else {
            return Vec::new();
        };
        let mut shapes = Vec::new();
        for rule in &family.tensors {
            let exists = match rule.when {
                None => true,
                Some(Condition::Untied) => !self.tied_embeddings,
                Some(Condition::AttentionBias) => self.attention_bias,
            };
            if !exists {
                continue;
            }
            let dims: Vec<u64> = rule.dims.iter().map(|extent| self.extent(*extent)).collect();
            let layers = if rule.to.contains("{layer}") { self.n_layers } else { 1 };
            for layer in 0..layers {
                let name = rule.to.replace("{layer}", &layer.to_string());
                shapes.push(TensorShape { name, role: rule.role, dims: dims.clone() });
            }
        }
        shapes
    }

    fn extent(&self, extent: Extent) -> u64 {
        let moe = self.moe.as_ref();
        match extent {
            Extent::Hidden => self.hidden_size,
            Extent::Vocab => self.vocab_size,
            Extent::Query => u64::from(self.n_heads) * u64::from(self.head_dim),
            Extent::KeyValue => u64::from(self.n_kv_heads) * u64::from(self.head_dim),
            Extent::HeadDim => self.head_dim.into(),
            Extent::Ffn => self.ffn_size,
            Extent::ExpertFfn => moe.map_or(self.ffn_size, |moe| moe.expert_ffn_size),
            Extent::Experts => moe.map_or(1, |moe| moe.n_experts.into()),
        }
    }

    /// Weights in all, and those that one token touches: a token reads `n_active` of the experts and one row
    /// of an embedding that is not also the output.
    pub(crate) fn count_parameters(&self) -> Parameters {
        let mut parameters = Parameters::default();
        for shape in self.tensor_shapes() {
            let count = shape.dims.iter().fold(1u64, |product, &dim| product.saturating_mul(dim));
            parameters.total = parameters.total.saturating_add(count);
            let active = match (&self.moe, shape.role) {
                (Some(moe), role) if role.is_routed_expert() => {
                    count / u64::from(moe.n_experts) * u64::from(moe.n_active)
                }
                _ => count,
            };
            parameters.active = parameters.active.saturating_add(active);
        }
        parameters
    }
}
