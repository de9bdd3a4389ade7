//! Workspace chores. Owns checks and measurements that `cargo test` cannot express;
//! may know the whole tree; must not be needed to build or use the product.

#![allow(clippy::print_stdout, clippy::print_stderr)]

mod allocation;
mod interop;
mod package;
mod phones;
mod profile_pages;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask tidy                 check house style: door signs, sizes, names, edges, code map
       cargo xtask score-speed FILE     judge predicted speeds by a phone's measurements
       cargo xtask score-choice FILE    judge chosen backends and precisions by them
       cargo xtask score-memory FILE    judge predicted memory by the buffers that its engine reported
       cargo xtask fit-costs FILE       make a source of core/planner/data/cost_classes.toml of them
       cargo xtask score-allocation DIR judge chosen types by measured sensitivities, one model left out at a time
       cargo xtask fit-sensitivity DIR  make core/quantizer/data/sensitivity.toml of them
       cargo xtask documents            write the programs of examples/ into the pages that show them
       cargo xtask profile-pages        write docs/hardware/ and docs/would-it-run.md anew
       cargo xtask package KIND [LIBRARY]
                                        wheel, tarball, deb, aar or xcframework, of a library that is built
                                        (for aar: a folder of them) or of a new one
       cargo xtask interop [--minutes N] [PART…]
                                        the interoperability suite test by test; its tools must be ready";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["tidy"] => tidy::run(&workspace_root()),
        ["documents"] => tidy::write_documents(&workspace_root()),
        ["interop", ref words @ ..] => {
            interop::Request::parse(words).and_then(|request| interop::run(&workspace_root(), &request))
        }
        ["package", kind] => package::run(&workspace_root(), kind, None),
        ["package", kind, library] => package::run(&workspace_root(), kind, Some(Path::new(library))),
        ["profile-pages"] => profile_pages::run(&workspace_root()),
        ["score-speed", file] => phones::score_speed(Path::new(file)),
        ["score-memory", file] => phones::score_memory(Path::new(file)),
        ["score-choice", file] => phones::score_choice(Path::new(file)),
        ["score-allocation", directory] => allocation::score(Path::new(directory)),
        ["fit-sensitivity", directory] => allocation::fit(Path::new(directory)),
        ["fit-costs", file] => phones::fit_costs(Path::new(file)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lives one folder below the root")
        .to_path_buf()
}
