//! Recipes: what matrices are stored as, what the graph computes in, and which operators it is made of.
//! Owns their names; must not know tensors.

use crate::recipe::FileType;
use formats::onnx::DataType;

/// What matrices are stored as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 4 bits in blocks of 32, on ggml's grid `Q4_0`.
    Int4,
    /// 8 bits in blocks of 32, on ggml's grid `Q8_0`.
    Int8,
    /// 16-bit floats, in which all is computed.
    Fp16,
    /// 32-bit floats.
    Fp32,
}

/// Which operators a graph is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flavour {
    /// ONNX Runtime's own where they are faster: what its processor and CUDA code is made for.
    Runtime,
    /// ONNX's alone (operator set 23): for TensorRT and other compilers.
    Portable,
}

/// What becomes of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Recipe {
    /// What matrices are stored as.
    pub precision: Precision,
    /// Which operators it is made of.
    pub flavour: Flavour,
    /// What a graph of codes multiplies them in.
    pub products: Products,
}

/// What a graph of codes multiplies them in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Products {
    /// 8-bit codes of what goes in, made block by block as ggml does it: what processors are fastest at.
    Codes,
    /// 32-bit floats.
    Exact,
    /// 16-bit floats, in which the rest is computed as well: what GPUs do best.
    Half,
    /// 8-bit codes of what goes in, by ranges that were learned from text, around products of ONNX's own: what TensorRT computes
    /// in integers.
    Static,
}

const PRECISIONS: [(Precision, &str); 4] = [
    (Precision::Int4, "int4"),
    (Precision::Int8, "int8"),
    (Precision::Fp16, "fp16"),
    (Precision::Fp32, "fp32"),
];

impl Recipe {
    /// The recipe that `name` means, in any case: `int4`, `int8`, `fp16` or `fp32`; behind the first two `-fp16` to compute
    /// in 16-bit floats and `-exact` in 32; `-portable` behind any. `int8-qdq` has ranges learned from text.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.to_ascii_lowercase();
        Self::all().find(|recipe| recipe.name() == name)
    }

    /// Every recipe. Without codes, and in portable graphs, products are what their floats make them.
    pub fn all() -> impl Iterator<Item = Self> {
        let of = |flavour, products| PRECISIONS.map(|(precision, _)| Self { precision, flavour, products });
        let all = [
            of(Flavour::Runtime, Products::Codes),
            of(Flavour::Runtime, Products::Exact),
            of(Flavour::Runtime, Products::Half),
            of(Flavour::Portable, Products::Exact),
            of(Flavour::Portable, Products::Half),
        ];
        let usual = |flavour| match flavour {
            Flavour::Runtime => Products::Codes,
            Flavour::Portable => Products::Exact,
        };
        let is_one = move |recipe: &Self| recipe.is_coded() || recipe.products == usual(recipe.flavour);
        let (flavour, products) = (Flavour::Portable, Products::Static);
        let learned = Self { precision: Precision::Int8, flavour, products };
        all.into_iter().flatten().filter(is_one).chain([learned])
    }

    /// The name that users type.
    pub fn name(self) -> String {
        let (_, stem) = PRECISIONS.iter().find(|(of, _)| *of == self.precision).expect("all are listed");
        let products = match (self.products, self.flavour) {
            (Products::Half, _) => "-fp16",
            (Products::Exact, Flavour::Runtime) => "-exact",
            (Products::Static, _) => "-qdq",
            (Products::Codes | Products::Exact, _) => "",
        };
        let portable = if self.flavour == Flavour::Portable && !self.learns() { "-portable" } else { "" };
        format!("{stem}{products}{portable}")
    }

    /// Whether matrices are codes.
    pub fn is_coded(self) -> bool {
        matches!(self.precision, Precision::Int4 | Precision::Int8)
    }

    /// Whether it needs ranges that were learned from text.
    pub fn learns(self) -> bool {
        self.products == Products::Static
    }

    /// What names look like, for messages.
    pub fn names() -> &'static str {
        "int4, int8, fp16 or fp32 (int4-exact to multiply in 32-bit floats, int4-fp16 in 16; -portable behind it for ONNX's own operators), or int8-qdq"
    }

    /// Whether it computes in 16-bit floats, in which it keeps caches too.
    pub(crate) fn is_half(self) -> bool {
        self.products == Products::Half || self.precision == Precision::Fp16
    }

    /// The floats that it computes in.
    pub(super) fn float(self) -> DataType {
        match self.is_half() {
            true => DataType::Float16,
            false => DataType::Float,
        }
    }

    /// ggml's type of the matrices.
    pub(crate) fn file_type(self) -> FileType {
        match self.precision {
            Precision::Int4 => FileType::Q4_0,
            Precision::Int8 => FileType::Q8_0,
            Precision::Fp16 => FileType::F16,
            Precision::Fp32 => FileType::F32,
        }
    }

    /// The graph's file, as transformers.js looks for it by the name of a precision.
    pub(crate) fn graph_name(self) -> &'static str {
        match (self.precision, self.products) {
            (Precision::Int4, Products::Half) => "model_q4f16.onnx",
            (Precision::Int4, _) => "model_q4.onnx",
            (Precision::Int8, _) => "model_int8.onnx",
            (Precision::Fp16, _) => "model_fp16.onnx",
            (Precision::Fp32, _) => "model.onnx",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_recipes_and_back() {
        for recipe in Recipe::all() {
            assert_eq!(Recipe::from_name(&recipe.name()), Some(recipe));
        }
        assert_eq!(Recipe::all().count(), 15);
        let (precision, flavour) = (Precision::Int4, Flavour::Runtime);
        let int4 = Recipe { precision, flavour, products: Products::Codes };
        assert_eq!(Recipe::from_name("INT4"), Some(int4));
        for name in [
            "fp16-fp16",
            "fp32-exact",
            "int4-exact-portable",
            "int8-qdq-portable",
            "int4-qdq",
            "int4-",
            "4bit",
            "Q4_0",
        ] {
            assert_eq!(Recipe::from_name(name), None, "{name}");
        }
    }
}
