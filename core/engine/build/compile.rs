//! Compiling the shim and the CPU backend.
//!
//! Owns: the list of the CPU backend's files and how they are compiled. May know: the source tree,
//! the variants. Must not know: how objects are sealed.

use std::path::{Path, PathBuf};

use crate::source::Source;
use crate::variants::{Target, Variant};

/// The CPU backend's files, relative to its folder; the target's own come from its `arch_dir`.
const C_FILES: &[&str] = &["ggml-cpu.c", "quants.c"];
const CXX_FILES: &[&str] = &[
    "ggml-cpu.cpp",
    "repack.cpp",
    "hbm.cpp",
    "traits.cpp",
    "amx/amx.cpp",
    "amx/mmq.cpp",
    "tiled/tiled.cpp",
    "tiled/tiled-kernel.cpp",
    "binary-ops.cpp",
    "unary-ops.cpp",
    "vec.cpp",
    "ops.cpp",
    "llamafile/sgemm.cpp",
];

/// How the rest of the library reaches the backend.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Through the two functions that a loadable backend shows: an initialiser and a score.
    Loaded,
    /// Through the backend's ordinary registration function.
    Linked,
}

/// Compiles the CPU backend for `variant`, and returns the objects.
pub(crate) fn cpu_backend(
    source: &Source,
    target: &Target,
    variant: &Variant,
    entry: Entry,
    out_dir: &Path,
) -> Vec<PathBuf> {
    let arch = target.arch_dir;
    let mut c_files: Vec<PathBuf> = C_FILES.iter().map(|file| source.cpu_file(file)).collect();
    c_files.push(source.cpu_file(format!("{arch}/quants.c")));
    let mut cxx_files: Vec<PathBuf> = CXX_FILES.iter().map(|file| source.cpu_file(file)).collect();
    cxx_files.push(source.cpu_file(format!("{arch}/repack.cpp")));

    let out_dir = out_dir.join(variant.name);
    let mut c = kernels(source, variant, entry, Language::C, &out_dir);
    let mut cxx = kernels(source, variant, entry, Language::Cxx, &out_dir);
    for flag in variant.flags {
        c.flag(flag);
        cxx.flag(flag);
    }
    let mut objects = c.files(c_files).compile_intermediates();
    objects.extend(cxx.files(cxx_files).compile_intermediates());
    if entry == Entry::Loaded {
        // The score runs before the instructions are known to exist: it gets no variant flags.
        let check = source.cpu_file(format!("{arch}/cpu-feats.cpp"));
        let mut scores = kernels(source, variant, entry, Language::Cxx, &out_dir);
        objects.extend(scores.file(check).compile_intermediates());
    }
    objects
}

/// Compiles the C++ shim, whose functions `src/gguf/shim.rs` declares.
pub(crate) fn shim(source: &Source) {
    println!("cargo:rerun-if-changed=src/gguf/shim.cpp");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .file("src/gguf/shim.cpp")
        .include(source.root.join("include"))
        .include(source.root.join("src"))
        .include(source.root.join("ggml/include"))
        .compile("llama_pajamas_shim");
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Language {
    C,
    Cxx,
}

/// A build with the definitions and flags that llama.cpp's own build gives its CPU backend, and
/// always optimised for speed: optimised for size the kernels are about half as fast.
fn kernels(
    source: &Source,
    variant: &Variant,
    entry: Entry,
    language: Language,
    out_dir: &Path,
) -> cc::Build {
    let mut build = cc::Build::new();
    build
        .cpp(language == Language::Cxx)
        .std(if language == Language::Cxx { "gnu++17" } else { "gnu11" })
        .opt_level(3)
        .debug(false)
        .warnings(false)
        .extra_warnings(false)
        .pic(true)
        .flag("-ffunction-sections")
        .flag("-fdata-sections")
        .define("NDEBUG", None)
        .define("_GNU_SOURCE", None)
        .define("_XOPEN_SOURCE", "600")
        .define("GGML_SCHED_MAX_COPIES", "4")
        .define("GGML_USE_CPU_REPACK", None)
        .define("GGML_USE_LLAMAFILE", None)
        .includes(source.ggml_includes())
        .out_dir(out_dir);
    if entry == Entry::Loaded {
        build.define("GGML_BACKEND_BUILD", None).define("GGML_BACKEND_DL", None);
        if language == Language::Cxx {
            // Unique symbols would stay visible after sealing and be shared between variants.
            build.flag_if_supported("-fno-gnu-unique");
        }
    }
    for feature in variant.features {
        build.define(&format!("GGML_{feature}"), None);
    }
    build
}
