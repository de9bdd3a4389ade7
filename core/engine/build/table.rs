//! The table of variants that `src/gguf/cpu.rs` includes.
//!
//! Owns: the generated Rust text and the names of the entry points. May know: the variants. Must
//! not know: how they are chosen.

use std::fmt::Write as _;

use crate::variants::{Registers, Variant};

/// The symbol that registers a variant.
pub(crate) fn init_symbol(variant: &Variant) -> String {
    format!("llama_pajamas_cpu_init_{}", identifier(variant))
}

/// The symbol that tells how well a variant fits the processor, 0 for not at all.
pub(crate) fn score_symbol(variant: &Variant) -> String {
    format!("llama_pajamas_cpu_score_{}", identifier(variant))
}

/// A table of sealed variants.
pub(crate) fn dispatched(variants: &[Variant]) -> String {
    let mut functions = String::new();
    let mut rows = String::new();
    for variant in variants {
        let (name, init, score) = (variant.name, init_symbol(variant), score_symbol(variant));
        let registers = registers(variant.registers);
        writeln!(functions, "    fn {init}() -> ggml_backend_reg_t;\n    fn {score}() -> c_int;")
            .expect("writing to a string");
        writeln!(
            rows,
            "    Variant {{ name: {name:?}, registers: {registers}, init: {init}, score: Some({score}) }},"
        )
        .expect("writing to a string");
    }
    format!(
        "unsafe extern \"C\" {{\n{functions}}}\n\
         static VARIANTS: &[Variant] = &[\n{rows}];\n"
    )
}

/// A table of one variant under the backend's own name, which fits by the choice of target.
pub(crate) fn single(variant: &Variant) -> String {
    let name = variant.name;
    let registers = registers(variant.registers);
    format!(
        "unsafe extern \"C\" {{\n    fn ggml_backend_cpu_reg() -> ggml_backend_reg_t;\n}}\n\
         static VARIANTS: &[Variant] = &[\n    \
         Variant {{ name: {name:?}, registers: {registers}, init: ggml_backend_cpu_reg, score: None }},\n];\n"
    )
}

/// No table: llama.cpp registers a CPU backend by itself.
pub(crate) fn none() -> String {
    "static VARIANTS: &[Variant] = &[];\n".to_owned()
}

fn identifier(variant: &Variant) -> String {
    variant.name.replace('.', "_")
}

fn registers(registers: Registers) -> String {
    format!("Registers::{registers:?}")
}
