//! The CPU variants of each target: data.
//!
//! Owns: which variants there are and what each needs. May know: compiler flags and ggml's feature
//! names. Must not know: how anything is compiled.

use std::env;

/// One build of the CPU kernels for one set of instructions.
pub(crate) struct Variant {
    /// Its name, in symbols and in the API; a processor or architecture level that has all of it.
    pub(crate) name: &'static str,
    /// Compiler flags that allow the instructions.
    pub(crate) flags: &'static [&'static str],
    /// Compiler flags beside them for kernels that sum integers, which have no order. Kernels that sum floats take twice as many
    /// at once where they find these instructions, and then round otherwise than the other variants: an answer would depend on
    /// the processor.
    pub(crate) integer_flags: &'static [&'static str],
    /// ggml's names of the features, which its run-time check asks for.
    pub(crate) features: &'static [&'static str],
    /// The register state that the operating system must save for these instructions.
    pub(crate) registers: Registers,
    /// Whether ggml has kernels for rearranged weights with these instructions.
    pub(crate) repacks: bool,
    /// What is compiled before every file: intrinsics that the instructions lack, below `src/gguf`.
    pub(crate) prelude: Option<&'static str>,
    /// Whether it is compiled for size: for processors that are old and few.
    pub(crate) lean: bool,
}

/// Register state beyond the baseline.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Registers {
    /// None: the baseline of the architecture, or state that a feature flag vouches for.
    Baseline,
    /// 256-bit vectors on x86-64.
    Avx,
    /// 512-bit vectors and masks on x86-64.
    Avx512,
}

/// What the variants of an architecture share.
pub(crate) struct Target {
    /// The folder of the architecture's own kernels.
    pub(crate) arch_dir: &'static str,
    /// The variants, from the plainest to the richest.
    pub(crate) variants: &'static [Variant],
    /// Whether objects are ELF, which can be sealed.
    pub(crate) is_elf: bool,
}

impl Target {
    /// The target of this build.
    pub(crate) fn from_env() -> Self {
        let arch = env::var("CARGO_CFG_TARGET_ARCH").expect("cargo sets the target");
        let vendor = env::var("CARGO_CFG_TARGET_VENDOR").unwrap_or_default();
        let family = env::var("CARGO_CFG_TARGET_FAMILY").unwrap_or_default();
        let (arch_dir, variants) = match (arch.as_str(), vendor.as_str()) {
            ("x86_64", _) => ("arch/x86", X86_64),
            ("aarch64", "apple") => ("arch/arm", AARCH64_APPLE),
            ("aarch64", _) => ("arch/arm", AARCH64),
            _ => panic!("no CPU variants for {arch}: add them to build/variants.rs"),
        };
        Self { arch_dir, variants, is_elf: family == "unix" && vendor != "apple" }
    }
}

/// Every variant adds 0.5 to 0.9 MB to the library: these three are a processor without AVX2, with
/// it, and with AVX-512. (AVX-VNNI alone would be a fourth, some percent faster than the second.)
const X86_64: &[Variant] = &[
    Variant {
        name: "x64",
        flags: &["-march=x86-64"],
        integer_flags: &[],
        features: &[],
        registers: Registers::Baseline,
        repacks: true,
        prelude: Some("avx2_names.h"),
        lean: true,
    },
    Variant {
        name: "haswell",
        flags: &["-msse4.2", "-mf16c", "-mfma", "-mbmi2", "-mavx", "-mavx2"],
        integer_flags: &[],
        features: &["SSE42", "F16C", "FMA", "BMI2", "AVX", "AVX2"],
        registers: Registers::Avx,
        repacks: true,
        prelude: None,
        lean: false,
    },
    Variant {
        name: "icelake",
        flags: &["-msse4.2", "-mf16c", "-mfma", "-mbmi2", "-mavx", "-mavx2"],
        integer_flags: &[
            "-mavx512f",
            "-mavx512cd",
            "-mavx512vl",
            "-mavx512dq",
            "-mavx512bw",
            "-mavx512vbmi",
            "-mavx512vnni",
        ],
        features: &["SSE42", "F16C", "FMA", "BMI2", "AVX", "AVX2", "AVX512", "AVX512_VBMI", "AVX512_VNNI"],
        registers: Registers::Avx512,
        repacks: true,
        prelude: None,
        lean: false,
    },
];

const AARCH64: &[Variant] = &[
    Variant {
        name: "armv8.0",
        flags: &["-march=armv8-a"],
        integer_flags: &[],
        features: &[],
        registers: Registers::Baseline,
        repacks: false,
        prelude: None,
        lean: false,
    },
    Variant {
        name: "armv8.2",
        flags: &["-march=armv8.2-a+dotprod+fp16"],
        integer_flags: &[],
        features: &["USE_DOTPROD", "USE_FP16_VECTOR_ARITHMETIC"],
        registers: Registers::Baseline,
        repacks: true,
        prelude: None,
        lean: false,
    },
    Variant {
        name: "armv8.6",
        flags: &["-march=armv8.6-a+dotprod+fp16+i8mm+nosve"],
        integer_flags: &[],
        features: &["USE_DOTPROD", "USE_FP16_VECTOR_ARITHMETIC", "USE_MATMUL_INT8"],
        registers: Registers::Baseline,
        repacks: true,
        prelude: None,
        lean: false,
    },
];

/// Every Apple processor that runs a current system has these instructions.
const AARCH64_APPLE: &[Variant] = &[Variant {
    name: "apple",
    flags: &["-march=armv8.4-a+dotprod+fp16"],
    integer_flags: &[],
    features: &["USE_DOTPROD", "USE_FP16_VECTOR_ARITHMETIC"],
    registers: Registers::Baseline,
    repacks: true,
    prelude: None,
    lean: false,
}];
