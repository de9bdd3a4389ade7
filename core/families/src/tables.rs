//! The tables of `data/`, as JSON: one constant per file, and the families and parts by name.
//! Made by the build script; must not be written by hand.

include!(concat!(env!("OUT_DIR"), "/tables.rs"));
