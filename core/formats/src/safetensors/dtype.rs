//! Element types of safetensors as one table: spelling and width.
//! Source: `Dtype` of the reference implementation, and the FNUZ types some writers add.

macro_rules! dtypes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $bits:literal;)*) => {
        /// Element types.
        #[allow(non_camel_case_types)]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Dtype { $($(#[$doc])* $name,)* }
        impl Dtype {
            /// The type spelled `text` in a header.
            pub fn from_name(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
            /// The spelling in a header.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
            /// Bits per element.
            pub fn bits(self) -> u64 {
                match self { $(Self::$name => $bits,)* }
            }
        }
    };
}

dtypes! {
    /// 64-bit float.
    F64 = "F64", 64;
    /// 32-bit float.
    F32 = "F32", 32;
    /// 16-bit IEEE float.
    F16 = "F16", 16;
    /// bfloat16.
    BF16 = "BF16", 16;
    /// 8-bit float, 4 exponent bits.
    F8_E4M3 = "F8_E4M3", 8;
    /// 8-bit float, 5 exponent bits.
    F8_E5M2 = "F8_E5M2", 8;
    /// 8-bit power-of-two scale.
    F8_E8M0 = "F8_E8M0", 8;
    /// 8-bit float, 4 exponent bits, no infinities, no negative zero.
    F8_E4M3FNUZ = "F8_E4M3FNUZ", 8;
    /// 8-bit float, 5 exponent bits, no infinities, no negative zero.
    F8_E5M2FNUZ = "F8_E5M2FNUZ", 8;
    /// 6-bit float, 2 exponent bits, packed.
    F6_E2M3 = "F6_E2M3", 6;
    /// 6-bit float, 3 exponent bits, packed.
    F6_E3M2 = "F6_E3M2", 6;
    /// 4-bit float, two to a byte.
    F4 = "F4", 4;
    /// Complex number of two 32-bit floats.
    C64 = "C64", 64;
    /// 64-bit integer.
    I64 = "I64", 64;
    /// 32-bit integer.
    I32 = "I32", 32;
    /// 16-bit integer.
    I16 = "I16", 16;
    /// 8-bit integer.
    I8 = "I8", 8;
    /// 64-bit unsigned integer.
    U64 = "U64", 64;
    /// 32-bit unsigned integer.
    U32 = "U32", 32;
    /// 16-bit unsigned integer.
    U16 = "U16", 16;
    /// 8-bit unsigned integer.
    U8 = "U8", 8;
    /// One byte, 0 or 1.
    Bool = "BOOL", 8;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_the_type() {
        for name in ["F64", "BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0", "F6_E2M3", "F4", "BOOL", "C64", "U8"] {
            assert_eq!(Dtype::from_name(name).unwrap().name(), name);
        }
        assert_eq!(Dtype::from_name("f32"), None);
        assert_eq!(Dtype::F4.bits(), 4);
    }
}
