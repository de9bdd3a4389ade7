//! Where llama.cpp's sources lie.
//!
//! Owns: finding the tree that the llama.cpp crate was built from, and the files that stand for some of its own. May know: the CMake
//! cache of that build. Must not know: what is done with the sources, what is changed in them.

use crate::changes;
use std::env;
use std::path::{Path, PathBuf};

/// llama.cpp's source tree, and one fact about how it was built.
pub(crate) struct Source {
    /// The tree's root.
    pub(crate) root: PathBuf,
    /// Whether the crate's own build has a CPU backend.
    pub(crate) has_own_cpu_backend: bool,
    /// Where changed files of the CPU backend lie, under their names.
    changed: PathBuf,
}

impl Source {
    /// Reads the CMake cache of the llama.cpp crate, which names the tree, and changes files of it below `out_dir`: once for all
    /// variants, whose functions name their file and are alike only if it is the same.
    pub(crate) fn locate(out_dir: &Path) -> Self {
        let package_dir = PathBuf::from(
            env::var_os("DEP_LLAMA_GGML_CMAKE_DIR")
                .expect("llama-cpp-sys-2 announces its CMake package in DEP_LLAMA_GGML_CMAKE_DIR"),
        );
        let cache_file = package_dir
            .ancestors()
            .nth(2)
            .expect("the CMake package lies in <out>/lib/cmake")
            .join("build/CMakeCache.txt");
        println!("cargo:rerun-if-changed={}", cache_file.display());
        let cache = std::fs::read_to_string(&cache_file)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", cache_file.display()));
        let root = PathBuf::from(
            entry(&cache, "CMAKE_HOME_DIRECTORY")
                .unwrap_or_else(|| panic!("no CMAKE_HOME_DIRECTORY in {}", cache_file.display())),
        );
        let changed = out_dir.join("changed");
        let source = Self { has_own_cpu_backend: !is_off(entry(&cache, "GGML_CPU")), root, changed };
        assert!(
            source.ggml_cpu().join("ggml-cpu.c").is_file(),
            "no CPU backend sources in {}",
            source.ggml_cpu().display()
        );
        changes::write(&source.ggml_cpu(), &source.changed);
        source
    }

    /// The folder of the CPU backend.
    pub(crate) fn ggml_cpu(&self) -> PathBuf {
        self.root.join("ggml/src/ggml-cpu")
    }

    /// The include folders of ggml and its CPU backend.
    pub(crate) fn ggml_includes(&self) -> [PathBuf; 3] {
        [self.root.join("ggml/include"), self.root.join("ggml/src"), self.ggml_cpu()]
    }

    /// The compiler's flag that gives changed files the names of their originals' folder.
    pub(crate) fn changed_as_named(&self) -> String {
        format!("-fmacro-prefix-map={}=ggml-cpu", self.changed.display())
    }

    /// A file of the CPU backend, which must exist; as it was changed, where it was.
    pub(crate) fn cpu_file(&self, relative: impl AsRef<Path>) -> PathBuf {
        let changed = self.changed.join(&relative);
        if changed.is_file() {
            return changed;
        }
        let path = self.ggml_cpu().join(relative);
        assert!(
            path.is_file(),
            "{} is missing: the list in build/compile.rs is for another llama.cpp",
            path.display()
        );
        path
    }
}

/// The value of `key` in a CMake cache, whose lines are `KEY:TYPE=VALUE`.
fn entry<'a>(cache: &'a str, key: &str) -> Option<&'a str> {
    cache.lines().find_map(|line| {
        let (name, value) = line.strip_prefix(key)?.split_once('=')?;
        name.starts_with(':').then_some(value)
    })
}

/// CMake's idea of false. No entry means the default, which is on.
fn is_off(value: Option<&str>) -> bool {
    value.is_some_and(|value| {
        matches!(value.to_ascii_uppercase().as_str(), "OFF" | "0" | "NO" | "FALSE" | "N")
    })
}
