//! Compiling the shim and the CPU backend.
//!
//! Owns: the list of the CPU backend's files and how they are compiled. May know: the source tree,
//! the variants. Must not know: how objects are sealed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::changes;
use crate::shared;
use crate::source::Source;
use crate::variants::{Target, Variant};

/// The CPU backend's files, relative to its folder; the target's own come from its `arch_dir`.
const FILES: &[CpuFile] = &[
    between("ggml-cpu.c"),
    around("quants.c"),
    around("amx/amx.cpp"),
    around("amx/mmq.cpp"),
    unpacking("tiled/tiled.cpp"),
    kernels("tiled/tiled-kernel.cpp").of(Sums::FusedIntegers),
    kernels("vec.cpp"),
    around("llamafile/sgemm.cpp").after("unused_products.h"),
    CpuFile::new(OPERATIONS, Place::Both),
    around("ggml-cpu.cpp"),
    around("repack.cpp").after("unused_layouts.h"),
    around("hbm.cpp"),
    around("traits.cpp"),
    around("binary-ops.cpp"),
    between("unary-ops.cpp"),
];
const ARCH_FILES: &[CpuFile] =
    &[around("quants.c").of(Sums::Integers), around("repack.cpp").of(Sums::Integers)];
/// The run-time check of instructions.
const CHECK: CpuFile = around("cpu-feats.cpp");

/// Where preludes are: what is compiled before the files themselves, or within them.
const PRELUDES: &str = "src/gguf";
const PRELUDE_FILES: [&str; 10] = [
    "avx2_names.h",
    "avx2_in_pairs.h",
    "unused_layouts.h",
    "unused_products.h",
    "attention_by_blocks.h",
    "attention_parts.h",
    "few_rows.h",
    "few_rows_avx2.h",
    "few_rows_q4_k.h",
    "rows_to_q8_k.h",
];

/// The file of a hundred small operations, and of fused attention.
const OPERATIONS: &str = "ops.cpp";
/// Attention is compiled a second time for speed, by itself, under another name: at level 2 a prompt takes a third longer.
const ATTENTION: &str = "ggml_compute_forward_flash_attn_ext";
pub(crate) const FAST_ATTENTION: &str = "llama_pajamas_cpu_flash_attn_ext";

/// One file of the CPU backend.
struct CpuFile {
    name: &'static str,
    place: Place,
    prelude: Option<&'static str>,
    sums: Sums,
}

impl CpuFile {
    const fn new(name: &'static str, place: Place) -> Self {
        Self { name, place, prelude: None, sums: Sums::Floats }
    }

    /// The file, compiled after a prelude.
    const fn after(self, prelude: &'static str) -> Self {
        Self { prelude: Some(prelude), ..self }
    }

    const fn of(self, sums: Sums) -> Self {
        Self { sums, ..self }
    }
}

/// What the widest vectors of a file are summed in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sums {
    /// Floating-point numbers: the order counts, and with it the width.
    Floats,
    /// Integers, whose sums are exact in any order.
    Integers,
    /// Integers; the floating-point sum over blocks takes a product and an addition where the other widths round once.
    FusedIntegers,
}

impl Sums {
    /// The compiler's flags beyond those of the variant.
    fn flags(self, variant: &Variant) -> Vec<&'static str> {
        match self {
            Self::FusedIntegers if !variant.integer_flags.is_empty() => {
                [variant.integer_flags, &["-ffp-contract=fast"]].concat()
            }
            Self::FusedIntegers | Self::Integers => variant.integer_flags.to_vec(),
            Self::Floats => Vec::new(),
        }
    }
}

/// How much time goes into a file.
#[derive(Clone, Copy)]
enum Place {
    /// Nearly all of it.
    Kernels,
    /// One operation is kernels, a hundred others are not.
    Both,
    /// Little, or all of it in intrinsics: at level 3 it is half as big again and not faster.
    Around,
    /// Little, in a function for each of twenty types: for size it is a fifth smaller, and prompts of the slowest types take
    /// a tenth longer.
    Unpacking,
    /// Next to none: no loops over numbers, or loops around calls.
    Between,
}

impl Place {
    /// The compiler's level.
    fn opt_level(self, variant: &Variant, entry: Entry) -> &'static str {
        match self {
            _ if variant.lean => "s",
            Self::Both if has_fast_attention(variant, entry) => "2",
            Self::Kernels | Self::Both => "3",
            Self::Around => "2",
            Self::Unpacking | Self::Between => "s",
        }
    }
}

const fn kernels(name: &'static str) -> CpuFile {
    CpuFile::new(name, Place::Kernels)
}

const fn around(name: &'static str) -> CpuFile {
    CpuFile::new(name, Place::Around)
}

const fn unpacking(name: &'static str) -> CpuFile {
    CpuFile::new(name, Place::Unpacking)
}

const fn between(name: &'static str) -> CpuFile {
    CpuFile::new(name, Place::Between)
}

/// How the rest of the library reaches the backend.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// Through the two functions that a loadable backend shows, an initialiser and a score; it also shows the
    /// operations of `shared.rs`.
    Owner,
    /// Through those two functions; the owner's operations stand for its own.
    Borrower,
    /// Through the backend's ordinary registration function.
    Linked,
}

/// Whether [`fast_attention`] stands for the operation that comes with its file.
pub(crate) fn has_fast_attention(variant: &Variant, entry: Entry) -> bool {
    entry == Entry::Borrower && !variant.lean
}

/// Compiles attention for speed. The object must be made to show [`FAST_ATTENTION`] alone: the rest of the file is in it too, and
/// is left out by the last link.
pub(crate) fn fast_attention(source: &Source, variant: &Variant, out_dir: &Path) -> PathBuf {
    let out_dir = out_dir.join(variant.name).join("attention");
    let mut build = backend_build(source, variant, Entry::Borrower, Language::Cxx, &out_dir);
    build.opt_level(3).flags(variant.flags).define(ATTENTION, FAST_ATTENTION);
    build.file(source.cpu_file(OPERATIONS));
    build.compile_intermediates().pop().expect("one file gives one object")
}

/// Compiles the CPU backend for `variant`, and returns the objects.
pub(crate) fn cpu_backend(
    source: &Source,
    target: &Target,
    variant: &Variant,
    entry: Entry,
    out_dir: &Path,
) -> Vec<PathBuf> {
    let out_dir = out_dir.join(variant.name);
    let folders = [(FILES, Path::new("")), (ARCH_FILES, Path::new(target.arch_dir))];
    let mut objects = Vec::new();
    // One build per set of flags: its files compile in parallel.
    let mut sets = BTreeMap::<_, Vec<PathBuf>>::new();
    for (files, folder) in folders {
        for file in files {
            if entry == Entry::Borrower && file.name == shared::FILE {
                continue;
            }
            let flags = file.sums.flags(variant);
            let set = (Language::of(file.name), file.place.opt_level(variant, entry), file.prelude, flags);
            sets.entry(set).or_default().push(source.cpu_file(folder.join(file.name)));
        }
    }
    for ((language, level, prelude, integer_flags), files) in sets {
        let mut build = backend_build(source, variant, entry, language, &out_dir);
        build.opt_level_str(level).flags(variant.flags).flags(integer_flags);
        for prelude in variant.prelude.into_iter().chain(prelude) {
            build.flag("-include").flag(Path::new(PRELUDES).join(prelude));
        }
        objects.extend(build.files(files).compile_intermediates());
    }
    for file in PRELUDE_FILES {
        println!("cargo:rerun-if-changed={PRELUDES}/{file}");
    }
    if entry != Entry::Linked {
        // The score runs before the instructions are known to exist: it gets no variant flags.
        let mut build = backend_build(source, variant, entry, Language::Cxx, &out_dir);
        build.opt_level(2).file(source.cpu_file(Path::new(target.arch_dir).join(CHECK.name)));
        objects.extend(build.compile_intermediates());
    }
    objects
}

/// The C++ shim, whose functions `src/gguf/shim.rs` declares.
const SHIM_FILES: [&str; 3] = ["src/gguf/shim.cpp", "src/gguf/huge_pages.cpp", "src/gguf/expert_pages.cpp"];
/// The same for pictures and sound, whose functions `src/gguf/projector.rs` declares.
const MEDIA_FILE: &str = "src/gguf/media.cpp";

/// Compiles the shim.
pub(crate) fn shim(source: &Source) {
    for file in SHIM_FILES {
        println!("cargo:rerun-if-changed={file}");
    }
    let multimodal = std::env::var_os("CARGO_FEATURE_MULTIMODAL").is_some();
    println!("cargo:rerun-if-changed={MEDIA_FILE}");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .files(SHIM_FILES.into_iter().chain(multimodal.then_some(MEDIA_FILE)))
        .include(source.root.join("tools/mtmd"))
        .include(source.root.join("include"))
        .include(source.root.join("src"))
        .include(source.root.join("ggml/include"))
        .include(source.root.join("ggml/src"))
        .compile("llama_pajamas_shim");
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Language {
    C,
    Cxx,
}

impl Language {
    fn of(file: &str) -> Self {
        if file.ends_with(".c") { Self::C } else { Self::Cxx }
    }
}

/// A build with the definitions and flags that llama.cpp's own build gives its CPU backend. Whatever
/// the profile says, it is optimised for speed: for size the kernels are about half as fast.
fn backend_build(
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
        .debug(false)
        .warnings(false)
        .extra_warnings(false)
        .pic(true)
        .flag("-ffunction-sections")
        .flag("-fdata-sections")
        // Sums of products round alike in every variant: fused only where ggml asks for it.
        .flag("-ffp-contract=off")
        // Nothing here throws, and nothing is unwound through threads of kernels.
        .flag("-fno-asynchronous-unwind-tables")
        // Assertions name changed files as the others: where they lie is nobody's business.
        .flag(source.changed_as_named())
        .define("NDEBUG", None)
        .define("_GNU_SOURCE", None)
        .define("_XOPEN_SOURCE", "600")
        .define("GGML_SCHED_MAX_COPIES", "4")
        .define("GGML_USE_LLAMAFILE", None)
        .define(changes::ROWS_AS_ONE_NAME, changes::ROWS_AS_ONE.to_string().as_str())
        .includes(source.ggml_includes())
        .includes(changes::folders().into_iter().map(|folder| source.ggml_cpu().join(folder)))
        .include(PRELUDES)
        .out_dir(out_dir);
    if variant.repacks {
        build.define("GGML_USE_CPU_REPACK", None);
    }
    if entry == Entry::Borrower {
        let of_c = shared::all().filter(|_| language == Language::C);
        let of_cxx = shared::of_file().filter(|_| language == Language::Cxx);
        for operation in of_c.chain(of_cxx) {
            build.define(&operation.from, operation.to.as_str());
        }
    }
    if has_fast_attention(variant, entry) && language == Language::C {
        build.define(ATTENTION, FAST_ATTENTION);
    }
    if entry != Entry::Linked {
        build.define("GGML_BACKEND_BUILD", None).define("GGML_BACKEND_DL", None);
        if language == Language::Cxx {
            build.flag("-fno-exceptions");
            // Unique symbols would stay visible after sealing and be shared between variants.
            build.flag_if_supported("-fno-gnu-unique");
        }
    }
    for feature in variant.features {
        build.define(&format!("GGML_{feature}"), None);
    }
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64")
        && build.get_compiler().is_like_gnu()
    {
        // The kernels hold more sums than there are registers. Ordered for few live values before registers are given out,
        // products of matrices take 0.7 of the time; GCC does so unasked on every other architecture.
        build.flag("-fschedule-insns").flag("-fsched-pressure");
    }
    build
}
