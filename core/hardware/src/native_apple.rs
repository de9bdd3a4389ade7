//! This machine, on macOS and iOS: the system's own table, by name.
//! Knows how to ask; what the answers mean stands in `apple`.

use crate::apple::{NAMES, TABLE};
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
    let mut system = sysinfo::System::new();
    system.refresh_memory();
    if system.available_memory() > 0 {
        let _ = writeln!(text, "native.available_bytes: {}", system.available_memory());
    }
    Root::table(BTreeMap::new()).with(TABLE, text)
}
