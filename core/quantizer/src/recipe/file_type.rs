//! File types: the names users know, their numbers and their usual tensor type.
//! Source: `enum llama_ftype` and `llama_ftype_get_default_type` of llama.cpp, options of its quantize tool.

use formats::gguf::GgmlType;

macro_rules! file_types {
    ($($variant:ident = $id:literal, $name:literal, $ty:ident;)*) => {
        /// What a whole file is quantized to.
        #[allow(non_camel_case_types, missing_docs)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum FileType { $($variant,)* }
        impl FileType {
            /// Every file type.
            pub const ALL: &'static [FileType] = &[$(Self::$variant,)*];
            /// `general.file_type`.
            pub fn id(self) -> u32 { match self { $(Self::$variant => $id,)* } }
            /// The name users type.
            pub fn name(self) -> &'static str { match self { $(Self::$variant => $name,)* } }
            /// The type of a tensor that no rule treats otherwise.
            pub fn default_type(self) -> GgmlType { match self { $(Self::$variant => GgmlType::$ty,)* } }
        }
    };
}

file_types! {
    F32 = 0, "F32", F32;
    F16 = 1, "F16", F16;
    BF16 = 32, "BF16", BF16;
    Q8_0 = 7, "Q8_0", Q8_0;
    Q6_K = 18, "Q6_K", Q6_K;
    Q5_K_M = 17, "Q5_K_M", Q5_K;
    Q5_K_S = 16, "Q5_K_S", Q5_K;
    Q5_1 = 9, "Q5_1", Q5_1;
    Q5_0 = 8, "Q5_0", Q5_0;
    Q4_K_M = 15, "Q4_K_M", Q4_K;
    Q4_K_S = 14, "Q4_K_S", Q4_K;
    Q4_1 = 3, "Q4_1", Q4_1;
    Q4_0 = 2, "Q4_0", Q4_0;
    IQ4_NL = 25, "IQ4_NL", IQ4_NL;
    IQ4_XS = 30, "IQ4_XS", IQ4_XS;
    Q3_K_L = 13, "Q3_K_L", Q3_K;
    Q3_K_M = 12, "Q3_K_M", Q3_K;
    Q3_K_S = 11, "Q3_K_S", Q3_K;
    IQ3_M = 27, "IQ3_M", IQ3_S;
    IQ3_S = 26, "IQ3_S", IQ3_S;
    IQ3_XS = 22, "IQ3_XS", IQ3_S;
    IQ3_XXS = 23, "IQ3_XXS", IQ3_XXS;
    Q2_K = 10, "Q2_K", Q2_K;
    Q2_K_S = 21, "Q2_K_S", Q2_K;
    IQ2_M = 29, "IQ2_M", IQ2_S;
    IQ2_S = 28, "IQ2_S", IQ2_XS;
    IQ2_XS = 20, "IQ2_XS", IQ2_XS;
    IQ2_XXS = 19, "IQ2_XXS", IQ2_XXS;
    IQ1_M = 31, "IQ1_M", IQ1_M;
    IQ1_S = 24, "IQ1_S", IQ1_S;
    TQ2_0 = 37, "TQ2_0", TQ2_0;
    TQ1_0 = 36, "TQ1_0", TQ1_0;
    Q2_0 = 41, "Q2_0", Q2_0;
    Q1_0 = 40, "Q1_0", Q1_0;
    MXFP4_MOE = 38, "MXFP4_MOE", MXFP4;
}

impl FileType {
    /// The file type spelled `name`, in any case; `Q3_K`, `Q4_K` and `Q5_K` mean their `_M`.
    pub fn from_name(name: &str) -> Option<Self> {
        let name = match name.to_ascii_uppercase().as_str() {
            short @ ("Q3_K" | "Q4_K" | "Q5_K") => format!("{short}_M"),
            other => other.to_string(),
        };
        Self::ALL.iter().copied().find(|ty| ty.name() == name)
    }

    /// The file type that `general.file_type` states.
    pub fn from_id(id: u64) -> Option<Self> {
        Self::ALL.iter().copied().find(|ty| u64::from(ty.id()) == id)
    }

    /// Whether it is plain numbers, without blocks.
    pub fn is_float(self) -> bool {
        !self.default_type().is_quantized()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_and_ids_are_unique_and_lead_back() {
        let ids: HashSet<u32> = FileType::ALL.iter().map(|ty| ty.id()).collect();
        assert_eq!(ids.len(), FileType::ALL.len());
        for ty in FileType::ALL {
            assert_eq!(FileType::from_name(&ty.name().to_lowercase()), Some(*ty));
            assert_eq!(FileType::from_id(ty.id().into()), Some(*ty));
        }
        assert_eq!(FileType::from_name("q4_k"), Some(FileType::Q4_K_M));
        assert_eq!((FileType::from_name("Q9"), FileType::from_id(4)), (None, None));
    }
}
