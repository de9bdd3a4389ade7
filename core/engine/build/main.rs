//! Builds the native parts that the llama.cpp crate leaves to us: the CPU kernels, once per
//! instruction-set variant and all in this one library, and a small C++ shim.
//!
//! Owns: what is compiled and how it is linked. May know: the source tree of the llama.cpp crate.
//! Must not know: anything of the machine it builds on beyond its compilers.
//!
//! llama.cpp builds either one CPU backend for one instruction set, or a shared library per set.
//! An app wants neither: the first crashes on older processors or is slow on newer ones, the second
//! is a dozen files to ship. So the crate is built without a CPU backend (`GGML_CPU=OFF` in
//! `.cargo/config.toml`), each variant is compiled here and sealed into one object that shows two
//! symbols, and the best variant is chosen at start (`src/gguf/cpu.rs`).

#![allow(clippy::print_stdout, reason = "build scripts speak to cargo on standard output")]

mod changes;
mod compile;
mod seal;
mod shared;
mod source;
mod table;
mod variants;

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-changed=build");
    if env::var_os("CARGO_FEATURE_GGUF").is_none() {
        return;
    }
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let source = source::Source::locate(&out_dir);
    let target = variants::Target::from_env();
    compile::shim(&source);
    let rows_as_one = if source.has_own_cpu_backend { 1 } else { changes::ROWS_AS_ONE };
    println!("cargo:rustc-env={}={rows_as_one}", changes::ROWS_AS_ONE_NAME);
    let table = if source.has_own_cpu_backend {
        println!(
            "cargo:warning=llama.cpp was built with a CPU backend of its own, for one instruction set: \
             set GGML_CPU=OFF in [env] of .cargo/config.toml to get run-time dispatch"
        );
        table::none()
    } else if target.is_elf {
        dispatched(&source, &target, &out_dir)
    } else {
        single(&source, &target, &out_dir)
    };
    std::fs::write(out_dir.join("cpu_variants.rs"), table).expect("OUT_DIR is writable");
}

/// All variants of the target, sealed, in one archive.
fn dispatched(source: &source::Source, target: &variants::Target, out_dir: &std::path::Path) -> String {
    let tools = seal::Tools::find();
    let mut archive = cc::Build::new();
    for (index, variant) in target.variants.iter().enumerate() {
        let entry = if index == 0 { compile::Entry::Owner } else { compile::Entry::Borrower };
        let mut objects = compile::cpu_backend(source, target, variant, entry, out_dir);
        if compile::has_fast_attention(variant, entry) {
            let object = compile::fast_attention(source, variant, out_dir);
            objects.push(seal::show_alone(&tools, &object, compile::FAST_ATTENTION));
        }
        archive.object(seal::seal(&tools, variant, entry, &objects, out_dir));
    }
    archive.compile("llama_pajamas_cpu_variants");
    table::dispatched(target.variants)
}

/// Where objects cannot be sealed there is one variant, the first of the target's list.
fn single(source: &source::Source, target: &variants::Target, out_dir: &std::path::Path) -> String {
    let variant = target.variants.first().expect("every target lists a variant");
    let objects = compile::cpu_backend(source, target, variant, compile::Entry::Linked, out_dir);
    cc::Build::new().objects(objects).compile("llama_pajamas_cpu_variants");
    table::single(variant)
}
