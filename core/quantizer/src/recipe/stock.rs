//! The stock recipe: llama.cpp's own choice of types, tensor by tensor.
//! A port of `llama_tensor_get_type` of llama.cpp's `src/llama-quant.cpp`; its order of rules and its counters are kept,
//! so that the types are the same. Only rules of architectures that this product converts are here.

use super::category::{Category, is_never_quantized};
use super::{FileType, Overrides};
use formats::gguf::GgmlType::{self as T, *};

/// What the rules may know of the model.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Decoder layers.
    pub(crate) n_layers: usize,
    /// Query heads per key-value head.
    pub(crate) gqa_ratio: u32,
    /// Experts, 0 without any.
    pub(crate) n_experts: u32,
    /// Whether an importance matrix is at hand.
    pub(crate) has_imatrix: bool,
    /// Whether there is no `output.weight`.
    pub(crate) tied_embeddings: bool,
    /// Whether llama.cpp calls the model a 70B one (80 layers of Llama or Qwen2).
    pub(crate) is_70b: bool,
}

/// A choice and the rule behind it.
pub(crate) type Choice = (T, &'static str);

/// Types of `tensors` (name, dims, present type), which must stand in the order of [`order`].
pub(crate) fn stock(
    tensors: &[(&str, &[u64], T)],
    file_type: FileType,
    shape: Shape,
    wishes: &Overrides,
) -> Vec<Choice> {
    let n_values = tensors.iter().filter(|(name, ..)| Category::of(name).holds_values()).count();
    let mut rules =
        Rules { ftype: file_type, shape, wishes, n_values, i_value: 0, i_down: 0, i_gate: 0, i_up: 0 };
    tensors.iter().map(|(name, dims, from)| rules.choose(name, dims, *from)).collect()
}

/// The order in which llama.cpp lists tensors: those of no layer first, then layer by layer, each by name.
pub(crate) fn order(name: &str) -> (i64, &str) {
    let layer = name.strip_prefix("blk.").and_then(|rest| rest.split('.').next()?.parse().ok());
    (layer.unwrap_or(-1), name)
}

/// Whether a tensor of this type must not be made without an importance matrix.
pub(crate) fn requires_imatrix(name: &str, to: T, file_type: FileType) -> bool {
    if matches!(Category::of(name), Category::TokenEmbedding | Category::Output) {
        return false;
    }
    match to {
        IQ3_XXS | IQ2_XXS | IQ2_XS | IQ2_S | IQ1_M | IQ1_S => true,
        Q2_K => file_type == FileType::Q2_K_S,
        _ => false,
    }
}

struct Rules<'a> {
    ftype: FileType,
    shape: Shape,
    wishes: &'a Overrides,
    n_values: usize,
    i_value: usize,
    i_down: usize,
    i_gate: usize,
    i_up: usize,
}

impl Rules<'_> {
    fn choose(&mut self, name: &str, dims: &[u64], from: T) -> Choice {
        let category = Category::of(name);
        if !self.is_quantizable(name, dims) {
            return (from, "never quantized");
        }
        if let (Category::TokenEmbedding, Some(ty)) = (category, self.wishes.token_embedding) {
            return (ty, "token embedding as asked");
        }
        if let (Category::Output, Some(ty)) = (category, self.wishes.output) {
            return (ty, "output as asked");
        }
        let default = self.ftype.default_type();
        if !default.is_quantized() {
            return (default, "plain conversion");
        }
        let by_name = self.wishes.by_name.iter().find(|(pattern, _)| pattern.is_match(name));
        let (ty, reason) = match by_name {
            Some((_, ty)) => (*ty, "as asked by name"),
            None if self.wishes.pure => (default, "pure"),
            None => self.mixture(category, name, dims, default),
        };
        fall_back(ty, dims[0]).unwrap_or((ty, reason))
    }

    fn is_quantizable(&self, name: &str, dims: &[u64]) -> bool {
        // Trailing extents of 1 do not count as dimensions.
        let n_dims = dims.iter().rposition(|&dim| dim > 1).map_or(1, |last| last + 1);
        n_dims >= 2
            && !is_never_quantized(name)
            && !(name == "output.weight" && self.wishes.leave_output_tensor)
    }

    fn mixture(&mut self, category: Category, name: &str, dims: &[u64], default: T) -> Choice {
        use FileType as F;
        let tied = self.shape.tied_embeddings && category == Category::TokenEmbedding;
        if category == Category::Output || tied {
            return (self.output(dims, default), "output");
        }
        if self.ftype == F::MXFP4_MOE {
            let stacked = dims.get(2).is_some_and(|&n| n > 1);
            return (if stacked { MXFP4 } else { Q8_0 }, "experts MXFP4, the rest Q8_0");
        }
        if category == Category::TokenEmbedding {
            let ty = match self.ftype {
                F::IQ2_XXS | F::IQ2_XS | F::IQ1_S | F::IQ1_M => Q2_K,
                F::IQ2_S | F::IQ2_M | F::IQ3_XXS => IQ3_S,
                F::TQ1_0 | F::TQ2_0 | F::Q2_0 => Q4_K,
                _ => default,
            };
            return (ty, "token embedding");
        }
        if matches!(self.ftype, F::IQ2_XXS | F::IQ2_XS | F::IQ1_S | F::IQ2_S | F::IQ2_M | F::IQ1_M) {
            return self.two_bits(category, default);
        }
        match category {
            c if c.holds_values() => (self.values(default), "value projection"),
            Category::K => (self.keys(default), "key projection"),
            Category::Q => (self.queries(default), "query projection"),
            Category::FfnDown => (self.down(name, default), "feed-forward down"),
            Category::AttentionOutput => (self.attention_output(default), "attention output"),
            Category::FfnGate => {
                let layer = self.layer(name, self.i_gate);
                self.i_gate += 1;
                (self.gate_or_up(layer, default), "feed-forward gate")
            }
            Category::FfnUp => {
                let layer = self.layer(name, self.i_up);
                self.i_up += 1;
                (self.gate_or_up(layer, default), "feed-forward up")
            }
            _ => (default, "default of the file type"),
        }
    }

    fn output(&self, dims: &[u64], default: T) -> T {
        use FileType as F;
        if let Some(ty) = self.wishes.output {
            return ty;
        }
        if self.ftype == F::MXFP4_MOE || !dims[0].is_multiple_of(default.block_len()) {
            return Q8_0;
        }
        match self.ftype {
            F::IQ2_XXS | F::IQ2_XS | F::IQ3_XXS | F::IQ1_S | F::IQ2_S | F::IQ2_M | F::IQ1_M => Q5_K,
            _ if default != Q8_0 => Q6_K,
            _ => default,
        }
    }

    fn two_bits(&mut self, category: Category, default: T) -> Choice {
        use FileType as F;
        let larger = matches!(self.ftype, F::IQ2_S | F::IQ2_M);
        let ty = match category {
            c if c.holds_values() => {
                self.i_value += 1;
                match () {
                    () if self.shape.gqa_ratio >= 4 || self.shape.n_experts >= 4 => Q4_K,
                    () if larger => IQ3_S,
                    () => Q2_K,
                }
            }
            Category::K if self.shape.n_experts == 8 => Q4_K,
            Category::FfnDown => {
                let early = self.i_down < self.shape.n_layers / 8;
                self.i_down += 1;
                match (early, larger) {
                    (true, true) => IQ3_S,
                    (true, false) => Q2_K,
                    (false, _) => default,
                }
            }
            Category::AttentionOutput if self.shape.n_experts == 8 => Q5_K,
            Category::AttentionOutput if matches!(self.ftype, F::IQ1_S | F::IQ1_M) => IQ2_XXS,
            Category::AttentionOutput if larger => IQ3_S,
            _ => default,
        };
        (ty, "two-bit mixture")
    }

    fn values(&mut self, default: T) -> T {
        use FileType as F;
        let i = self.i_value;
        let grouped = self.shape.gqa_ratio >= 4;
        let mut ty = match self.ftype {
            F::Q2_K => {
                if grouped {
                    Q4_K
                } else {
                    Q3_K
                }
            }
            F::Q2_K_S if grouped => Q4_K,
            F::IQ3_XXS => match (grouped, self.shape.has_imatrix) {
                (true, _) => Q4_K,
                (false, false) => IQ3_S,
                (false, true) => IQ3_XXS,
            },
            F::IQ3_XS | F::IQ3_S if grouped => Q4_K,
            F::IQ3_M => Q4_K,
            F::Q3_K_M => {
                if i < 2 {
                    Q5_K
                } else {
                    Q4_K
                }
            }
            F::Q3_K_L => Q5_K,
            F::IQ4_NL | F::IQ4_XS if grouped => Q5_K,
            F::Q4_K_M | F::Q5_K_M if use_more_bits(i, self.n_values) => Q6_K,
            F::Q4_K_S if i < 4 => Q5_K,
            _ => default,
        };
        if self.shape.is_70b && matches!(ty, Q3_K | Q4_K) {
            ty = Q5_K; // eight heads share these weights: small, and worth the bits
        }
        if self.shape.n_experts == 8 {
            ty = Q8_0;
        }
        self.i_value += 1;
        ty
    }

    fn keys(&self, default: T) -> T {
        match self.ftype {
            _ if self.shape.n_experts == 8 => Q8_0,
            FileType::IQ3_XS => IQ3_XXS,
            FileType::IQ3_XXS => IQ2_S,
            _ => default,
        }
    }

    fn queries(&self, default: T) -> T {
        match self.ftype {
            FileType::IQ3_XS => IQ3_XXS,
            FileType::IQ3_XXS => IQ2_S,
            _ => default,
        }
    }

    fn down(&mut self, name: &str, default: T) -> T {
        use FileType as F;
        let (i, n) = (self.layer(name, self.i_down), self.shape.n_layers);
        self.i_down += 1;
        let imatrix = self.shape.has_imatrix;
        match self.ftype {
            F::Q2_K => Q3_K,
            F::Q2_K_S if i < n / 8 => Q4_K,
            F::IQ3_XXS if !imatrix => {
                if i < n / 8 {
                    Q4_K
                } else {
                    Q3_K
                }
            }
            F::Q3_K_M => {
                if i < n / 16 {
                    Q5_K
                } else {
                    Q4_K
                }
            }
            F::IQ3_M if i < n / 8 || (self.shape.n_experts == 8 && use_more_bits(i, n)) => Q4_K,
            F::Q3_K_L => Q5_K,
            F::Q4_K_M | F::Q5_K_M if use_more_bits(i, n) => Q6_K,
            F::IQ4_NL | F::IQ4_XS if i < n / 8 && !imatrix => Q5_K,
            F::Q4_K_S if i < n / 8 => Q5_K,
            F::Q4_0 if imatrix && i < n / 8 => Q4_1,
            F::Q5_0 if imatrix && i < n / 8 => Q5_1,
            _ => default,
        }
    }

    fn attention_output(&self, default: T) -> T {
        use FileType as F;
        if self.shape.n_experts == 8 {
            return match self.ftype {
                F::Q2_K
                | F::IQ3_XS
                | F::IQ3_XXS
                | F::Q3_K_S
                | F::Q3_K_M
                | F::IQ4_NL
                | F::Q4_K_S
                | F::Q4_K_M
                | F::IQ3_S
                | F::IQ3_M
                | F::IQ4_XS => Q5_K,
                _ => default,
            };
        }
        match self.ftype {
            F::Q2_K => Q3_K,
            F::IQ3_XXS => IQ3_S,
            F::Q3_K_M | F::IQ3_M => Q4_K,
            F::Q3_K_L => Q5_K,
            _ => default,
        }
    }

    fn gate_or_up(&self, layer: usize, default: T) -> T {
        let n = self.shape.n_layers;
        let middle = layer >= n / 8 && layer < 7 * n / 8;
        if self.ftype == FileType::IQ3_XS && middle { IQ3_XXS } else { default }
    }

    /// The layer a rule counts by: the number in the name where experts make counting unreliable.
    fn layer(&self, name: &str, counted: usize) -> usize {
        if self.shape.n_experts <= 1 {
            return counted;
        }
        usize::try_from(order(name).0).unwrap_or(counted)
    }
}

/// The first and last eighth of the layers, and every third between.
fn use_more_bits(i: usize, n: usize) -> bool {
    i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2
}

/// A type for rows that do not divide into the blocks of `ty`.
fn fall_back(ty: T, columns: u64) -> Option<Choice> {
    if columns.is_multiple_of(ty.block_len()) {
        return None;
    }
    let smaller = match ty {
        IQ1_S | IQ1_M | IQ2_XXS | IQ2_XS | IQ2_S | IQ3_XXS | IQ3_S | IQ4_XS => IQ4_NL,
        Q2_0 | Q2_K | Q3_K | TQ1_0 | TQ2_0 => Q4_0,
        Q4_K => Q5_0,
        Q5_K => Q5_1,
        Q6_K => Q8_0,
        other => other,
    };
    let fits = columns.is_multiple_of(smaller.block_len());
    Some((if fits { smaller } else { F16 }, "the row does not divide into the type's blocks"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(n_layers: usize) -> Shape {
        Shape {
            n_layers,
            gqa_ratio: 2,
            n_experts: 0,
            has_imatrix: false,
            tied_embeddings: true,
            is_70b: false,
        }
    }

    #[test]
    fn q4_k_m_gives_more_bits_to_values_down_and_output() {
        let names: Vec<String> = (0..8)
            .flat_map(|i| {
                [
                    format!("blk.{i}.attn_v.weight"),
                    format!("blk.{i}.ffn_down.weight"),
                    format!("blk.{i}.ffn_up.weight"),
                ]
            })
            .collect();
        let dims: &[u64] = &[256, 256];
        let mut tensors: Vec<(&str, &[u64], T)> = vec![("token_embd.weight", dims, BF16)];
        tensors.extend(names.iter().map(|name| (name.as_str(), dims, BF16)));
        let types = stock(&tensors, FileType::Q4_K_M, shape(8), &Overrides::default());
        assert_eq!(types[0].0, Q6_K);
        let values: Vec<T> = types[1..].iter().step_by(3).map(|choice| choice.0).collect();
        assert_eq!(values, [Q6_K, Q4_K, Q4_K, Q6_K, Q4_K, Q4_K, Q6_K, Q6_K]);
        assert!(types[3..].iter().step_by(3).all(|choice| choice.0 == Q4_K));
    }

    #[test]
    fn wishes_come_before_rules_and_shapes_before_wishes() {
        let mut wishes = Overrides { token_embedding: Some(Q8_0), ..Overrides::default() };
        wishes.add_by_name("ffn_up=Q6_K").unwrap();
        assert!(wishes.add_by_name("(=Q6_K").is_err());
        assert!(wishes.add_by_name("x=Q8_K").is_err());
        let tensors: [(&str, &[u64], T); 4] = [
            ("token_embd.weight", &[256, 8], F16),
            ("blk.0.ffn_up.weight", &[96, 8], F16),
            ("blk.0.attn_norm.weight", &[256], F32),
            ("blk.0.ffn_gate_inp.weight", &[256, 8], F32),
        ];
        let types: Vec<T> =
            stock(&tensors, FileType::Q4_K_M, shape(1), &wishes).into_iter().map(|choice| choice.0).collect();
        assert_eq!(types, [Q8_0, Q8_0, F32, F32]);
    }

    proptest::proptest! {
        #[test]
        fn every_choice_fits_its_rows(columns in 1u64..2000, file_type in 0..FileType::ALL.len(), layer in 0usize..6) {
            let names = ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_gate", "ffn_down", "other"];
            let names: Vec<String> = names.iter().map(|name| format!("blk.{layer}.{name}.weight")).collect();
            let dims = [columns, 4];
            let tensors: Vec<(&str, &[u64], T)> = names.iter().map(|name| (name.as_str(), &dims[..], F32)).collect();
            for (ty, _) in stock(&tensors, FileType::ALL[file_type], shape(6), &Overrides::default()) {
                proptest::prop_assert!(ty.row_bytes(columns).is_some(), "{ty} for {columns}");
            }
        }
    }
}
