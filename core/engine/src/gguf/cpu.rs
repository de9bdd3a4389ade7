//! Choosing the CPU variant at run time.
//!
//! Owns: the table of variants that the build script made, and the choice. May know: what the
//! processor and the operating system offer. Must not know: how variants were compiled.

use std::ffi::c_int;

use llama_cpp_sys_2::{
    GGML_BACKEND_DEVICE_TYPE_CPU, ggml_backend_dev_by_type, ggml_backend_reg_t, ggml_backend_register,
};
use serde::Serialize;

use crate::Error;

/// The name where the library has one CPU backend, fixed when it was built.
const BUILT_IN: &str = "built-in";

/// On the processor the logits of up to so many tokens of one sequence computed together are those of each computed by itself, bit
/// by bit, with any number of threads. 1 in builds whose CPU backend is llama.cpp's own.
pub const ROWS_AS_ONE: u32 = match u32::from_str_radix(env!("LLAMA_PAJAMAS_ROWS_AS_ONE"), 10) {
    Ok(n) => n,
    Err(_) => panic!("the build script sets a number"),
};

include!(concat!(env!("OUT_DIR"), "/cpu_variants.rs"));

/// One build of the CPU kernels in this library.
struct Variant {
    name: &'static str,
    registers: Registers,
    init: unsafe extern "C" fn() -> ggml_backend_reg_t,
    /// How well it fits the processor: 0 not at all, more is better. `None`: fits by construction.
    score: Option<unsafe extern "C" fn() -> c_int>,
}

/// Register state that the operating system must save across threads. ggml asks the processor for
/// its instructions only, and some virtual machines offer instructions without the state.
#[derive(Clone, Copy)]
#[allow(dead_code, reason = "each target uses some")]
enum Registers {
    Baseline,
    Avx,
    Avx512,
}

impl Registers {
    #[cfg(target_arch = "x86_64")]
    fn are_saved(self) -> bool {
        match self {
            Self::Baseline => true,
            Self::Avx => std::arch::is_x86_feature_detected!("avx"),
            Self::Avx512 => std::arch::is_x86_feature_detected!("avx512f"),
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn are_saved(self) -> bool {
        matches!(self, Self::Baseline)
    }
}

impl Variant {
    /// 0 when it cannot run here.
    fn fit(&self) -> c_int {
        if !self.registers.are_saved() {
            return 0;
        }
        // SAFETY: the function reads processor identification and was compiled for the baseline.
        self.score.map_or(1, |score| unsafe { score() })
    }
}

/// A CPU variant as the outside sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CpuVariant {
    /// Its name: the processor or architecture level that has all its instructions.
    pub name: &'static str,
    /// Whether it runs on this processor.
    pub usable: bool,
}

/// The CPU variants in this library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CpuVariants {
    /// All of them, from the plainest to the richest.
    pub all: Vec<CpuVariant>,
    /// The one that is used unless another is asked for.
    pub best: &'static str,
}

/// A variant that exists and runs here: the right to register it.
#[derive(Clone, Copy)]
pub(super) struct Chosen(Option<&'static Variant>);

impl Chosen {
    pub(super) fn name(self) -> &'static str {
        self.0.map_or(BUILT_IN, |variant| variant.name)
    }
}

pub(super) fn list() -> CpuVariants {
    if VARIANTS.is_empty() {
        return CpuVariants { all: vec![CpuVariant { name: BUILT_IN, usable: true }], best: BUILT_IN };
    }
    let all =
        VARIANTS.iter().map(|variant| CpuVariant { name: variant.name, usable: variant.fit() > 0 }).collect();
    CpuVariants { all, best: best().map_or(BUILT_IN, |variant| variant.name) }
}

/// The best variant, or the `wanted` one if it runs here.
pub(super) fn choose(wanted: Option<&str>) -> Result<Chosen, Error> {
    let Some(wanted) = wanted else {
        if VARIANTS.is_empty() {
            return Ok(Chosen(None));
        }
        let none = || Error::Start { reason: "no CPU variant runs on this processor".to_owned() };
        return best().map(|variant| Chosen(Some(variant))).ok_or_else(none);
    };
    if VARIANTS.is_empty() && wanted == BUILT_IN {
        return Ok(Chosen(None));
    }
    let variants = list().all;
    let Some(variant) = VARIANTS.iter().find(|variant| variant.name == wanted) else {
        let available = variants.iter().map(|variant| variant.name).collect();
        return Err(Error::UnknownCpuVariant { wanted: wanted.to_owned(), available });
    };
    if variant.fit() == 0 {
        let usable = variants.iter().filter(|variant| variant.usable).map(|variant| variant.name).collect();
        return Err(Error::UnsupportedCpuVariant { wanted: wanted.to_owned(), usable });
    }
    Ok(Chosen(Some(variant)))
}

fn best() -> Option<&'static Variant> {
    VARIANTS.iter().filter(|variant| variant.fit() > 0).max_by_key(|variant| variant.fit())
}

/// Makes the variant's devices known to ggml. Called once per process.
pub(super) fn register(chosen: Chosen) -> Result<(), Error> {
    if let Some(variant) = chosen.0 {
        if let Some(owner) = VARIANTS.first().filter(|owner| owner.name != variant.name) {
            // Its operations serve all variants (build/shared.rs) and read tables that this fills.
            // SAFETY: the plainest variant runs on every processor of the target.
            unsafe { (owner.init)() };
        }
        // SAFETY: `Chosen` proves that the processor has the variant's instructions.
        let registration = unsafe { (variant.init)() };
        if registration.is_null() {
            let reason = format!("CPU variant `{}` does not initialise", variant.name);
            return Err(Error::Start { reason });
        }
        // SAFETY: the registration is a static of the variant, valid for ever.
        unsafe { ggml_backend_register(registration) };
    }
    // SAFETY: reads the registry, which is filled.
    if unsafe { ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU) }.is_null() {
        return Err(Error::Start { reason: "this library has no CPU backend".to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plainest_variant_runs_everywhere_and_the_best_is_usable() {
        let variants = list();
        assert!(variants.all[0].usable, "{variants:?}");
        let best = variants.all.iter().find(|variant| variant.name == variants.best);
        assert!(best.is_some_and(|variant| variant.usable), "{variants:?}");
        assert_eq!(choose(None).map(Chosen::name).ok(), Some(variants.best));
    }

    #[test]
    fn unknown_variants_are_refused_with_the_list() {
        let Err(Error::UnknownCpuVariant { wanted, available }) = choose(Some("abacus")) else {
            panic!("accepted")
        };
        assert_eq!(wanted, "abacus");
        assert_eq!(available.len(), list().all.len());
    }
}
