//! This machine, on macOS and iOS: the system's own table, by name.
//! Knows how to ask; what the answers mean stands in `apple`.

pub(crate) use crate::apple::read;

use crate::Conditions;
use crate::apple::{NAMES, TABLE};
use crate::native_memory;
use crate::root::Root;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use sysctl::{Ctl, Sysctl};

pub(crate) fn root() -> Root {
    let mut text = String::new();
    for name in NAMES {
        if let Ok(value) = Ctl::new(name).and_then(|ctl| ctl.value_string()) {
            let _ = writeln!(text, "{name}: {value}");
        }
    }
    if let Some(bytes) = native_memory::available_bytes() {
        let _ = writeln!(text, "native.available_bytes: {bytes}");
    }
    Root::table(BTreeMap::new()).with(TABLE, text)
}

pub(crate) fn conditions(root: &Root) -> Conditions {
    Conditions::of(&read(root))
}
