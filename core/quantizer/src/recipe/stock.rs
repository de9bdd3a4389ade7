//! The stock recipe: llama.cpp's own choice of types, tensor by tensor.
//! A port of `llama_tensor_get_type`, `llama_tensor_get_type_impl`, `tensor_type_fallback` and
//! `tensor_requires_imatrix` of llama.cpp's `src/llama-quant.cpp`. Its order of rules and its counters are kept, so that
//! the types are the same. Where it gives up (rows that do not divide into blocks of 64 or 128 weights), F16 is chosen.

use super::category::{Category, PER_LAYER_EMBEDDING, is_quantizable};
use super::{FileType, Overrides, Recipe, Shape};
use formats::gguf::GgmlType::{self as T, *};

/// A choice and the rule behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The type.
    pub(crate) ty: T,
    /// The rule.
    pub(crate) reason: &'static str,
    /// The type that the rule wished for, where the row does not divide into its blocks.
    pub(crate) instead_of: Option<T>,
}

/// Types of `tensors` (name, dims, present type), which must stand in the order of [`super::order`].
pub(crate) fn stock(
    tensors: &[(&str, &[u64], T)],
    file_type: FileType,
    shape: Shape,
    wishes: &Overrides,
) -> Vec<Choice> {
    let categories = || tensors.iter().map(|(name, ..)| Category::of(name));
    let mut rules = Rules {
        ftype: file_type,
        shape,
        wishes,
        tied_embeddings: !categories().any(|category| category == Category::Output),
        n_values: categories().filter(|category| category.holds_values()).count(),
        i_value: 0,
        i_down: 0,
        i_gate: 0,
        i_up: 0,
    };
    tensors.iter().map(|(name, dims, from)| rules.choose(name, dims, *from)).collect()
}

/// Whether a tensor of this type must not be made without an importance matrix.
pub(crate) fn requires_imatrix(name: &str, to: T, recipe: Recipe) -> bool {
    if matches!(Category::of(name), Category::TokenEmbedding | Category::Output) {
        return false;
    }
    match to {
        IQ3_XXS | IQ2_XXS | IQ2_XS | IQ2_S | IQ1_M | IQ1_S => true,
        Q2_K => recipe == Recipe::Stock(FileType::Q2_K_S),
        _ => false,
    }
}

struct Rules<'a> {
    ftype: FileType,
    shape: Shape,
    wishes: &'a Overrides,
    tied_embeddings: bool,
    n_values: usize,
    i_value: usize,
    i_down: usize,
    i_gate: usize,
    i_up: usize,
}

impl Rules<'_> {
    fn choose(&mut self, name: &str, dims: &[u64], from: T) -> Choice {
        let category = Category::of(name);
        let plain = |ty, reason| Choice { ty, reason, instead_of: None };
        let left = self.wishes.copy || (category == Category::Output && self.wishes.leave_output_tensor);
        if left || !is_quantizable(name, dims, self.shape.exceptions.never) {
            return plain(from, if left { "left as asked" } else { "never quantized" });
        }
        if self.wishes.keeps(from) {
            return plain(from, "kept as it was trained");
        }
        let by_name = self.wishes.by_name.iter().find(|(pattern, _)| pattern.is_match(name));
        if let (Category::TokenEmbedding, Some(ty)) = (category, self.wishes.token_embedding)
            && !(name == PER_LAYER_EMBEDDING && by_name.is_some())
        {
            return fitting(ty, dims[0], "token embedding as asked");
        }
        if let (Category::Output, Some(ty)) = (category, self.wishes.output) {
            return fitting(ty, dims[0], "output as asked");
        }
        let default = self.ftype.default_type();
        if !default.is_quantized() {
            return plain(default, "plain conversion");
        }
        let (ty, reason) = match by_name {
            Some((_, ty)) => (*ty, "as asked by name"),
            None if self.wishes.pure => (default, "pure"),
            None => self.mixture(category, name, dims, default),
        };
        fitting(ty, dims[0], reason)
    }

    fn mixture(&mut self, category: Category, name: &str, dims: &[u64], default: T) -> (T, &'static str) {
        use FileType as F;
        if self.shape.exceptions.q8_0.iter().any(|part| name.contains(part)) {
            return (Q8_0, "kept at Q8_0 in this architecture");
        }
        let tied = self.tied_embeddings && category == Category::TokenEmbedding;
        if category == Category::Output || tied {
            return (
                self.output(dims, default),
                if tied { "token embedding, also the output" } else { "output" },
            );
        }
        if self.ftype == F::MXFP4_MOE {
            let stacked = dims.get(2).is_some_and(|&n| n > 1);
            let experts = stacked && (!self.shape.exceptions.other_stacks || category.is_feed_forward());
            return (if experts { MXFP4 } else { Q8_0 }, "experts MXFP4, the rest Q8_0");
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
            return (self.two_bits(category, default), "two-bit mixture");
        }
        match category {
            Category::V | Category::Qkv => (self.values(default), "value projection"),
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
            Category::TokenEmbedding | Category::Output | Category::Other => {
                (default, "default of the file type")
            }
        }
    }

    fn output(&self, dims: &[u64], default: T) -> T {
        use FileType as F;
        if let Some(ty) = self.wishes.output {
            return ty;
        }
        let divides = dims[0].is_multiple_of(default.block_len());
        match self.ftype {
            F::MXFP4_MOE => Q8_0,
            _ if self.shape.exceptions.small_steps || !divides => Q8_0,
            F::IQ2_XXS | F::IQ2_XS | F::IQ3_XXS | F::IQ1_S | F::IQ2_S | F::IQ2_M | F::IQ1_M => Q5_K,
            _ if default != Q8_0 => Q6_K,
            _ => default,
        }
    }

    fn two_bits(&mut self, category: Category, default: T) -> T {
        use FileType as F;
        let larger = matches!(self.ftype, F::IQ2_S | F::IQ2_M);
        match category {
            Category::V | Category::Qkv => {
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
        }
    }

    fn values(&mut self, default: T) -> T {
        use FileType as F;
        let (i, grouped) = (self.i_value, self.shape.gqa_ratio >= 4);
        self.i_value += 1;
        let ty = match self.ftype {
            F::Q2_K if grouped => Q4_K,
            F::Q2_K => Q3_K,
            F::Q2_K_S | F::IQ3_XXS | F::IQ3_XS | F::IQ3_S if grouped => Q4_K,
            F::IQ3_XXS if self.shape.has_imatrix => IQ3_XXS,
            F::IQ3_XXS => IQ3_S,
            F::IQ3_M => Q4_K,
            F::Q3_K_M if i < 2 => Q5_K,
            F::Q3_K_M => Q4_K,
            F::Q3_K_L => Q5_K,
            F::IQ4_NL | F::IQ4_XS if grouped => Q5_K,
            F::Q4_K_M | F::Q5_K_M if use_more_bits(i, self.n_values) => Q6_K,
            F::Q4_K_S if i < 4 => Q5_K,
            _ => default,
        };
        match ty {
            _ if self.shape.n_experts == 8 => Q8_0, // next to the experts, the bytes do not count
            Q3_K | Q4_K if self.shape.is_70b => Q5_K, // eight heads share these weights: small, and worth the bits
            ty => ty,
        }
    }

    fn keys(&self, default: T) -> T {
        if self.shape.n_experts == 8 { Q8_0 } else { self.queries(default) }
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
        let (first, more, imatrix) = (i < n / 8, use_more_bits(i, n), self.shape.has_imatrix);
        if self.shape.exceptions.small_steps {
            match self.ftype {
                F::Q3_K_M if i >= n / 16 => return if more { Q4_K } else { Q3_K },
                F::Q3_K_L => return Q4_K,
                F::Q4_K_M if i < n / 16 => return Q6_K,
                F::Q4_K_M => return if more { Q5_K } else { Q4_K },
                F::Q4_K_S => return default,
                _ => {}
            }
        }
        match self.ftype {
            F::Q2_K => Q3_K,
            F::Q2_K_S if first => Q4_K,
            F::IQ3_XXS if !imatrix => {
                if first {
                    Q4_K
                } else {
                    Q3_K
                }
            }
            F::Q3_K_M if i < n / 16 => Q5_K,
            F::Q3_K_M => Q4_K,
            F::IQ3_M if first || (self.shape.n_experts == 8 && more) => Q4_K,
            F::Q3_K_L => Q5_K,
            F::Q4_K_M | F::Q5_K_M if more => Q6_K,
            F::IQ4_NL | F::IQ4_XS if first && !imatrix => Q5_K,
            F::Q4_K_S if first => Q5_K,
            F::Q4_0 if first && imatrix => Q4_1,
            F::Q5_0 if first && imatrix => Q5_1,
            _ => default,
        }
    }

    fn attention_output(&self, default: T) -> T {
        use FileType as F;
        if self.shape.exceptions.small_steps {
            return if self.ftype == F::Q3_K_L { Q4_K } else { default };
        }
        if self.shape.n_experts == 8 {
            return match self.ftype {
                F::Q2_K | F::Q3_K_S | F::Q3_K_M | F::Q4_K_S | F::Q4_K_M => Q5_K,
                F::IQ3_XXS | F::IQ3_XS | F::IQ3_S | F::IQ3_M | F::IQ4_NL | F::IQ4_XS => Q5_K,
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
        usize::try_from(super::order(name).0).unwrap_or(counted)
    }
}

/// The first and last eighth of the layers, and every third between.
fn use_more_bits(i: usize, n: usize) -> bool {
    i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2
}

/// `ty`, or a smaller-blocked type for rows of `columns` weights that do not divide into its blocks.
pub(super) fn fitting(ty: T, columns: u64, reason: &'static str) -> Choice {
    if columns.is_multiple_of(ty.block_len()) {
        return Choice { ty, reason, instead_of: None };
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
    Choice { ty: if fits { smaller } else { F16 }, reason, instead_of: Some(ty) }
}

#[cfg(test)]
mod tests;
