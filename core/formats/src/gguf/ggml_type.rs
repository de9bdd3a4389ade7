//! Every ggml tensor type as one table: id, name, block length, block bytes.
//! Source: `enum ggml_type` in ggml.h, block structs in ggml-common.h (ggml 0.26).

/// A row of the table below.
struct Row {
    ty: GgmlType,
    id: u32,
    name: &'static str,
    block_len: u64,
    block_bytes: u64,
}

macro_rules! table {
    ($($(#[$doc:meta])* $variant:ident = $id:literal, $name:literal, $len:literal, $bytes:literal;)*) => {
        /// Type of a tensor's elements, as ggml numbers them.
        #[allow(non_camel_case_types)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum GgmlType { $($(#[$doc])* $variant = $id,)* }
        const TABLE: &[Row] = &[$(Row { ty: GgmlType::$variant, id: $id, name: $name, block_len: $len, block_bytes: $bytes },)*];
        impl GgmlType {
            /// Every type of the table.
            pub const ALL: &'static [GgmlType] = &[$(GgmlType::$variant,)*];
            const fn row(self) -> &'static Row {
                const ROWS: &[Row] = TABLE;
                let mut index = 0;
                while index < ROWS.len() {
                    if ROWS[index].id == self as u32 { return &ROWS[index]; }
                    index += 1;
                }
                unreachable!()
            }
        }
    };
}

table! {
    /// 32-bit float.
    F32 = 0, "F32", 1, 4;
    /// 16-bit IEEE float.
    F16 = 1, "F16", 1, 2;
    /// 4 bits, scale per 32.
    Q4_0 = 2, "Q4_0", 32, 18;
    /// 4 bits, scale and minimum per 32.
    Q4_1 = 3, "Q4_1", 32, 20;
    /// 5 bits, scale per 32.
    Q5_0 = 6, "Q5_0", 32, 22;
    /// 5 bits, scale and minimum per 32.
    Q5_1 = 7, "Q5_1", 32, 24;
    /// 8 bits, scale per 32.
    Q8_0 = 8, "Q8_0", 32, 34;
    /// 8 bits with sums, for activations.
    Q8_1 = 9, "Q8_1", 32, 36;
    /// 2-bit K-quant, super-blocks of 256.
    Q2_K = 10, "Q2_K", 256, 84;
    /// 3-bit K-quant.
    Q3_K = 11, "Q3_K", 256, 110;
    /// 4-bit K-quant.
    Q4_K = 12, "Q4_K", 256, 144;
    /// 5-bit K-quant.
    Q5_K = 13, "Q5_K", 256, 176;
    /// 6-bit K-quant.
    Q6_K = 14, "Q6_K", 256, 210;
    /// 8 bits with sums per 16, for activations.
    Q8_K = 15, "Q8_K", 256, 292;
    /// 2.06 bits, lattice.
    IQ2_XXS = 16, "IQ2_XXS", 256, 66;
    /// 2.31 bits, lattice.
    IQ2_XS = 17, "IQ2_XS", 256, 74;
    /// 3.06 bits, lattice.
    IQ3_XXS = 18, "IQ3_XXS", 256, 98;
    /// 1.56 bits, lattice.
    IQ1_S = 19, "IQ1_S", 256, 50;
    /// 4 bits, non-linear levels, scale per 32.
    IQ4_NL = 20, "IQ4_NL", 32, 18;
    /// 3.44 bits, lattice.
    IQ3_S = 21, "IQ3_S", 256, 110;
    /// 2.5 bits, lattice.
    IQ2_S = 22, "IQ2_S", 256, 82;
    /// 4.25 bits, non-linear levels.
    IQ4_XS = 23, "IQ4_XS", 256, 136;
    /// 8-bit integer.
    I8 = 24, "I8", 1, 1;
    /// 16-bit integer.
    I16 = 25, "I16", 1, 2;
    /// 32-bit integer.
    I32 = 26, "I32", 1, 4;
    /// 64-bit integer.
    I64 = 27, "I64", 1, 8;
    /// 64-bit float.
    F64 = 28, "F64", 1, 8;
    /// 1.75 bits, lattice.
    IQ1_M = 29, "IQ1_M", 256, 56;
    /// bfloat16.
    BF16 = 30, "BF16", 1, 2;
    /// Ternary, 1.69 bits.
    TQ1_0 = 34, "TQ1_0", 256, 54;
    /// Ternary, 2.06 bits.
    TQ2_0 = 35, "TQ2_0", 256, 66;
    /// OCP microscaling 4-bit float, scale per 32.
    MXFP4 = 39, "MXFP4", 32, 17;
    /// NVIDIA 4-bit float, E4M3 scale per 16.
    NVFP4 = 40, "NVFP4", 64, 36;
    /// 1 bit, scale per 128.
    Q1_0 = 41, "Q1_0", 128, 18;
    /// 2 bits, scale per 64.
    Q2_0 = 42, "Q2_0", 64, 18;
}

/// Ids that ggml has used up and removed.
const RETIRED: &[(u32, &str)] = &[
    (4, "Q4_2"),
    (5, "Q4_3"),
    (31, "Q4_0_4_4"),
    (32, "Q4_0_4_8"),
    (33, "Q4_0_8_8"),
    (36, "IQ4_NL_4_4"),
    (37, "IQ4_NL_4_8"),
    (38, "IQ4_NL_8_8"),
];

impl GgmlType {
    /// The type with ggml's number `id`; `None` for unknown and retired ids.
    pub fn from_id(id: u32) -> Option<Self> {
        TABLE.iter().find(|row| row.id == id).map(|row| row.ty)
    }

    /// The name of a type that ggml once had under `id` and has removed; `None` for ids in use and unknown ids.
    pub fn retired_name(id: u32) -> Option<&'static str> {
        RETIRED.iter().find(|(retired, _)| *retired == id).map(|(_, name)| *name)
    }

    /// ggml's number of the type.
    pub const fn id(self) -> u32 {
        self as u32
    }

    /// The field's spelling, e.g. `Q4_K`.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The type spelled `name`, upper or lower case.
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|row| row.name.eq_ignore_ascii_case(name)).map(|row| row.ty)
    }

    /// Weights per block, 1 for plain numbers.
    pub const fn block_len(self) -> u64 {
        self.row().block_len
    }

    /// Bytes per block.
    pub const fn block_bytes(self) -> u64 {
        self.row().block_bytes
    }

    /// Bytes of a row of `weights`; `None` when the row does not divide into blocks or the product overflows.
    pub const fn row_bytes(self, weights: u64) -> Option<u64> {
        if !weights.is_multiple_of(self.block_len()) {
            return None;
        }
        (weights / self.block_len()).checked_mul(self.block_bytes())
    }

    /// Whether weights are stored in blocks that share scales.
    pub const fn is_quantized(self) -> bool {
        self.block_len() > 1
    }

    /// Bits per weight, scales included.
    pub fn bits_per_weight(self) -> f64 {
        self.block_bytes() as f64 * 8.0 / self.block_len() as f64
    }
}

impl std::fmt::Display for GgmlType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_lead_back_to_the_type() {
        for &ty in GgmlType::ALL {
            assert_eq!(GgmlType::from_id(ty.id()), Some(ty));
            assert_eq!(GgmlType::from_name(&ty.name().to_lowercase()), Some(ty));
        }
        for id in (0..64).chain([u32::MAX]) {
            let (used, retired) = (GgmlType::from_id(id).is_some(), GgmlType::retired_name(id).is_some());
            assert_eq!(used || retired, id < 43, "{id}");
            assert!(!(used && retired), "{id}");
        }
    }

    #[test]
    fn rows_are_counted_in_whole_blocks() {
        assert_eq!(GgmlType::Q4_K.row_bytes(512), Some(288));
        assert_eq!(GgmlType::Q4_K.row_bytes(100), None);
        assert_eq!(GgmlType::F64.row_bytes(u64::MAX), None);
        assert_eq!(GgmlType::Q8_0.bits_per_weight(), 8.5);
    }
}
