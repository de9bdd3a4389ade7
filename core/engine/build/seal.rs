//! Sealing a variant: many objects become one that shows two symbols.
//!
//! Owns: the linker and objcopy calls. May know: ELF tools. Must not know: what is in the objects.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::compile::Entry;
use crate::shared::{self, Renamed};
use crate::table::{init_symbol, score_symbol};
use crate::variants::Variant;

/// The binary tools that fit the C compiler.
pub(crate) struct Tools {
    linker: PathBuf,
    objcopy: PathBuf,
}

impl Tools {
    /// Asks the environment (`LD`, `OBJCOPY`), then the C compiler.
    pub(crate) fn find() -> Self {
        Self { linker: tool("LD", "ld"), objcopy: tool("OBJCOPY", "objcopy") }
    }
}

fn tool(variable: &str, program: &str) -> PathBuf {
    println!("cargo:rerun-if-env-changed={variable}");
    if let Some(path) = env::var_os(variable) {
        return PathBuf::from(path);
    }
    let compiler = cc::Build::new().get_compiler();
    let answer = Command::new(compiler.path())
        .args(compiler.args())
        .arg(format!("-print-prog-name={program}"))
        .output()
        .unwrap_or_else(|error| panic!("cannot run {}: {error}", compiler.path().display()));
    let path = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    if path.is_empty() { PathBuf::from(program) } else { PathBuf::from(path) }
}

/// Links `objects` into one, renames the two entry points after the variant and hides everything
/// else, so that variants can lie side by side in one library.
pub(crate) fn seal(
    tools: &Tools,
    variant: &Variant,
    entry: Entry,
    objects: &[PathBuf],
    out_dir: &Path,
) -> PathBuf {
    let joined = out_dir.join(format!("joined-{}.o", variant.name));
    join(tools, objects, &joined);
    let mut shown = vec![
        Renamed { from: "ggml_backend_init".into(), to: init_symbol(variant) },
        Renamed { from: "ggml_backend_score".into(), to: score_symbol(variant) },
    ];
    if entry == Entry::Owner {
        shown.extend(shared::all());
    }
    run(Command::new(&tools.objcopy)
        .args(shown.iter().map(|symbol| format!("--redefine-sym={}={}", symbol.from, symbol.to)))
        .arg(&joined));
    let sealed = out_dir.join(format!("cpu-{}.o", variant.name));
    run(Command::new(&tools.objcopy)
        .args(shown.iter().map(|symbol| format!("--keep-global-symbol={}", symbol.to)))
        .arg(&joined)
        .arg(&sealed));
    sealed
}

/// Hides everything in an object but one function.
pub(crate) fn show_alone(tools: &Tools, object: &Path, function: &str) -> PathBuf {
    let alone = object.with_extension("alone.o");
    join(tools, &[object.to_path_buf()], &alone);
    run(Command::new(&tools.objcopy).arg(format!("--keep-global-symbol={function}")).arg(&alone));
    alone
}

/// Links objects into one, with their groups dissolved: inline functions compiled with a variant's instructions must never stand
/// in for those of another variant or of the baseline. What several files bring stays apart, so that the last link can keep one
/// of each table, and drop the slow copy of a function that stands beside a fast one.
fn join(tools: &Tools, objects: &[PathBuf], joined: &Path) {
    run(Command::new(&tools.linker)
        .args(["-r", "--force-group-allocation", "--unique=.rodata.*", "--unique=.text.*", "-o"])
        .arg(joined)
        .args(objects));
}

fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("cannot run {command:?}: {error}"));
    assert!(status.success(), "{command:?} failed: {status}");
}
