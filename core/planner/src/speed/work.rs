//! What one token costs, whatever computes it: weights by type, caches, states, layers.
//! Knows shapes and types; must not know hosts or speeds.

use families::{Description, Role, role_of};
use formats::gguf::GgmlType;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// What a token reads and computes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Work {
    /// Matrices, grouped.
    pub weights: Vec<Weights>,
    /// Layers.
    pub n_layers: u32,
    /// Layers with a recurrent state that is updated by an operation of its own.
    pub n_recurrent_layers: u32,
    /// Numbers of all recurrent states.
    pub state_elements: u64,
    /// Bytes of the caches that a token reads per token before it.
    pub kv_bytes_per_token: u64,
    /// Bytes of the largest matrix, stacked experts being one; 0 where only sums are known.
    #[serde(default)]
    pub largest_matrix_bytes: u64,
}

/// Matrices of one type that are computed alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Weights {
    /// Their type.
    #[serde(serialize_with = "write_type", deserialize_with = "read_type")]
    pub ty: GgmlType,
    /// Where they stand.
    pub part: Part,
    /// Their shorter side.
    pub shorter_side: u64,
    /// How many there are.
    pub n_matrices: u32,
    /// Weights of them that one token uses.
    pub n_weights: u64,
}

/// Where a matrix stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// In a layer: every token of a prompt goes through it.
    Layers,
    /// Behind the last layer: of a prompt, only the last token goes through it.
    Output,
}

impl Work {
    /// The work of a file, from the names, dimensions and types of its tensors. An embedding is looked up, not read,
    /// unless it is the output too. Of stacked experts a token uses its share.
    pub fn of_tensors<'t>(
        description: &Description,
        tensors: impl IntoIterator<Item = (&'t str, &'t [u64], GgmlType)>,
    ) -> Self {
        let mut work = Self::frame(description);
        let (active, all) = description.moe.map_or((1, 1), |moe| (moe.n_active, moe.n_experts.max(1)));
        let mut embedding = None;
        let mut has_output = false;
        for (name, dims, ty) in tensors {
            let role = role_of(name);
            let &[columns, rows, ..] = dims else { continue };
            let n_weights = dims.iter().fold(1u64, |product, dim| product.saturating_mul(*dim));
            let bytes = (n_weights as f64 * bytes_per_weight(ty)) as u64;
            work.largest_matrix_bytes = work.largest_matrix_bytes.max(bytes);
            let mut weights =
                Weights { ty, part: Part::Layers, shorter_side: columns.min(rows), n_matrices: 1, n_weights };
            match role {
                Role::TokenEmbedding => {
                    embedding = Some(Weights { part: Part::Output, ..weights });
                    continue;
                }
                Role::Output => {
                    has_output = true;
                    weights.part = Part::Output;
                }
                Role::PositionEmbedding | Role::Norm | Role::Bias | Role::Convolution | Role::RopeFactors => {
                    continue;
                }
                role if role.is_routed_expert() => {
                    weights.n_weights = (n_weights as f64 * f64::from(active) / f64::from(all)) as u64;
                }
                _ => {}
            }
            work.add(weights);
        }
        if let Some(embedding) = embedding.filter(|_| !has_output) {
            work.add(embedding);
        }
        work
    }

    /// The work of a file of which only the bytes are known that a token reads: all in the type that gives the precision
    /// its name.
    pub fn of_bytes(description: &Description, precision: &str, active_bytes: u64) -> Self {
        let mut work = Self::frame(description);
        let ty = nominal_type(precision);
        let per_byte = ty.block_len() as f64 / ty.block_bytes() as f64;
        let n_weights = (active_bytes as f64 * per_byte) as u64;
        let output = description.vocab_size.saturating_mul(description.hidden_size).min(n_weights / 2);
        let side = description.hidden_size;
        let layers = Weights {
            ty,
            part: Part::Layers,
            shorter_side: side,
            n_matrices: description.n_layers.saturating_mul(7),
            n_weights: n_weights - output,
        };
        work.add(layers);
        work.add(Weights { part: Part::Output, n_matrices: 1, n_weights: output, ..layers });
        work
    }

    /// All of it but the weights.
    fn frame(description: &Description) -> Self {
        let recurrent = description.layers.iter().filter_map(|layer| layer.recurrent());
        let states: Vec<u64> =
            recurrent.map(|recurrent| recurrent.state_len).filter(|len| *len > 0).collect();
        let kv = families::memory::kv_bytes(description, 1, GgmlType::F16, GgmlType::F16);
        Self {
            weights: Vec::new(),
            n_layers: description.n_layers,
            n_recurrent_layers: states.len() as u32,
            state_elements: states.into_iter().fold(0, u64::saturating_add),
            kv_bytes_per_token: kv.unwrap_or(0),
            largest_matrix_bytes: 0,
        }
    }

    /// Adds matrices to those that are computed alike.
    pub fn add(&mut self, weights: Weights) {
        let alike = |other: &&mut Weights| {
            (other.ty, other.part, other.shorter_side) == (weights.ty, weights.part, weights.shorter_side)
        };
        match self.weights.iter_mut().find(alike) {
            Some(other) => {
                other.n_matrices = other.n_matrices.saturating_add(weights.n_matrices);
                other.n_weights = other.n_weights.saturating_add(weights.n_weights);
            }
            None => self.weights.push(weights),
        }
    }

    /// Bytes of the weights that a token reads.
    pub fn weights_bytes(&self) -> f64 {
        self.weights.iter().map(|weights| weights.n_weights as f64 * bytes_per_weight(weights.ty)).sum()
    }
}

fn write_type<S: Serializer>(ty: &GgmlType, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(ty.name())
}

fn read_type<'d, D: Deserializer<'d>>(deserializer: D) -> Result<GgmlType, D::Error> {
    let name = String::deserialize(deserializer)?;
    GgmlType::from_name(&name)
        .ok_or_else(|| de::Error::custom(format!("expected a type of ggml, got {name}")))
}

/// Bytes of one weight of a type, its share of the block's scales included.
pub(crate) fn bytes_per_weight(ty: GgmlType) -> f64 {
    ty.block_bytes() as f64 / ty.block_len() as f64
}

/// The type that most weights of a precision have: its own name, or what is left of it without its suffixes; the I-quants
/// of two and three bits are named by mixtures. Q4_K where nothing is known.
pub(crate) fn nominal_type(precision: &str) -> GgmlType {
    let upper = precision.to_ascii_uppercase();
    let mut name = match upper.as_str() {
        "IQ2_M" => "IQ2_S",
        "IQ3_M" | "IQ3_XS" => "IQ3_S",
        other => other,
    };
    loop {
        if let Some(ty) = GgmlType::from_name(name) {
            return ty;
        }
        match name.rsplit_once('_') {
            Some((shorter, _)) => name = shorter,
            None => return GgmlType::Q4_K,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qwen3_8b() -> Description {
        let config = serde_json::json!({"model_type": "qwen3", "hidden_size": 4096, "intermediate_size": 12288,
            "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
            "vocab_size": 151936, "max_position_embeddings": 40960});
        families::detect_config(&config).expect("a whole configuration")
    }

    #[test]
    fn precisions_are_named_after_their_types() {
        for (precision, ty) in [
            ("Q4_K_M", GgmlType::Q4_K),
            ("q8_0", GgmlType::Q8_0),
            ("IQ2_M", GgmlType::IQ2_S),
            ("IQ3_XXS", GgmlType::IQ3_XXS),
            ("Q3_K_L", GgmlType::Q3_K),
            ("MXFP4_MOE", GgmlType::MXFP4),
            ("F16", GgmlType::F16),
            ("unheard-of", GgmlType::Q4_K),
        ] {
            assert_eq!(nominal_type(precision), ty, "{precision}");
        }
    }

    #[test]
    fn an_embedding_counts_where_it_is_the_output() {
        let description = qwen3_8b();
        let tensors: [(&str, &[u64], GgmlType); 4] = [
            ("token_embd.weight", &[4096, 151_936], GgmlType::Q6_K),
            ("blk.0.attn_norm.weight", &[4096], GgmlType::F32),
            ("blk.0.attn_q.weight", &[4096, 4096], GgmlType::Q4_K),
            ("blk.0.attn_k.weight", &[4096, 1024], GgmlType::Q4_K),
        ];
        let tied = Work::of_tensors(&description, tensors);
        assert_eq!(tied.weights.len(), 3);
        assert_eq!(tied.weights[2].part, Part::Output);
        assert_eq!(tied.kv_bytes_per_token, 147_456);
        assert_eq!(tied.largest_matrix_bytes, 4096 * 151_936 / 256 * 210);
        let output: (&str, &[u64], GgmlType) = ("output.weight", &[4096, 151_936], GgmlType::Q8_0);
        let untied = Work::of_tensors(&description, tensors.into_iter().chain([output]));
        let outputs: Vec<GgmlType> =
            untied.weights.iter().filter(|w| w.part == Part::Output).map(|w| w.ty).collect();
        assert_eq!(outputs, [GgmlType::Q8_0]);
    }

    #[test]
    fn bytes_alone_give_the_same_bytes_back() {
        let work = Work::of_bytes(&qwen3_8b(), "Q4_K_M", 5_000_000_000);
        assert!((work.weights_bytes() / 5e9 - 1.0).abs() < 1e-6);
    }
}
